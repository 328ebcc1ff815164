package handlers

import (
	"fmt"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
)

// access says who may call a route. Services decide what they may do there.
type access string

const (
	accessOpen     access = "open"      // anyone
	accessSignedIn access = "signed in" // a person with a session
	accessAdmin    access = "admin"     // a site admin with a session
	accessToken    access = "token"     // a person with a session, or a program with a token
	accessRun      access = "run"       // a run of a CI system that exchanged its token
)

// guards holds what each access asks of the request.
var guards = map[access]echo.MiddlewareFunc{
	accessOpen:     func(next echo.HandlerFunc) echo.HandlerFunc { return next },
	accessSignedIn: require(session),
	accessAdmin:    require(sessionOfAdmin),
	accessToken:    require(anyPrincipal),
	accessRun:      require(aRun),
}

var errSignIn = models.Errorf(models.Unauthorized, "Sign in first.")

func anyPrincipal(c echo.Context) error {
	if p := models.PrincipalFrom(c.Request().Context()); p == nil || p.Kind == models.PrincipalWorkload {
		return errSignIn
	}
	return nil
}

func aRun(c echo.Context) error {
	if p := models.PrincipalFrom(c.Request().Context()); p == nil || p.Kind != models.PrincipalWorkload {
		return errSignIn
	}
	return nil
}

func session(c echo.Context) error {
	if p := models.PrincipalFrom(c.Request().Context()); p == nil || p.Kind != models.PrincipalSession {
		return errSignIn
	}
	return nil
}

func sessionOfAdmin(c echo.Context) error {
	if err := session(c); err != nil {
		return err
	}
	return models.AuthorizeAdmin(c.Request().Context())
}

func require(allowed func(echo.Context) error) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := allowed(c); err != nil {
				return err
			}
			return next(c)
		}
	}
}

// routes registers routes together with who may call them.
type routes struct {
	echo   *echo.Echo
	access map[string]access // by method and path
	twice  []string          // methods and paths that were added again
}

func newRoutes() *routes {
	return &routes{echo: echo.New(), access: map[string]access{}}
}

// group is a set of routes that the same people may call.
type group struct {
	all    *routes
	access access
}

func (r *routes) group(a access) group { return group{r, a} }

// GET adds a route that reads.
func (g group) GET(path string, h echo.HandlerFunc) { g.Add(echo.GET, path, h) }

// POST adds a route that changes something.
func (g group) POST(path string, h echo.HandlerFunc) { g.Add(echo.POST, path, h) }

// Add adds a route. The group's guard runs before anything else of the route.
func (g group) Add(method, path string, h echo.HandlerFunc, more ...echo.MiddlewareFunc) *echo.Route {
	if _, there := g.all.access[method+" "+path]; there {
		g.all.twice = append(g.all.twice, method+" "+path)
	}
	g.all.access[method+" "+path] = g.access
	guard := guards[g.access]
	return g.all.echo.Add(method, path, h, append([]echo.MiddlewareFunc{guard}, more...)...)
}

// check fails where a route does not say who may call it: nothing is open by forgetting. It fails too where a route
// is added again, for the later one alone would answer.
func (r *routes) check() error {
	if len(r.twice) > 0 {
		return fmt.Errorf("routes are added twice: %s", strings.Join(r.twice, ", "))
	}
	for _, route := range r.echo.Routes() {
		if route.Method == echo.RouteNotFound {
			continue
		}
		if _, ok := guards[r.access[route.Method+" "+route.Path]]; !ok {
			return fmt.Errorf("the route %s %s does not declare who may call it", route.Method, route.Path)
		}
	}
	return nil
}
