package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"slipway.dev/handlers/problem"
)

// Who may make a call.
const (
	accessToken = "token" // whoever has a token or a session
	accessAdmin = "admin" // site admins
	accessRun   = "run"   // a run of a CI system that exchanged its token, and nobody else
)

// call is what the API knows about one of its routes besides its description.
type call struct {
	access     string
	repeatable bool // takes an Idempotency-Key
	op         *huma.Operation
}

// option changes a call before it is registered.
type option func(*call)

func admin(c *call)      { c.access = accessAdmin }
func run(c *call)        { c.access = accessRun }
func repeatable(c *call) { c.repeatable = true }

func status(code int) option { return func(c *call) { c.op.DefaultStatus = code } }

func about(text string) option { return func(c *call) { c.op.Description = text } }

// Bodies wrap what is answered, as huma wants it.
type answer[T any] struct{ Body T }

func reply[T any](body T) *answer[T] { return &answer[T]{Body: body} }

type nothing struct{}

// The helpers register a call by its method.

func get[I, O any](a *API, path, id, summary string, h func(context.Context, *I) (*O, error), opts ...option) {
	register(a, http.MethodGet, path, id, summary, h, opts)
}

func post[I, O any](a *API, path, id, summary string, h func(context.Context, *I) (*O, error), opts ...option) {
	register(a, http.MethodPost, path, id, summary, h, opts)
}

func put[I, O any](a *API, path, id, summary string, h func(context.Context, *I) (*O, error), opts ...option) {
	register(a, http.MethodPut, path, id, summary, h, opts)
}

func patch[I, O any](a *API, path, id, summary string, h func(context.Context, *I) (*O, error), opts ...option) {
	register(a, http.MethodPatch, path, id, summary, h, opts)
}

func remove[I any](a *API, path, id, summary string, h func(context.Context, *I) error, opts ...option) {
	wrapped := func(ctx context.Context, in *I) (*nothing, error) { return nil, h(ctx, in) }
	register(a, http.MethodDelete, path, id, summary, wrapped, append(opts, status(http.StatusNoContent)))
}

func register[I, O any](a *API, method, path, id, summary string, h func(context.Context, *I) (*O, error), opts []option) {
	noun := nounOf(path, id)
	op := huma.Operation{Method: method, Path: path, OperationID: id, Summary: summary, Tags: []string{noun}}
	op.Responses = map[string]*huma.Response{"default": a.problem()}
	c := call{access: accessToken, op: &op}
	for _, o := range opts {
		o(&c)
	}
	op.Responses = map[string]*huma.Response{"default": a.problem()}
	if c.access == accessAdmin {
		op.Description = strings.TrimSpace(op.Description + "\n\nOnly for site admins.")
	}
	if c.access == accessRun {
		op.Description = strings.TrimSpace(op.Description + "\n\nOnly for a run that exchanged its own token.")
	}
	if c.repeatable {
		op.Parameters = append(op.Parameters, idempotencyHeader)
	}
	a.calls[method+" "+Prefix+echoPath(path)] = c
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, problem.Of(ctx, err)
		}
		return out, nil
	})
}

// nounOf is what the call is about: the first part of its path, or of a part
// of something else, the part that has a noun of its own.
func nounOf(path, id string) string {
	noun, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	for _, other := range []string{"builds", "schedules", "images", "deployments"} {
		if strings.HasSuffix(path, "}/"+other) {
			return other
		}
	}
	switch {
	case noun == "workflow-runs", strings.Contains(path, "}/workflow"), strings.HasSuffix(path, "}/exchanges"):
		return "workflows"
	case noun == "image-repositories" && strings.HasSuffix(path, "/settings"), noun == "image-tags", strings.HasSuffix(path, "/image-settings"):
		return "image-tags"
	case noun == "image-repositories":
		return "images"
	case strings.HasPrefix(path, "/images/compare"), strings.Contains(path, "}/files"):
		return "image-files"
	case noun == "addresses", strings.HasSuffix(path, "}/addresses"), strings.Contains(path, "}/limits/"), strings.Contains(path, "}/maintenance/"):
		return "domains"
	case noun == "bad-images":
		return "deployments"
	case slices.Contains([]string{"deleted-images", "image-usage", "image-quota"}, noun), strings.HasPrefix(noun, "retention-"),
		strings.HasSuffix(path, "}/retention-policy"), strings.HasSuffix(path, "}/image-usage"), strings.HasSuffix(path, "}/image-quota"):
		return "retention"
	case id == "compare-deployments", strings.HasSuffix(path, "}/promotions"), strings.Contains(path, "}/changes") && noun == "environments":
		return "board"
	case strings.HasPrefix(noun, "preview-"), strings.HasSuffix(path, "}/preview-settings"):
		return "previews"
	case strings.Contains(path, "/variable-changes"), strings.Contains(path, "}/variables"), strings.HasSuffix(path, "}/settings") && noun == "environments":
		return "variables"
	case id == "list-kept-resources", noun == "target-removals":
		return "targets"
	case id == "plan-deployment", strings.Contains(path, "/apps/{app_id}/"):
		return "deployments"
	}
	return noun
}

// echoPath writes {id} as :id.
func echoPath(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

// problem describes how every call fails.
func (a *API) problem() *huma.Response {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(problemType, true, "Problem")
	return &huma.Response{Description: "What went wrong", Content: map[string]*huma.MediaType{problem.ContentType: {Schema: schema}}}
}

// stream describes an answer of server-sent events.
func stream(text string) option {
	return func(c *call) {
		c.op.Description = text
		c.op.Responses["200"] = &huma.Response{Description: "Server-sent events", Content: map[string]*huma.MediaType{
			"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}},
		}}
	}
}
