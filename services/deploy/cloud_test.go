package deploy_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/docker"
)

// cloud is a provider that runs containers on the local engine, and can do what clouds can beside that.
type cloud struct {
	mu        sync.Mutex
	platform  string // that it says; empty: the engine's
	checks    []deploy.Check
	inspected []deploy.Release
	resources []deploy.Resource
	events    []deploy.Event
	keeps     []deploy.Resource // removed by Destroy
	down      error             // what every call beyond the engine's fails with
	destroyed int               // how often that was tried
	fetched   []deploy.Image
}

// kind is the Docker Engine's kind as a cloud's.
func (c *cloud) kind() deploy.Kind {
	kind := docker.Kind("")
	open := kind.Open
	kind.Mirrors, kind.PricesOf = true, "Testland"
	kind.Prices = []deploy.Price{{Name: "vcpu_hour", Title: "Processor", Unit: "vCPU-hour", Amount: 0.04}}
	kind.Estimate = func(prices map[string]float64, s models.Scale) []deploy.CostLine {
		return []deploy.CostLine{{Title: "Processors", Month: prices["vcpu_hour"] * float64(s.Replicas) * deploy.MonthHours}}
	}
	kind.Open = func(config deploy.Config) (deploy.Target, error) {
		engine, err := open(config)
		return clouded{engine, c}, err
	}
	return kind
}

// set changes what the provider says.
func (c *cloud) set(change func(*cloud)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

type clouded struct {
	deploy.Target
	at *cloud
}

func (t clouded) Check(ctx context.Context) (deploy.Info, error) {
	info, err := t.Target.Check(ctx)
	t.at.set(func(c *cloud) {
		if c.platform != "" {
			info.Platform = c.platform
		}
	})
	return info, err
}

func (t clouded) Fetch(ctx context.Context, image deploy.Image, from deploy.Source, say func(string)) error {
	t.at.set(func(c *cloud) { c.fetched = append(c.fetched, image) })
	return t.Target.Fetch(ctx, image, from, say)
}

func (t clouded) Inspect(_ context.Context, r deploy.Release) (checks []deploy.Check, err error) {
	t.at.set(func(c *cloud) { c.inspected, checks, err = append(c.inspected, r), c.checks, c.down })
	return checks, err
}

func (t clouded) Resources(_ context.Context, release string) (all []deploy.Resource, err error) {
	t.at.set(func(c *cloud) {
		all, err = append([]deploy.Resource{{Kind: "Service", Name: "checkout-" + release[:8]}}, c.resources...), c.down
	})
	return all, err
}

func (t clouded) Events(context.Context, string) (all []deploy.Event, err error) {
	t.at.set(func(c *cloud) { all, err = append(all, c.events...), c.down })
	return all, err
}

func (t clouded) Keeps(context.Context) (all []deploy.Resource, err error) {
	t.at.set(func(c *cloud) { all, err = append(all, c.keeps...), c.down })
	return all, err
}

func (t clouded) Destroy(context.Context) (err error) {
	t.at.set(func(c *cloud) {
		if c.destroyed, err = c.destroyed+1, c.down; err == nil {
			c.keeps = nil
		}
	})
	return err
}

// newCloudStage is a stage whose target is the cloud's.
func newCloudStage(t *testing.T, db *models.Database) (*stage, *cloud) {
	s, c := newStage(t, db), &cloud{}
	s.service.Kinds = []deploy.Kind{c.kind()}
	return s, c
}

func TestWhatAProviderFindsBeforehandIsShownAndEndsARolloutBeforeAnythingChanges(t *testing.T) {
	t.Parallel()
	s, c := newCloudStage(t, modelstest.DB(t))
	if err := s.db.Create(&models.Variable{ID: models.NewID(), TeamID: s.Team.ID, EnvironmentID: s.Environment.ID, Name: "GREETING", Value: "hello", CreatedAt: s.db.NowFunc(), UpdatedAt: s.db.NowFunc()}).Error; err != nil {
		t.Fatal(err)
	}
	s.built(2, "VERSION=2")
	c.set(func(c *cloud) {
		c.checks = []deploy.Check{{Name: "Region", OK: true, Message: "It is open."}, {Name: "Permissions", Message: "The role lacks ecs:CreateService. Add it to its policy."}}
	})
	in := deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID}
	plan, err := s.service.Plan(s.ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	found := check(plan.Checks, "Permissions")
	if plan.Ready() || !plan.Open() || found.OK || found.Message != "The role lacks ecs:CreateService. Add it to its policy." || !check(plan.Checks, "Region").OK {
		t.Errorf("the plan has the checks %+v", plan.Checks)
	}
	s.worker()
	d := s.ended(s.deploy(in).ID)
	if d.State != models.DeploymentFailed || d.Error.Stage != deploy.StageCheck || d.Error.Message != found.Message || len(d.Phases) != 1 || s.live() != 0 {
		t.Errorf("the deployment is %s: %+v, phases %+v", d.State, d.Error, d.Phases)
	}
	c.set(func(c *cloud) {
		if len(c.inspected) != 2 {
			t.Fatalf("it was asked %d times", len(c.inspected))
		}
		for _, r := range c.inspected {
			if r.ID != "" || r.Env != nil || r.App != "checkout" || r.Team != "payments" || r.Image.Digest != d.ImageDigest || r.Port != 8080 || r.Scale.Replicas != 1 {
				t.Errorf("it was asked about %+v", r)
			}
		}
		c.checks = nil
		c.down = deploy.Failf(deploy.StageTarget, nil, "The access key has expired.")
	})
	plan, err = s.service.Plan(s.ctx, in)
	if err != nil || check(plan.Checks, "Provider").Message != "The access key has expired." {
		t.Errorf("the plan has the checks %+v, error %v", plan.Checks, err)
	}
}

func check(all []deploy.Check, name string) deploy.Check {
	for _, c := range all {
		if c.Name == name {
			return c
		}
	}
	return deploy.Check{}
}

func TestADeploymentTellsWhatWasMadeAndWhatItsProviderSays(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s, c := newCloudStage(t, db)
		s.built(2, "VERSION=2")
		d := s.deploy(deploy.Input{})
		c.set(func(c *cloud) {
			c.resources = []deploy.Resource{
				{Kind: "Log group", Name: "/slipway/checkout\x1b[31m", Link: "https://console.example.com/logs?a=1#b"},
				{Kind: "Trap", Name: "x", Link: "javascript:alert(1)"}, {Kind: "Trap", Name: "y", Link: "http://console.example.com/"}, {Kind: "Trap", Name: "z", Link: "https://user@console.example.com/"},
			}
			c.events = []deploy.Event{{At: time.Unix(1e9, 0), Object: "Service checkout", Text: "has reached a steady state"}}
		})
		viewer := modelstest.As(t, db, s.Viewer)
		made, err := s.service.Resources(viewer, d.ID)
		if err != nil || len(made) != 5 || made[1].Link != "https://console.example.com/logs?a=1#b" || made[0].Link+made[2].Link+made[3].Link+made[4].Link != "" || made[1].Name == "/slipway/checkout\x1b[31m" {
			t.Errorf("made were %+v, error %v", made, err)
		}
		said, err := s.service.Events(viewer, d.ID)
		if err != nil || len(said) != 1 || said[0].Text != "has reached a steady state" {
			t.Errorf("the events are %+v, error %v", said, err)
		}
		if r, e := s.service.Tells(viewer, s.get(d.ID)); !r || !e {
			t.Error("it does not say that it tells")
		}
		stranger := modelstest.As(t, db, s.Stranger)
		if _, err := s.service.Resources(stranger, d.ID); !models.IsCode(err, models.NotFound) {
			t.Errorf("a stranger reads what was made: %v", err)
		}
		if _, err := s.service.Events(stranger, d.ID); !models.IsCode(err, models.NotFound) {
			t.Errorf("a stranger reads the events: %v", err)
		}
		c.set(func(c *cloud) { c.down = deploy.Failf(deploy.StageTarget, nil, "The API asks for patience.") })
		if _, err := s.service.Events(viewer, d.ID); !models.IsCode(err, models.Unavailable) {
			t.Errorf("a provider that refuses: %v", err)
		}
		s.service.Close()
		s.service.Kinds = []deploy.Kind{docker.Kind("")}
		if _, err := s.service.Resources(viewer, d.ID); !models.IsCode(err, models.Conflict) {
			t.Errorf("a target without a list: %v", err)
		}
		if r, e := s.service.Tells(viewer, s.get(d.ID)); r || e {
			t.Error("the engine says that it tells")
		}
	})
}

func TestWhatADeletedTargetKeptIsRemovedHoweverOftenThatFails(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s, c := newCloudStage(t, db)
		admin := modelstest.As(t, db, s.Admin)
		c.set(func(c *cloud) {
			c.keeps = []deploy.Resource{{Kind: "Cluster", Name: "slipway"}}
			c.down = deploy.Failf(deploy.StageTarget, nil, "The role lacks ecs:DeleteCluster.")
		})
		if err := s.service.DeleteTarget(admin, s.Target.ID); !models.IsCode(err, models.Conflict) {
			t.Fatalf("a target with an environment was deleted: %v", err)
		}
		if left, err := s.service.TargetRemovals(admin); err != nil || len(left) != 0 {
			t.Fatalf("left are %+v, %v", left, err)
		}
		other, err := s.service.CreateTarget(admin, deploy.TargetInput{Name: "cloud", Kind: "docker"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.service.Kept(admin, other.ID); !models.IsCode(err, models.Unavailable) {
			t.Errorf("while the provider refuses: %v", err)
		}
		c.set(func(c *cloud) { c.down = nil })
		if kept, err := s.service.Kept(admin, other.ID); err != nil || len(kept) != 1 || kept[0].Kind != "Cluster" {
			t.Errorf("it keeps %+v, error %v", kept, err)
		}
		if _, err := s.service.Kept(modelstest.As(t, db, s.Maintainer), other.ID); !models.IsCode(err, models.Denied) {
			t.Errorf("a maintainer reads it: %v", err)
		}
		c.set(func(c *cloud) { c.down = deploy.Failf(deploy.StageTarget, nil, "The role lacks ecs:DeleteCluster.") })
		if err := s.service.DeleteTarget(admin, other.ID); err != nil {
			t.Fatal(err)
		}
		if c.destroyed != 0 {
			t.Fatal("it was destroyed before the deletion was in the database")
		}
		s.worker()
		removal := func(what string, ok func([]models.TargetRemoval) bool) {
			t.Helper()
			for end := time.Now().Add(2 * time.Minute); ; <-time.After(20 * time.Millisecond) {
				left, err := s.service.TargetRemovals(admin)
				if err != nil {
					t.Fatal(err)
				}
				if ok(left) {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("never %s: %+v", what, left)
				}
			}
		}
		removal("refused twice", func(left []models.TargetRemoval) bool {
			return len(left) == 1 && left[0].Tries >= 2 && left[0].Error == "The role lacks ecs:DeleteCluster."
		})
		c.set(func(c *cloud) { c.down = nil })
		removal("gone", func(left []models.TargetRemoval) bool { return len(left) == 0 })
		c.set(func(c *cloud) {
			if c.keeps != nil || c.destroyed < 3 {
				t.Errorf("there is still %+v after %d tries", c.keeps, c.destroyed)
			}
		})
		var audited int64
		if err := db.Model(&models.AuditEntry{}).Where("action = ?", "target.destroy").Count(&audited).Error; err != nil || audited != 1 {
			t.Errorf("it was audited %d times, %v", audited, err)
		}
	})
}

func TestARemovalWhoseJobIsLostGetsAnotherAndCanBeGivenUp(t *testing.T) {
	t.Parallel()
	s, c := newCloudStage(t, modelstest.DB(t))
	admin := modelstest.As(t, s.db, s.Admin)
	c.set(func(c *cloud) { c.down = errors.New("no") })
	other, err := s.service.CreateTarget(admin, deploy.TargetInput{Name: "cloud", Kind: "docker"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.service.DeleteTarget(admin, other.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Exec("DELETE FROM river_job").Error; err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.service.SweepTargets(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var jobs int64
	if err := s.db.Table("river_job").Where("kind = ?", deploy.Destruction{}.Kind()).Count(&jobs).Error; err != nil || jobs != 1 {
		t.Errorf("the queue has %d jobs, %v", jobs, err)
	}
	if err := s.service.ForgetRemoval(modelstest.As(t, s.db, s.Maintainer), other.ID); !models.IsCode(err, models.Denied) {
		t.Errorf("a maintainer gives it up: %v", err)
	}
	if err := s.service.ForgetRemoval(admin, other.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.service.DestroyTarget(t.Context(), deploy.Destruction{TargetID: other.ID}); err != nil || c.destroyed != 0 {
		t.Errorf("what was given up was tried %d times: %v", c.destroyed, err)
	}
}

func TestAPlanSaysWhatItCostsByTheAdminsPrices(t *testing.T) {
	t.Parallel()
	s, c := newCloudStage(t, modelstest.DB(t))
	s.built(2, "VERSION=2")
	in := deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID}
	cost := func() deploy.Cost {
		t.Helper()
		p, err := s.service.Plan(s.ctx, in)
		if err != nil || p.CostBefore.Known() {
			t.Fatalf("the plan is %+v, error %v", p, err)
		}
		return p.Cost
	}
	if got := cost(); !got.Known() || got.Month != 0.04*730 || got.Edited || got.PricesOf != "Testland" {
		t.Errorf("by the list it costs %+v", got)
	}
	admin := modelstest.As(t, s.db, s.Admin)
	set := func(price string) error {
		_, err := s.service.UpdateTarget(admin, s.Target.ID, deploy.TargetInput{Name: s.Target.Name, AllTeams: true, Settings: map[string]string{"price_vcpu_hour": price}})
		return err
	}
	for _, wrong := range []string{"-1", "NaN", "1e9", "four", "Inf"} {
		if told, ok := errors.AsType[*models.Error](set(wrong)); !ok || told.Fields["price_vcpu_hour"] == "" {
			t.Errorf("the price %q was taken", wrong)
		}
	}
	if err := set("0.1"); err != nil {
		t.Fatal(err)
	}
	if got := cost(); got.Month != 73 || !got.Edited {
		t.Errorf("by the contract it costs %+v", got)
	}
	if _, err := s.service.SetScale(s.ctx, deploy.ScaleInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Scale: models.Scale{Replicas: 2}}); err != nil {
		t.Fatal(err)
	}
	viewer := modelstest.As(t, s.db, s.Viewer)
	if all, err := s.service.EnvironmentCost(viewer, s.Environment.ID); err != nil || len(all.Apps) != 0 {
		t.Errorf("with nothing running it costs %+v, error %v", all, err)
	}
	s.worker()
	s.succeeded(s.deploy(deploy.Input{}).ID)
	all, err := s.service.EnvironmentCost(viewer, s.Environment.ID)
	if err != nil || len(all.Apps) != 1 || all.Apps[0].App != "checkout" || all.Month != 146 || !all.Edited {
		t.Errorf("what runs costs %+v, error %v", all, err)
	}
	if _, err := s.service.EnvironmentCost(modelstest.As(t, s.db, s.Stranger), s.Environment.ID); !models.IsCode(err, models.NotFound) {
		t.Errorf("a stranger reads it: %v", err)
	}
	if p, err := s.service.Plan(s.ctx, in); err != nil || p.CostBefore.Month != 146 {
		t.Errorf("what runs costs %+v in the plan, error %v", p.CostBefore, err)
	}
	_ = c
}
