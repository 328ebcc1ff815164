package deploy_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/dockertest"
)

// gradual has the visitors of the place move in the steps.
func (s *stage) gradual(steps string) {
	s.t.Helper()
	g, err := models.ParseGradual(steps)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.service.SetRuntime(s.ctx, deploy.RuntimeInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Runtime: models.Runtime{Gradual: g}}); err != nil {
		s.t.Fatal(err)
	}
}

func shifting(d *models.Deployment) bool { return d.Shifting() && d.Shift.Until != nil }

// shifts deploys one version and then another one, to which visitors are on their way.
func (s *stage) shifts(steps string) (first, second *models.Deployment) {
	s.t.Helper()
	s.built(2, "VERSION=2")
	first = s.succeeded(s.deploy(deploy.Input{}).ID)
	s.gradual(steps)
	s.built(3, "VERSION=3")
	return first, s.until(s.deploy(deploy.Input{}).ID, "shifting", shifting)
}

func (s *stage) route() models.Route {
	s.t.Helper()
	var r models.Route
	if err := s.db.First(&r, "app_id = ?", s.App.ID).Error; err != nil {
		s.t.Fatal(err)
	}
	return r
}

// isBack checks that everybody is with the first version and nothing of the second is left.
func (s *stage) isBack(first, second *models.Deployment) {
	s.t.Helper()
	s.untilLive(1)
	r := s.route()
	if r.DeploymentID != first.ID || r.Next.DeploymentID != "" || r.Next.Percent != 0 || s.answer("/version") != "2" {
		s.t.Errorf("the route is %+v", r)
	}
	if d := s.get(second.ID); d.Shift.Percent != 0 || d.Shift.Until != nil || !s.get(first.ID).Active {
		s.t.Errorf("the second has %+v", d.Shift)
	}
}

func phaseOf(d *models.Deployment, name string) models.DeploymentPhase {
	for _, p := range d.Phases {
		if p.Name == name {
			return p
		}
	}
	return models.DeploymentPhase{}
}

func TestVisitorsMoveInStepsWithoutAFailedRequest(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		s.service.Minute, s.service.Drain = 3*time.Second, time.Minute // requests under way are cut after the drain
		s.worker()
		front := s.proxy()
		s.built(2, "VERSION=2")
		first := s.succeeded(s.deploy(deploy.Input{}).ID)
		s.gradual("30% for 1 min, 60% for 2 min")
		var ok, failed atomic.Int64
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { s.load(front, stop, &ok, &failed) })
		}
		three, four := s.built(3, "VERSION=3"), s.built(4, "VERSION=4")
		second := s.until(s.deploy(deploy.Input{BuildID: three.ID}).ID, "shifting", shifting)
		if r := s.route(); r.DeploymentID != first.ID || r.Next.DeploymentID != second.ID || len(r.Next.Addresses) != 1 {
			t.Errorf("the route is %+v", r)
		}
		third := s.deploy(deploy.Input{BuildID: four.ID})
		if why, err := s.service.WhyWaiting(s.ctx, s.get(third.ID)); err != nil || !strings.Contains(why, "Visitors move to deployment #2") {
			t.Errorf("the third waits because %q, %v", why, err)
		}
		if _, err := s.service.Cancel(s.ctx, third.ID); err != nil {
			t.Fatal(err)
		}
		began := second.Shift.Until.Add(-s.service.Minute)
		second = s.until(second.ID, "at the second step", func(d *models.Deployment) bool { return d.Shift.Step == 2 || d.State.Ended() })
		second = s.succeeded(second.ID)
		if took := second.FinishedAt.Sub(began); took < 3*s.service.Minute {
			t.Errorf("the steps took %s", took)
		}
		s.until(first.ID, "retired", func(d *models.Deployment) bool { return d.RetiredAt != nil })
		close(stop)
		wg.Wait()
		t.Logf("%d requests were answered, %d failed", ok.Load(), failed.Load())
		r, p := s.route(), phaseOf(second, "shift")
		if failed.Load() > 0 || r.DeploymentID != second.ID || r.Next.DeploymentID != "" || s.answer("/version") != "3" || second.Shift.Percent != 0 {
			t.Errorf("in the end the route is %+v, the deployment %+v", r, second.Shift)
		}
		want := []string{"30% of the visitors go to the new version for 1 minute.", "60% of the visitors go to the new version for 2 minutes.", "All steps are done: all visitors go to the new version."}
		told := slices.DeleteFunc(p.Detail, func(line string) bool { // which it says where the test's one visitor was of a share
			return strings.Contains(line, "answers of the new version 0.0% were errors")
		})
		if second.Attempt != 1 || p.State != models.StepSucceeded || !slices.Equal(told, want) {
			t.Errorf("after %d attempts the phase is %+v", second.Attempt, p)
		}
	})
}

func TestNoWorkerIsHeldWhileVisitorsMoveAndTheyCanBeSentBackOrOnAtOnce(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		s.worker()
		first, second := s.shifts("50% for 24 h")
		second = s.until(second.ID, "let go", func(d *models.Deployment) bool { return d.Worker == "" })
		if second.State != models.DeploymentRunning || second.Active || second.Attempt != 0 && second.Attempt != 1 {
			t.Errorf("the deployment is %+v", second)
		}
		if _, err := s.service.SendEveryone(modelstest.As(t, db, s.Viewer), second.ID); !models.IsCode(err, models.Denied) {
			t.Errorf("a viewer sends everyone: %v", err)
		}
		if _, err := s.service.SendEveryone(modelstest.As(t, db, s.Stranger), second.ID); !models.IsCode(err, models.NotFound) {
			t.Errorf("a stranger sends everyone: %v", err)
		}
		if _, err := s.service.Cancel(s.ctx, second.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.service.SendEveryone(s.ctx, second.ID); !models.IsCode(err, models.Conflict) {
			t.Errorf("of what is canceled everyone is sent: %v", err)
		}
		if d := s.ended(second.ID); d.State != models.DeploymentCanceled || phaseOf(d, "shift").State != models.StepCanceled {
			t.Errorf("the deployment is %s, phases %+v", d.State, d.Phases)
		}
		s.isBack(first, second)

		third := s.until(s.deploy(deploy.Input{}).ID, "shifting", shifting)
		if _, err := s.service.SendEveryone(s.ctx, third.ID); err != nil {
			t.Fatal(err)
		}
		third = s.succeeded(third.ID)
		if got := s.answer("/version"); got != "3" || third.Shift.HurriedAt == nil {
			t.Errorf("the route answers %q, the deployment has %+v", got, third.Shift)
		}
		if _, err := s.service.SendEveryone(s.ctx, third.ID); !models.IsCode(err, models.Conflict) {
			t.Errorf("everyone is sent twice: %v", err)
		}
		var audited int64
		if err := db.Model(&models.AuditEntry{}).Where("action = ? AND subject = ?", "deployment.everyone", "deployment:"+third.ID).Count(&audited).Error; err != nil || audited != 1 {
			t.Errorf("it was written down %d times, %v", audited, err)
		}
	})
}

// steady is a target whose instances are not looked at while the test removes one: for a moment it has ended, and is still there.
type steady struct {
	deploy.Target
	mu *sync.RWMutex
}

func (t steady) List(ctx context.Context) ([]deploy.Instance, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.Target.List(ctx)
}

func TestAVersionThatFailsWhileVisitorsMoveSendsThemBack(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	kind, removing := docker.Kind(""), new(sync.RWMutex)
	open := kind.Open
	kind.Open = func(c deploy.Config) (deploy.Target, error) {
		target, err := open(c)
		return steady{target, removing}, err
	}
	s.service.Kinds = []deploy.Kind{kind}
	s.worker()
	first, second := s.shifts("50% for 60 min")
	if err := dockertest.Engine(t).ContainerKill(t.Context(), second.Instances[0].RuntimeID, "KILL"); err != nil {
		t.Fatal(err)
	}
	d := s.ended(second.ID)
	if d.State != models.DeploymentFailed || d.Error.Stage != deploy.StageShift || !strings.Contains(d.Error.Message, "50% of the visitors") || len(d.Error.Logs) == 0 {
		t.Errorf("the deployment is %s: %+v", d.State, d.Error)
	}
	s.isBack(first, second)

	third := s.until(s.deploy(deploy.Input{}).ID, "shifting", shifting)
	removing.Lock()
	err := dockertest.Engine(t).ContainerRemove(t.Context(), third.Instances[0].RuntimeID, container.RemoveOptions{Force: true})
	removing.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if d := s.ended(third.ID); d.State != models.DeploymentFailed || !strings.Contains(d.Error.Message, "gone") {
		t.Errorf("the deployment is %s: %+v", d.State, d.Error)
	}
	s.isBack(first, third)
	fourth := s.until(s.deploy(deploy.Input{}).ID, "shifting", shifting)
	if _, err := s.service.Stop(s.ctx, first.ID); err != nil {
		t.Fatal(err)
	}
	if d := s.succeeded(fourth.ID); !strings.Contains(phaseOf(d, "shift").Message, "What served was stopped") {
		t.Errorf("the phase says %q", phaseOf(d, "shift").Message)
	}
}

func TestAVersionThatAnswersWithErrorsSendsVisitorsBack(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		s.worker()
		front := s.proxy()
		s.built(2, "VERSION=2")
		first := s.succeeded(s.deploy(deploy.Input{}).ID)
		s.gradual("50% for 60 min")
		s.built(3, "VERSION=3", "BROKEN=1")
		second := s.until(s.deploy(deploy.Input{}).ID, "shifting", shifting)
		for n, end := 0, time.Now().Add(2*time.Minute); !s.get(second.ID).State.Ended() && time.Now().Before(end); n++ {
			req, err := http.NewRequestWithContext(t.Context(), "GET", front+"/order", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "checkout-dev.localhost"
			req.Header.Set("X-Forwarded-For", fmt.Sprintf("203.0.113.%d", n%250))
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
		}
		d := s.ended(second.ID)
		if d.State != models.DeploymentFailed || d.Error.Stage != deploy.StageShift || !strings.Contains(d.Error.Message, "answers of the new version 100.0% were errors") || !strings.Contains(d.Error.Message, "50% of the visitors") {
			t.Errorf("the deployment is %s: %+v", d.State, d.Error)
		}
		s.isBack(first, second)
	})
}

func TestTheNextWorkerGoesOnAtTheSameStepWithTheSameEnd(t *testing.T) {
	t.Parallel()
	modelstest.EachURL(t, func(t *testing.T, url string) {
		s := newStage(t, modelstest.Open(t, url))
		s.service.Minute = killedMinute
		stop := s.worker()
		s.built(2, "VERSION=2")
		s.succeeded(s.deploy(deploy.Input{}).ID)
		stop()
		s.gradual("40% for 1 min, 80% for 1 min")
		s.built(3, "VERSION=3")
		d := s.deploy(deploy.Input{})
		s.kill("step", url)
		if d := s.get(d.ID); d.Shift.Step != 0 || s.route().Next.DeploymentID != "" {
			t.Errorf("killed before the commit it has %+v", d.Shift)
		}
		s.kill("look@2", url)
		killed := s.get(d.ID)
		if killed.Shift.Step != 1 || killed.Shift.Percent != 40 || killed.Shift.Until == nil || s.route().Next.Percent != 40 {
			t.Fatalf("killed in the middle it has %+v", killed.Shift)
		}
		s.worker()
		later := s.until(d.ID, "at the second step", func(d *models.Deployment) bool { return d.Shift.Step == 2 && d.Shift.Until != nil })
		if began := later.Shift.Until.Add(-killedMinute); began.Before(*killed.Shift.Until) {
			t.Errorf("the first step was to end at %s, and the second one began at %s", killed.Shift.Until, began)
		}
		done := s.succeeded(d.ID)
		shifts := 0
		for _, p := range done.Phases {
			if p.Name == "shift" {
				shifts++
			}
		}
		if shifts != 2 || len(done.Instances) != 1 || s.answer("/version") != "3" { // the first was never committed to a step
			t.Errorf("the phases are %+v", done.Phases)
		}
	})
}

// splitter is a balancer that can send a part of the visitors elsewhere.
type splitter struct {
	balancer
	splits []split
	broken error // what Split answers
}

type split struct {
	release string
	percent int
}

func (b *splitter) kind() deploy.Kind {
	kind := b.balancer.kind()
	open := kind.Open
	kind.Splits = true
	kind.Open = func(c deploy.Config) (deploy.Target, error) {
		target, err := open(c)
		return splitting{target, b}, err
	}
	return kind
}

type splitting struct {
	deploy.Target
	at *splitter
}

func (t splitting) Split(_ context.Context, r deploy.Release, percent int) error {
	t.at.mu.Lock()
	defer t.at.mu.Unlock()
	if t.at.broken != nil {
		return t.at.broken
	}
	t.at.splits = append(t.at.splits, split{r.ID, percent})
	return nil
}

func (b *splitter) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = err
}

func (b *splitter) told() []split {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.splits)
}

func TestATargetThatSendsVisitorsItselfIsToldOfEachStep(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	b := &splitter{}
	s.service.Kinds, s.service.Minute, s.service.Drain = []deploy.Kind{b.kind()}, time.Second, time.Millisecond
	stop := s.worker()
	s.built(2, "VERSION=2")
	first := s.succeeded(s.deploy(deploy.Input{}).ID)
	s.gradual("10% for 1 min, 50% for 1 min")
	s.built(3, "VERSION=3")
	second := s.succeeded(s.deploy(deploy.Input{}).ID)
	if to, _ := b.now(); to != second.ID || !slices.Equal(b.told(), []split{{second.ID, 10}, {second.ID, 50}}) {
		t.Errorf("the target was told %v, and to send all to %s", b.told(), to)
	}
	s.until(first.ID, "retired", func(d *models.Deployment) bool { return d.RetiredAt != nil })
	stop()
	s.service.Minute = time.Hour
	s.worker()
	third := s.until(s.deploy(deploy.Input{}).ID, "shifting", shifting)
	b.fail(deploy.Failf(deploy.StageTarget, nil, "The balancer does not answer."))
	if _, err := s.service.Cancel(s.ctx, third.ID); err != nil {
		t.Fatal(err)
	}
	third = s.ended(third.ID)
	if third.State != models.DeploymentCanceled || !strings.Contains(third.Error.Message, "goes on trying") || third.Shift.Percent != 10 || s.live() != 2 {
		t.Errorf("the deployment is %s: %+v, %+v, and %d containers run", third.State, third.Error, third.Shift, s.live())
	}
	b.fail(nil)
	long := time.Now().Add(-time.Hour).UTC()
	if err := s.db.Model(&models.Deployment{}).Where("id = ?", third.ID).Updates(map[string]any{"drain_until": long}).Error; err != nil {
		t.Fatal(err)
	}
	s.until(third.ID, "retired", func(d *models.Deployment) bool { return d.RetiredAt != nil })
	if told := b.told(); told[len(told)-1] != (split{third.ID, 0}) || s.get(third.ID).Shift.Percent != 0 || s.live() != 1 {
		t.Errorf("in the end the target was told %v", told)
	}
	b.fail(deploy.Failf(deploy.StageTarget, nil, "The role lacks the right to change traffic."))
	fourth := s.ended(s.deploy(deploy.Input{}).ID)
	if fourth.State != models.DeploymentFailed || !strings.Contains(fourth.Error.Message, "change traffic") {
		t.Errorf("a target that refuses a step: %s, %+v", fourth.State, fourth.Error)
	}
}

func TestAPlanSaysInWhichStepsVisitorsMoveAndWhyTheyDoNot(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.worker()
	s.gradual("10% for 5 min")
	s.built(2, "VERSION=2")
	in := deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID}
	says := func(word string) *deploy.Plan {
		t.Helper()
		p, err := s.service.Plan(s.ctx, in)
		if err != nil || !strings.Contains(check(p.Checks, "Visitors").Message, word) {
			t.Errorf("the plan says %q, not %q: %v", check(p.Checks, "Visitors").Message, word, err)
		}
		return p
	}
	if p := says("Nothing serves here now"); p.AtOnce == "" || len(p.Gradual) != 0 {
		t.Errorf("the plan is %+v", p)
	}
	first := s.succeeded(s.deploy(deploy.Input{}).ID)
	if phaseOf(first, "shift").Name != "" {
		t.Error("the first deployment moved in steps")
	}
	if p := says("10% for 5 min, then all"); p.AtOnce != "" || len(p.Gradual) != 1 {
		t.Errorf("the plan is %+v", p)
	}
	back, err := s.service.PlanRollback(s.ctx, first.ID)
	if err != nil || !strings.Contains(check(back.Checks, "Visitors").Message, "A rollback switches at once") {
		t.Errorf("the plan of a rollback says %+v, %v", back.Checks, err)
	}
	again, err := s.service.Restart(s.ctx, first.ID)
	if err != nil {
		t.Fatal(err)
	}
	if d := s.succeeded(again.ID); phaseOf(d, "shift").Name != "" {
		t.Error("a restart moved in steps")
	}
	if _, err := s.service.SendEveryone(s.ctx, again.ID); !models.IsCode(err, models.Conflict) {
		t.Errorf("there are no steps, and everyone is sent: %v", err)
	}
	s.gradual("")
	if p, err := s.service.Plan(s.ctx, in); err != nil || check(p.Checks, "Visitors").Name != "" || p.Settings[0] != (deploy.Difference{Name: "Visitors", Before: "10% for 5 min, then all", After: "all at once"}) {
		t.Errorf("without steps the plan is %+v: %v", p, err)
	}
	s.service.Kinds = []deploy.Kind{docker.Kind("")}
	s.service.Kinds[0].Splits = false
	for _, r := range []models.Runtime{{Gradual: models.Gradual{{Percent: 10, Minutes: 5}}}, {Gradual: models.Gradual{{Percent: 0, Minutes: 5}}}, {Recreate: true, Gradual: models.Gradual{{Percent: 10, Minutes: 5}}}} {
		_, err := s.service.SetRuntime(s.ctx, deploy.RuntimeInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Runtime: r})
		if wrong, ok := err.(*models.Error); !ok || wrong.Fields["gradual"] == "" {
			t.Errorf("%+v: %v", r, err)
		}
	}
}
