package buildkit_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/buildkit"
	"slipway.dev/services/builds/buildtest"
	"slipway.dev/services/dockertest"
)

func builder(t *testing.T) *buildkit.Builder {
	return &buildkit.Builder{Engine: &buildkit.Docker{Client: dockertest.Engine(t)}}
}

func request(t *testing.T, host string, lines ...string) builds.Request {
	t.Helper()
	text := "FROM " + dockertest.BaseImage(t) + "\n" + strings.Join(lines, "\n") + "\n"
	return buildtest.Request(t, host, buildtest.Files{"Dockerfile": text})
}

func TestTheDockerEngineBuildsAsEveryBuilderMust(t *testing.T) {
	t.Parallel()
	buildtest.Run(t, func(t *testing.T) buildtest.Kind {
		return buildtest.Kind{Builder: builder(t), Base: dockertest.BaseImage(t)}
	})
}

func TestACanceledCommandIsGoneFromTheMachine(t *testing.T) {
	t.Parallel()
	canceledCommandIsGone(t, builder(t), request(t, buildtest.Registry(t)))
}

func canceledCommandIsGone(t *testing.T, b *buildkit.Builder, r builds.Request) {
	t.Helper()
	marker := "6000." + onlyDigits(models.NewID())
	file, err := os.OpenFile(filepath.Join(r.Dir, "Dockerfile"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("RUN echo begun && sleep " + marker + "\n"); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := buildtest.NewSeen()
	ended := make(chan error, 1)
	go func() {
		_, err := b.Build(ctx, r, seen.Emit)
		ended <- err
	}()
	seen.Wait(t, "begun\n")
	cancel()
	<-ended
	for late := time.Now().Add(time.Minute); running(t, marker); <-time.After(20 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the command still runs")
		}
	}
}

func onlyDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}

// running tells whether a process of this machine has the word in its command line.
func running(t *testing.T, word string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if line, err := os.ReadFile(f); err == nil && strings.Contains(string(line), word) {
			return true
		}
	}
	return false
}

func TestABuildLeavesNoImageInTheEngineAndStillItsCache(t *testing.T) {
	t.Parallel()
	docker := dockertest.Engine(t)
	id := models.NewID()
	for _, want := range []models.StepState{models.StepSucceeded, models.StepCached} {
		r := request(t, buildtest.Registry(t), "RUN echo "+id+" > /id")
		r.Labels["slipway.test"] = id
		_, seen, err := buildtest.Build(t, builder(t), r)
		if err != nil {
			t.Fatal(err)
		}
		if got := seen.Find("/id").State; got != want {
			t.Errorf("the step was %s, not %s", got, want)
		}
		left, err := docker.ImageList(t.Context(), image.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "slipway.test="+id))})
		if err != nil || len(left) > 0 {
			t.Errorf("the engine keeps %v, error %v", left, err)
		}
	}
}

func TestACacheMountIsOfOneAppAlone(t *testing.T) {
	t.Parallel()
	host, mount := buildtest.Registry(t), "RUN --mount=type=cache,id="+models.NewID()+",target=/cache "
	first := request(t, host, mount+"echo left behind > /cache/file")
	if _, _, err := buildtest.Build(t, builder(t), first); err != nil {
		t.Fatal(err)
	}
	look := mount + "echo it holds $(cat /cache/file 2>/dev/null || echo nothing)"
	own := request(t, host, look)
	own.CacheKey = first.CacheKey
	for r, want := range map[*builds.Request]string{&own: "it holds left behind\n", new(request(t, host, look+" # of another app")): "it holds nothing\n"} {
		_, seen, err := buildtest.Build(t, builder(t), *r)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(seen.Text(), want) {
			t.Errorf("the log has no %q: %q", want, seen.Text())
		}
	}
}

func TestTheWorkerPushesWhereTheEngineDoesNotReachTheRegistry(t *testing.T) {
	t.Parallel()
	real := buildtest.Registry(t)
	r := request(t, "registry.slipway.invalid:5000", "RUN echo hello > /hello")
	r.Image.PlainHTTP = true
	r.Image.Transport = &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, real)
	}}
	result, seen, err := buildtest.Build(t, builder(t), r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(seen.Text(), "this worker pushes the image") {
		t.Errorf("the log does not say how it went: %q", seen.Text())
	}
	r.Image.Repository = real + "/team/app"
	if layers, err := buildtest.Image(t, r, result.Digest).Layers(); err != nil || len(layers) != 2 {
		t.Errorf("the image has %d layers, error %v", len(layers), err)
	}
	if left, err := os.ReadDir(r.Scratch); err != nil || len(left) > 1 {
		t.Errorf("the scratch folder holds %v, error %v", left, err)
	}
}

func TestAnEngineThatIsDownSaysWhatToDo(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "none.sock")
	docker, err := client.NewClientWithOpts(client.WithHost("unix://"+socket), client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	down := &buildkit.Builder{Engine: &buildkit.Docker{Client: docker}}
	_, _, err = buildtest.Build(t, down, buildtest.Request(t, "127.0.0.1:1", buildtest.Files{"Dockerfile": "FROM scratch\n"}))
	buildtest.Failed(t, err, builds.ClassInfrastructure, socket, "systemctl start docker", "retry")
	_, err = down.Capabilities(t.Context())
	buildtest.Failed(t, err, builds.ClassInfrastructure, socket)
}

func TestAHereDocumentIsRefusedBeforeTheBuildWhereTheEngineIsTooOld(t *testing.T) {
	t.Parallel()
	b := builder(t)
	can, err := b.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := request(t, buildtest.Registry(t), "RUN <<EOF", "echo from-a-heredoc", "EOF")
	_, seen, err := buildtest.Build(t, b, r)
	if can.Heredoc {
		if err != nil || !strings.Contains(seen.Text(), "from-a-heredoc") {
			t.Errorf("the build ended with %v and printed %q", err, seen.Text())
		}
		return
	}
	if e := buildtest.Failed(t, err, builds.ClassUser, "line 2", can.Engine); e.Line != 2 {
		t.Errorf("the failure is %+v", e.BuildError)
	}
}

func TestSyntaxThatOnlyNewerEnginesKnowIsNamedByItsLine(t *testing.T) {
	t.Parallel()
	b := builder(t)
	_, _, err := buildtest.Build(t, b, request(t, buildtest.Registry(t), "COPY --exclude=x . /all"))
	if err == nil {
		return // this engine knows it
	}
	if e := buildtest.Failed(t, err, builds.ClassUser, "line 2", "older"); e.Line != 2 {
		t.Errorf("the failure is %+v", e.BuildError)
	}
}

func TestOutputThatTheEngineLeavesOutIsVisibleInTheLog(t *testing.T) {
	t.Parallel()
	_, seen, err := buildtest.Build(t, builder(t), request(t, buildtest.Registry(t), "RUN seq 1 400000 # "+models.NewID()))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(seen.Text(), "399999") && !strings.Contains(seen.Text(), "[output clipped, log limit") {
		t.Error("neither all output nor a mark arrived")
	}
}

func TestTwoBuildsOfOneAppAtOnceKeepTheirOwnFiles(t *testing.T) {
	t.Parallel()
	host, key := buildtest.Registry(t), models.NewID()
	type outcome struct {
		text string
		err  error
	}
	results := map[string]chan outcome{}
	for _, content := range []string{"aaaa", "bbbb", "cccc"} {
		r := request(t, host, "COPY file /file", "RUN echo got $(cat /file) "+key)
		if err := os.WriteFile(filepath.Join(r.Dir, "file"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		r.CacheKey, r.Image.Tag = key, content
		result := make(chan outcome, 1)
		results[content] = result
		go func() {
			seen := buildtest.NewSeen()
			_, err := builder(t).Build(t.Context(), r, seen.Emit)
			result <- outcome{seen.Text(), err}
		}()
	}
	for content, result := range results {
		if got := <-result; got.err != nil || !strings.Contains(got.text, "got "+content) {
			t.Errorf("the build of %s ended with %v and printed %q", content, got.err, got.text)
		}
	}
}
