package engines_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/buildtest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/engines"
)

// real adds a buildkitd of the test's own.
func (w *world) real(t *testing.T, name string) *buildtest.Daemon {
	t.Helper()
	d := buildtest.StartDaemon(t)
	e, err := w.service().Create(w.admin(t), engines.EngineInput{Name: name, Address: d.Address, CA: string(d.CA), Cert: string(d.ClientCert), Key: string(d.ClientKey), MaxBuilds: 20, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	if e.Error != "" || !strings.HasPrefix(e.Version, "buildkitd v") || len(e.Platforms) == 0 || len(e.Labels) == 0 {
		t.Fatalf("the engine is %+v", e)
	}
	return d
}

func TestEnginesBuildAsEveryBuilderMust(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	d := w.real(t, "one")
	buildtest.Run(t, func(*testing.T) buildtest.Kind {
		return buildtest.Kind{Builder: w.service(), Base: d.Base, Find: d.Find}
	})
}

func TestABuildWhoseBuildkitdIsKilledGoesOnOnAnother(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		host, id := buildtest.Registry(t), models.NewID()
		base := buildtest.Push(t, host+"/base:1", dockertest.Base(t))
		r := buildtest.Request(t, host, buildtest.Files{"pause": "600",
			"Dockerfile": "FROM " + base + "\nCOPY pause /\nRUN echo begun-" + id + " && sleep $(cat /pause) && echo over\n"})
		b := w.build(t, 10)
		r.BuildID = b.ID
		daemons := map[string]*buildtest.Daemon{"one": w.real(t, "one"), "two": w.real(t, "two")}
		seen := buildtest.NewSeen()
		type outcome struct {
			result *builds.Result
			err    error
		}
		ended := make(chan outcome, 1)
		go func() {
			result, err := w.service().Build(t.Context(), r, seen.Emit)
			ended <- outcome{result, err}
		}()
		seen.Wait(t, "begun-"+id+"\n")
		if err := os.WriteFile(filepath.Join(r.Dir, "pause"), []byte("0"), 0o644); err != nil { // for the second time
			t.Fatal(err)
		}
		first := w.engineOf(t, b)
		daemons[first].Kill()
		got := <-ended
		if got.err != nil {
			t.Fatalf("the build ended with %v: %s", got.err, seen.Text())
		}
		if now := w.engineOf(t, b); now == first || !strings.Contains(seen.Text(), "stopped answering") || strings.Count(seen.Text(), "over\n") != 1 {
			t.Errorf("the build ran on %s and then on %s: %s", first, now, seen.Text())
		}
		buildtest.Image(t, r, got.result.Digest)
	})
}
