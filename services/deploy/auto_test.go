package deploy_test

import (
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
)

func TestAnotherBranchIsDeployedFromItsNextBuildOn(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPipeline(t, db)
		developer := modelstest.As(t, db, p.Developer)
		set := func(branch string) *models.AutoDeploy {
			t.Helper()
			row, err := p.service.SetAuto(developer, deploy.AutoInput{EnvironmentID: p.stages[0].ID, AppID: p.App.ID, Branch: branch})
			if err != nil {
				t.Fatal(err)
			}
			return row
		}
		first := set("main")
		b := p.build(p.App, "aa")
		if same := set("main"); same.BuildNumber != first.BuildNumber || !same.SeenAt.Equal(first.SeenAt) {
			t.Errorf("set to what it was already it has seen %+v", same)
		}
		if other := set("release/**"); other.BuildNumber != b.Number || other.Branch != "release/**" {
			t.Errorf("of another branch it is %+v", other)
		}
	})
}

func TestWhatAFreezeHoldsBackIsNotReadAgainAndAgain(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPipeline(t, db)
		now := db.NowFunc()
		start, end := now.Add(-72*time.Hour), now.Add(time.Hour)
		if _, err := p.service.Protect(modelstest.As(t, db, p.Maintainer), p.stages[0].ID, models.Protection{Freezes: []models.Freeze{{Name: "Holidays", Start: &start, End: &end}}}); err != nil {
			t.Fatal(err)
		}
		p.create(&models.AutoDeploy{EnvironmentID: p.stages[0].ID, AppID: p.App.ID, Branch: "main", SeenAt: start, UpdatedAt: start})
		var newest *models.Build
		for hours := range 3 {
			newest = p.build(p.App, "aa")
			done := start.Add(time.Duration(1+hours) * time.Hour)
			if err := db.Model(newest).Update("finished_at", done).Error; err != nil {
				t.Fatal(err)
			}
			newest.FinishedAt = &done
		}
		if err := p.service.DeployGoodBuilds(t.Context()); err != nil {
			t.Fatal(err)
		}
		var row models.AutoDeploy
		if err := db.Take(&row).Error; err != nil || !row.SeenAt.After(newest.FinishedAt.Add(-time.Hour)) || !row.SeenAt.Before(*newest.FinishedAt) || row.BuildNumber != 0 {
			t.Errorf("it has seen %+v (%v), want all but the newest, of %s", row, err, newest.FinishedAt)
		}
	})
}

func TestAnImageOfTwoBranchesIsLetInByEitherOfThem(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	main := s.built(2, "VERSION=1")
	again := *main
	again.ID, again.Number, again.Ref = models.NewID(), 3, "feature"
	if err := s.db.Create(&again).Error; err != nil {
		t.Fatal(err)
	}
	s.protect(models.Protection{Branches: []string{"main"}})
	if d := s.deploy(deploy.Input{Image: main.ImageDigest}); d.State != models.DeploymentPending {
		t.Errorf("it is %s", d.State)
	}
	s.protect(models.Protection{Branches: []string{"release/**"}})
	s.kept(s.ctx, deploy.Input{Image: main.ImageDigest}, "build #3 is of feature")
}

func TestABuildThatEndsAfterANewerOneIsNotDeployed(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPipeline(t, db)
		late, newer := p.build(p.App, "aa"), p.build(p.App, "bb")
		now := db.NowFunc()
		began := now.Add(-time.Hour)
		p.create(&models.AutoDeploy{EnvironmentID: p.stages[0].ID, AppID: p.App.ID, Branch: "main", BuildNumber: newer.Number, SeenAt: began, UpdatedAt: began})
		if err := db.Model(late).Update("finished_at", now).Error; err != nil {
			t.Fatal(err)
		}
		if err := p.service.DeployGoodBuilds(t.Context()); err != nil { // with no registry: it would panic at the attempt
			t.Fatal(err)
		}
		var row models.AutoDeploy
		if err := db.Take(&row).Error; err != nil || row.BuildNumber != newer.Number || !row.SeenAt.After(began) || row.Note != "" {
			t.Errorf("it has seen %+v (%v)", row, err)
		}
	})
}
