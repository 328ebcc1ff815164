package deploy_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/dockertest"
)

// gate holds a rollout at a boundary until the test lets it go on.
type gate struct {
	mu            sync.Mutex
	at            string
	reached, goOn chan struct{}
}

func (g *gate) reach(boundary string) {
	g.mu.Lock()
	held := g.at == boundary
	if held {
		g.at = ""
	}
	g.mu.Unlock()
	if held {
		g.reached <- struct{}{}
		<-g.goOn
	}
}

func newGate() *gate { return &gate{reached: make(chan struct{}), goOn: make(chan struct{})} }

func (g *gate) hold(boundary string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at = boundary
}

// await waits until a rollout is held.
func (g *gate) await(t *testing.T) {
	t.Helper()
	select {
	case <-g.reached:
	case <-time.After(4 * time.Minute):
		t.Fatal("no rollout ever came to the boundary")
	}
}

// gatedWorker starts a worker whose rollouts the gate can hold.
func (s *stage) gatedWorker() *gate {
	s.t.Helper()
	g, kinds := newGate(), s.service.Kinds
	s.service.Kinds = []deploy.Kind{watch(docker.Kind(""), g.reach)}
	s.worker()
	s.service.Kinds = kinds
	return g
}

func TestARolloutEndsTrueWhenTheEngineStopsInTheMiddle(t *testing.T) {
	t.Parallel()
	own := dockertest.NewOwn(t)
	s := newStage(t, modelstest.DB(t))
	in := deploy.TargetInput{Name: s.Target.Name, AllTeams: true, Settings: map[string]string{"host": own.Host, "address": own.Address}}
	if _, err := s.service.UpdateTarget(modelstest.As(t, s.db, s.Admin), s.Target.ID, in); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Model(s.App).Update("release_command", "say VERSION").Error; err != nil {
		t.Fatal(err)
	}
	g := newGate()
	s.service.Kinds = []deploy.Kind{watch(docker.Kind(""), g.reach)}
	if err := watchDatabase(s.db, g.reach); err != nil {
		t.Fatal(err)
	}
	s.worker()
	s.built(2, "VERSION=2")
	last := s.succeeded(s.deploy(deploy.Input{}).ID)
	serves := "2"
	for n, c := range []struct {
		at   string
		down bool // while the rollout goes on, and back only afterwards
	}{
		{"pull", true}, {"command", true}, {"start", true}, {"health", true}, {"health", false}, {"switched", false}, {"drain", true},
	} {
		what := fmt.Sprintf("stopped at %s, back afterwards %v", c.at, c.down)
		version := fmt.Sprint(n + 3)
		s.built(int64(n+3), "VERSION="+version)
		s.until(last.ID, "done with what served before", func(d *models.Deployment) bool { // or it comes to the boundary
			return d.PreviousID == nil || phaseOf(d, "stop").State == models.StepSucceeded
		})
		g.hold(c.at)
		d := s.deploy(deploy.Input{})
		g.await(t)
		own.Stop()
		if !c.down {
			own.Start()
		}
		g.goOn <- struct{}{}
		d = s.ended(d.ID)
		if c.down {
			own.Start()
		}
		switch {
		case d.State == models.DeploymentSucceeded:
			serves, last = version, d
		case d.State != models.DeploymentFailed || d.Error == nil || d.Error.Message == "":
			t.Errorf("%s: the deployment is %s: %+v", what, d.State, d.Error)
		}
		if late := c.at == "switched" || c.at == "drain"; late != (d.State == models.DeploymentSucceeded) {
			t.Errorf("%s: the deployment is %s: %+v", what, d.State, d.Error)
		}
		s.untilAnswers(what, serves)
	}
	target, err := docker.Kind("").Open(deploy.Config{ID: s.Target.ID, Settings: in.Settings})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	for end := time.Now().Add(4 * time.Minute); ; <-time.After(200 * time.Millisecond) { // what the engine could not remove is removed later
		all, err := target.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 1 && all[0].State == models.InstanceHealthy {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("in the end there are %+v", all)
		}
	}
	s.untilAnswers("in the end", serves)
}

// untilAnswers waits until the version answers at the route.
func (s *stage) untilAnswers(what, version string) {
	s.t.Helper()
	got := ""
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		if got = s.answer("/version"); got == version {
			return
		}
	}
	s.t.Fatalf("%s: the route answers %q, not %q", what, got, version)
}
