//go:build realclouds

package vm_test

import (
	"context"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/deploytest"
	"slipway.dev/services/deploy/vm"
	"slipway.dev/services/deploy/vm/vmtest"
	"slipway.dev/services/dockertest"
)

// real runs the story on a machine that is made in the account that variables name, and ends it. SLIPWAY_TEST_PREFIX_NAME
// is the setting name of the kind, in capital letters. The image is carried over, so that the account needs no registry.
func real(t *testing.T, kind deploy.Kind, prefix string) {
	if !slices.ContainsFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SLIPWAY_TEST_"+prefix+"_") }) {
		t.Logf("no variable SLIPWAY_TEST_%s_… names an account, so that nothing is shown", prefix)
		return
	}
	settings, secrets := map[string]string{}, map[string]string{}
	for _, f := range kind.Fields {
		to := settings
		if f.Secret {
			to = secrets
		}
		if value := os.Getenv("SLIPWAY_TEST_" + prefix + "_" + strings.ToUpper(f.Name)); value != "" {
			to[f.Name] = value
		} else if f.Required {
			t.Fatalf("the variable SLIPWAY_TEST_%s_%s is not set", prefix, strings.ToUpper(f.Name))
		}
	}
	if err := kind.Prepare(settings, secrets); err != nil {
		t.Fatal(err)
	}
	target, err := kind.Open(deploy.Config{ID: models.NewID(), Name: "test", Settings: maps.Clone(settings), Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
		defer cancel()
		if err := target.(deploy.Destroyer).Destroy(ctx); err != nil {
			kept, _ := target.(deploy.Destroyer).Keeps(ctx)
			t.Errorf("what was made is still there: %v, %v", kept, err)
		}
		target.Close()
	})
	if bad := inspect(t, target); len(bad) > 0 {
		t.Fatalf("the account is not ready: %s", strings.Join(bad, " "))
	}
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	gone := image
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	if err := target.Fetch(t.Context(), image, vmtest.Anyone(image), func(line string) { t.Log(line) }); err != nil {
		t.Fatal(err)
	}
	deploytest.Run(t, deploytest.Suite{Open: func(*testing.T) deploy.Target { return through(t, target) }, Image: image, From: vmtest.Anyone(image), Gone: gone})
}

// tunnelled is a target whose instances are reached at addresses of this computer.
type tunnelled struct {
	deploy.Target
	deploy.VolumeKeeper
	t *testing.T
}

// through empties the machine of what the chapter before left, and gives the next one a way to it.
func through(t *testing.T, target deploy.Target) deploy.Target {
	t.Helper()
	all, err := target.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if err := target.Remove(t.Context(), i.Release, 0); err != nil {
			t.Fatal(err)
		}
	}
	keeper := target.(deploy.VolumeKeeper)
	volumes, err := keeper.Volumes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes {
		if err := keeper.RemoveVolume(t.Context(), v.ID); err != nil {
			t.Fatal(err)
		}
	}
	return tunnelled{target, keeper, t}
}

// Wait gives each instance an address of this computer, behind which the target's own way leads.
func (u tunnelled) Wait(ctx context.Context, r deploy.Release, say func(string)) ([]deploy.Instance, error) {
	all, err := u.Target.Wait(ctx, r, say)
	for i := range all {
		all[i].Address = u.forward(all[i].Address)
	}
	return all, err
}

func (u tunnelled) forward(to string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer near.Close()
				far, err := u.Dial(context.Background(), "tcp", to)
				if err != nil {
					return
				}
				defer far.Close()
				go func() { _, _ = io.Copy(far, near) }()
				_, _ = io.Copy(near, far)
			}()
		}
	}()
	return listener.Addr().String()
}

func TestRealAccountOfAWS(t *testing.T) { real(t, vm.AWS(vm.Options{}), "AWS_VM") }

func TestRealAccountOfGoogle(t *testing.T) { real(t, vm.Google(vm.Options{}), "GOOGLE_VM") }

func TestRealAccountOfAzure(t *testing.T) { real(t, vm.Azure(vm.Options{}), "AZURE_VM") }
