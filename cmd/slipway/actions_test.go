package main_test

import (
	"bufio"
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

func TestABuildIsCanceledAndBuiltAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, slipwaytest.Settings{"BUILDS": "1"})
	slow := gittest.Files{"Dockerfile": "FROM slipway.test/base:1\nCOPY . .\nRUN echo waiting && sleep 3600\n", "fresh": t.TempDir()}
	app := w.app(t, "shop", slow, nil)
	running, waiting := w.Queue(t, app.ID, "main"), w.Queue(t, app.ID, "main")
	awaitLog(t, w.Portal, running.ID, "waiting")
	// The one that waits first: it would start as soon as the other one has ended.
	for _, c := range []struct {
		state string
		build slipwaytest.Build
	}{{"queued", waiting}, {"running", running}} {
		state, b := c.state, c.build
		if now := slipwaytest.Get[slipwaytest.Build](t, w.Client, "/api/v1/builds/"+b.ID); now.State != state {
			t.Fatalf("the build is %s, want it %s", now.State, state)
		}
		begin := time.Now()
		slipwaytest.Post[slipwaytest.Build](t, w.Client, "/api/v1/builds/"+b.ID+"/cancel", nil)
		ended := w.BuildEnd(t, b.ID) // by itself it would go on for an hour
		if ended.State != "canceled" {
			t.Errorf("the %s build is %s, want it canceled", state, ended.State)
		}
		t.Logf("the %s build was canceled after %s", state, time.Since(begin))
	}
	again := slipwaytest.Post[slipwaytest.Build](t, w.Client, "/api/v1/builds/"+running.ID+"/retry", nil)
	awaitLog(t, w.Portal, again.ID, "waiting")
	slipwaytest.Post[slipwaytest.Build](t, w.Client, "/api/v1/builds/"+again.ID+"/cancel", nil)
	if ended := w.BuildEnd(t, again.ID); ended.State != "canceled" {
		t.Errorf("the second build is %s, want it canceled", ended.State)
	}
}

func TestALogGoesOnAfterALostConnectionAndIsTheSameAtTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	app := w.app(t, "shop", gittest.Files{"fresh": t.TempDir(), "Dockerfile": "FROM slipway.test/base:1\nCOPY . .\n" +
		"RUN for i in $(seq 1 20); do echo part $i; sleep 0.1; done\n"}, nil)
	b := w.Queue(t, app.ID, "main")
	awaitLog(t, w.Portal, b.ID, "part 5")
	first, last := follow(t, w.Client, b.ID, "", 4)
	rest, _ := follow(t, w.Client, b.ID, last, 0)
	live := strings.Join(append(first, rest...), "\n")
	whole := strings.TrimRight(string(w.Call(t, http.MethodGet, "/api/v1/builds/"+w.BuildEnd(t, b.ID).ID+"/logs", nil).Body), "\n")
	for i := range 20 {
		if line := "part " + strconv.Itoa(i+1); strings.Count(live+"\n", line+"\n") != 1 || strings.Count(whole+"\n", line+"\n") != 1 {
			t.Errorf("%q is not once in the live log and once in the whole one:\n%s\n---\n%s", line, live, whole)
		}
	}
}

// follow reads the build's live log after the event with the id, so many lines or, for 0, to its end.
func follow(t *testing.T, c *slipwaytest.Client, build, after string, lines int) (read []string, last string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/api/v1/builds/"+build+"/logs", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.Token)
	request.Header.Set("Accept", "text/event-stream")
	if after != "" {
		request.Header.Set("Last-Event-ID", after)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	ended := false
	for scanner := bufio.NewScanner(response.Body); !ended && scanner.Scan() && (lines == 0 || len(read) < lines); {
		field, value, _ := strings.Cut(scanner.Text(), ": ")
		switch field {
		case "id":
			last = value
		case "event":
			ended = value == "end"
		case "data":
			read = append(read, value)
		}
	}
	if lines == 0 && !ended {
		t.Error("the stream stopped before the event that ends it")
	}
	return read, last
}

func TestAnImagePushedFromOutsideAppearsAtOnceAndCanBeDeployed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	app := w.app(t, "shop", shop("one"), nil)
	ref, err := name.ParseReference("localhost:" + w.Port + "/acme/shop:outside")
	if err != nil {
		t.Fatal(err)
	}
	image := dockertest.App(t, "VERSION=from outside")
	if err := remote.Write(ref, image, remote.WithAuth(&authn.Basic{Username: "token", Password: w.Token})); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	shown := slipwaytest.Get[struct {
		Tags []string `json:"tags"`
	}](t, w.Client, "/api/v1/images/"+digest.String())
	if len(shown.Tags) != 1 || shown.Tags[0] != "outside" {
		t.Errorf("the image has the tags %v, want the one that was pushed", shown.Tags)
	}
	d := slipwaytest.Post[slipwaytest.Deployment](t, w.Client, "/api/v1/environments/"+w.live.ID+"/deployments",
		map[string]string{"app_id": app.ID, "tag": "outside"})
	if d = w.DeploymentEnd(t, d.ID); d.State != "succeeded" || d.Digest != digest.String() {
		t.Fatalf("the deployment is %s of %s: %+v", d.State, d.Digest, d.Error)
	}
	sees(t, d.URL, "version from outside")

	remove := slipwaytest.Client{URL: w.URL, Token: "slp_notatoken"}
	if answer := remove.Call(t, http.MethodGet, "/api/v1/images/"+digest.String(), nil); answer.Status != http.StatusUnauthorized {
		t.Errorf("a made-up token gets %d", answer.Status)
	}
}

func TestADeploymentIsStoppedStartedAndRestarted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	base := dockertest.AppImage(t)
	app := w.app(t, "shop", gittest.Files{"Dockerfile": "FROM " + base + "\nENV VERSION=1\n"}, nil)
	d := deploy(t, w.Portal, w.live.ID, app.ID, w.Build(t, app.ID, "main"))
	sees(t, d.URL, "version 1")
	refused := watch(t, d.URL)
	d = act(t, w, d.ID, "restart")
	sees(t, d.URL, "version 1")
	if n := refused(); n != 0 {
		t.Errorf("%d requests failed during the restart", n)
	}
	log := w.Call(t, http.MethodGet, "/api/v1/deployments/"+d.ID+"/logs", nil)
	if log.Status != http.StatusOK || !strings.Contains(string(log.Body), "listening on 8080") {
		t.Errorf("the app's log answers %d: %s", log.Status, log.Body)
	}
	d = act(t, w, d.ID, "stop")
	awaitStatus(t, d.URL, http.StatusServiceUnavailable)
	act(t, w, d.ID, "start")
	awaitStatus(t, d.URL, http.StatusOK)
}

// act does something with a deployment and waits until what came of it, which may be a new deployment, has ended.
func act(t *testing.T, w *world, deployment, what string) slipwaytest.Deployment {
	t.Helper()
	d := slipwaytest.Post[slipwaytest.Deployment](t, w.Client, "/api/v1/deployments/"+deployment+"/"+what, nil)
	if d = w.DeploymentEnd(t, d.ID); d.State != "succeeded" {
		t.Fatalf("after the %s the deployment is %s: %+v", what, d.State, d.Error)
	}
	return d
}

// awaitStatus waits until the app's address answers with the status.
func awaitStatus(t *testing.T, url string, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	slipwaytest.Until(ctx, t, "the app answers "+strconv.Itoa(want), func() bool {
		status, _, err := slipwaytest.Request(ctx, url)
		return err == nil && status == want
	})
}
