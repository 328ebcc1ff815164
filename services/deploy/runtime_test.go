package deploy_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/docker"
)

func TestWhatAnAppWantsOfTheHostIsForMaintainersAndWithinWhatTheAdminAllows(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		maintainer, admin := modelstest.As(t, db, s.Maintainer), modelstest.As(t, db, s.Admin)
		in := func(r models.Runtime) deploy.RuntimeInput {
			return deploy.RuntimeInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Runtime: r}
		}
		path := func(source string) models.Runtime {
			return models.Runtime{HostPaths: []models.HostPath{{Source: source, Path: "/data"}}}
		}
		settings := func(paths, network string) error {
			_, err := s.service.UpdateTarget(admin, s.Target.ID, deploy.TargetInput{Name: "local", AllTeams: true, Settings: map[string]string{"host_paths": paths, "host_network": network}})
			return err
		}
		for _, kept := range []string{"/", "/etc", "/var", "/run", "/proc/1", "/var/run/docker.sock", "relative", "/srv/../etc", "/srv/"} {
			if told, ok := errors.AsType[*models.Error](settings("/srv/data\n"+kept, "")); !ok || told.Fields["host_paths"] == "" {
				t.Errorf("an admin could allow %s", kept)
			}
		}
		if err := settings("/srv/data", "yes"); !models.IsCode(err, models.Invalid) {
			t.Errorf("a box that is neither ticked nor empty gave %v", err)
		}
		if _, err := s.service.SetRuntime(maintainer, in(path("/srv/data/shop"))); !says(err, "host_paths", "does not let apps") {
			t.Errorf("before an admin allowed it: %v", err)
		}
		if err := settings("/srv/data", "true"); err != nil {
			t.Fatal(err)
		}
		for _, r := range []models.Runtime{path("/srv/data/shop"), {HostNetwork: true}} {
			if _, err := s.service.SetRuntime(s.ctx, in(r)); !models.IsCode(err, models.Denied) {
				t.Errorf("a developer's wish for %+v gave %v", r, err)
			}
			if _, err := s.service.SetRuntime(maintainer, in(r)); err != nil {
				t.Errorf("a maintainer's wish for %+v gave %v", r, err)
			}
		}
		for source, field := range map[string]string{"/srv/database": "host_paths", "/srv/data/../../etc": "host_paths", "/srv/data/a:b": "host_paths", "/srv/data//x": "host_paths", "/srv/data/./x": "host_paths", "srv/data": "host_paths", "/srv": "host_paths", "/srv/data\x00/x": "host_paths"} {
			if _, err := s.service.SetRuntime(maintainer, in(path(source))); !says(err, field, "") {
				t.Errorf("%q gave %v", source, err)
			}
		}
		if _, err := s.service.SetScale(s.ctx, deploy.ScaleInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Scale: models.Scale{Replicas: 2}}); !says(err, "replicas", "One instance") {
			t.Errorf("two instances with the host's network: %v", err)
		}
		if all, err := s.service.Runtimes(s.ctx, s.Environment.ID); err != nil || len(all) != 1 || !all[0].Runtime.HostNetwork || !all[0].Runtime.Recreate {
			t.Errorf("the settings are %+v, %v", all, err)
		}
	})
}

// says tells whether the error is about the field and holds the words.
func says(err error, field, words string) bool {
	told, ok := errors.AsType[*models.Error](err)
	return ok && told.Code == models.Invalid && told.Fields[field] != "" && strings.Contains(told.Fields[field], words)
}

func TestWrongRuntimesNameTheField(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	volume := func(name, path string) models.Runtime {
		return models.Runtime{Volumes: []models.VolumeMount{{Name: "good", Path: "/good"}, {Name: name, Path: path}}}
	}
	for field, all := range map[string][]models.Runtime{
		"volumes":     {volume("Bad Name", "/x"), volume("good", "/x"), volume("x", "/good"), volume("x", "x"), volume("x", "/"), volume("x", "/proc/self"), volume("x", "/a/../b"), {Volumes: make([]models.VolumeMount, 21)}},
		"restart":     {{Restart: "sometimes"}},
		"restart_max": {{Restart: models.RestartOnFailure}, {Restart: models.RestartOnFailure, RestartMax: 101}},
	} {
		for _, r := range all {
			if _, err := s.service.SetRuntime(s.ctx, deploy.RuntimeInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Runtime: r}); !says(err, field, "") {
				t.Errorf("%s: %+v gave %v", field, r, err)
			}
		}
	}
	stranger, viewer := modelstest.As(t, s.db, s.Stranger), modelstest.As(t, s.db, s.Viewer)
	set := deploy.RuntimeInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID}
	if _, err := s.service.SetRuntime(stranger, set); !models.IsCode(err, models.NotFound) {
		t.Errorf("a stranger's settings gave %v", err)
	}
	if _, err := s.service.SetRuntime(viewer, set); !models.IsCode(err, models.Denied) {
		t.Errorf("a viewer's settings gave %v", err)
	}
}

func TestATargetThatKeepsNoVolumesAndAlwaysStartsAgainSaysSo(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.built(2, "VERSION=1")
	s.oneAtATime()
	s.service.Kinds[0].Volumes, s.service.Kinds[0].Restarts = false, false
	plan, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
	if err != nil || !slices.ContainsFunc(plan.Checks, func(c deploy.Check) bool {
		return c.Name == "Volumes" && !c.OK && strings.Contains(c.Message, "keeps no volumes")
	}) {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
	in := deploy.RuntimeInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Runtime: models.Runtime{Volumes: []models.VolumeMount{{Name: "a", Path: "/a"}}}}
	if _, err := s.service.SetRuntime(s.ctx, in); !says(err, "volumes", "keeps no volumes") {
		t.Errorf("setting one gave %v", err)
	}
	in.Runtime = models.Runtime{Restart: models.RestartNever}
	if _, err := s.service.SetRuntime(s.ctx, in); !says(err, "restart", "always starts instances again") {
		t.Errorf("that nothing is started again gave %v", err)
	}
	if err := s.db.Where("app_id = ?", s.App.ID).Updates(&models.AppRuntime{Runtime: in.Runtime}).Error; err != nil {
		t.Fatal(err)
	}
	plan, err = s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
	if err != nil || !slices.ContainsFunc(plan.Checks, func(c deploy.Check) bool { return c.Name == "Restart" && !c.OK }) {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
}

func TestAPlanLooksForTheImageAsItsTargetDoes(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.built(2, "VERSION=1", "UNIQUE="+models.NewID())
	image := func() deploy.Check {
		t.Helper()
		plan, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Target", "Platform", "Room", "Port", "Health", "Downtime"} {
			if !slices.ContainsFunc(plan.Checks, func(c deploy.Check) bool { return c.Name == name && c.OK }) {
				t.Errorf("the check %s is missing in %+v", name, plan.Checks)
			}
		}
		n := slices.IndexFunc(plan.Checks, func(c deploy.Check) bool { return c.Name == "Image" })
		return plan.Checks[n]
	}
	if c := image(); !c.OK || !strings.Contains(c.Message, "gives it to the target") {
		t.Errorf("before it was pulled: %+v", c)
	}
	s.worker()
	s.succeeded(s.deploy(deploy.Input{}).ID)
	if c := image(); !c.OK || !strings.Contains(c.Message, "has it already") {
		t.Errorf("once it was pulled: %+v", c)
	}
}

func TestAnApprovalIsNotForAnotherRuntime(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.built(2, "VERSION=1")
	in := deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID}
	before, err := s.service.Plan(s.ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	hashes := map[string]bool{before.ConfigHash: true}
	for n, r := range []models.Runtime{
		{Recreate: true}, {Restart: models.RestartNever}, {Volumes: []models.VolumeMount{{Name: "a", Path: "/a"}}}, {Volumes: []models.VolumeMount{{Name: "a", Path: "/a", ReadOnly: true}}},
	} {
		if _, err := s.service.SetRuntime(s.ctx, deploy.RuntimeInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Runtime: r}); err != nil {
			t.Fatal(err)
		}
		p, err := s.service.Plan(s.ctx, in)
		if err != nil || hashes[p.ConfigHash] {
			t.Errorf("runtime %d has a hash of another one, %v", n, err)
		}
		hashes[p.ConfigHash] = true
	}
	in.ConfigHash = before.ConfigHash
	if _, err := s.service.Deploy(s.ctx, in); !models.IsCode(err, models.Conflict) {
		t.Errorf("deploying what was looked at before gave %v", err)
	}
	always, err := s.service.SetRuntime(s.ctx, deploy.RuntimeInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Runtime: models.Runtime{Restart: models.RestartAlways}})
	if err != nil || always.Runtime.Restart != "" {
		t.Fatalf("%+v, %v", always, err)
	}
	if p, err := s.service.Plan(s.ctx, in); err != nil || p.ConfigHash != before.ConfigHash {
		t.Errorf("what says the default has another hash than what says nothing: %v", err)
	}
}

func TestAVolumeIsDeletedOnlyByAMaintainerByItsNameWhileNothingUsesIt(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.worker()
	s.oneAtATime()
	s.built(2, "VERSION=1")
	d := s.succeeded(s.deploy(deploy.Input{}).ID)
	maintainer := modelstest.As(t, s.db, s.Maintainer)
	all, err := s.service.Volumes(s.ctx, s.Environment.ID)
	if err != nil || len(all) != 1 || all[0].App != s.App.Name || all[0].Name != "uploads" || !slices.Equal(all[0].Users, []string{d.Title()}) || !all[0].Mounted {
		t.Fatalf("the volumes are %+v, %v", all, err)
	}
	in := deploy.VolumeInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Name: "uploads", Confirm: "uploads"}
	other := in
	other.Confirm = "something else"
	missing := in
	missing.Name, missing.Confirm = "none", "none"
	if err := s.service.DeleteVolume(maintainer, in); !models.IsCode(err, models.Conflict) {
		t.Errorf("while it is used: %v", err)
	}
	if err := s.service.DeleteEnvironment(maintainer, s.Environment.ID); !models.IsCode(err, models.Conflict) {
		t.Errorf("deleting its environment: %v", err)
	}
	if _, err := s.service.Stop(s.ctx, d.ID); err != nil {
		t.Fatal(err)
	}
	s.until(d.ID, "gone", func(d *models.Deployment) bool { return d.RetiredAt != nil })
	refused := map[string]error{
		"a developer": s.service.DeleteVolume(s.ctx, in), "a stranger": s.service.DeleteVolume(modelstest.As(t, s.db, s.Stranger), in),
		"another name": s.service.DeleteVolume(maintainer, other), "no such volume": s.service.DeleteVolume(maintainer, missing),
	}
	codes := map[string]models.Code{"a developer": models.Denied, "a stranger": models.NotFound, "another name": models.Invalid, "no such volume": models.NotFound}
	for _, who := range slices.Sorted(maps.Keys(refused)) {
		if !models.IsCode(refused[who], codes[who]) {
			t.Errorf("%s: %v", who, refused[who])
		}
	}
	if err := s.service.DeleteVolume(maintainer, in); err != nil {
		t.Fatal(err)
	}
	if all, err := s.service.Volumes(s.ctx, s.Environment.ID); err != nil || len(all) != 0 {
		t.Errorf("left are %+v, %v", all, err)
	}
	var audited int64
	if err := s.db.Model(&models.AuditEntry{}).Where("action = ? AND name = ?", "environment.volume.delete", "uploads").Count(&audited).Error; err != nil || audited != 1 {
		t.Errorf("the audit has %d entries, %v", audited, err)
	}
}

func TestWhatChangedSinceTheClickIsSaidBeforeAnythingIsTouched(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.built(2, "VERSION=1")
	marked := s.deploy(deploy.Input{})
	if err := s.db.Create(&models.BadImage{TeamID: s.Team.ID, Digest: marked.ImageDigest, Reason: "loses orders", MarkedByName: "Mira", CreatedAt: s.db.NowFunc()}).Error; err != nil {
		t.Fatal(err)
	}
	s.worker()
	d := s.ended(marked.ID)
	if d.State != models.DeploymentFailed || d.Error.Stage != deploy.StageCheck || !strings.Contains(d.Error.Message, "marked this image as bad") || len(d.Phases) != 1 || s.live() != 0 {
		t.Errorf("the marked one is %s: %+v, phases %q", d.State, d.Error, phaseNames(d))
	}
}

// single is a target whose volumes can be had on one machine at a time.
type single struct{ deploy.Target }

func (t single) Check(ctx context.Context) (deploy.Info, error) {
	info, err := t.Target.Check(ctx)
	info.SingleMount = true
	return info, err
}

func TestAVolumeThatOneMachineHasAtATimeNeedsOneVersionAtATime(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	kind := docker.Kind("")
	open := kind.Open
	kind.Open = func(c deploy.Config) (deploy.Target, error) {
		target, err := open(c)
		return single{target}, err
	}
	s.service.Kinds = []deploy.Kind{kind}
	s.built(2, "VERSION=1")
	for what, c := range map[string]struct {
		recreate bool
		replicas int
		refused  bool
	}{"two versions": {false, 1, true}, "two instances": {true, 2, true}, "one of both": {true, 1, false}} {
		in := deploy.RuntimeInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID}
		in.Recreate, in.Volumes = c.recreate, []models.VolumeMount{{Name: "uploads", Path: "/data"}}
		if _, err := s.service.SetRuntime(s.ctx, in); err != nil {
			t.Fatal(err)
		}
		if _, err := s.service.SetScale(s.ctx, deploy.ScaleInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Scale: models.Scale{Replicas: c.replicas}}); err != nil {
			t.Fatal(err)
		}
		plan, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
		if err != nil {
			t.Fatal(err)
		}
		refused := slices.ContainsFunc(plan.Checks, func(k deploy.Check) bool {
			return k.Name == "Volumes" && !k.OK && strings.Contains(k.Message, "one version at a time")
		})
		if refused != c.refused {
			t.Errorf("%s: refused is %t: %+v", what, refused, plan.Checks)
		}
	}
}
