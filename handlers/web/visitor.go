package web

import (
	"log/slog"
	"net/http"

	"slipway.dev/services/proxy"
	"slipway.dev/views/visitor"
)

// Visitor answers the visitor of an app's address when no app answers.
func Visitor(w http.ResponseWriter, r *http.Request, p proxy.Problem) {
	h := w.Header()
	h.Set("Content-Security-Policy", visitor.Policy())
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if err := write(w, r, p.Status, visitor.Page(p.Title, p.Message)); err != nil {
		slog.DebugContext(r.Context(), "a visitor left before the answer", "error", err)
	}
}
