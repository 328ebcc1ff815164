package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"
	"slipway.dev/services/idempotency"
)

var idempotencyHeader = &huma.Param{
	Name: "Idempotency-Key", In: "header", Schema: &huma.Schema{Type: huma.TypeString},
	Description: "A text of your own, such as a UUID. A repeated call with the same key and body gets the first answer and starts nothing twice, for 24 hours.",
}

// once answers a repeated call as the first one, where the call takes an
// Idempotency-Key and one was sent.
func (a *API) once(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		key := r.Header.Get("Idempotency-Key")
		if key == "" || !a.calls[r.Method+" "+c.Path()].repeatable {
			return next(c)
		}
		sum, err := fingerprint(r)
		if err != nil {
			return err
		}
		before, err := a.Idempotency.Begin(r.Context(), key, sum)
		if err != nil {
			return err
		}
		if before != nil {
			c.Response().Header().Set("Idempotency-Replayed", "true")
			return c.JSONBlob(before.Status, before.Body)
		}
		return a.first(c, key, next)
	}
}

// first runs the call and remembers its answer, unless it failed: then nothing
// was started and the key stays free.
func (a *API) first(c echo.Context, key string, next echo.HandlerFunc) error {
	ctx, res := context.WithoutCancel(c.Request().Context()), c.Response() // a client that left will ask again
	held := &heldWriter{ResponseWriter: res.Writer}
	res.Writer = held
	defer func() { res.Writer = held.ResponseWriter }()
	err := next(c)
	if err != nil || held.status >= http.StatusBadRequest {
		if failed := a.Idempotency.Forget(ctx, key); failed != nil {
			slog.WarnContext(ctx, "an idempotency key stays taken for a while", "error", failed)
		}
	} else if failed := a.Idempotency.Finish(ctx, key, idempotency.Answer{Status: held.status, Body: bytes.Clone(held.body.Bytes())}); failed != nil {
		slog.WarnContext(ctx, "a repeated call will not get this answer", "error", failed)
	}
	held.send()
	return err
}

// fingerprint is the same for the same request: its method, path and body.
func fingerprint(r *http.Request) (string, error) {
	body, err := io.ReadAll(r.Body) // the middleware limits its size
	if err != nil {
		return "", err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	h := sha256.New()
	io.WriteString(h, r.Method+" "+r.URL.Path+"\n")
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil)), nil
}
