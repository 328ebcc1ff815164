package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/audit"
	"slipway.dev/services/auth"
	"slipway.dev/services/blobs"
	"slipway.dev/services/builds"
	"slipway.dev/services/catalog"
	"slipway.dev/services/certificates"
	"slipway.dev/services/copies"
	"slipway.dev/services/deploy"
	"slipway.dev/services/engines"
	"slipway.dev/services/events"
	"slipway.dev/services/explorer"
	"slipway.dev/services/forges"
	"slipway.dev/services/git"
	"slipway.dev/services/hooks"
	"slipway.dev/services/idempotency"
	"slipway.dev/services/identity"
	"slipway.dev/services/idp"
	"slipway.dev/services/images"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
	"slipway.dev/services/observe"
	"slipway.dev/services/outbound"
	"slipway.dev/services/previews"
	"slipway.dev/services/pullthrough"
	"slipway.dev/services/registries"
	"slipway.dev/services/registry"
	"slipway.dev/services/retention"
	"slipway.dev/services/schedules"
	"slipway.dev/services/secrets"
	"slipway.dev/services/visitors"
	"slipway.dev/services/workflows"
	"slipway.dev/services/workload"
	"slipway.dev/static"
)

// fixture is a whole portal on a seeded database, without a Docker Engine.
type fixture struct {
	*modelstest.World
	t    testing.TB
	db   *models.Database
	url  string
	host string
	site *site
	s    Services
}

// newFixture starts a portal that listens on a port of its own.
func newFixture(t testing.TB, change ...func(*Services, *Options)) *fixture {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	db := modelstest.DB(t)
	f := &fixture{World: modelstest.Seed(t, db), t: t, db: db, host: listener.Addr().String()}
	f.url = "http://" + f.host
	f.s = newServices(t, db, f.url)
	o := Options{ExternalURL: f.url, AppsDomain: "apps.test", Version: "test", RateBurst: 1_000_000, RatePerSecond: 100_000, Assets: assets()}
	for _, c := range change {
		c(&f.s, &o)
	}
	if f.site, err = newSite(f.s, o); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(f.site)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return f
}

var assets = sync.OnceValue(func() *static.Assets {
	a, err := static.Load()
	if err != nil {
		panic(err)
	}
	return a
})

func newServices(t testing.TB, db *models.Database, url string) Services {
	t.Helper()
	box, err := secrets.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	queue, err := jobs.New(db, jobs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := blobs.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	accounts := &idp.Provider{DB: db.DB, Box: box, ExternalURL: url, RedirectURI: url + "/login/slipway/callback"}
	people := &auth.Service{DB: db.DB, Box: box, ExternalURL: url, Accounts: accounts}
	store := &registry.Service{DB: db, Box: box, Jobs: queue, Folder: t.TempDir(), Place: "/data/registry", External: url, Reload: people.Reload,
		Authenticate: func(ctx context.Context, _, token string) (*models.Principal, error) {
			return people.AuthenticateToken(ctx, token)
		}}
	store.Register(queue)
	files := &git.Service{Dir: t.TempDir(), Guard: &outbound.Guard{}}
	others := &registries.Service{DB: db, Box: box, Guard: noWhere, Embedded: store}
	t.Cleanup(func() { others.Close() })
	moves := &copies.Service{DB: db, Jobs: queue, Registries: others, Standing: people.Standing}
	jobs.Register(queue, moves.Run)
	bases := &pullthrough.Service{DB: db, Registry: store, Registries: others, Guard: noWhere, Scratch: t.TempDir()}
	store.Upstream = bases.Upstream()
	t.Cleanup(func() { bases.Close() })
	things := &catalog.Service{DB: db.DB, Git: files, Secrets: box, Jobs: queue, Registries: others}
	things.Register(queue)
	runs := &builds.Service{DB: db, Jobs: queue, Git: files, Logs: &logs.Service{DB: db, Blobs: bucket}, Registry: store, Registries: others, Box: box, Dir: t.TempDir(),
		Remote: func(context.Context, *models.Repository) (git.Remote, error) {
			return git.Remote{}, models.Errorf(models.Unavailable, "The tests reach no remote.")
		}}
	runs.Register(queue)
	const issuer = "https://issuer.example.test"
	trusts := &workload.Service{DB: db, External: url, Issuers: []string{issuer}, Registry: store}
	people.Workload, people.ReloadWorkload = store.Workload, trusts.Reload
	noGitHub := func(context.Context, *models.Repository) (*github.Client, error) {
		return nil, models.Errorf(models.Conflict, "The tests reach no GitHub.")
	}
	connections := &forges.Service{DB: db.DB, Box: box, ExternalURL: url, Client: noWhere.HTTPClient()}
	runs.Changed = connections.BuildChanged
	deliveries := &hooks.Service{DB: db, Jobs: queue, Forges: connections, Builds: runs, Git: files, Remote: runs.Remote, Refresh: things.Refresh}
	deliveries.Register(queue)
	rollouts := &deploy.Service{DB: db, Queue: queue, Box: box, Registry: store, Registries: others, Git: files, Kinds: []deploy.Kind{stillKind(), cloudKind("aws"), cloudKind("google"), cloudKind("azure")}, Apps: deploy.Address{Scheme: "http", Domain: "apps.test"}}
	jobs.Register(queue, rollouts.Roll)
	jobs.Register(queue, rollouts.DestroyTarget)
	jobs.Register(queue, rollouts.RetireStopped)
	jobs.Register(queue, rollouts.RemoveReleases)
	trust := &identity.Service{DB: db, Box: box, ExternalURL: url, Deploy: rollouts, Guard: noWhere}
	rollouts.Identity = trust.For
	watch := &observe.Service{DB: db, Queue: queue, Logs: runs.Logs, Deploy: rollouts}
	previewed := &previews.Service{DB: db, Deploy: rollouts, ExternalURL: "https://portal.test", TeamLimit: 10, Comment: connections.NoteComment}
	jobs.Register(queue, rollouts.Restore)
	pictures := &images.Service{DB: db.DB, Registry: store, Registries: others}
	inside := &explorer.Service{DB: db, Jobs: queue, Blobs: bucket, Git: files, Find: explorer.Registries{Images: pictures}.Find, OpenBlob: pictures.OpenBlob, Patience: time.Millisecond}
	inside.Register(queue)
	cleanUps := &retention.Service{DB: db, Registry: store, Jobs: queue}
	cleanUps.Register(queue)
	return Services{
		Auth: people, Events: runEvents(t, db), Audit: &audit.Service{DB: db.DB}, Idempotency: &idempotency.Service{DB: db.DB},
		Catalog: things, Builds: runs, Engines: stillEngines(db, box), Images: pictures, Explorer: inside, Retention: cleanUps, Deploy: rollouts, Observe: watch, Previews: previewed, Identity: trust,
		Forges: connections, Hooks: deliveries,
		Schedules: &schedules.Service{DB: db, Builds: runs},
		Workloads: trusts, Workflows: &workflows.Service{DB: db, External: url, Issuer: issuer, Issuers: []string{issuer}, Registry: store, Builds: runs, Workloads: trusts, GitHub: noGitHub},
		Accounts: accounts, Registry: store, Registries: others, Copies: moves, Cache: bases,
		Proxy: visits{}, Certificates: &certificates.Service{DB: db, Box: box},
		Visitors: &visitors.Service{DB: db, Portal: "slip.test", Apps: "apps.test", Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("the tests reach no name server")
		}}},
	}
}

// visits are answered by an app that says where it is.
type visits struct{}

func (visits) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "the app at "+r.Host)
}

func (visits) Serves(host string) bool { return host == "shop.example.org" }

func (visits) Challenge(w http.ResponseWriter, r *http.Request) bool {
	if !strings.HasSuffix(r.URL.Path, "/known-token") {
		return false
	}
	io.WriteString(w, "known-token.answer")
	return true
}

// noWhere is a way out that leads nowhere: the tests reach no forge.
var noWhere = &outbound.Guard{Lookup: func(context.Context, string) ([]netip.Addr, error) {
	return nil, errors.New("the tests reach no forge")
}}

func runEvents(t testing.TB, db *models.Database) *events.Service {
	s := &events.Service{DB: db.DB}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

// stillEngines are engines on which nothing is ever built.
func stillEngines(db *models.Database, box *secrets.Box) *engines.Service {
	return &engines.Service{DB: db, Box: box, Open: func(engines.Connection) builds.Builder { return stillBuilder{} },
		Fixed: []engines.Fixed{{Key: "here", Name: "Docker Engine here", Address: "unix:///var/run/docker.sock", Builder: stillBuilder{}}}}
}

type stillBuilder struct{}

func (stillBuilder) Capabilities(context.Context) (builds.Capabilities, error) {
	return builds.Capabilities{Engine: "buildkitd v1", Platforms: []string{"linux/amd64", "linux/arm64"}}, nil
}

func (stillBuilder) Build(context.Context, builds.Request, func(builds.Event)) (*builds.Result, error) {
	return nil, models.Errorf(models.Unavailable, "The tests build nothing.")
}

// stillKind is a kind of target where nothing ever happens.
func stillKind() deploy.Kind {
	kept := &sync.Map{}
	return deploy.Kind{
		Name: "docker", Title: "Still", Fields: append([]deploy.Field{{Name: "host", Label: "Host"}, {Name: "key", Label: "Key", Secret: true}}, deploy.HostFields()...), Volumes: true, Restarts: true, Splits: true,
		Mirrors: true, PricesOf: "Testland", Prices: []deploy.Price{{Name: "vcpu_hour", Title: "Processor", Unit: "vCPU-hour", Amount: 0.04}},
		Estimate: func(prices map[string]float64, s models.Scale) []deploy.CostLine {
			return []deploy.CostLine{{Title: "Processors", Month: prices["vcpu_hour"] * float64(s.Replicas) * deploy.MonthHours}}
		},
		Open: func(deploy.Config) (deploy.Target, error) { return still{kept}, nil },
	}
}

// cloudKind is a kind of target whose cloud can trust the portal.
func cloudKind(cloud string) deploy.Kind {
	k := deploy.Kind{Name: "still-" + cloud, Title: "Still " + cloud, Federation: cloud, Open: func(deploy.Config) (deploy.Target, error) { return still{&sync.Map{}}, nil }}
	for _, name := range []string{"region", "role", "project", "workload_provider", "service_account", "run_as", "tenant_id", "subscription_id", "client_id", "resource_group", "endpoint", "authority"} {
		k.Fields = append(k.Fields, deploy.Field{Name: name, Label: name})
	}
	return k
}

// still keeps the volumes of releases that were started, also those that somebody removed.
type still struct{ kept *sync.Map }

func (s still) Volumes(context.Context) (all []deploy.Volume, err error) {
	s.kept.Range(func(_, v any) bool { all = append(all, v.(deploy.Volume)); return true })
	return all, nil
}
func (still) RemoveVolume(context.Context, string) error { return nil }
func (s still) Start(_ context.Context, r deploy.Release) error {
	for _, v := range r.Volumes {
		s.kept.Store(r.AppID+v.Name, deploy.Volume{ID: "v-" + v.Name, EnvironmentID: r.EnvironmentID, AppID: r.AppID, Name: v.Name, Size: 4096})
	}
	return nil
}

func (still) Check(context.Context) (deploy.Info, error)                             { return deploy.Info{Version: "Still 1"}, nil }
func (still) Fetch(context.Context, deploy.Image, deploy.Source, func(string)) error { return nil }
func (still) Run(context.Context, deploy.Release, func(string)) error                { return nil }
func (still) Wait(context.Context, deploy.Release, func(string)) ([]deploy.Instance, error) {
	return nil, nil
}
func (still) Route(context.Context, deploy.Release) (string, error) { return "", nil }
func (still) List(context.Context) ([]deploy.Instance, error)       { return nil, nil }
func (still) Usage(context.Context) ([]deploy.Usage, error)         { return nil, nil }
func (still) Logs(context.Context, string, deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		yield(deploy.LogLine{At: time.Unix(1, 0), Text: "the app speaks"}, nil)
	}
}
func (still) Drift(context.Context, deploy.Release) ([]deploy.Drift, error) {
	return []deploy.Drift{{Object: "Deployment checkout", Field: "spec.replicas", Want: "2", Have: "5"}}, nil
}
func (still) Inspect(context.Context, deploy.Release) ([]deploy.Check, error) {
	return []deploy.Check{{Name: "Quota", OK: true, Message: "There is room."}}, nil
}
func (still) Resources(context.Context, string) ([]deploy.Resource, error) {
	return []deploy.Resource{{Kind: "Service", Name: "checkout", Link: "https://console.example.com/checkout"}, {Kind: "Log group", Name: "/slipway"}}, nil
}
func (still) Events(context.Context, string) ([]deploy.Event, error) {
	return []deploy.Event{{At: time.Unix(1, 0), Object: "Service checkout", Text: "<b>unable</b> to place a task", Warning: true}}, nil
}
func (still) Keeps(context.Context) ([]deploy.Resource, error) {
	return []deploy.Resource{{Kind: "Cluster", Name: "slipway", Link: "https://console.example.com/cluster"}}, nil
}
func (still) Destroy(context.Context) error                 { return nil }
func (still) Restore(context.Context, deploy.Release) error { return nil }
func (still) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, syscall.ECONNREFUSED
}
func (still) Remove(context.Context, string, time.Duration) error { return nil }
func (still) Close() error                                        { return nil }

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

// digest is how a session's cookie is stored.
func digest(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
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

// teamToken makes a token of the team with the role in it and every scope.
func (f *fixture) teamToken(role models.Role) string {
	f.t.Helper()
	_, secret, err := f.s.Auth.CreateToken(modelstest.As(f.t, f.db, f.Maintainer), auth.NewToken{Name: "pipeline", TeamID: f.Team.ID, Role: role, Days: 1,
		Scopes: []models.Scope{models.ScopeRead, models.ScopeWrite, models.ScopeRegistryRead, models.ScopeRegistryWrite}})
	if err != nil {
		f.t.Fatal(err)
	}
	return secret
}

// send answers a request in process.
func (f *fixture) send(a ask) *httptest.ResponseRecorder {
	f.t.Helper()
	var body io.Reader
	if a.body != "" {
		body = strings.NewReader(a.body)
	}
	r := httptest.NewRequest(orElse(a.method, "GET"), a.path, body)
	r.Host = orElse(a.host, f.host)
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
