package deploy_test

import (
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
)

func TestAPromotionRunsTheVeryImageAndLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.worker()
	now := s.db.NowFunc()
	staging := &models.Environment{ID: models.NewID(), TeamID: s.Team.ID, TargetID: s.Target.ID, Name: "staging", Position: 1, CreatedAt: now, UpdatedAt: now}
	idle := &models.App{ID: models.NewID(), TeamID: s.Team.ID, RepositoryID: s.Repository.ID, Name: "idle", Dockerfile: "Dockerfile", Context: ".", Builder: models.BuilderBuildKit, Health: models.HealthTCP,
		Triggers: models.DefaultTriggers(), BuildTimeout: 60, CreatedAt: now, UpdatedAt: now}
	for _, row := range []any{staging, idle} {
		if err := s.db.Create(row).Error; err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.service.SetVariable(s.ctx, deploy.VariableInput{EnvironmentID: s.Environment.ID, Name: "FEATURE", Value: "1"}); err != nil {
		t.Fatal(err)
	}
	b := s.built(2, "VERSION=2")
	s.succeeded(s.deploy(deploy.Input{BuildID: b.ID}).ID)
	s.built(3, "VERSION=3") // newer, and not what dev runs

	p, err := s.service.Promotions(s.ctx, deploy.PromotionFilter{EnvironmentID: staging.ID})
	if err != nil || p.Total != 1 || p.From.ID != s.Environment.ID {
		t.Fatalf("there are %+v (%v)", p, err)
	}
	item := p.Items[0]
	if item.Refused != "" || item.Plan == nil || !item.Plan.Ready() || item.Plan.Image.Digest != b.ImageDigest || item.Plan.Current != nil {
		t.Errorf("the plan is %+v, refused: %q", item.Plan, item.Refused)
	}
	origin, err := s.service.Origin(s.ctx, item.Plan, s.Environment.ID)
	if err != nil || strings.Join(origin.OnlyThere, " ") != "FEATURE" || len(origin.OnlyHere) != 0 {
		t.Errorf("it comes from %+v (%v)", origin, err)
	}

	asked := []deploy.PromoteApp{{AppID: s.App.ID, Digest: item.Source.ImageDigest, ConfigHash: item.Plan.ConfigHash}, {AppID: idle.ID}}
	if _, err := s.service.Promote(modelstest.As(t, s.db, s.Viewer), deploy.PromoteInput{EnvironmentID: staging.ID, Apps: asked}); !models.IsCode(err, models.Denied) {
		t.Errorf("a viewer promotes: %v", err)
	}
	out, err := s.service.Promote(s.ctx, deploy.PromoteInput{EnvironmentID: staging.ID, Apps: asked})
	if err != nil || len(out) != 2 || out[0].Deployment == nil || !strings.Contains(out[1].Refused, "Nothing serves in dev") {
		t.Fatalf("it is %+v (%v)", out, err)
	}
	d := s.succeeded(out[0].Deployment.ID)
	if d.ImageDigest != b.ImageDigest || d.EnvironmentID != staging.ID || *d.BuildID != b.ID {
		t.Errorf("it runs %s in %s", d.ImageDigest, d.Environment.Name)
	}
	if p, err = s.service.Promotions(s.ctx, deploy.PromotionFilter{EnvironmentID: staging.ID}); err != nil || p.Total != 0 {
		t.Errorf("afterwards there are %+v (%v)", p, err)
	}
	if out, err = s.service.Promote(s.ctx, deploy.PromoteInput{EnvironmentID: staging.ID, Apps: asked[:1]}); err != nil || !strings.Contains(out[0].Refused, "runs this image already") {
		t.Errorf("again it is %+v (%v)", out, err)
	}
}
