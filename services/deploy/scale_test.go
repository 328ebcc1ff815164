package deploy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/sshtest"
)

func TestAScaleCountsFromTheNextDeploymentOn(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		s.worker()
		s.built(2, "VERSION=1")
		s.succeeded(s.deploy(deploy.Input{}).ID)
		set := deploy.ScaleInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Scale: models.Scale{Replicas: 3, CPU: 500, Memory: 64 << 20}}
		if _, err := s.service.SetScale(s.ctx, set); err != nil {
			t.Fatal(err)
		}
		if n := s.live(); n != 1 {
			t.Errorf("%d containers run before anything was deployed", n)
		}
		plan, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
		if err != nil {
			t.Fatal(err)
		}
		want := []deploy.Difference{{Name: "Instances", Before: "1", After: "3"}, {Name: "CPU of each", Before: "no limit", After: "0.5"}, {Name: "Memory of each", Before: "no limit", After: "64 MiB"}}
		if len(plan.Settings) != len(want) || plan.Settings[0] != want[0] || plan.Settings[1] != want[1] || plan.Settings[2] != want[2] || !plan.Ready() {
			t.Errorf("the plan says %+v, checks %+v", plan.Settings, plan.Checks)
		}
		d := s.succeeded(s.deploy(deploy.Input{}).ID)
		var r models.Route
		if err := db.First(&r, "app_id = ?", s.App.ID).Error; err != nil {
			t.Fatal(err)
		}
		if len(d.Instances) != 3 || len(r.Addresses) != 3 || d.Config.Scale != set.Scale {
			t.Errorf("deployed are %+v, requests go to %v", d.Instances, r.Addresses)
		}
	})
}

func TestAScaleThatCanNotBeIsRefusedByField(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	for field, scale := range map[string]models.Scale{
		"replicas": {Replicas: 0}, "cpu": {Replicas: 1, CPU: 1}, "memory": {Replicas: 1, Memory: 1024},
	} {
		_, err := s.service.SetScale(s.ctx, deploy.ScaleInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Scale: scale})
		if wrong, ok := err.(*models.Error); !ok || wrong.Fields[field] == "" {
			t.Errorf("%+v: got %v, want a word about %s", scale, err, field)
		}
	}
	_, err := s.service.SetScale(modelstest.As(t, s.db, s.Viewer), deploy.ScaleInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Scale: models.Scale{Replicas: 2}})
	if !models.IsCode(err, models.Denied) {
		t.Errorf("a viewer: %v", err)
	}
	large := models.Scale{Replicas: 1, CPU: 200_000, Memory: 3 << 40}
	if _, err := s.service.SetScale(s.ctx, deploy.ScaleInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Scale: large}); err != nil {
		t.Fatal(err)
	}
	s.built(2, "VERSION=1")
	plan, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
	if err != nil || plan.Ready() {
		t.Errorf("a scale beyond the engine: %+v %v", plan, err)
	}
}

func TestAnAppOnAnotherMachineIsServedThroughSSHAlone(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	private, public := sshtest.KeyPair(t, "")
	machine := sshtest.New(t, public)
	in := deploy.TargetInput{Name: s.Target.Name, AllTeams: true, Settings: map[string]string{
		"host": machine.User + "@" + machine.Address, "host_key": machine.HostKey(), "private_key": private}}
	if err := s.db.Model(&models.Target{}).Where("id = ?", s.Target.ID).Update("kind", "docker-ssh").Error; err != nil {
		t.Fatal(err)
	}
	saved, err := s.service.UpdateTarget(modelstest.As(t, s.db, s.Admin), s.Target.ID, in)
	if err != nil {
		t.Fatal(err)
	}
	if saved.Settings["private_key"] != "" || !strings.HasPrefix(public, strings.TrimSuffix(saved.Settings["public_key"], " slipway")) {
		t.Errorf("the settings are %v", saved.Settings)
	}
	s.worker()
	s.built(2, "VERSION=far")
	s.succeeded(s.deploy(deploy.Input{}).ID)
	front := s.proxy()
	ask := func() string {
		req, err := http.NewRequest("GET", front+"/version", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "checkout-dev.localhost"
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(body))
	}
	for end := time.Now().Add(2 * time.Minute); ask() != "far"; <-time.After(20 * time.Millisecond) { // until the proxy knows its routes
		if time.Now().After(end) {
			t.Fatalf("the proxy answers %q", ask())
		}
	}
	machine.Stop()
	if got := ask(); !strings.Contains(got, "does not answer") {
		t.Errorf("without the machine's SSH server the proxy answers %q", got)
	}
	machine.Restart()
	if got := ask(); got != "far" {
		t.Errorf("after it is back the proxy answers %q", got)
	}
}

func TestACommandThatFailsLeavesTheOldVersionServing(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.worker()
	s.built(2, "VERSION=1")
	s.succeeded(s.deploy(deploy.Input{}).ID)
	command := func(text string) {
		t.Helper()
		if err := s.db.Model(s.App).Update("release_command", text).Error; err != nil {
			t.Fatal(err)
		}
	}
	command("fail 7")
	s.built(3, "VERSION=2")
	bad := s.ended(s.deploy(deploy.Input{}).ID)
	if bad.State != models.DeploymentFailed || bad.Error.Stage != deploy.StageCommand || bad.Error.ExitCode == nil || *bad.Error.ExitCode != 7 ||
		!strings.Contains(strings.Join(bad.Error.Logs, "\n"), "failing") {
		t.Errorf("it is %s: %+v", bad.State, bad.Error)
	}
	if got := s.answer("/version"); got != "1" {
		t.Errorf("the route answers %q", got)
	}
	s.untilLive(1)
	command(`say "VERSION"`)
	plan, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
	if err != nil || len(plan.Settings) != 1 || plan.Settings[0].After != "say VERSION" {
		t.Errorf("the plan says %+v (%v)", plan, err)
	}
	good := s.succeeded(s.deploy(deploy.Input{}).ID)
	if len(good.Phases) < 3 || good.Phases[2].Name != "command" || good.Phases[2].Message != "2" {
		t.Errorf("the phases are %+v", good.Phases)
	}
	command("say LONG")
	s.built(4, "VERSION=3", "LONG="+strings.Repeat("x", 10<<10))
	long := s.succeeded(s.deploy(deploy.Input{}).ID)
	if said := phaseOf(long, "command").Message; len(said) > 3<<10 || !strings.HasSuffix(said, "x…") {
		t.Errorf("of a line of 10 KiB %d bytes are kept with the deployment", len(said))
	}
}
