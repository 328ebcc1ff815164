//go:build realclouds

package google_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	googleregistry "github.com/google/go-containerregistry/pkg/v1/google"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/deploytest"
	"slipway.dev/services/deploy/google"
	"slipway.dev/services/dockertest"
)

// TestRealAccountDoesWhatEveryTargetMust runs the story in the project that the
// variables name, with the machine's own Google account:
//
//	SLIPWAY_TEST_GOOGLE_PROJECT     acme-apps
//	SLIPWAY_TEST_GOOGLE_REGION      europe-west1
//	SLIPWAY_TEST_GOOGLE_RUN_AS      slipway-apps@acme-apps.iam.gserviceaccount.com
//	SLIPWAY_TEST_GOOGLE_REPOSITORY  europe-west1-docker.pkg.dev/acme-apps/slipway/test
func TestRealAccountDoesWhatEveryTargetMust(t *testing.T) {
	settings := map[string]string{"public": "true"}
	for field, variable := range map[string]string{"project": "PROJECT", "region": "REGION", "run_as": "RUN_AS"} {
		settings[field] = os.Getenv("SLIPWAY_TEST_GOOGLE_" + variable)
	}
	repository, err := name.NewRepository(os.Getenv("SLIPWAY_TEST_GOOGLE_REPOSITORY"))
	if err != nil {
		t.Fatalf("SLIPWAY_TEST_GOOGLE_REPOSITORY: %v", err)
	}
	login := remote.WithAuthFromKeychain(googleregistry.Keychain)
	img := dockertest.App(t, "VERSION=1")
	if err := remote.Write(repository.Tag("1"), img, login); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	image := deploy.Image{Repository: repository.Name(), Digest: digest.String()}
	gone := image
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	deploytest.Run(t, deploytest.Suite{
		Title: "Google Cloud Run",
		Open: func(t *testing.T) deploy.Target {
			target, err := google.Kind().Open(deploy.Config{ID: models.NewID(), Name: "test", Settings: settings})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { sweep(t, target) })
			return target
		},
		Image: image, Gone: gone, Routed: visit, Always: true, Balances: true, Untold: true, Patience: 3 * time.Minute,
		From: deploy.Source{
			Credential: func(context.Context) (string, string, error) { return "", "", nil },
			Open: func(context.Context) (name.Repository, []remote.Option, error) {
				return repository, []remote.Option{login}, nil
			},
		},
	})
}

// sweep removes what the target still has.
func sweep(t *testing.T, target deploy.Target) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	all, err := target.List(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, i := range all {
		if err := target.Remove(ctx, i.Release, 0); err != nil {
			t.Error(err)
		}
	}
	if err := target.Close(); err != nil {
		t.Error(err)
	}
}
