package azure_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azure"
	"slipway.dev/services/deploy/azure/azuretest"
	"slipway.dev/services/deploy/deploytest"
	"slipway.dev/services/dockertest"
)

const user, password = "someone", "secret"

// store is a registry that asks for a login, with the image of the test server in it. Its repository has a name of its
// own: a Docker Engine remembers what it pulled from a host and port, and asks for no login then.
func store(t *testing.T) (deploy.Image, deploy.Source) {
	t.Helper()
	behind := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	at := strings.TrimPrefix(server.URL, "http://") + "/payments/checkout-" + models.NewID()
	ref, err := name.NewTag(at + ":1")
	if err != nil {
		t.Fatal(err)
	}
	img := dockertest.App(t, "VERSION=1")
	login := remote.WithAuth(&authn.Basic{Username: user, Password: password})
	if err := remote.Write(ref, img, login); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return deploy.Image{Repository: at, Digest: digest.String()}, deploy.Source{
		Credential: func(context.Context) (string, string, error) { return user, password, nil },
		Open: func(context.Context) (name.Repository, []remote.Option, error) {
			repository, err := name.NewRepository(at)
			return repository, []remote.Option{login}, err
		},
	}
}

// issuer makes tokens as the portal does, for whoever the test says.
type issuer struct {
	t       *testing.T
	key     *ecdsa.PrivateKey
	subject string
	asked   []deploy.Subject
}

func newIssuer(t *testing.T, s *azuretest.Server) *issuer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, key: key, subject: "target:azure"}
	s.Trust = azuretest.Trust{Issuer: "https://slipway.example.com", Subject: i.subject, Key: key.Public()}
	return i
}

func (i *issuer) identity(_ context.Context, audience string, of deploy.Subject) (string, error) {
	i.asked = append(i.asked, of)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: i.key}, nil)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(jwt.Claims{Issuer: "https://slipway.example.com", Subject: i.subject, Audience: jwt.Audience{audience}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Minute))}).Serialize()
}

// open returns a target in the Azure that signs in with a secret.
func open(t *testing.T, s *azuretest.Server, change ...func(*deploy.Config)) deploy.Target {
	t.Helper()
	c := deploy.Config{ID: models.NewID(), Name: "azure", Settings: s.Settings(), Secrets: map[string]string{"client_secret": s.Secret}}
	for _, do := range change {
		do(&c)
	}
	target, err := azure.KindOver(s.HTTP()).Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

func TestContainerAppsDoWhatEveryTargetMust(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	gone := image
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	visit := func(t *testing.T, url string) string {
		res, err := s.HTTP().Get(url + "/version")
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
	deploytest.Run(t, deploytest.Suite{
		Title: "Azure Container Apps",
		Open:  func(t *testing.T) deploy.Target { return open(t, s) },
		Image: image, From: from, Gone: gone, Routed: visit, Mixed: true, Always: true, Balances: true, Secure: s.HTTP(),
	})
}

// release is one of the app checkout.
func release(image deploy.Image, from deploy.Source, env ...string) deploy.Release {
	id := models.NewID()
	r := deploy.Release{
		ID: id, Name: "payments-checkout-dev-" + id[24:], Team: "payments", App: "checkout", Environment: "dev", EnvironmentID: models.NewID(),
		Image: image, From: from, Env: map[string]string{"PORT": "8080"}, Plain: []string{"PORT"}, Port: 8080, Health: models.HealthHTTP, HealthPath: "/healthz", Scale: models.Scale{Replicas: 1},
	}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		r.Env[name] = value
	}
	return r
}

// failure is the failure in err.
func failure(t *testing.T, err error) *deploy.Failure {
	t.Helper()
	var f *deploy.Failure
	if !errors.As(err, &f) {
		t.Fatalf("it ended with %v", err)
	}
	if !strings.HasSuffix(f.Message, ".") {
		t.Errorf("the message is no sentence: %q", f.Message)
	}
	return f
}

func nothing(string) {}
