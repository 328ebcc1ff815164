package registries_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/services/outbound"
	"slipway.dev/services/registries"
)

// host is a server with TLS that notes what reaches it.
type host struct {
	*httptest.Server
	name string // with its port

	mu   sync.Mutex
	seen []string // method and path
	got  []string // whatever may hold a credential or contents
}

// newHost starts a server that is known by the name.
func newHost(t *testing.T, name string, answer http.HandlerFunc) *host {
	t.Helper()
	h := &host{}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		h.seen = append(h.seen, r.Method+" "+r.URL.Path)
		h.got = append(h.got, r.Header.Get("Authorization"), r.Header.Get("Cookie"), string(body))
		h.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(h.Close)
	_, port, _ := net.SplitHostPort(h.Listener.Addr().String())
	h.name = name + ":" + port
	return h
}

// secrets is what reached the server beside addresses.
func (h *host) secrets() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.got, "")
}

func (h *host) requests() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.seen, ", ")
}

const secret = "canary-of-a-credential"

// attacked is a portal with a registry that answers as it likes, and another host.
type attacked struct {
	*world
	home, evil *host
	registry   *models.Registry
	resolve    atomic.Pointer[func(string) string] // by name, where the test says so
}

// attack connects the registry, which behaves while it is connected and then answers as the test says.
func attack(t *testing.T, answer func(a *attacked) http.HandlerFunc, evil http.HandlerFunc) *attacked {
	t.Helper()
	return attackSlowly(t, 0, answer, evil)
}

// attackSlowly is attack with a portal that waits only so long once the registry is entered.
func attackSlowly(t *testing.T, patience time.Duration, answer func(a *attacked) http.HandlerFunc, evil http.HandlerFunc) *attacked {
	t.Helper()
	a := &attacked{world: newWorld(t, sqlite(t))}
	var attacking atomic.Pointer[http.HandlerFunc]
	a.home = newHost(t, "registry.example.com", func(w http.ResponseWriter, r *http.Request) {
		if f := attacking.Load(); f != nil {
			(*f)(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="home"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	a.evil = newHost(t, "evil.example.com", evil)
	a.Guard.Lookup = func(_ context.Context, name string) ([]netip.Addr, error) {
		if resolve := a.resolve.Load(); resolve != nil {
			return []netip.Addr{netip.MustParseAddr((*resolve)(name))}, nil
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.home.Certificate().Raw})
	var err error
	a.registry, err = a.Create(admin(t), registries.Input{Name: "Home", Kind: registries.KindGeneric, Host: a.home.name, AllTeams: models.RegistryPush,
		Settings: map[string]string{"username": "robot", "password": secret, "ca": string(ca)}})
	if err != nil {
		t.Fatal(err)
	}
	f := answer(a)
	attacking.Store(&f)
	a.Patience = patience
	return a
}

func (a *attacked) open(t *testing.T) *registries.Remote {
	t.Helper()
	r, err := a.Open(admin(t), a.registry.ID, "acme/shop", registries.Pull, registries.Push)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func pull(r *registries.Remote) error {
	image, err := remote.Image(r.Repository.Tag("1"), r.Options()...)
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		blob, err := l.Compressed()
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, blob); err != nil {
			return err
		}
		blob.Close()
	}
	return nil
}

func push(r *registries.Remote) error {
	image, err := random.Image(100, 1)
	if err != nil {
		return err
	}
	return remote.Write(r.Repository.Tag("1"), image, r.Options()...)
}

func tags(r *registries.Remote) error {
	_, err := remote.List(r.Repository, r.Options()...)
	return err
}

// basic asks for the credential and answers the rest as the test says.
func basic(then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="home"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path == "/v2/" {
			return
		}
		then(w, r)
	}
}

func bearer(realm string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="home",scope="repository:acme/shop:pull,push"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func giveToken(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, `{"token":"from-elsewhere"}`)
}

func TestNoCredentialAndNoContentReachAnotherHost(t *testing.T) {
	t.Parallel()
	nothing := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }
	for _, test := range []struct {
		name   string
		answer func(a *attacked) http.HandlerFunc
		evil   http.HandlerFunc
		do     func(*registries.Remote) error
		fails  any // the error that it has to be
	}{
		{"a realm on another host", func(a *attacked) http.HandlerFunc { return bearer("https://" + a.evil.name + "/token") }, giveToken, pull, new(*registries.ForeignError)},
		{"a realm without TLS", func(a *attacked) http.HandlerFunc { return bearer("http://" + a.home.name + "/token") }, giveToken, pull, nil},
		{"a realm on another port of the host", func(a *attacked) http.HandlerFunc {
			return bearer("https://registry.example.com:" + port(a.evil.name) + "/token")
		}, giveToken, pull, new(*registries.ForeignError)},
		{"a realm with the host as a user name", func(a *attacked) http.HandlerFunc {
			return bearer("https://" + a.home.name + "@" + a.evil.name + "/token")
		}, giveToken, pull, new(*registries.ForeignError)},
		{"a realm that redirects", func(a *attacked) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					http.Redirect(w, r, "https://"+a.evil.name+"/token", http.StatusTemporaryRedirect)
					return
				}
				bearer("https://"+a.home.name+"/token")(w, r)
			}
		}, giveToken, pull, nil},
		{"manifests on another host that asks for a login", func(a *attacked) http.HandlerFunc {
			return basic(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://"+a.evil.name+r.URL.Path, http.StatusTemporaryRedirect)
			})
		}, func(w http.ResponseWriter, r *http.Request) {
			bearer("https://"+r.Host+"/token")(w, r)
		}, pull, nil},
		{"an upload on another host", func(a *attacked) http.HandlerFunc {
			return basic(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					w.Header().Set("Location", "https://"+a.evil.name+"/upload")
					w.WriteHeader(http.StatusAccepted)
					return
				}
				w.WriteHeader(http.StatusNotFound)
			})
		}, nothing, push, new(*registries.ForeignError)},
		{"an upload that redirects", func(a *attacked) http.HandlerFunc {
			return basic(func(w http.ResponseWriter, r *http.Request) {
				switch r.Method {
				case http.MethodPost:
					w.Header().Set("Location", "/v2/acme/shop/blobs/uploads/1")
					w.WriteHeader(http.StatusAccepted)
				case http.MethodPatch, http.MethodPut:
					http.Redirect(w, r, "https://"+a.evil.name+"/upload", http.StatusPermanentRedirect)
				default:
					w.WriteHeader(http.StatusNotFound)
				}
			})
		}, nothing, push, nil},
		{"a next page on another host", func(a *attacked) http.HandlerFunc {
			return basic(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Link", "<https://"+a.evil.name+"/next>; rel=next")
				fmt.Fprint(w, `{"name":"acme/shop","tags":["1"]}`)
			})
		}, nothing, tags, nil},
		{"a redirect to plain http", func(a *attacked) http.HandlerFunc {
			return basic(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://"+a.evil.name+"/", http.StatusTemporaryRedirect)
			})
		}, nothing, pull, new(*registries.DowngradeError)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := attack(t, test.answer, test.evil)
			err := test.do(a.open(t))
			if err == nil {
				t.Fatal("it worked")
			}
			if test.fails != nil && !errors.As(err, test.fails) {
				t.Errorf("the error is %T: %v", err, err)
			}
			if got := a.evil.secrets(); got != "" && !strings.Contains(got, "from-elsewhere") || strings.Contains(got, secret) {
				t.Errorf("the other host got %q by %s", got, a.evil.requests())
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells the credential: %v", err)
			}
		})
	}
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

func TestABlobMayBeElsewhereAndIsAskedForWithoutALogin(t *testing.T) {
	t.Parallel()
	image, err := random.Image(1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	manifest, _ := image.RawManifest()
	kind, _ := image.MediaType()
	layers, _ := image.Layers()
	blob, _ := layers[0].Compressed()
	content, _ := io.ReadAll(blob)
	a := attack(t, func(a *attacked) http.HandlerFunc {
		return basic(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				http.Redirect(w, r, "https://"+a.evil.name+"/storage?signature=x", http.StatusTemporaryRedirect)
				return
			}
			w.Header().Set("Content-Type", string(kind))
			w.Write(manifest)
		})
	}, func(w http.ResponseWriter, _ *http.Request) { w.Write(content) })
	if err := pull(a.open(t)); err != nil {
		t.Fatal(err)
	}
	if got := a.evil.secrets(); got != "" {
		t.Errorf("the storage got %q", got)
	}
	if a.evil.requests() != "GET /storage" {
		t.Errorf("the storage was asked %s", a.evil.requests())
	}
}

func TestARegistryThatAnswersTooMuchOrTooSlowlyIsGivenUp(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	endless := func(w http.ResponseWriter, part string) {
		for {
			n, err := io.WriteString(w, part)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
	// What was read is what was sent but for what the connections hold.
	t.Cleanup(func() {
		if read := sent.Load(); read > 64<<20 {
			t.Errorf("%d MiB were read", read>>20)
		}
	})
	long := strings.Repeat("a", 64<<10)
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		do     func(*registries.Remote) error
		says   string
	}{
		{"a manifest without an end", basic(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			endless(w, long)
		}), pull, "4 MiB"},
		{"a tag without an end", basic(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"tags":["`)
			endless(w, long)
		}), tags, "8 MiB"},
		{"pages without an end", basic(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</v2/acme/shop/tags/list?last=x>; rel=next")
			fmt.Fprint(w, `{"tags":["x"]}`)
		}), tags, "64 MiB"},
		{"headers without an end", basic(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Content-Digest", strings.Repeat(long, 2))
		}), pull, "could not be"},
		{"a manifest that trickles", basic(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			for r.Context().Err() == nil {
				fmt.Fprint(w, " ")
				w.(http.Flusher).Flush()
				pause(r.Context())
			}
		}), pull, "in time"},
		{"no answer at all", basic(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), pull, "in time"},
		{"an error that repeats the credential", basic(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":"%s %s is not allowed"}]}`, user, password)
		}), pull, "does not let Slipway into"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			patience := 30 * time.Second
			if test.says == "in time" {
				patience = 3 * time.Second // the handshake is in it
			}
			a := attackSlowly(t, patience, func(*attacked) http.HandlerFunc { return test.answer }, func(http.ResponseWriter, *http.Request) {})
			r := a.open(t)
			err := r.Explain(test.do(r))
			told, ok := errors.AsType[*models.Error](err)
			if !ok || !strings.Contains(told.Message, test.says) {
				t.Errorf("the error is %v", err)
			}
			if strings.Contains(fmt.Sprint(err), secret) {
				t.Errorf("the error, which is logged, tells the credential: %v", err)
			}
		})
	}
}

func pause(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	<-ctx.Done()
}

func TestANameThatMovesToAPrivateAddressIsNotFollowed(t *testing.T) {
	t.Parallel()
	a := attack(t, func(*attacked) http.HandlerFunc {
		return basic(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusNotFound)
		})
	}, func(http.ResponseWriter, *http.Request) {})
	private := func(string) string { return "169.254.169.254" }
	a.resolve.Store(&private)
	a.Close() // no connection is left from before
	err := pull(a.open(t))
	if _, ok := errors.AsType[*outbound.RefusedError](err); !ok {
		t.Errorf("the error is %v", err)
	}
}
