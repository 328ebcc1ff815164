package aws_test

import (
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/aws"
	"slipway.dev/services/deploy/aws/awstest"
	"slipway.dev/services/deploy/deploytest"
	"slipway.dev/services/dockertest"
)

// store is a registry with the image of the test server in it.
func store(t *testing.T) (deploy.Image, deploy.Source) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	repository := strings.TrimPrefix(server.URL, "http://") + "/payments/checkout"
	ref, err := name.NewTag(repository + ":1")
	if err != nil {
		t.Fatal(err)
	}
	img := dockertest.App(t, "VERSION=1")
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	at := deploy.Image{Repository: repository, Digest: digest.String()}
	engine := dockertest.Engine(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := engine.ImageRemove(ctx, at.Ref(), image.RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
			t.Error(err)
		}
	})
	return at, deploy.Source{
		Credential: func(context.Context) (string, string, error) { return "", "", nil },
		Open: func(context.Context) (name.Repository, []remote.Option, error) {
			repository, err := name.NewRepository(repository)
			return repository, nil, err
		},
	}
}

// open returns a target of the account; a setting of "" is left out.
func open(t *testing.T, cloud *awstest.Cloud, change map[string]string) deploy.Target {
	t.Helper()
	return openAs(t, cloud, models.NewID(), change, nil)
}

func openAs(t *testing.T, cloud *awstest.Cloud, id string, change map[string]string, identity deploy.Identity) deploy.Target {
	t.Helper()
	settings, secrets := cloud.Settings()
	maps.Copy(settings, change)
	maps.DeleteFunc(settings, func(_, value string) bool { return value == "" })
	if settings["access_key_id"] == "" {
		secrets = nil
	}
	target, err := aws.Kind().Open(deploy.Config{ID: id, Name: "aws", Settings: settings, Secrets: secrets, Identity: identity})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

func TestECSDoesWhatEveryTargetMust(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	gone := at
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	cloud := awstest.New(t)
	deploytest.Run(t, deploytest.Suite{
		Title: "Amazon ECS",
		Open:  func(t *testing.T) deploy.Target { return open(t, cloud, measured) },
		Image: at, From: from, Gone: gone, Mixed: true, Always: true, Patience: 15 * time.Second,
		Routed: func(t *testing.T, url string) string { _, body := cloud.Visit(t, url, "/version"); return body },
	})
}

var measured = map[string]string{"container_insights": "true"}

var public = map[string]string{"listener": "", "domain": "", "public_address": "true"}

func release(at deploy.Image, from deploy.Source, env ...string) deploy.Release {
	id := models.NewID()
	r := deploy.Release{
		ID: id, Name: "payments-checkout-dev-" + id[24:], Team: "payments", App: "checkout", AppID: models.NewID(), Environment: "dev", EnvironmentID: models.NewID(),
		Image: at, From: from, Env: map[string]string{"PORT": "8080", "GREETING": "hello", "PASSWORD": "hidden"}, Plain: []string{"GREETING", "PORT"},
		Port: 8080, Health: models.HealthHTTP, HealthPath: "/healthz", Scale: models.Scale{Replicas: 1},
	}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		r.Env[name] = value
		r.Plain = append(r.Plain, name)
	}
	return r
}

func nothing(string) {}

// up runs the release until it is healthy.
func up(t *testing.T, target deploy.Target, r deploy.Release) []deploy.Instance {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := target.Start(ctx, r); err != nil {
		t.Fatal(err)
	}
	found, err := target.Wait(ctx, r, nothing)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// failure is the error as one for people.
func failure(t *testing.T, err error) *deploy.Failure {
	t.Helper()
	f, ok := errors.AsType[*deploy.Failure](err)
	if !ok {
		t.Fatalf("the error is %v", err)
	}
	if !strings.HasSuffix(f.Message, ".") {
		t.Errorf("the message is no sentence: %q", f.Message)
	}
	return f
}
