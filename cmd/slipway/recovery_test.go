package main_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

// onlyWorkers are the settings of a portal whose work is done by other processes, which are noticed soon when they die.
func onlyWorkers(settings slipwaytest.Settings) slipwaytest.Settings {
	all := slipwaytest.Settings{"WORKERS": "false", "WORKER_DEAD_AFTER": "2s"}
	for name, value := range settings {
		all[name] = value
	}
	return all
}

func TestABuildOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, settings slipwaytest.Settings) {
		dockertest.BaseImage(t)
		files := shop("one")
		files["Dockerfile"] = "FROM slipway.test/base:1\nCOPY . .\nRUN for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo packing part $i; sleep 0.5; done\n"
		files["fresh"] = t.TempDir() // what was built before would come from the cache
		repo := gittest.New(t).Repository(t, "acme/shop.git", files)
		p := slipwaytest.Start(t, onlyWorkers(settings))
		p.Team(t, "acme")
		first := p.Worker(t)
		app := p.App(t, p.Repository(t, "acme", "shop", repo.URL).ID, "shop")
		queued := p.Queue(t, app.ID, "main")
		awaitLog(t, p, queued.ID, "packing part 3")
		p.Worker(t)
		first.Kill()

		b := p.BuildEnd(t, queued.ID)
		if b.State != "succeeded" || b.Image.Digest == "" {
			t.Fatalf("the build is %s after its worker was killed: %+v", b.State, b.Error)
		}
		all := slipwaytest.Get[slipwaytest.List[slipwaytest.Build]](t, p.Client, "/api/v1/apps/"+app.ID+"/builds")
		if len(all.Items) != 1 {
			t.Errorf("the app has %d builds, want the one that was asked for", len(all.Items))
		}
	})
}

func TestADeploymentOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, settings slipwaytest.Settings) {
		base := dockertest.AppImage(t)
		version := func(v, delay string) gittest.Files {
			return gittest.Files{"Dockerfile": "FROM " + base + "\nENV VERSION=" + v + " START_DELAY=" + delay + "\n"}
		}
		repo := gittest.New(t).Repository(t, "acme/shop.git", version("1", "0s"))
		p := slipwaytest.Start(t, onlyWorkers(settings))
		p.Team(t, "acme")
		first := p.Worker(t)
		app := p.App(t, p.Repository(t, "acme", "shop", repo.URL).ID, "shop")
		live := p.Environment(t, "acme", "live")
		serving := deploy(t, p, live.ID, app.ID, build(t, p, app.ID, repo, "main", ""))

		repo.Commit(t, "main", "Second version", version("2", "4s"))
		second := build(t, p, app.ID, repo, "main", "")
		refused := watch(t, serving.URL)
		d := slipwaytest.Post[slipwaytest.Deployment](t, p.Client, "/api/v1/environments/"+live.ID+"/deployments",
			map[string]string{"app_id": app.ID, "build_id": second.ID})
		awaitContainer(t, d.ID)
		p.Worker(t)
		first.Kill()

		if d = p.DeploymentEnd(t, d.ID); d.State != "succeeded" {
			t.Fatalf("the deployment is %s after its worker was killed: %+v", d.State, d.Error)
		}
		sees(t, serving.URL, "version 2")
		if n := refused(); n != 0 {
			t.Errorf("%d requests failed while the worker was killed and its work taken over", n)
		}
		if n := containers(t, d.ID); n != 1 {
			t.Errorf("the deployment has %d containers, want 1", n)
		}
	})
}

// awaitLog waits until the build's log has the words.
func awaitLog(t *testing.T, p *slipwaytest.Portal, build, words string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var log string
	defer func() {
		if t.Failed() {
			t.Logf("the build's log:\n%s", log)
		}
	}()
	slipwaytest.Until(ctx, t, "the log says "+words, func() bool {
		log = string(p.Call(t, http.MethodGet, "/api/v1/builds/"+build+"/logs", nil).Body)
		return strings.Contains(log, words)
	})
}

// awaitContainer waits until the deployment has started something.
func awaitContainer(t *testing.T, deployment string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	slipwaytest.Until(ctx, t, "the deployment has a container", func() bool { return containers(t, deployment) > 0 })
}

// containers counts what runs for the deployment.
func containers(t *testing.T, deployment string) int {
	t.Helper()
	list, err := dockertest.Engine(t).ContainerList(t.Context(), container.ListOptions{
		Filters: filters.NewArgs(filters.Arg("label", "slipway.deployment="+deployment)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// watch requests the address again and again; the function that it returns ends that and tells how many failed.
func watch(t *testing.T, url string) func() int64 {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var failed atomic.Int64
	var watching sync.WaitGroup
	watching.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			if status, body, err := slipwaytest.Request(ctx, url); ctx.Err() == nil && (err != nil || status != http.StatusOK) {
				failed.Add(1)
				t.Logf("a request got %d %q, %v", status, body, err)
			}
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	})
	end := sync.OnceValue(func() int64 {
		cancel()
		watching.Wait()
		return failed.Load()
	})
	t.Cleanup(func() { end() })
	return end
}
