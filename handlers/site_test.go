package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/audit"
	"slipway.dev/services/auth"
	"slipway.dev/services/blobs"
	"slipway.dev/services/builds"
	"slipway.dev/services/catalog"
	"slipway.dev/services/events"
	"slipway.dev/services/git"
	"slipway.dev/services/idempotency"
	"slipway.dev/services/images"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
	"slipway.dev/services/registry"
	"slipway.dev/services/secrets"
	"slipway.dev/static"
)

const externalURL = "http://portal.test:8080"

// fixture is a whole portal on a seeded database, without a Docker Engine.
type fixture struct {
	*modelstest.World
	t    testing.TB
	db   *models.Database
	site *site
	s    Services
}

func newFixture(t testing.TB, change ...func(*Services, *Options)) *fixture {
	t.Helper()
	db := modelstest.DB(t)
	f := &fixture{World: modelstest.Seed(t, db), t: t, db: db}
	f.s = newServices(t, db)
	o := Options{ExternalURL: externalURL, AppsDomain: "apps.test", Version: "test", RateBurst: 1_000_000, RatePerSecond: 100_000, Assets: assets(t)}
	for _, c := range change {
		c(&f.s, &o)
	}
	var err error
	if f.site, err = newSite(f.s, o); err != nil {
		t.Fatal(err)
	}
	return f
}

func assets(t testing.TB) *static.Assets {
	t.Helper()
	a, err := static.Load()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newServices(t testing.TB, db *models.Database) Services {
	t.Helper()
	box := newBox(t)
	a := &auth.Service{DB: db.DB, Box: box, ExternalURL: externalURL}
	ev := &events.Service{DB: db.DB}
	queue, err := jobs.New(db, jobs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	things := &catalog.Service{DB: db.DB, Git: &git.Service{Dir: t.TempDir()}, Secrets: box, Jobs: queue}
	things.Register(queue)
	bucket, err := blobs.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	store := &registry.Service{DB: db, Box: box, Folder: t.TempDir(), External: externalURL}
	runs := &builds.Service{DB: db, Jobs: queue, Git: things.Git, Logs: &logs.Service{DB: db, Blobs: bucket}, Registry: store, Dir: t.TempDir()}
	runs.Register(queue)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); ev.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return Services{
		Auth: a, Events: ev, Audit: &audit.Service{DB: db.DB}, Idempotency: &idempotency.Service{DB: db.DB},
		Catalog:  things,
		Registry: store,
		Builds:   runs,
		Images:   &images.Service{DB: db.DB, Registry: store},
		Proxy: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "the app at "+r.Host)
		}),
	}
}

func newBox(t testing.TB) *secrets.Box {
	t.Helper()
	box, err := secrets.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// token makes a token of the user with the scopes.
func (f *fixture) token(u *models.User, scopes ...models.Scope) string {
	f.t.Helper()
	_, secret, err := f.s.Auth.CreateToken(modelstest.As(f.t, f.db, u), auth.NewToken{Name: "test", Scopes: scopes, Days: 1})
	if err != nil {
		f.t.Fatal(err)
	}
	return secret
}

// cookie makes a session of the user, as a sign-in would.
func (f *fixture) cookie(u *models.User) *http.Cookie {
	f.t.Helper()
	value := models.NewID() + models.NewID()
	now := f.db.NowFunc()
	row := models.Session{ID: digest(value), UserID: u.ID, Issuer: u.Issuer, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour)}
	if err := f.db.Create(&row).Error; err != nil {
		f.t.Fatal(err)
	}
	return &http.Cookie{Name: "slipway_session", Value: value}
}

// ask is a request to the portal.
type ask struct {
	method, path, body string
	host               string
	token              string
	cookie             *http.Cookie
	header             map[string]string
	peer               string
}

// send answers a request in process.
func (f *fixture) send(a ask) *httptest.ResponseRecorder {
	f.t.Helper()
	var body io.Reader
	if a.body != "" {
		body = strings.NewReader(a.body)
	}
	r := httptest.NewRequest(orElse(a.method, "GET"), a.path, body)
	r.Host = orElse(a.host, "portal.test:8080")
	r.RemoteAddr = orElse(a.peer, "192.0.2.7:5555")
	if strings.HasPrefix(a.path, "/api/") && a.body != "" {
		r.Header.Set("Content-Type", "application/json")
	} else if a.body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if a.token != "" {
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	if a.cookie != nil {
		r.AddCookie(a.cookie)
	}
	for name, value := range a.header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	f.site.ServeHTTP(w, r)
	return w
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// digest is how a session's cookie is stored.
func digest(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}
