package proxy

import (
	"net/http"
	"strings"
	"time"

	"slipway.dev/models"
)

const (
	bypassPath    = "/.slipway/maintenance" // below a route's path: where a visitor sends a code
	bypassTime    = 12 * time.Hour
	maxBypass     = 4 << 10 // bytes of that form
	maintainRetry = 5 * time.Minute
)

// admitted tells whether the visitor reaches the app in spite of the maintenance; where not, it has answered.
func (s *Service) admitted(w http.ResponseWriter, r *http.Request, m *models.Maintenance, to *route, scheme string) bool {
	prefix := strings.TrimSuffix(to.path, "/")
	if r.Method == http.MethodPost && r.URL.Path == prefix+bypassPath {
		s.bypass(w, r, m, to, scheme)
		return false
	}
	if c, err := r.Cookie(MaintenanceCookie); err == nil && m.Admits(c.Value) || within(Client(r, s.Trusted), m.Allow) {
		return true
	}
	p := Problem{Status: http.StatusServiceUnavailable, Title: "Maintenance", Message: "This app is being worked on. Come back in a while.", Retry: maintainRetry, Bypass: prefix + bypassPath}
	if m.Message != "" {
		p.Message = m.Message
	}
	if m.EndsAt != nil {
		p.Retry = max(time.Until(*m.EndsAt), time.Second)
	}
	s.problem(w, r, p)
	return false
}

// bypass gives a visitor who knows the code a cookie with it. The code comes in a form, never in an address.
func (s *Service) bypass(w http.ResponseWriter, r *http.Request, m *models.Maintenance, to *route, scheme string) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBypass)
	code := strings.ToLower(strings.TrimSpace(r.PostFormValue("code")))
	if m.Admits(code) {
		http.SetCookie(w, &http.Cookie{Name: MaintenanceCookie, Value: code, Path: to.path, MaxAge: int(bypassTime.Seconds()), HttpOnly: true, Secure: scheme == "https", SameSite: http.SameSiteLaxMode})
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to.path, http.StatusSeeOther)
}
