package docker_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/dockertest"
)

// checked is the test server's image with a HEALTHCHECK.
func checked(t *testing.T, check v1.HealthConfig) v1.Image {
	t.Helper()
	img := dockertest.App(t)
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config := file.Config
	config.Healthcheck = &check
	if img, err = mutate.Config(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// stateOf is what the target says of the release's one instance.
func stateOf(t *testing.T, target deploy.Target, r deploy.Release) models.InstanceState {
	t.Helper()
	all, err := target.List(t.Context())
	if err != nil || len(all) != 1 || all[0].Release != r.ID {
		t.Fatalf("%+v, %v", all, err)
	}
	return all[0].State
}

func TestAnImagesOwnHealthCheckCountsWhereTheAppSaysSo(t *testing.T) {
	t.Parallel()
	good, bad := []string{"CMD", "/app", "say", "PORT"}, []string{"CMD", "/app", "fail", "7"}
	for name, c := range map[string]struct {
		image  v1.Image
		health models.HealthKind
		words  string // of the failure; empty: it gets healthy
	}{
		"that says healthy":                            {checked(t, v1.HealthConfig{Test: good, Interval: time.Second}), models.HealthImage, ""},
		"that says unhealthy":                          {checked(t, v1.HealthConfig{Test: bad, Interval: time.Second, Retries: 1}), models.HealthImage, "says that the app is unhealthy: unhealthy, exit code 7 failing."},
		"that there is not":                            {dockertest.App(t), models.HealthImage, "The image has no HEALTHCHECK."},
		"that is asked late, where another one counts": {checked(t, v1.HealthConfig{Test: good, Interval: time.Hour}), models.HealthHTTP, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := push(t, c.image)
			forget(t, image.Ref())
			target, r := open(t, nil), release(image)
			r.Health = c.health
			err := starts(t, target, r)
			if c.words == "" {
				if state := stateOf(t, target, r); err != nil || state != models.InstanceHealthy {
					t.Errorf("it is %s: %v", state, err)
				}
				return
			}
			if f := new(deploy.Failure); !errors.As(err, &f) || f.Stage != deploy.StageHealth || !strings.Contains(f.Message, c.words) {
				t.Errorf("got %v, want %q", err, c.words)
			}
		})
	}
}
