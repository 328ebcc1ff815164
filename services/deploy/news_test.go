package deploy_test

import (
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/secrets/secretstest"
)

func TestWhatCameToAnEnvironmentIsToldByDeploymentWithItsCommits(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPipeline(t, db)
		_, commits := p.history("One", "Two", "Three")
		dev := p.stages[0]
		one, three := p.build(p.App, commits[0]), p.build(p.App, commits[2])
		p.serves(dev, p.App, one)
		p.serves(dev, p.App, three)
		p.attempt(dev, p.App, three, models.DeploymentFailed, nil) // never served: not told
		p.serves(dev, p.App, one, func(d *models.Deployment) { d.Action = models.ActionRollback })
		p.serves(dev, p.App, one, func(d *models.Deployment) { d.Action = models.ActionRestart })
		other := p.app("mail")
		p.serves(dev, other, p.build(other, commits[0]), func(d *models.Deployment) { d.BuildID = nil })

		read := func(f deploy.NewsFilter) []deploy.News {
			t.Helper()
			f.EnvironmentID = dev.ID
			list, err := p.service.News(p.viewer, f)
			if err != nil {
				t.Fatal(err)
			}
			return list.Items
		}
		if list := read(deploy.NewsFilter{AppID: p.App.ID}); len(list) != 4 || !list[2].Counting || list[2].Range != nil {
			t.Fatalf("before they are counted: %+v", list)
		}
		if err := p.service.CountOldCommits(t.Context()); err != nil {
			t.Fatal(err)
		}
		list := read(deploy.NewsFilter{})
		if len(list) != 5 || list[0].Deployment.App.Name != "mail" || !strings.Contains(list[0].Note, "did not build") {
			t.Fatalf("there are %d, the first is %+v", len(list), list[0])
		}
		restart, back, forward, first := list[1], list[2], list[3], list[4]
		if restart.Note != "The same commit as before." || first.Note != "The first one here." {
			t.Errorf("the notes are %q and %q", restart.Note, first.Note)
		}
		if r := back.Range; r == nil || !r.Back() || r.Behind != 2 || r.Commits[0].Subject != "Three" {
			t.Errorf("the rollback brought %+v", r)
		}
		if r := forward.Range; r == nil || r.Ahead != 2 || len(r.Commits) != 2 || r.Commits[0].Subject != "Three" || r.Commits[1].Subject != "Two" || r.Commits[1].Author == "" || r.More() {
			t.Errorf("the second brought %+v", r)
		}
		if _, err := p.service.News(modelstest.As(t, db, p.Stranger), deploy.NewsFilter{EnvironmentID: dev.ID}); !models.IsCode(err, models.NotFound) {
			t.Errorf("a stranger is told %v", err)
		}
	})
}

func TestTwoDeploymentsOfAnAppAreComparedByWhatRuns(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	p := newPipeline(t, db)
	p.service.Box = secretstest.Box()
	sealed := func(d *models.Deployment, values string) {
		d.SealedSecrets = p.service.Box.Seal("deployments/"+d.ID, []byte(values))
	}
	_, commits := p.history("One", "Two", "Three")
	a := p.serves(p.stages[1], p.App, p.build(p.App, commits[0]), func(d *models.Deployment) {
		d.Config = models.DeploymentConfig{Port: 80, Health: models.HealthTCP, Command: []string{"migrate"}, Variables: map[string]string{"LEVEL": "1", "OLD": "x", "SAME": "1"}, Secrets: map[string]string{"KEY": "aa", "PIN": "bb"}}
		sealed(d, `{"KEY": "the same", "PIN": "one"}`)
	})
	b := p.serves(p.stages[0], p.App, p.build(p.App, commits[2]), func(d *models.Deployment) {
		d.Config = models.DeploymentConfig{Port: 8080, Health: models.HealthTCP, Scale: models.Scale{Replicas: 2}, Variables: map[string]string{"LEVEL": "2", "SAME": "1"}, Secrets: map[string]string{"KEY": "dd", "PIN": "cc"}} // of another environment: no fingerprint is the same
		sealed(d, `{"KEY": "the same", "PIN": "two"}`)
	})
	c, err := p.service.Compare(p.viewer, a.ID, b.ID)
	if err != nil {
		t.Fatal(err)
	}
	settings := ""
	for _, d := range c.Settings {
		settings += d.Name + " " + d.Before + "→" + d.After + "; "
	}
	if settings != "Instances 1→2; Port 80→8080; Command before the switch migrate→none; " {
		t.Errorf("the settings are %q", settings)
	}
	if len(c.Variables) != 2 || c.Variables[0] != (deploy.Change{Name: "LEVEL", Kind: "changed"}) || c.Variables[1] != (deploy.Change{Name: "OLD", Kind: "removed"}) {
		t.Errorf("the variables are %+v", c.Variables)
	}
	if len(c.Secrets) != 1 || c.Secrets[0] != (deploy.Change{Name: "PIN", Kind: "changed"}) || c.SameConfig() || c.SameImage() {
		t.Errorf("the secrets are %+v", c.Secrets)
	}
	if c.Range.Ahead != 2 || c.Range.Commits[0].Subject != "Three" || c.B.Environment.Name != "dev" || c.B.SealedSecrets != nil {
		t.Errorf("the range is %+v", c.Range)
	}
	if back, err := p.service.Compare(p.viewer, b.ID, a.ID); err != nil || !back.Range.Back() || back.Range.Behind != 2 {
		t.Errorf("the other way round: %+v (%v)", back, err)
	}
	if same, err := p.service.Compare(p.viewer, a.ID, a.ID); err != nil || !same.SameConfig() || !same.SameImage() || same.CommitsNote == "" {
		t.Errorf("with itself: %+v (%v)", same, err)
	}
	other := p.app("mail")
	foreign := p.serves(p.stages[0], other, p.build(other, commits[0]))
	for name, c := range map[string]struct {
		a, b string
		code models.Code
	}{"another app's": {a.ID, foreign.ID, models.Invalid}, "none": {a.ID, "", models.Invalid}, "one that is not there": {"x", b.ID, models.NotFound}} {
		if _, err := p.service.Compare(p.viewer, c.a, c.b); !models.IsCode(err, c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	if _, err := p.service.Compare(modelstest.As(t, db, p.Stranger), a.ID, b.ID); !models.IsCode(err, models.NotFound) {
		t.Errorf("a stranger is told %v", err)
	}
}
