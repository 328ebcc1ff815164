// Package problem turns errors into what a client is told: one status for each
// code, and the form of RFC 9457. Pages and the API tell the same.
package problem

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"
	"slipway.dev/models"
)

// ContentType is the media type of a Problem in JSON (RFC 9457 §3).
const ContentType = "application/problem+json"

// statuses gives every code its one status.
var statuses = map[models.Code]int{
	models.Invalid:      http.StatusUnprocessableEntity,
	models.Unauthorized: http.StatusUnauthorized,
	models.Denied:       http.StatusForbidden,
	models.NotFound:     http.StatusNotFound,
	models.Conflict:     http.StatusConflict,
	models.TooMany:      http.StatusTooManyRequests,
	models.TooLarge:     http.StatusRequestEntityTooLarge,
	models.Unavailable:  http.StatusServiceUnavailable,
	models.Internal:     http.StatusInternalServerError,
}

// Problem is an error as a client reads it.
type Problem struct {
	Type      string  `json:"type" doc:"Always about:blank: the status and title say the kind (RFC 9457 §4.2.1)." example:"about:blank"`
	Title     string  `json:"title" doc:"The status in words." example:"Unprocessable Entity"`
	Status    int     `json:"status" doc:"The HTTP status." example:"422"`
	Code      string  `json:"code" doc:"The kind of failure, for programs." enum:"invalid,unauthorized,denied,not_found,conflict,too_many,too_large,unavailable,internal"`
	Detail    string  `json:"detail" doc:"What happened, to what, and what to do." example:"Some fields need attention."`
	Instance  string  `json:"instance,omitempty" doc:"The path of the request." example:"/api/v1/apps"`
	RequestID string  `json:"request_id,omitempty" doc:"Finds the request in the server's log."`
	Errors    []Field `json:"errors,omitempty" doc:"What is wrong with which field."`
}

// Field says what is wrong with one part of the request.
type Field struct {
	Location string `json:"location" doc:"Where: body.name, query.limit, path.id." example:"body.name"`
	Message  string `json:"message" doc:"What is wrong with it, for people."`
}

// Error makes a Problem an error, so that huma can answer with it.
func (p *Problem) Error() string { return p.Detail }

// GetStatus is the status that huma answers with.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is the media type that huma answers with.
func (p *Problem) ContentType(string) string { return ContentType }

// Of describes the error to a client. What is not meant for people is logged
// here, once, and answered with a request id to find it by.
func Of(ctx context.Context, err error) *Problem {
	p := describe(err)
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	p.RequestID = models.RequestFrom(ctx).ID
	if p.Status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		slog.ErrorContext(ctx, "request failed", "error", err, "status", p.Status, "request_id", p.RequestID)
	}
	return p
}

func describe(err error) *Problem {
	if e, ok := errors.AsType[*models.Error](err); ok {
		return ofModel(e)
	}
	if h, ok := errors.AsType[*echo.HTTPError](err); ok {
		return OfStatus(h.Code)
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return OfStatus(http.StatusRequestEntityTooLarge)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &Problem{Status: http.StatusServiceUnavailable, Code: string(models.Unavailable),
			Detail: "This took too long and was given up. Try again in a moment."}
	}
	return internal()
}

func ofModel(e *models.Error) *Problem {
	status, ok := statuses[e.Code]
	if !ok || e.Code == models.Internal {
		return internal()
	}
	p := &Problem{Status: status, Code: string(e.Code), Detail: e.Message}
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		p.Errors = append(p.Errors, Field{Location: "body." + name, Message: e.Fields[name]})
	}
	return p
}

func internal() *Problem {
	return &Problem{Status: http.StatusInternalServerError, Code: string(models.Internal),
		Detail: "Something went wrong inside Slipway. The log has the reason under the request id."}
}

// details says in words what the router answers by itself.
var details = map[int]string{
	http.StatusBadRequest:            "The request can't be read.",
	http.StatusNotFound:              "There is nothing at this address.",
	http.StatusMethodNotAllowed:      "This address does not take this method.",
	http.StatusRequestEntityTooLarge: "The request's body is too large.",
	http.StatusUnsupportedMediaType:  "Send the body as application/json.",
	http.StatusForbidden:             "The request was refused.",
}

// OfStatus describes an answer that has no error of Slipway's behind it.
func OfStatus(status int) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: string(codeOf(status)),
		Detail: cmp.Or(details[status], http.StatusText(status)+".")}
}

func codeOf(status int) models.Code {
	for code, s := range statuses {
		if s == status {
			return code
		}
	}
	if status >= http.StatusInternalServerError {
		return models.Internal
	}
	if status == http.StatusMethodNotAllowed {
		return models.NotFound
	}
	return models.Invalid
}

// OfHuma describes what huma found wrong with a request. Values that were sent
// are not repeated: they may be secrets.
func OfHuma(ctx context.Context, m *huma.ErrorModel) *Problem {
	p := OfStatus(m.Status)
	p.RequestID = models.RequestFrom(ctx).ID
	switch {
	case m.Status >= http.StatusInternalServerError:
		slog.ErrorContext(ctx, "request failed", "error", m.Detail, "status", m.Status, "request_id", p.RequestID)
		p.Detail = internal().Detail
		return p
	case m.Status == http.StatusUnprocessableEntity:
		p.Detail = "Some fields need attention."
	case m.Status == http.StatusBadRequest:
		p.Detail = "The body is not valid JSON."
		if len(m.Errors) == 0 {
			p.Detail = "The request needs a JSON body."
		}
	}
	for _, e := range m.Errors {
		p.Errors = append(p.Errors, Field{Location: e.Location, Message: e.Message})
	}
	return p
}
