package web

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"

	"slipway.dev/services/proxy"
	"slipway.dev/views/visitor"
)

// Visitor answers the visitor of an app's address when no app answers: a program that asks for JSON as RFC 9457 has
// it, everybody else with a page.
func Visitor(w http.ResponseWriter, r *http.Request, p proxy.Problem) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	var err error
	if accept := r.Header.Get("Accept"); strings.Contains(accept, "json") && !strings.Contains(accept, "text/html") {
		err = visitorJSON(w, p)
	} else {
		h.Set("Content-Security-Policy", visitor.Policy())
		h.Set("Referrer-Policy", "no-referrer")
		err = write(w, r, p.Status, visitor.Page(visitor.View{Status: p.Status, Title: p.Title, Message: p.Message, Bypass: p.Bypass}))
	}
	if err != nil {
		slog.DebugContext(r.Context(), "a visitor left before the answer", "error", err)
	}
}

func visitorJSON(w http.ResponseWriter, p proxy.Problem) error {
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"about:blank", p.Title, p.Status, p.Message})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, err = w.Write(body)
	return err
}
