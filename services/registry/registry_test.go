package registry_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/auth"
	"slipway.dev/services/registry"
	"slipway.dev/services/secrets"
)

// fixture is a registry that serves HTTP, with people who have tokens.
type fixture struct {
	*modelstest.World
	db       *models.Database
	registry *registry.Service
	auth     *auth.Service
	host     string
	folder   string
	keys     string
	wrap     func(http.Handler) http.Handler // around what process starts; nil for nothing
}

func serve(t testing.TB, db *models.Database, options ...func(*registry.Service)) *fixture {
	t.Helper()
	f := &fixture{World: modelstest.Seed(t, db), db: db, folder: t.TempDir(), keys: filepath.Join(t.TempDir(), "keys")}
	f.registry = f.process(t, options...)
	f.host = f.registry.Host()
	return f
}

// process starts one more process of the same registry.
func (f *fixture) process(t testing.TB, options ...func(*registry.Service)) *registry.Service {
	t.Helper()
	box, err := secrets.Load(f.keys)
	if err != nil {
		t.Fatal(err)
	}
	f.auth = &auth.Service{DB: f.db.DB, Box: box}
	s := &registry.Service{DB: f.db, Box: box, Folder: f.folder, Reload: f.auth.Reload,
		Authenticate: func(ctx context.Context, _, token string) (*models.Principal, error) {
			return f.auth.AuthenticateToken(ctx, token)
		}}
	for _, o := range options {
		o(s)
	}
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/registry/token" { // as the portal does it: http.ServeMux would clean tricks out of paths
			s.Token(w, r)
			return
		}
		s.ServeHTTP(w, r)
	})
	if f.wrap != nil {
		handler = f.wrap(handler)
	}
	server := httptest.NewUnstartedServer(handler)
	s.External = "http://" + server.Listener.Addr().String()
	server.Start()
	t.Cleanup(server.Close)
	return s
}

// token makes a personal token of the user.
func (f *fixture) token(t testing.TB, u *models.User, scopes ...models.Scope) string {
	t.Helper()
	_, secret, err := f.auth.CreateToken(modelstest.As(t, f.db, u), auth.NewToken{Name: "test", Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func (f *fixture) writer(t testing.TB, u *models.User) remote.Option {
	return basic("anything", f.token(t, u, models.ScopeRegistryRead, models.ScopeRegistryWrite))
}

func (f *fixture) reader(t testing.TB, u *models.User) remote.Option {
	return basic("anything", f.token(t, u, models.ScopeRegistryRead))
}

func basic(user, password string) remote.Option {
	return remote.WithAuth(&authn.Basic{Username: user, Password: password})
}

func (f *fixture) ref(t testing.TB, image string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(f.host+"/"+image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// push pushes a new image of so many layers of 1 KiB and returns it.
func (f *fixture) push(t testing.TB, image string, layers int64, options ...remote.Option) v1.Image {
	t.Helper()
	img, err := random.Image(1024, layers)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(f.ref(t, image), img, options...); err != nil {
		t.Fatal(err)
	}
	return img
}

func digestOf(t testing.TB, i interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// access signs in as the token and returns a token for the scope.
func (f *fixture) access(t testing.TB, password, scope string) string {
	t.Helper()
	answer := f.ask(t, http.MethodGet, f.registry.External+"/registry/token?scope="+url.QueryEscape(scope), "", func(r *http.Request) {
		r.SetBasicAuth("anything", password)
	})
	if answer.status != http.StatusOK {
		t.Fatalf("the token endpoint answered %d: %s", answer.status, answer.body)
	}
	_, rest, _ := strings.Cut(answer.body, `"access_token":"`)
	raw, _, _ := strings.Cut(rest, `"`)
	return raw
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (f *fixture) ask(t testing.TB, method, address, body string, change func(*http.Request)) answer {
	t.Helper()
	if strings.HasPrefix(address, "/") {
		address = f.registry.External + address
	}
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}
