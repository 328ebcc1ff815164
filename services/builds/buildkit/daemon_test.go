package buildkit_test

import (
	"crypto/tls"
	"runtime"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/buildkit"
	"slipway.dev/services/builds/buildtest"
)

func daemon(d *buildtest.Daemon) *buildkit.Builder {
	return &buildkit.Builder{Engine: &buildkit.Daemon{Name: "test", Address: d.Address, TLS: d.Client()}}
}

func from(t *testing.T, d *buildtest.Daemon, lines ...string) builds.Request {
	t.Helper()
	text := "FROM " + d.Base + "\n" + strings.Join(lines, "\n") + "\n"
	return buildtest.Request(t, buildtest.Registry(t), buildtest.Files{"Dockerfile": text})
}

func TestABuildkitdBuildsAsEveryBuilderMust(t *testing.T) {
	t.Parallel()
	d := buildtest.StartDaemon(t)
	buildtest.Run(t, func(*testing.T) buildtest.Kind { return buildtest.Kind{Builder: daemon(d), Base: d.Base, Find: d.Find} })
}

func TestABuildkitdTakesHereDocumentsAndPassesAllOutputOn(t *testing.T) {
	t.Parallel()
	d := buildtest.StartDaemon(t)
	_, seen, err := buildtest.Build(t, daemon(d), from(t, d, "RUN <<EOF", "echo from-a-heredoc", "seq 1 60000", "EOF"))
	if err != nil || !strings.Contains(seen.Text(), "from-a-heredoc\n") {
		t.Errorf("the build ended with %v", err)
	}
	if n := strings.Count(seen.Text(), "\n"); n < 60001 {
		t.Errorf("only %d lines arrived", n)
	}
}

func TestCommandsOfABuildDoNotReachTheEnginesMachine(t *testing.T) {
	t.Parallel()
	d := buildtest.StartDaemon(t)
	_, seen, err := buildtest.Build(t, daemon(d), from(t, d, "RUN wget -qO- http://"+strings.Split(d.Base, "/")[0]+"/v2/_catalog && exit 3 || echo refused"))
	if err != nil || !strings.Contains(seen.Text(), "refused") {
		t.Errorf("the build ended with %v: %q", err, seen.Text())
	}
}

func TestABuildOnADaemonThatDiesEndsAtOnceAndLeavesNoCommand(t *testing.T) {
	t.Parallel()
	d := buildtest.StartDaemon(t)
	marker := "6000." + onlyDigits(models.NewID())
	seen := buildtest.NewSeen()
	ended := make(chan error, 1)
	r := from(t, d, "RUN echo begun && sleep "+marker)
	go func() {
		_, err := daemon(d).Build(t.Context(), r, seen.Emit)
		ended <- err
	}()
	seen.Wait(t, "begun\n")
	d.Kill()
	select {
	case err := <-ended:
		if e := buildtest.Failed(t, err, builds.ClassInfrastructure, "test", "stopped answering"); !e.Lost {
			t.Error("the failure does not say that another engine may try")
		}
	case <-time.After(time.Minute):
		t.Fatal("the build goes on")
	}
	if s := seen.Find("sleep " + marker); s == nil || s.State == models.StepRunning {
		t.Errorf("the step is %+v", s)
	}
	for late := time.Now().Add(time.Minute); running(t, marker); <-time.After(20 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the command still runs")
		}
	}
	_, err := daemon(d).Capabilities(t.Context())
	buildtest.Failed(t, err, builds.ClassInfrastructure, "nothing listens")
}

func TestACommandOfABuildkitdIsGoneAfterCancel(t *testing.T) {
	t.Parallel()
	d := buildtest.StartDaemon(t)
	canceledCommandIsGone(t, daemon(d), from(t, d))
}

func TestWhoIsNotTrustedGetsNoConnection(t *testing.T) {
	t.Parallel()
	d, other := buildtest.StartDaemon(t), buildtest.NewCertificates(t)
	foreign := d.Client()
	foreign.Certificates = other.Client().Certificates
	for what, test := range map[string]struct {
		config *tls.Config
		words  string
	}{
		"no certificate":            {&tls.Config{RootCAs: d.Client().RootCAs}, "client certificate"},
		"a stranger's certificate":  {foreign, "client certificate"},
		"a server that is not ours": {other.Client(), "not signed by the CA"},
		"no TLS":                    {nil, "does not answer"},
	} {
		b := &buildkit.Builder{Engine: &buildkit.Daemon{Name: "test", Address: d.Address, TLS: test.config}}
		_, err := b.Capabilities(t.Context())
		if e := buildtest.Failed(t, err, builds.ClassInfrastructure, test.words); !e.Lost {
			t.Errorf("%s: %+v", what, e)
		}
	}
	can, err := daemon(d).Capabilities(t.Context())
	if err != nil || !strings.HasPrefix(can.Engine, "buildkitd v0.") || can.Platforms[0] != "linux/"+runtime.GOARCH {
		t.Errorf("the daemon says %+v, error %v", can, err)
	}
}
