package deploy_test

import (
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
)

// oneAtATime has the place run one version at a time, with a volume at /data.
func (s *stage) oneAtATime() {
	s.t.Helper()
	set := deploy.RuntimeInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID}
	set.Recreate, set.Volumes = true, []models.VolumeMount{{Name: "uploads", Path: "/data"}}
	if _, err := s.service.SetRuntime(s.ctx, set); err != nil {
		s.t.Fatal(err)
	}
}

// visit asks the proxy for the path as a visitor of the app does.
func (s *stage) visit(front, path string) (status int, text string) {
	s.t.Helper()
	req, err := http.NewRequest("GET", front+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = "checkout-dev.localhost"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(body))
}

// serves waits until visitors get the version.
func (s *stage) serves(front, version string) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		status, text := s.visit(front, "/version")
		if status == http.StatusOK && text == version {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("visitors get %d %q instead of version %s", status, text, version)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func phaseNames(d *models.Deployment) (all []string) {
	for _, p := range d.Phases {
		all = append(all, p.Name)
	}
	return all
}

func TestAnAppThatRunsOneVersionAtATimeStopsTheOldOneFirst(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		s.service.Drain = time.Minute // after it the new version starts, whatever visitors still get
		g := s.gatedWorker()
		front := s.proxy()
		s.oneAtATime()
		s.built(2, "VERSION=1")
		first := s.succeeded(s.deploy(deploy.Input{}).ID)
		s.serves(front, "1")
		s.visit(front, "/write?path=/data/note&text=kept")
		s.built(3, "VERSION=2")
		plan, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
		if err != nil || !plan.Recreate || !slices.ContainsFunc(plan.Checks, func(c deploy.Check) bool {
			return c.Name == "Downtime" && strings.Contains(c.Message, "one version at a time")
		}) {
			t.Errorf("the plan is %+v, %v", plan, err)
		}
		g.hold("health")
		d := s.deploy(deploy.Input{})
		g.await(t)
		if status, text := s.visit(front, "/version"); status != http.StatusServiceUnavailable || !strings.Contains(text, "brought up to date") {
			t.Errorf("meanwhile visitors get %d %q", status, text)
		}
		if n := s.live(); n != 1 {
			t.Errorf("%d versions run at once", n)
		}
		g.goOn <- struct{}{}
		done := s.succeeded(d.ID)
		s.serves(front, "2")
		if _, text := s.visit(front, "/read?path=/data/note"); text != "kept" {
			t.Errorf("the new version reads %q", text)
		}
		old := s.until(first.ID, "retired", func(d *models.Deployment) bool { return d.RetiredAt != nil })
		if old.Active || old.Paused || !strings.Contains(strings.Join(old.Instances[0].LastLogs, " "), "stopped") || !slices.Contains(phaseNames(done), "pause") {
			t.Errorf("the old one is %+v, logs %q; phases %q", old, old.Instances[0].LastLogs, phaseNames(done))
		}
	})
}

func TestWhereTheNewVersionFailsTheOneThatHadToStopServesAgain(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		s.worker()
		front := s.proxy()
		s.oneAtATime()
		s.built(2, "VERSION=1")
		first := s.succeeded(s.deploy(deploy.Input{}).ID)
		s.serves(front, "1")
		s.built(3, "VERSION=2", "CRASH=1")
		bad := s.ended(s.deploy(deploy.Input{}).ID)
		if bad.State != models.DeploymentFailed || bad.Error.Stage != deploy.StageStart || bad.Error.ExitCode == nil || strings.Contains(bad.Error.Message, "could not be started again") {
			t.Errorf("the bad one is %s: %+v", bad.State, bad.Error)
		}
		s.serves(front, "1")
		back := s.until(first.ID, "serving with one healthy instance", func(d *models.Deployment) bool {
			return len(d.Instances) == 1 && d.Instances[0].State == models.InstanceHealthy
		})
		if !back.Active || back.Paused || back.DrainUntil != nil || back.RetiredAt != nil || s.live() != 1 {
			t.Errorf("the first is %+v; %d containers run", back, s.live())
		}

		s.built(4, "VERSION=3", "START_DELAY=1m")
		slow := s.deploy(deploy.Input{})
		s.until(slow.ID, "waiting for health", func(d *models.Deployment) bool { return slices.Contains(phaseNames(d), "health") })
		if _, err := s.service.Cancel(s.ctx, slow.ID); err != nil {
			t.Fatal(err)
		}
		if d := s.ended(slow.ID); d.State != models.DeploymentCanceled || !slices.Contains(phaseNames(d), "resume") {
			t.Errorf("the canceled one is %s, phases %q", d.State, phaseNames(d))
		}
		s.serves(front, "1")
	})
}

func TestAWorkerThatIsKilledBetweenTwoVersionsLeavesNoneOfThemTwice(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		boundaries []string
		state      models.DeploymentState
		env        string
	}{
		"the new one gets healthy":   {[]string{"stop", "stopped", "start", "started", "healthy", "switch", "succeed"}, models.DeploymentSucceeded, "GOOD=1"},
		"the new one never does":     {[]string{"stop", "stopped", "started"}, models.DeploymentFailed, "NEEDS=DATABASE_URL"},
		"the former one comes again": {[]string{"stop@2", "stopped@2", "start@2", "started@2", "healthy", "fail", "stop@3"}, models.DeploymentFailed, "NEEDS=DATABASE_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := "sqlite:" + filepath.Join(t.TempDir(), "slipway.db")
			s := newStage(t, modelstest.Open(t, url))
			s.oneAtATime()
			stop := s.worker()
			s.built(2, "VERSION=first")
			s.succeeded(s.deploy(deploy.Input{}).ID)
			stop()
			serves := "first"
			for n, boundary := range c.boundaries {
				version := strconv.Itoa(n)
				s.built(int64(n+3), "VERSION="+version, c.env)
				d := s.deploy(deploy.Input{})
				s.kill(boundary, url)
				stop := s.worker()
				if c.state == models.DeploymentSucceeded {
					serves = version
				}
				s.oneServes(s.ended(d.ID), boundary, c.state, serves)
				stop()
			}
		})
	}
}

// oneServes checks what is there after a rollout whose first worker was killed: one version runs, and the other one is over.
func (s *stage) oneServes(d *models.Deployment, boundary string, state models.DeploymentState, version string) {
	s.t.Helper()
	s.until(d.ID, "one of one", func(*models.Deployment) bool { return s.live() == 1 })
	if got := s.answer("/version"); d.State != state || got != version {
		s.t.Errorf("killed at %s, the deployment is %s: %+v; the route answers %q and not %q", boundary, d.State, d.Error, got, version)
	}
	var active []models.Deployment
	if err := s.db.Where("active").Find(&active).Error; err != nil || len(active) != 1 || active[0].Paused || active[0].RetiredAt != nil {
		s.t.Errorf("killed at %s, there serve %+v, %v", boundary, active, err)
	}
	long := s.db.NowFunc().Add(-time.Hour) // so long ago that nobody is at it any more
	over := s.db.Model(&models.Deployment{}).Where("NOT active AND retired_at IS NULL AND drain_until IS NOT NULL")
	if err := over.Updates(map[string]any{"drain_until": long, "finished_at": long}).Error; err != nil {
		s.t.Fatal(err)
	}
	s.until(d.ID, "all that is over retired", func(*models.Deployment) bool {
		var left int64
		err := s.db.Model(&models.Deployment{}).Where("NOT active AND retired_at IS NULL AND drain_until IS NOT NULL").Count(&left).Error
		return err == nil && left == 0
	})
}

func TestWhatHasEndedAndLeftNothingIsRetired(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		long := db.NowFunc().Add(-time.Hour)
		var all []*models.Deployment
		for n, state := range []models.DeploymentState{models.DeploymentFailed, models.DeploymentCanceled, models.DeploymentSucceeded, models.DeploymentRunning} {
			d := &models.Deployment{ID: models.NewID(), TeamID: s.Team.ID, AppID: s.App.ID, EnvironmentID: s.Environment.ID, Number: int64(n + 1), State: state, Action: models.ActionDeploy, StartedAt: &long, DrainUntil: &long, CreatedAt: long}
			if err := db.Create(d).Error; err != nil {
				t.Fatal(err)
			}
			all = append(all, d)
		}
		maintainer := modelstest.As(t, db, s.Maintainer)
		if err := s.service.DeleteEnvironment(maintainer, s.Environment.ID); !models.IsCode(err, models.Conflict) {
			t.Errorf("before anybody looked: %v", err)
		}
		if err := s.service.Reconcile(s.ctx); err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			if got := s.get(d.ID); (got.RetiredAt != nil) != (d.State != models.DeploymentRunning) {
				t.Errorf("what is %s was retired %v", d.State, got.RetiredAt)
			}
		}
	})
}

func TestAPauseThatNoRolloutIsAtAnyMoreEnds(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		now := db.NowFunc()
		d := &models.Deployment{ID: models.NewID(), TeamID: s.Team.ID, AppID: s.App.ID, EnvironmentID: s.Environment.ID, Number: 1, State: models.DeploymentSucceeded, Active: true, Paused: true,
			Action: models.ActionDeploy, DrainUntil: &now, RetiredAt: &now, CreatedAt: now}
		newer := &models.Deployment{ID: models.NewID(), TeamID: s.Team.ID, AppID: s.App.ID, EnvironmentID: s.Environment.ID, Number: 2, State: models.DeploymentRunning, Action: models.ActionDeploy, CreatedAt: now}
		for _, row := range []*models.Deployment{d, newer} {
			if err := db.Create(row).Error; err != nil {
				t.Fatal(err)
			}
		}
		for _, state := range []models.DeploymentState{models.DeploymentRunning, models.DeploymentFailed} {
			if err := db.Model(newer).Update("state", state).Error; err != nil {
				t.Fatal(err)
			}
			if err := s.service.Reconcile(s.ctx); err != nil {
				t.Fatal(err)
			}
			if got := s.get(d.ID); got.Paused != (state == models.DeploymentRunning) || (got.RetiredAt == nil) == got.Paused {
				t.Errorf("while the newer one is %s, the pause is %+v", state, got)
			}
		}
	})
}
