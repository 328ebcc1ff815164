package deploy_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/events"
	"slipway.dev/services/jobs"
	"slipway.dev/services/proxy"
)

func TestANewVersionReplacesTheOldOneAndCanBeRolledBack(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		s.worker()
		s.built(2, "VERSION=1")
		first := s.succeeded(s.deploy(deploy.Input{}).ID)
		if first.URL != "http://checkout-dev.localhost:8080" || first.Number != 1 {
			t.Errorf("the deployment is %+v", first)
		}
		if got := s.answer("/version"); got != "1" {
			t.Fatalf("the route answers %q", got)
		}
		s.built(3, "VERSION=2")
		second := s.succeeded(s.deploy(deploy.Input{}).ID)
		if got := s.answer("/version"); got != "2" {
			t.Fatalf("after the second the route answers %q", got)
		}
		if second.PreviousID == nil || *second.PreviousID != first.ID {
			t.Errorf("the second does not point at the first")
		}
		old := s.until(first.ID, "retired", func(d *models.Deployment) bool { return d.RetiredAt != nil })
		if old.Active || old.Instances[0].State != models.InstanceStopped || !strings.Contains(strings.Join(old.Instances[0].LastLogs, "\n"), "stopped") {
			t.Errorf("the old one is %+v, %+v", old, old.Instances[0])
		}
		if n := s.live(); n != 1 {
			t.Errorf("%d containers run", n)
		}
		back, err := s.service.Rollback(s.ctx, first.ID)
		if err != nil {
			t.Fatal(err)
		}
		s.succeeded(back.ID)
		if got := s.answer("/version"); got != "1" {
			t.Fatalf("after the rollback the route answers %q", got)
		}
		if d := s.get(second.ID); d.State != models.DeploymentRolledBack {
			t.Errorf("the second is %s", d.State)
		}
	})
}

func TestAVersionThatNeverGetsHealthyLeavesTheOldOneServing(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	stop := s.worker()
	s.built(2, "VERSION=1")
	first := s.succeeded(s.deploy(deploy.Input{}).ID)
	for _, c := range []struct {
		env, stage, evidence string
	}{{"CRASH=1", deploy.StageStart, "crashing"}, {"BAD=1", deploy.StageHealth, "healthz"}} {
		if c.stage == deploy.StageHealth { // it needs no longer to show itself than a busy machine takes for a few answers
			stop()
			s.service.Start = 15 * time.Second
			s.worker()
		}
		s.built(int64(len(s.images)+2), "VERSION=2", c.env)
		bad := s.ended(s.deploy(deploy.Input{}).ID)
		if bad.State != models.DeploymentFailed || bad.Error == nil || bad.Error.Stage != c.stage {
			t.Fatalf("%s: the deployment is %s: %+v", c.env, bad.State, bad.Error)
		}
		if !strings.Contains(strings.Join(bad.Error.Logs, "\n"), c.evidence) {
			t.Errorf("%s: the evidence is %q", c.env, bad.Error.Logs)
		}
		if got := s.answer("/version"); got != "1" {
			t.Errorf("%s: the route answers %q", c.env, got)
		}
		s.untilLive(1)
	}
	if d := s.get(first.ID); !d.Active {
		t.Error("the first does not serve any more")
	}
}

func TestADeploymentCanBeCanceled(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		s.worker()
		s.built(2, "VERSION=1")
		s.succeeded(s.deploy(deploy.Input{}).ID)
		s.built(3, "START_DELAY=1h")
		slow := s.deploy(deploy.Input{})
		s.until(slow.ID, "waiting for health", awaitsHealth)
		began := time.Now()
		if _, err := s.service.Cancel(s.ctx, slow.ID); err != nil {
			t.Fatal(err)
		}
		d := s.ended(slow.ID)
		t.Logf("canceling took %s", time.Since(began)) // about half a second where the machine has nothing else to do
		if last := len(d.Phases) - 1; d.State != models.DeploymentCanceled || d.Phases[last].Name != "health" || d.Phases[last].State != models.StepCanceled {
			t.Errorf("the deployment is %s, phases %+v", d.State, d.Phases)
		}
		s.untilLive(1)
		if got := s.answer("/version"); got != "1" {
			t.Errorf("the route answers %q", got)
		}
		if _, err := s.service.Cancel(s.ctx, slow.ID); !models.IsCode(err, models.Conflict) {
			t.Errorf("canceling again gave %v", err)
		}
	})
}

// awaitsHealth tells whether the deployment's instances run and are asked for their health.
func awaitsHealth(d *models.Deployment) bool {
	last := len(d.Phases) - 1
	return last >= 0 && d.Phases[last].Name == "health" && d.Phases[last].State == models.StepRunning && len(d.Instances) > 0
}

func TestAJobThatComesASecondTimeDisturbsNobody(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		s.worker()
		s.built(2, "VERSION=1", "START_DELAY=3s")
		d := s.deploy(deploy.Input{})
		s.until(d.ID, "waiting for health", awaitsHealth)
		err := db.Transaction(func(tx *gorm.DB) error { // as of a worker that others took for dead
			return s.service.Queue.Insert(t.Context(), tx, jobs.QueueDeployments, deploy.Rollout{DeploymentID: d.ID})
		})
		if err != nil {
			t.Fatal(err)
		}
		s.succeeded(d.ID)
		done := s.until(d.ID, "done", func(d *models.Deployment) bool { return d.Phases[len(d.Phases)-1].State != models.StepRunning })
		names := ""
		for _, p := range done.Phases {
			names += p.Name + " " + string(p.State) + ", "
		}
		if want := "check succeeded, pull succeeded, start succeeded, health succeeded, switch succeeded, "; done.Attempt != 1 || names != want {
			t.Errorf("after %d attempts the phases are %s", done.Attempt, names)
		}
	})
}

func TestOneRolloutGoesOnAtATimeAndTheNewestOfThoseThatWaitIsNext(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		first, second, third := s.built(2, "VERSION=1"), s.built(3, "VERSION=2"), s.built(4, "VERSION=3")
		g := s.gatedWorker()
		g.hold("start")
		one := s.deploy(deploy.Input{BuildID: first.ID})
		g.await(t)
		two := s.deploy(deploy.Input{BuildID: second.ID})
		why, err := s.service.WhyWaiting(s.ctx, s.get(two.ID))
		if err != nil || !strings.Contains(why, "Deployment #1 is under way") {
			t.Errorf("the second waits because %q, %v", why, err)
		}
		three := s.deploy(deploy.Input{BuildID: third.ID})
		if d := s.get(two.ID); d.State != models.DeploymentCanceled || !strings.Contains(d.Error.Message, "Deployment #3") {
			t.Errorf("the second is %s: %+v", d.State, d.Error)
		}
		g.goOn <- struct{}{}
		s.succeeded(three.ID)
		if d := s.get(one.ID); d.State != models.DeploymentSucceeded {
			t.Errorf("the first is %s", d.State)
		}
		if got := s.answer("/version"); got != "3" {
			t.Errorf("the route answers %q", got)
		}
	})
}

func TestWhatAPersonStopsIsGoneUntilItIsStartedAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.worker()
	s.built(2, "VERSION=1")
	d := s.succeeded(s.deploy(deploy.Input{}).ID)
	if _, err := s.service.Stop(s.ctx, d.ID); err != nil {
		t.Fatal(err)
	}
	s.until(d.ID, "gone", func(d *models.Deployment) bool { return d.RetiredAt != nil })
	if s.answer("/version") != "" || s.live() != 0 {
		t.Errorf("it still answers, with %d containers", s.live())
	}
	if _, err := s.service.Restart(s.ctx, d.ID); !models.IsCode(err, models.Conflict) {
		t.Errorf("restarting what is stopped gave %v", err)
	}
	again, err := s.service.Resume(s.ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	s.succeeded(again.ID)
	fresh, err := s.service.Restart(s.ctx, again.ID)
	if err != nil {
		t.Fatal(err)
	}
	done := s.succeeded(fresh.ID)
	if got := s.answer("/version"); got != "1" || done.Action != models.ActionRestart || done.ImageDigest != d.ImageDigest {
		t.Errorf("after the restart the route answers %q, the deployment is %+v", got, done)
	}
}

func TestWhatIsDoneToAContainerOutsideOfSlipwayIsSeen(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.worker()
	s.built(2, "VERSION=1")
	d := s.succeeded(s.deploy(deploy.Input{}).ID)
	engine := dockertest.Engine(t)
	i := d.Instances[0]
	if err := engine.ContainerRestart(t.Context(), i.RuntimeID, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	s.until(d.ID, "running on a new port", func(d *models.Deployment) bool {
		return d.Instances[0].State == models.InstanceHealthy && d.Instances[0].Address != "" && !d.Instances[0].StartedAt.Equal(*i.StartedAt)
	})
	s.untilAnswers("after a restart", "1") // it runs before it listens
	if err := engine.ContainerStop(t.Context(), i.RuntimeID, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	s.until(d.ID, "failing", func(d *models.Deployment) bool { return d.Instances[0].State == models.InstanceFailing })
	if err := engine.ContainerRemove(t.Context(), i.RuntimeID, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	s.until(d.ID, "gone", func(d *models.Deployment) bool { return strings.Contains(d.Instances[0].Message, "is gone") })
}

func TestSecretsReachTheAppAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.worker()
	const canary = "canary-5e1f0a77"
	set := func(v deploy.VariableInput) {
		v.EnvironmentID = s.Environment.ID
		if _, err := s.service.SetVariable(s.ctx, v); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.service.SetVariable(s.ctx, deploy.VariableInput{TeamID: s.Team.ID, Name: "OF_THE_TEAM", Value: canary, Secret: true}); err != nil {
		t.Fatal(err)
	}
	set(deploy.VariableInput{Name: "API_KEY", Value: "for every app", Secret: true})
	set(deploy.VariableInput{Name: "API_KEY", Value: canary, Secret: true, AppID: s.App.ID})
	set(deploy.VariableInput{Name: "VERSION", Value: "/" + canary}) // the app prints it
	s.built(2)
	d := s.succeeded(s.deploy(deploy.Input{}).ID)
	for _, name := range []string{"API_KEY", "OF_THE_TEAM"} {
		if got := s.answer("/env?name=" + name); got != canary {
			t.Fatalf("of %s the app got %q", name, got)
		}
	}
	lines, err := s.service.Logs(s.ctx, d.ID, "", false)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line, err := range lines {
		if n++; err != nil || strings.Contains(line.Text, canary) {
			t.Errorf("line %d is %q, %v", n, line.Text, err)
		}
	}
	if n == 0 {
		t.Error("the log is empty")
	}
	vars, err := s.service.Variables(s.ctx, deploy.VariableFilter{Scope: deploy.Scope{EnvironmentID: s.Environment.ID}})
	if err != nil {
		t.Fatal(err)
	}
	var audited []models.AuditEntry
	var published []models.Event
	if err := s.db.Find(&audited).Error; err != nil {
		t.Fatal(err)
	}
	if err := s.db.Find(&published).Error; err != nil {
		t.Fatal(err)
	}
	shown := s.get(d.ID)
	delete(shown.Config.Variables, "VERSION")
	for _, v := range vars.Items {
		if v.Secret && strings.Contains(fmt.Sprintf("%+v", v), canary) {
			t.Errorf("a variable shows the secret: %+v", v)
		}
	}
	if strings.Contains(fmt.Sprintf("%+v %+v %+v", shown, audited, published), canary) {
		t.Error("the secret is shown")
	}
}

func TestStrangersSeeNothingAndViewersChangeNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.built(2, "VERSION=1")
	d := s.deploy(deploy.Input{})
	if _, err := s.service.SetVariable(s.ctx, deploy.VariableInput{EnvironmentID: s.Environment.ID, Name: "KEY", Value: "1"}); err != nil {
		t.Fatal(err)
	}
	changed, err := s.service.VariableChanges(s.ctx, deploy.ChangeFilter{Scope: deploy.Scope{EnvironmentID: s.Environment.ID}})
	if err != nil {
		t.Fatal(err)
	}
	try := func(ctx context.Context) map[string]error {
		in := deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID}
		out := map[string]error{}
		_, out["plan"] = s.service.Plan(ctx, in)
		_, out["get"] = s.service.Get(ctx, d.ID)
		_, out["logs"] = s.service.Logs(ctx, d.ID, "", false)
		_, out["environment"] = s.service.Environment(ctx, s.Environment.ID)
		for level, at := range map[string]deploy.Scope{"environment": {EnvironmentID: s.Environment.ID}, "team": {TeamID: s.Team.ID}} {
			_, out["variables of the "+level] = s.service.Variables(ctx, deploy.VariableFilter{Scope: at})
			_, out["settings of the "+level] = s.service.Settings(ctx, deploy.SettingFilter{Scope: at})
			_, out["changes in the "+level] = s.service.VariableChanges(ctx, deploy.ChangeFilter{Scope: at})
			_, out["not rolled out in the "+level] = s.service.NotRolledOut(ctx, at)
			_, out["lines of the "+level] = s.service.Dotenv(ctx, at, true)
			_, out["Set in the "+level] = s.service.SetVariable(ctx, deploy.VariableInput{TeamID: at.TeamID, EnvironmentID: at.EnvironmentID, Name: "A"})
			_, out["Delete in the "+level] = s.service.DeleteVariable(ctx, at, "x", nil)
			_, out["Preview in the "+level] = s.service.PreviewImport(ctx, deploy.ImportInput{Scope: at})
			_, out["Import in the "+level] = s.service.ImportVariables(ctx, deploy.ImportInput{Scope: at})
			_, out["Apply in the "+level] = s.service.ApplyImport(ctx, at, "x")
			_, out["Forget in the "+level] = s.service.ForgetVariables(ctx, at, "")
		}
		_, out["Undo"] = s.service.UndoVariableChange(ctx, changed.Items[0].ID, nil)
		_, out["Deploy"] = s.service.Deploy(ctx, in)
		_, out["Cancel"] = s.service.Cancel(ctx, d.ID)
		_, out["Stop"] = s.service.Stop(ctx, d.ID)
		_, out["Restart"] = s.service.Restart(ctx, d.ID)
		_, out["Resume"] = s.service.Resume(ctx, d.ID)
		_, out["Rollback"] = s.service.Rollback(ctx, d.ID)
		out["DeleteEnvironment"] = s.service.DeleteEnvironment(ctx, s.Environment.ID)
		return out
	}
	for what, err := range try(modelstest.As(t, s.db, s.Stranger)) {
		if !models.IsCode(err, models.NotFound) {
			t.Errorf("a stranger's %s gave %v", what, err)
		}
	}
	for what, err := range try(modelstest.As(t, s.db, s.Viewer)) {
		if writes := what[0] < 'a'; writes != models.IsCode(err, models.Denied) {
			t.Errorf("a viewer's %s gave %v", what, err)
		}
	}
	if list, err := s.service.List(modelstest.As(t, s.db, s.Stranger), deploy.Filter{}); err != nil || len(list.Items) != 0 {
		t.Errorf("a stranger lists %d deployments, %v", len(list.Items), err)
	}
	if _, err := s.service.Targets(modelstest.As(t, s.db, s.Maintainer)); !models.IsCode(err, models.Denied) {
		t.Errorf("a maintainer lists targets: %v", err)
	}
}

func TestNoRequestFailsWhileVersionsAreDeployed(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.service.Drain = time.Minute // requests under way are cut then
	s.worker()
	front := s.proxy()
	s.built(2, "VERSION=2")
	s.succeeded(s.deploy(deploy.Input{}).ID)
	var ok, failed atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() { s.load(front, stop, &ok, &failed) })
	}
	for ok.Load() == 0 && failed.Load() == 0 {
		<-time.After(5 * time.Millisecond)
	}
	for v := int64(3); v < 9; v++ {
		s.built(v, fmt.Sprintf("VERSION=%d", v))
		d := s.succeeded(s.deploy(deploy.Input{}).ID)
		s.until(*d.PreviousID, "retired", func(d *models.Deployment) bool { return d.RetiredAt != nil })
	}
	close(stop)
	wg.Wait()
	t.Logf("%d requests were answered, %d failed, over 6 switches", ok.Load(), failed.Load())
	if failed.Load() > 0 || s.live() != 1 {
		t.Errorf("%d of %d requests failed; %d containers run", failed.Load(), ok.Load()+failed.Load(), s.live())
	}
}

// proxy serves the routes on a port of its own and returns its address.
func (s *stage) proxy() string {
	e := &events.Service{DB: s.db.DB}
	p := &proxy.Service{DB: s.db, Events: e, Scheme: "http", Dial: s.service.Dial, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { e.Run(ctx) })
	wg.Go(func() { p.Run(ctx) })
	server := httptest.NewServer(p)
	s.t.Cleanup(func() { server.CloseClientConnections(); server.Close(); cancel(); wg.Wait() })
	return server.URL
}

// load asks until stop, for quick answers and now and then for one that takes a while.
func (s *stage) load(front string, stop chan struct{}, ok, failed *atomic.Int64) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 2 * time.Minute}
	defer client.CloseIdleConnections()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		path := "/version"
		if n%30 == 29 {
			path = "/slow?ms=300"
		}
		req, err := http.NewRequest("GET", front+path, nil)
		if err != nil {
			s.t.Error(err)
			return
		}
		req.Host = "checkout-dev.localhost"
		res, err := client.Do(req)
		if err != nil || res.StatusCode != http.StatusOK {
			failed.Add(1)
			s.t.Errorf("a request failed: %v %v", res, err)
			return
		}
		res.Body.Close()
		ok.Add(1)
	}
}
