// Package handlers is HTTP in and HTTP out: every address of Slipway, who may
// call it, and how an error becomes an answer.
package handlers

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/api"
	webhooks "slipway.dev/handlers/hooks"
	"slipway.dev/handlers/middleware"
	"slipway.dev/handlers/sse"
	"slipway.dev/handlers/web"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/auth"
	"slipway.dev/services/builds"
	"slipway.dev/services/catalog"
	"slipway.dev/services/certificates"
	"slipway.dev/services/copies"
	"slipway.dev/services/deploy"
	"slipway.dev/services/engines"
	"slipway.dev/services/events"
	"slipway.dev/services/explorer"
	"slipway.dev/services/forges"
	"slipway.dev/services/hooks"
	"slipway.dev/services/idempotency"
	"slipway.dev/services/identity"
	"slipway.dev/services/idp"
	"slipway.dev/services/images"
	"slipway.dev/services/limits"
	"slipway.dev/services/observe"
	"slipway.dev/services/previews"
	"slipway.dev/services/proxy"
	"slipway.dev/services/pullthrough"
	"slipway.dev/services/registries"
	"slipway.dev/services/registry"
	"slipway.dev/services/retention"
	"slipway.dev/services/schedules"
	"slipway.dev/services/visitors"
	"slipway.dev/services/workflows"
	"slipway.dev/services/workload"
	"slipway.dev/static"
)

// Services is what the handlers call. All fields are needed.
type Services struct {
	Auth   *auth.Service
	Events *events.Service
	Audit  *audit.Service

	Idempotency *idempotency.Service
	Catalog     *catalog.Service
	Builds      *builds.Service
	Engines     *engines.Service
	Images      *images.Service
	Retention   *retention.Service
	Explorer    *explorer.Service // what is in images
	Deploy      *deploy.Service
	Observe     *observe.Service // what runs: usage and kept logs
	Previews    *previews.Service
	Identity    *identity.Service // tokens for clouds, in place of stored keys
	Forges      *forges.Service
	Hooks       *hooks.Service
	Workloads   *workload.Service  // exchanges of CI runs' tokens
	Workflows   *workflows.Service // GitHub Actions as a builder
	Schedules   *schedules.Service

	Accounts *idp.Provider     // the embedded OpenID Connect provider; nil where there is none
	Registry *registry.Service // the embedded registry

	Registries *registries.Service // the external ones

	Visitors     *visitors.Service     // how visitors reach apps
	Certificates *certificates.Service // what hosts show by TLS

	Copies *copies.Service
	Cache  *pullthrough.Service // of base images
	Proxy  Visits               // answers for the host names of apps
}

// Visits answers the visitors of apps.
type Visits interface {
	http.Handler
	// Serves tells whether the host, in lower case and without port, is one that a team gave an app.
	Serves(host string) bool
	// Challenge answers an authority that looks whether a host is ours, and tells whether the request was such a look.
	Challenge(w http.ResponseWriter, r *http.Request) bool
}

// Options says how the portal is reached and what it allows.
type Options struct {
	ExternalURL    string         // where browsers reach the portal, such as https://portal.example.com
	AppsDomain     string         // apps are at {app}-{environment}.{this}
	Version        string         // of the program
	TrustedProxies []netip.Prefix // whose forwarding headers count; none by default
	Assets         *static.Assets
	Ready          []Check       // what /readyz looks at
	RatePerSecond  int           // calls of the API that one token may make; 0: 50
	RateBurst      int           // calls that it may make at once; 0: 300
	Recheck        time.Duration // how often a stream's right is looked up anew; 0: 10 s
}

const (
	maxBody = 1 << 20 // of a form or an API call; the registry has limits of its own
	maxTime = time.Minute
)

// New returns every route of Slipway. It fails where a route does not say who may call it.
func New(s Services, o Options) (http.Handler, error) {
	h, err := newSite(s, o)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// site is all of Slipway behind one address: apps by their host names, the
// registry and the identity provider by their paths, and the portal.
type site struct {
	services Services
	routes   *routes
	api      *api.API
	portal   http.Handler
	hooks    http.Handler // of forges
	registry http.Handler
	tokens   http.Handler // the registry's
	accounts http.Handler
	apps     string // "." and the domain of the apps
	own      string // the portal's own host, without port
}

func newSite(s Services, o Options) (*site, error) {
	o.ExternalURL = strings.TrimSuffix(o.ExternalURL, "/")
	base := &web.Base{Assets: o.Assets, ExternalURL: o.ExternalURL}
	f := &failure{base: base}
	r := newRoutes()
	r.echo.HTTPErrorHandler = f.fromEcho
	r.echo.IPExtractor = func(req *http.Request) string { return models.RequestFrom(req.Context()).IP }

	streams := &sse.Streams{Auth: s.Auth, Recheck: o.Recheck}
	numbers := newMetrics(o, s.Builds.Jobs)
	h := &site{services: s, routes: r, apps: "." + o.AppsDomain, own: hostOf(o.ExternalURL)}
	r.system(&system{checks: o.Ready, metrics: numbers})
	r.exchange(&exchange{workloads: s.Workloads})
	r.issuer(&issuer{identity: s.Identity})
	r.live(&live{events: s.Events, streams: streams})
	h.api = r.programs(s, o, streams)
	r.pages(s, base, h.api)
	r.portal(s, base, streams)
	r.forges(s)
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := h.assemble(f, numbers, o); err != nil {
		return nil, err
	}
	return h, nil
}

// assemble puts the middleware around the portal, the registry and the identity provider.
func (h *site) assemble(f *failure, numbers *metrics, o Options) error {
	cross := http.NewCrossOriginProtection()
	if err := cross.AddTrustedOrigin(o.ExternalURL); err != nil {
		return err
	}
	sameOrigin := middleware.SameOrigin(cross, f.write,
		models.Errorf(models.Denied, "A page of another site sent this request; it was refused. Do it from the portal itself."))
	always := []middleware.Func{
		middleware.Request(o.TrustedProxies),
		middleware.Log("/assets/", "/healthz", "/readyz", "/metrics", "/live"),
		numbers.middleware,
		middleware.Recover(f.write),
		middleware.Headers(o.ExternalURL),
	}
	who := &middleware.Principals{Auth: h.services.Auth, Fail: f.write, Guesses: &limits.Limiter{Every: 6 * time.Second, Burst: 20}}
	portal := append(always[:len(always):len(always)],
		middleware.Head,
		sameOrigin,
		middleware.Body(maxBody, f.write),
		middleware.Timeout(maxTime),
		who.Middleware("/api/", "/metrics"),
		middleware.Only(middleware.Rate(rate(o), f.write), "/api/"),
	)
	h.portal = middleware.Chain(h.routes.echo, portal...)
	h.hooks = middleware.Chain(h.routes.echo, append(always[:len(always):len(always)], sameOrigin, middleware.Body(hooks.MaxBody, f.write), middleware.Timeout(maxTime))...)
	h.registry = middleware.Chain(h.services.Registry, always...)
	h.tokens = middleware.Chain(http.HandlerFunc(h.services.Registry.Token), append(always[:len(always):len(always)], middleware.Body(maxBody, f.write))...)
	if h.services.Accounts == nil {
		return nil
	}
	accounts, err := h.services.Accounts.Handler()
	if err != nil {
		return err
	}
	h.accounts = middleware.Chain(accounts, append(always[:len(always):len(always)], sameOrigin, middleware.Body(maxBody, f.write))...)
	return nil
}

func rate(o Options) *limits.Limiter {
	if o.RatePerSecond == 0 {
		o.RatePerSecond = 50
	}
	if o.RateBurst == 0 {
		o.RateBurst = 300
	}
	return &limits.Limiter{Every: time.Second / time.Duration(o.RatePerSecond), Burst: o.RateBurst}
}

// ServeHTTP finds who answers: an app by the host name, then by the path. The
// registry stands outside of echo: it has routes and errors of its own.
func (h *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, certificates.ChallengePath) && h.services.Proxy.Challenge(w, r):
	case h.isApp(r.Host):
		h.services.Proxy.ServeHTTP(w, r)
	case r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/"):
		h.registry.ServeHTTP(w, r)
	case r.URL.Path == "/registry/token":
		h.tokens.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, forges.HookPath):
		h.hooks.ServeHTTP(w, r)
	case h.accounts != nil && strings.HasPrefix(r.URL.Path, idp.Path+"/"):
		h.accounts.ServeHTTP(w, r)
	default:
		h.portal.ServeHTTP(w, r)
	}
}

// isApp tells whether the host is one of an app. The portal's own never is.
func (h *site) isApp(hostport string) bool {
	host := proxy.HostOf(hostport)
	return host != h.own && (strings.HasSuffix(host, h.apps) || h.services.Proxy.Serves(host))
}

func hostOf(external string) string {
	_, rest, _ := strings.Cut(external, "://")
	host, _, err := net.SplitHostPort(rest)
	if err != nil {
		host = rest
	}
	return strings.ToLower(host)
}

// programs are the routes of the API.
func (r *routes) programs(s Services, o Options, streams *sse.Streams) *api.API {
	a := api.New(r.echo, api.Services{
		Auth: s.Auth, Events: s.Events, Audit: s.Audit, Idempotency: s.Idempotency, Catalog: s.Catalog, Registry: s.Registry, Registries: s.Registries, Copies: s.Copies, Cache: s.Cache,
		Builds: s.Builds, Engines: s.Engines, Images: s.Images, Explorer: s.Explorer, Retention: s.Retention, Deploy: s.Deploy, Observe: s.Observe, Previews: s.Previews, Identity: s.Identity, Forges: s.Forges, Schedules: s.Schedules, Workloads: s.Workloads, Workflows: s.Workflows, Hooks: s.Hooks,
		Visitors: s.Visitors, Certificates: s.Certificates,
	}, streams, o.Version)
	for _, route := range r.echo.Routes() {
		if strings.HasPrefix(route.Path, api.Prefix) && route.Method != echo.RouteNotFound {
			r.access[route.Method+" "+route.Path] = access(a.Access(route.Method, route.Path))
		}
	}
	r.group(accessToken).GET("/api/openapi.json", a.Describe)
	return a
}

// forges are the routes that forges send webhooks to. Their signature is what lets them in.
func (r *routes) forges(s Services) {
	h := &webhooks.Handler{Hooks: s.Hooks, Failures: &limits.Limiter{Every: 6 * time.Second, Burst: 20}}
	r.group(accessOpen).POST(forges.HookPath+":id", h.Receive)
}

// pages are the routes for people.
func (r *routes) pages(s Services, base *web.Base, calls *api.API) {
	r.people(s, base)
	docs := &web.Docs{Base: base, Groups: calls.Docs(base.ExternalURL)}
	signedIn := r.group(accessSignedIn)
	signedIn.GET("/api/docs", docs.Show)
	signedIn.GET("/api/docs/:noun", docs.Show)
	r.group(accessOpen).GET(static.Prefix+"*", wrap(base.Assets.(http.Handler)))
}
