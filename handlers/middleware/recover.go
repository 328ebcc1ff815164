package middleware

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"slipway.dev/models"
)

// Recover answers a panic with an error that has a request id, and logs where
// it came from. An answer that has begun is cut off, so that nobody takes it for whole.
func Recover(fail Fail) Func {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := Record(w)
			defer func() {
				value := recover()
				if value == nil {
					return
				}
				if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(value)
				}
				slog.ErrorContext(r.Context(), "a handler panicked", "panic", fmt.Sprint(value),
					"request_id", models.RequestFrom(r.Context()).ID, "trace", string(debug.Stack()))
				if rec.Begun() {
					panic(http.ErrAbortHandler)
				}
				fail(rec, r, models.Errorf(models.Internal, "A handler panicked."))
			}()
			next.ServeHTTP(rec, r)
		})
	}
}
