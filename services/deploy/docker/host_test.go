package docker_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/dockertest"
)

// hostFolder is a folder that this machine's engine sees under the same name.
func hostFolder(t *testing.T) string {
	t.Helper()
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for at := folder; at != "/"; at = filepath.Dir(at) { // the image's user is nobody
		if os.Chmod(at, 0o755) != nil {
			break
		}
		if filepath.Dir(at) == filepath.Clean(os.TempDir()) {
			break
		}
	}
	return folder
}

// starts runs the release until it is healthy.
func starts(t *testing.T, target deploy.Target, r deploy.Release) error {
	t.Helper()
	if err := target.Fetch(t.Context(), r.Image, anyone(r.Image), func(string) {}); err != nil {
		t.Fatal(err)
	}
	if err := target.Start(t.Context(), r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := target.Wait(ctx, r, func(string) {})
	return err
}

func TestHostPathsAreOnlyWhatAnAdminAllowsAndLeadWhereTheySay(t *testing.T) {
	t.Parallel()
	folder := hostFolder(t)
	for _, at := range []string{"allowed/shop/deep", "other"} {
		if err := os.MkdirAll(filepath.Join(folder, at), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "allowed/shop/deep/note"), []byte("of the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"allowed/out": folder + "/other", "allowed/shop/up": "../..", "allowed/inside": "shop"} {
		if err := os.Symlink(to, filepath.Join(folder, link)); err != nil {
			t.Fatal(err)
		}
	}
	image := push(t, dockertest.App(t))
	forget(t, image.Ref())
	target := open(t, map[string]string{"host_paths": folder + "/allowed"})
	with := func(source string) deploy.Release {
		r := release(image)
		r.HostPaths = []models.HostPath{{Source: source, Path: "/host", ReadOnly: true}}
		return r
	}
	for source, says := range map[string]string{
		folder + "/other":               "does not let apps have",
		folder:                          "does not let apps have",
		folder + "/allowedelse":         "does not let apps have",
		folder + "/allowed/../other":    "does not let apps have",
		folder + "/allowed/shop/":       "does not let apps have",
		"/":                             "does not let apps have",
		"/var/run/docker.sock":          "does not let apps have",
		folder + "/allowed/out":         "leads elsewhere",
		folder + "/allowed/shop/up":     "leads elsewhere",
		folder + "/allowed/inside/deep": "leads elsewhere",
		folder + "/allowed/none":        "There is no",
	} {
		f := new(deploy.Failure)
		if err := starts(t, target, with(source)); !errors.As(err, &f) || !strings.Contains(f.Message, says) {
			t.Errorf("%s: it says %v", source, err)
		}
	}
	good := with(folder + "/allowed/shop/deep")
	if err := starts(t, target, good); err != nil {
		t.Fatal(err)
	}
	all, err := target.List(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v: the containers that looked are not gone", all, err)
	}
	if got := body(t, "http://"+all[0].Address+"/read?path=/host/note"); got != "of the host" {
		t.Errorf("the app reads %q", got)
	}
	body(t, "http://"+all[0].Address+"/write?path=/host/note&text=changed")
	if text, err := os.ReadFile(filepath.Join(folder, "allowed/shop/deep/note")); err != nil || string(text) != "of the host" {
		t.Errorf("what is read only is %q now, %v", text, err)
	}
}

func TestTheHostsNetworkIsOnlyForThoseWhomAnAdminAllowsIt(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	image := push(t, dockertest.App(t))
	forget(t, image.Ref())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	r := release(image)
	r.HostNetwork, r.Env["PORT"] = true, port
	if r.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	f := new(deploy.Failure)
	if err := starts(t, open(t, nil), r); !errors.As(err, &f) || !strings.Contains(f.Message, "does not let apps use its host's network") {
		t.Fatalf("without permission: %v", err)
	}
	target := open(t, map[string]string{"host_network": "true"})
	if err := starts(t, target, r); !errors.As(err, &f) || !strings.Contains(f.Message, "Port "+port+" of the target's host is taken") {
		t.Fatalf("with a port that is taken: %v", err)
	}
	taken.Close()
	if err := starts(t, target, r); err != nil {
		t.Fatal(err)
	}
	all, err := target.List(t.Context())
	if err != nil || len(all) != 1 || all[0].Address != "127.0.0.1:"+port {
		t.Fatalf("%+v, %v", all, err)
	}
	c, err := engine.ContainerInspect(t.Context(), all[0].ID)
	if err != nil || !c.HostConfig.NetworkMode.IsHost() || c.HostConfig.Privileged || c.HostConfig.PidMode.IsHost() {
		t.Errorf("the container has %+v, %v", c.HostConfig, err)
	}
	if err := target.Remove(t.Context(), r.ID, 0); err != nil {
		t.Error(err)
	}
}

func TestACrashLoopIsSaid(t *testing.T) {
	t.Parallel()
	image := push(t, dockertest.App(t))
	forget(t, image.Ref())
	target := open(t, nil)
	limited, endless := release(image), release(image)
	limited.Restart, limited.RestartMax = models.RestartOnFailure, 2
	for r, says := range map[*deploy.Release]string{&limited: "exit code 4. It was started again 2 times, as often as its restart policy allows.", &endless: "Crash loop: it "} {
		if err := starts(t, target, *r); err != nil {
			t.Fatal(err)
		}
		said := ""
		for end := time.Now().Add(2 * time.Minute); !strings.Contains(said, says); {
			if time.Now().After(end) {
				t.Fatalf("it says %q", said)
			}
			<-time.After(50 * time.Millisecond)
			all, err := target.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range all {
				if i.Release != r.ID {
					continue
				}
				if i.State == models.InstanceFailing {
					said = i.Message
				} else if res, err := http.Get("http://" + i.Address + "/exit"); err == nil { // where it listens already
					res.Body.Close()
				}
			}
		}
	}
}

func TestAReleaseKeepsItsRestartPolicy(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	image := push(t, dockertest.App(t))
	forget(t, image.Ref())
	target := open(t, nil)
	for policy, want := range map[models.Restart]container.RestartPolicy{
		"":                      {Name: container.RestartPolicyUnlessStopped},
		models.RestartAlways:    {Name: container.RestartPolicyUnlessStopped},
		models.RestartOnFailure: {Name: container.RestartPolicyOnFailure, MaximumRetryCount: 7},
		models.RestartNever:     {Name: container.RestartPolicyDisabled},
	} {
		r := release(image)
		r.Restart, r.RestartMax = policy, 7
		if err := starts(t, target, r); err != nil {
			t.Fatal(err)
		}
		all, err := target.List(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		c, err := engine.ContainerInspect(t.Context(), all[0].ID)
		if err != nil || c.HostConfig.RestartPolicy != want {
			t.Errorf("%q: the policy is %+v, %v", policy, c.HostConfig.RestartPolicy, err)
		}
		if err := target.Remove(t.Context(), r.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
}
