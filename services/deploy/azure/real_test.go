//go:build realclouds

// The test of this file needs an account of Azure; make test-clouds selects it. Its variables name what is there:
//
//	SLIPWAY_TEST_AZURE_SUBSCRIPTION       its id
//	SLIPWAY_TEST_AZURE_RESOURCE_GROUP     where apps and jobs are made
//	SLIPWAY_TEST_AZURE_ENVIRONMENT        a Container Apps environment with a public address
//	SLIPWAY_TEST_AZURE_TENANT             with
//	SLIPWAY_TEST_AZURE_CLIENT_ID          and
//	SLIPWAY_TEST_AZURE_CLIENT_SECRET      an application with the role of docs/azure.md
//	SLIPWAY_TEST_AZURE_REGISTRY_IDENTITY  resource id of a managed identity that pulls
//	SLIPWAY_TEST_AZURE_IMAGE              the test server (services/dockertest) in an Azure Container Registry: REPOSITORY@sha256:…
package azure_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azure"
	"slipway.dev/services/deploy/deploytest"
)

func TestRealAccountDoesWhatEveryTargetMust(t *testing.T) {
	variable := func(name string) string {
		v := os.Getenv("SLIPWAY_TEST_AZURE_" + name)
		if v == "" {
			t.Fatalf("SLIPWAY_TEST_AZURE_%s is not set: real_test.go says what it names", name)
		}
		return v
	}
	settings := map[string]string{
		"subscription_id": variable("SUBSCRIPTION"), "resource_group": variable("RESOURCE_GROUP"), "environment": variable("ENVIRONMENT"),
		"tenant_id": variable("TENANT"), "client_id": variable("CLIENT_ID"), "registry_identity": variable("REGISTRY_IDENTITY"),
	}
	secrets := map[string]string{"client_secret": variable("CLIENT_SECRET")}
	repository, digest, ok := strings.Cut(variable("IMAGE"), "@")
	if !ok {
		t.Fatal("SLIPWAY_TEST_AZURE_IMAGE is not a repository and a digest with an @ between")
	}
	image := deploy.Image{Repository: repository, Digest: digest}
	gone := image
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	deploytest.Run(t, deploytest.Suite{
		Open: func(t *testing.T) deploy.Target {
			target, err := azure.Kind().Open(deploy.Config{ID: models.NewID(), Name: "test", Settings: settings, Secrets: secrets})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
				defer cancel()
				if err := target.(deploy.Destroyer).Destroy(ctx); err != nil {
					t.Error(err)
				}
				target.Close()
			})
			return target
		},
		Image: image, Gone: gone, Routed: visitReal, Mixed: true, Always: true, Balances: true, Secure: http.DefaultClient, Patience: 2 * time.Minute,
		From: deploy.Source{
			Credential: func(context.Context) (string, string, error) { return "", "", nil },
			Open: func(context.Context) (name.Repository, []remote.Option, error) { // from here the registry is not asked
				repository, err := name.NewRepository(repository)
				return repository, nil, err
			},
		},
	})
}

// visitReal is what a visitor of the address gets.
func visitReal(t *testing.T, url string) string {
	res, err := http.Get(url + "/version")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(body))
}
