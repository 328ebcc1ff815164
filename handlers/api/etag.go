package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"reflect"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/middleware"
	"slipway.dev/handlers/problem"
)

var problemType = reflect.TypeFor[problem.Problem]()

// etag gives every whole answer to a GET a tag, and answers 304 to those who
// have it already (RFC 9110 §13.1.2).
func etag(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.Method != http.MethodGet || middleware.IsStream(r) || strings.HasSuffix(c.Path(), "/logs") || strings.HasSuffix(c.Path(), "/events") || strings.HasSuffix(c.Path(), "/content") {
			return next(c)
		}
		res := c.Response()
		held := &heldWriter{ResponseWriter: res.Writer}
		res.Writer = held
		err := next(c)
		res.Writer = held.ResponseWriter
		if err != nil || held.status != http.StatusOK {
			held.send()
			return err
		}
		sum := sha256.Sum256(held.body.Bytes())
		tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
		res.Header().Set("ETag", tag)
		if matches(r.Header.Values("If-None-Match"), tag) {
			res.Header().Del("Content-Type")
			held.status = http.StatusNotModified
			held.body.Reset()
		}
		held.send()
		return nil
	}
}

// matches compares weakly, as If-None-Match asks (RFC 9110 §8.8.3.2).
func matches(headers []string, tag string) bool {
	for t := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
			return true
		}
	}
	return false
}

// heldWriter keeps an answer back until it is whole.
type heldWriter struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *heldWriter) WriteHeader(status int) { w.status = status }

func (w *heldWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.body.Write(b)
}

func (w *heldWriter) send() {
	if w.status == 0 {
		return
	}
	w.ResponseWriter.WriteHeader(w.status)
	_, _ = w.body.WriteTo(w.ResponseWriter) // the client is gone: nobody to tell
}

// Unwrap serves http.ResponseController's deadlines.
func (w *heldWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
