package engines_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/buildkit"
	"slipway.dev/services/builds/buildtest"
	"slipway.dev/services/engines"
	"slipway.dev/services/secrets"
)

// scripted is an engine that a test directs.
type scripted struct {
	name   string
	mu     sync.Mutex
	builds int // that ran here
	now    int // that run here
	most   int
	hold   chan struct{} // nil: builds end at once
	lost   bool
	can    builds.Capabilities
}

func (e *scripted) Capabilities(context.Context) (builds.Capabilities, error) {
	can := e.can
	can.Engine = e.name
	return can, nil
}

func (e *scripted) Build(ctx context.Context, _ builds.Request, _ func(builds.Event)) (*builds.Result, error) {
	e.mu.Lock()
	e.builds++
	e.now++
	e.most = max(e.most, e.now)
	lost, hold := e.lost, e.hold
	e.mu.Unlock()
	defer func() { e.mu.Lock(); e.now--; e.mu.Unlock() }()
	if lost {
		return nil, &builds.Error{Lost: true, BuildError: models.BuildError{Class: builds.ClassInfrastructure, Message: e.name + " is gone."}}
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return &builds.Result{Digest: "sha256:" + e.name}, nil
}

func (e *scripted) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.builds
}

type world struct {
	*modelstest.World
	db      *models.Database
	box     *secrets.Box
	scripts map[string]*scripted // by address
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	box, err := secrets.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return &world{World: modelstest.Seed(t, db), db: db, box: box, scripts: map[string]*scripted{}}
}

// service is the engines as one process has them.
func (w *world) service(fixed ...engines.Fixed) *engines.Service {
	return &engines.Service{DB: w.db, Box: w.box, Fixed: fixed, Open: func(c engines.Connection) builds.Builder {
		if s := w.scripts[c.Address]; s != nil {
			return s
		}
		return &buildkit.Builder{Engine: &buildkit.Daemon{Name: c.Name, Address: c.Address, TLS: c.TLS}}
	}}
}

func (w *world) admin(t *testing.T) context.Context { return modelstest.As(t, w.db, w.Admin) }

// engine adds an engine that a test directs.
func (w *world) engine(t *testing.T, name string, places int, platforms ...string) (*scripted, *engines.Engine) {
	t.Helper()
	s := &scripted{name: name, can: builds.Capabilities{Platforms: platforms, MultiPlatform: true, Provenance: true, SBOM: true, RegistryCache: true}}
	c := buildtest.NewCertificates(t)
	address := fmt.Sprintf("tcp://%s.test:1234", name)
	w.scripts[address] = s
	e, err := w.service().Create(w.admin(t), engines.EngineInput{Name: name, Address: address, CA: string(c.CA), Cert: string(c.ClientCert), Key: string(c.ClientKey), MaxBuilds: places, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	return s, e
}

// build makes the row of a build that runs.
func (w *world) build(t *testing.T, number int64) *models.Build {
	t.Helper()
	b := *w.Build
	b.ID, b.Number, b.State, b.App = models.NewID(), number, models.BuildRunning, nil
	if err := w.db.Create(&b).Error; err != nil {
		t.Fatal(err)
	}
	return &b
}

func (w *world) engineOf(t *testing.T, b *models.Build) string {
	t.Helper()
	var now models.Build
	if err := w.db.Where("id = ?", b.ID).Take(&now).Error; err != nil {
		t.Fatal(err)
	}
	return now.EngineName
}

func (w *world) end(t *testing.T, b *models.Build) {
	t.Helper()
	if err := w.db.Model(b).Update("state", models.BuildSucceeded).Error; err != nil {
		t.Fatal(err)
	}
}

func TestBuildsSpreadByLoadAndNoEngineTakesMoreThanItMay(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		small, _ := w.engine(t, "small", 1)
		large, _ := w.engine(t, "large", 3)
		small.hold, large.hold = make(chan struct{}), make(chan struct{})
		processes := []*engines.Service{w.service(), w.service()} // which share nothing but the database
		var group sync.WaitGroup
		for i := range 6 {
			b := w.build(t, int64(10+i))
			group.Go(func() {
				_, err := processes[i%2].Build(t.Context(), builds.Request{BuildID: b.ID}, func(builds.Event) {})
				if err != nil {
					t.Error(err)
				}
				w.end(t, b)
			})
		}
		for late := time.After(2 * time.Minute); small.count() < 1 || large.count() < 3; {
			select {
			case <-late:
				t.Fatalf("%d and %d builds run", small.count(), large.count())
			case <-time.After(10 * time.Millisecond):
			}
		}
		close(small.hold)
		close(large.hold)
		group.Wait()
		if small.most != 1 || large.most > 3 || small.builds+large.builds != 6 {
			t.Errorf("the small engine ran %d at once, the large one %d; %d and %d in all", small.most, large.most, small.builds, large.builds)
		}
	})
}

func TestABuildThatWaitsForAnEngineSaysSoAndCanBeCanceled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	_, e := w.engine(t, "only", 1)
	other := w.build(t, 10)
	if err := w.db.Model(other).Updates(map[string]any{"engine": e.ID, "engine_name": e.Name}).Error; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := buildtest.NewSeen()
	ended := make(chan error, 1)
	go func() {
		_, err := w.service().Build(ctx, builds.Request{BuildID: w.build(t, 11).ID}, seen.Emit)
		ended <- err
	}()
	seen.Wait(t, "next free place")
	cancel()
	if err := <-ended; err == nil {
		t.Error("the build ran")
	}
	if s := seen.Find("Wait for a build engine"); s == nil || s.State != models.StepCanceled {
		t.Errorf("the step is %+v", s)
	}
}

func TestThePlatformDecidesNativeBeforeEmulated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	intel, _ := w.engine(t, "intel", 9, "linux/amd64", "linux/arm64")
	arm, _ := w.engine(t, "arm", 9, "linux/arm64")
	local := &scripted{name: "local", can: builds.Capabilities{Platforms: []string{"linux/amd64"}}}
	s := w.service(engines.Fixed{Key: "local", Name: "local", Builder: local})
	for _, test := range []struct {
		want    *scripted
		request builds.Request
	}{
		{arm, builds.Request{Platforms: []string{"linux/arm64"}}},
		{intel, builds.Request{Platforms: []string{"linux/amd64", "linux/arm64"}}},
		{intel, builds.Request{Platforms: []string{"linux/amd64"}, Provenance: true}},
	} {
		before := test.want.count()
		test.request.BuildID = models.NewID()
		if _, err := s.Build(t.Context(), test.request, func(builds.Event) {}); err != nil || test.want.count() != before+1 {
			t.Errorf("%v did not run on %s, error %v", test.request.Platforms, test.want.name, err)
		}
	}
	alone := newWorld(t, modelstest.DB(t)).service(engines.Fixed{Key: "local", Name: "local", Builder: local})
	_, err := alone.Build(t.Context(), builds.Request{BuildID: models.NewID(), SBOM: true}, func(builds.Event) {})
	buildtest.Failed(t, err, builds.ClassUser, "local", "bill of materials")
	_, err = newWorld(t, modelstest.DB(t)).service().Build(t.Context(), builds.Request{BuildID: models.NewID()}, func(builds.Event) {})
	buildtest.Failed(t, err, builds.ClassInfrastructure, "no engine")
}

func TestABuildMovesOnFromAnEngineThatIsLost(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		first, row := w.engine(t, "first", 9)
		second, _ := w.engine(t, "second", 9)
		first.lost = true
		b := w.build(t, 10)
		seen := buildtest.NewSeen()
		result, err := w.service().Build(t.Context(), builds.Request{BuildID: b.ID}, seen.Emit)
		if err != nil || result.Digest != "sha256:second" || first.builds != 1 || second.builds != 1 {
			t.Errorf("the build ended with %+v, %v", result, err)
		}
		if !strings.Contains(seen.Text(), "first is gone.") || !strings.Contains(seen.Text(), "Built on second.") || w.engineOf(t, b) != "second" {
			t.Errorf("the log says %q, the build %q", seen.Text(), w.engineOf(t, b))
		}
		if e, err := w.service().Get(w.admin(t), row.ID); err != nil || e.Error != "first is gone." {
			t.Errorf("the lost engine is %+v, error %v", e, err)
		}
		if _, err := w.service().Build(t.Context(), builds.Request{BuildID: w.build(t, 11).ID}, seen.Emit); err != nil || first.builds != 1 {
			t.Errorf("the lost engine was tried first again: %v", err)
		}
		second.lost = true
		_, err = w.service().Build(t.Context(), builds.Request{BuildID: w.build(t, 12).ID}, seen.Emit)
		buildtest.Failed(t, err, builds.ClassInfrastructure, "is gone")
	})
}

func TestAnEngineIsTheAdminsAndItsKeysAreNeverShown(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		_, e := w.engine(t, "one", 2, "linux/amd64")
		if e.Version != "one" || len(e.Platforms) != 1 || e.Error != "" || e.CheckedAt == nil {
			t.Errorf("the engine is %+v", e)
		}
		s := w.service()
		for _, u := range []*models.User{w.Maintainer, w.Stranger} {
			ctx := modelstest.As(t, db, u)
			for what, err := range map[string]error{
				"list": second(s.List(ctx)), "get": second(s.Get(ctx, e.ID)), "create": second(s.Create(ctx, engines.EngineInput{})),
				"update": second(s.Update(ctx, e.ID, engines.EngineInput{})), "delete": s.Delete(ctx, e.ID), "check": second(s.Check(ctx, e.ID)),
			} {
				if !models.IsCode(err, models.Denied) {
					t.Errorf("%s by %s: %v", what, u.Name, err)
				}
			}
		}
		list, err := s.List(w.admin(t))
		if err != nil || len(list) != 1 || len(list[0].Sealed) > 0 {
			t.Errorf("the list is %+v, error %v", list, err)
		}
		var audit []models.AuditEntry
		if err := db.Where("action LIKE 'engine.%'").Find(&audit).Error; err != nil || len(audit) != 1 {
			t.Errorf("the audit log has %d entries, error %v", len(audit), err)
		}
		text, err := json.Marshal([]any{list, audit})
		if err != nil || strings.Contains(string(text), "PRIVATE KEY") {
			t.Errorf("the key is shown: %s", text)
		}
		changed, err := s.Update(w.admin(t), e.ID, engines.EngineInput{Name: "two", Address: e.Address, MaxBuilds: 5})
		if err != nil || changed.Name != "two" || changed.Enabled || changed.MaxBuilds != 5 || changed.Error != "" {
			t.Errorf("the changed engine is %+v, error %v", changed, err)
		}
		if err := db.Model(w.build(t, 10)).Update("engine", e.ID).Error; err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(w.admin(t), e.ID); !models.IsCode(err, models.Conflict) {
			t.Errorf("an engine with a build was deleted: %v", err)
		}
		if err := db.Model(&models.Build{}).Where("number = 10").Update("state", models.BuildSucceeded).Error; err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(w.admin(t), e.ID); err != nil {
			t.Error(err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestBadEnginesAreRefusedByField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	c, other := buildtest.NewCertificates(t), buildtest.NewCertificates(t)
	good := engines.EngineInput{Name: "one", Address: "tcp://one.test:1234", CA: string(c.CA), Cert: string(c.ClientCert), Key: string(c.ClientKey)}
	for field, change := range map[string]func(*engines.EngineInput){
		"name":       func(in *engines.EngineInput) { in.Name = "Not a name" },
		"address":    func(in *engines.EngineInput) { in.Address = "unix:///run/buildkit.sock" },
		"max_builds": func(in *engines.EngineInput) { in.MaxBuilds = 65 },
		"ca":         func(in *engines.EngineInput) { in.CA = "" },
		"cert":       func(in *engines.EngineInput) { in.Cert = " " },
		"key":        func(in *engines.EngineInput) { in.Key = string(other.ClientKey) },
	} {
		in := good
		change(&in)
		_, err := w.service().Create(w.admin(t), in)
		if e, ok := err.(*models.Error); !ok || e.Fields[field] == "" || strings.Contains(e.Error(), "PRIVATE") {
			t.Errorf("%s: %v", field, err)
		}
	}
	w.engine(t, "one", 1)
	_, err := w.service().Create(w.admin(t), good)
	if e, ok := err.(*models.Error); !ok || e.Fields["name"] == "" {
		t.Errorf("the name twice: %v", err)
	}
}
