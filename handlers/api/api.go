// Package api is /api/v1: every action of the portal for programs, described by
// an OpenAPI document that is made from this code. One file per noun.
package api

import (
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/handlers/sse"
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
	"slipway.dev/services/images"
	"slipway.dev/services/observe"
	"slipway.dev/services/previews"
	"slipway.dev/services/pullthrough"
	"slipway.dev/services/registries"
	"slipway.dev/services/registry"
	"slipway.dev/services/retention"
	"slipway.dev/services/schedules"
	"slipway.dev/services/visitors"
	"slipway.dev/services/workflows"
	"slipway.dev/services/workload"
)

// Prefix is the path under which all calls are.
const Prefix = "/api/v1"

// Services is what the calls call.
type Services struct {
	Auth   *auth.Service
	Events *events.Service
	Audit  *audit.Service

	Idempotency *idempotency.Service
	Catalog     *catalog.Service
	Registry    *registry.Service
	Registries  *registries.Service
	Copies      *copies.Service
	Cache       *pullthrough.Service
	Builds      *builds.Service
	Engines     *engines.Service
	Images      *images.Service
	Retention   *retention.Service
	Explorer    *explorer.Service
	Deploy      *deploy.Service
	Observe     *observe.Service
	Previews    *previews.Service
	Identity    *identity.Service
	Forges      *forges.Service
	Hooks       *hooks.Service
	Workloads   *workload.Service
	Workflows   *workflows.Service
	Schedules   *schedules.Service

	Visitors     *visitors.Service
	Certificates *certificates.Service
}

// API is the calls and their description.
type API struct {
	Services
	huma    huma.API
	streams *sse.Streams
	calls   map[string]call // by method and echo's path
	spec    []byte
}

// New registers every call with echo.
func New(e *echo.Echo, s Services, streams *sse.Streams, version string) *API {
	a := &API{Services: s, streams: streams, calls: map[string]call{}}
	a.huma = humaecho.NewWithGroup(e, e.Group(Prefix), config(version))
	e.Use(a.only(a.guard), a.only(a.once), a.only(etag))
	a.me()
	a.teams()
	a.repositories()
	a.connections()
	a.deliveries()
	a.apps()
	a.builds()
	a.queue()
	a.schedules()
	a.workflows()
	a.images()
	a.imageSettings()
	a.imageTags()
	a.registryKeys()
	a.retention()
	a.deletions()
	a.imageUsage()
	a.imageFiles()
	a.buildSecrets()
	a.engines()
	a.registry()
	a.targets()
	a.trust()
	a.registries()
	a.copies()
	a.cache()
	a.environments()
	a.runtimes()
	a.deployments()
	a.plans()
	a.providers()
	a.board()
	a.protections()
	a.previews()
	a.visitors()
	a.variables()
	a.tokens()
	a.users()
	a.audit()
	a.events()
	a.describe()
	return a
}

func config(version string) huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Slipway", Version: version,
				Description: "Everything that the portal does: register a repository, build it, see its images, deploy them.\n\n" +
					"Send a token as `Authorization: Bearer TOKEN`. Lists answer `items` and `next`, the cursor of the page after. " +
					"Times are RFC 3339 in UTC, sizes bytes, durations seconds. Errors are problem+json (RFC 9457).",
			},
			Components: &huma.Components{
				Schemas:         huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}},
			},
			Security: []map[string][]string{{"token": {}}},
		},
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{oneForm},
	}
}

// oneForm gives every error the one form, whoever found it.
func oneForm(ctx huma.Context, _ string, v any) (any, error) {
	p, ok := v.(*problem.Problem)
	if m, found := v.(*huma.ErrorModel); found {
		p, ok = problem.OfHuma(ctx.Context(), m), true
	}
	if !ok {
		return v, nil
	}
	url := ctx.URL()
	p.Instance = url.Path
	if p.Code == string(models.TooMany) {
		ctx.SetHeader("Retry-After", "5")
	}
	return p, nil
}

// Access tells who may call the route with echo's path: "token", "admin", "run", or empty where no call declared it.
func (a *API) Access(method, path string) string { return a.calls[method+" "+path].access }

// only applies the middleware to the API's calls. A group's own would turn
// every wrong method into a path that does not exist.
func (a *API) only(m echo.MiddlewareFunc) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		wrapped := m(next)
		return func(c echo.Context) error {
			if a.Access(c.Request().Method, c.Path()) == "" {
				return next(c)
			}
			return wrapped(c)
		}
	}
}

// guard lets in who may make the call.
func (a *API) guard(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx := c.Request().Context()
		if models.PrincipalFrom(ctx) == nil {
			return models.Errorf(models.Unauthorized, "Send a token as Authorization: Bearer TOKEN. You make one under Tokens in the portal.")
		}
		access := a.Access(c.Request().Method, c.Path())
		if (access == accessRun) != (models.PrincipalFrom(ctx).Kind == models.PrincipalWorkload) {
			return models.Errorf(models.Denied, "This call is not for a credential of this kind: runs of CI systems say what they made, people and their tokens do the rest.")
		}
		if access == accessAdmin {
			if err := models.AuthorizeAdmin(ctx); err != nil {
				return err
			}
		}
		return next(c)
	}
}
