package handlers

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/handlers/web"
	"slipway.dev/models"
	"slipway.dev/views/layout"
	views "slipway.dev/views/problem"
)

// failure is the only place where an error becomes a response.
type failure struct{ base *web.Base }

// fromEcho is echo's error handler.
func (f *failure) fromEcho(err error, c echo.Context) {
	if !c.Response().Committed {
		f.write(c.Response(), c.Request(), err)
	}
}

// write answers with the error: as a page to people, in the form of RFC 9457 to programs.
func (f *failure) write(w http.ResponseWriter, r *http.Request, err error) {
	p := problem.Of(r.Context(), err)
	p.Instance = r.URL.Path
	if !wantsPage(r) {
		writeProblem(w, p)
		return
	}
	if p.Status == http.StatusUnauthorized {
		http.Redirect(w, r, f.loginURL(r), http.StatusSeeOther)
		return
	}
	f.writePage(w, r, p)
}

func writeProblem(w http.ResponseWriter, p *problem.Problem) {
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="slipway"`)
	}
	if p.Code == string(models.TooMany) && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "5")
	}
	w.Header().Set("Content-Type", problem.ContentType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone: nobody to tell
}

func (f *failure) writePage(w http.ResponseWriter, r *http.Request, p *problem.Problem) {
	view := views.View{Status: p.Status, Title: p.Title, Message: p.Detail, RequestID: p.RequestID}
	view.SignedIn = models.PrincipalFrom(r.Context()) != nil
	var b bytes.Buffer
	if err := views.Page(f.base.Describe(r, layout.Page{Title: p.Title}), view).Render(r.Context(), &b); err != nil {
		slog.ErrorContext(r.Context(), "rendering an error page", "error", err)
		http.Error(w, p.Detail, p.Status)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(p.Status)
	_, _ = b.WriteTo(w) // the client is gone: nobody to tell
}

// programPaths are the addresses whose answers are for programs, whatever they accept.
var programPaths = []string{"/api/v1/", "/api/openapi", "/hooks/", "/v2/", "/registry/", "/oauth/", "/live", "/healthz", "/readyz", "/metrics"}

func wantsPage(r *http.Request) bool {
	for _, p := range programPaths {
		if strings.HasPrefix(r.URL.Path, p) {
			return false
		}
	}
	accept := r.Header.Get("Accept")
	return accept == "" || strings.Contains(accept, "text/html") || strings.Contains(accept, "*/*")
}

// loginURL is the sign-in page, which leads back to where the reader wanted to go, or to the form that was sent.
func (f *failure) loginURL(r *http.Request) string {
	next := r.URL.RequestURI()
	switch {
	case r.Method != http.MethodGet:
		next = f.base.Back(r, "/")
	case r.URL.Path == "/":
		next = "/"
	}
	if next == "/" {
		return "/login"
	}
	return "/login?next=" + url.QueryEscape(next)
}
