package google_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/deploytest"
	"slipway.dev/services/deploy/google"
	"slipway.dev/services/deploy/google/googletest"
	"slipway.dev/services/dockertest"
)

const repository = "europe-west1-docker.pkg.dev/acme-apps/apps/checkout"

// image is the test server by the name that it has at Google, and where tests read it.
func image(t *testing.T) (of deploy.Image, from deploy.Source, local map[string]string) {
	t.Helper()
	store := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(store.Close)
	img := dockertest.App(t, "VERSION=1")
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	at, err := name.NewRepository(strings.TrimPrefix(store.URL, "http://") + "/apps/checkout")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(at.Tag("1"), img); err != nil {
		t.Fatal(err)
	}
	of = deploy.Image{Repository: repository, Digest: digest.String()}
	from = deploy.Source{
		Credential: func(context.Context) (string, string, error) { return "", "", nil },
		Open:       func(context.Context) (name.Repository, []remote.Option, error) { return at, nil, nil },
	}
	return of, from, map[string]string{of.Ref(): dockertest.AppImage(t, "VERSION=1")}
}

// open opens a target of the project, which signs in by tokens of the portal; settings change what it says.
func open(t *testing.T, cloud *googletest.Cloud, settings map[string]string) deploy.Target {
	t.Helper()
	return openAs(t, cloud, models.NewID(), settings)
}

func openAs(t *testing.T, cloud *googletest.Cloud, id string, settings map[string]string) deploy.Target {
	t.Helper()
	c := deploy.Config{ID: id, Name: "google", Identity: cloud.Identity(), Secrets: map[string]string{}, Settings: map[string]string{
		"project": googletest.Project, "region": googletest.Region, "run_as": googletest.RunAs, "public": "true", "endpoint": cloud.Endpoint(),
		"workload_provider": googletest.Provider, "service_account": googletest.Account,
	}}
	for name, value := range settings {
		if name == "key" {
			c.Secrets[name] = value
			continue
		}
		c.Settings[name] = value
	}
	target, err := google.Soon().Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

func visit(t *testing.T, url string) string {
	t.Helper()
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

func TestCloudRunDoesWhatEveryTargetMust(t *testing.T) {
	of, from, local := image(t)
	gone := of
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	deploytest.Run(t, deploytest.Suite{
		Title: "Google Cloud Run",
		Open:  func(t *testing.T) deploy.Target { return open(t, googletest.New(t, local), nil) },
		Image: of, From: from, Gone: gone, Routed: visit, Always: true, Balances: true, Untold: true, Patience: 15 * time.Second,
	})
}
