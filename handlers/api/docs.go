package api

import (
	"cmp"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"slipway.dev/views/apidocs"
	"slipway.dev/views/components"
)

// nouns are the groups of the description, in the order of the work.
var nouns = []struct{ name, title string }{
	{"me", "Start"}, {"teams", "Teams"}, {"repositories", "Repositories"}, {"connections", "Connections"}, {"deliveries", "Deliveries"}, {"apps", "Apps"}, {"builds", "Builds"}, {"schedules", "Schedules"}, {"workflows", "GitHub Actions"}, {"images", "Images"}, {"image-files", "Files of images"}, {"image-tags", "Tags and settings of images"}, {"retention", "Clean-up of images"},
	{"board", "Board and promotions"}, {"environments", "Environments"}, {"variables", "Variables and secrets"}, {"deployments", "Deployments"}, {"previews", "Previews of pull requests"}, {"domains", "Domains and maintenance"}, {"certificates", "Certificates"}, {"targets", "Targets"}, {"registries", "Registries"}, {"copies", "Copies"}, {"cache", "Cache of base images"}, {"engines", "Build engines"}, {"tokens", "Tokens"}, {"users", "Users"},
	{"registry", "Registry keys and storage"}, {"queue", "Queue"}, {"workers", "Workers"},
	{"audit", "Audit"}, {"events", "Events"},
}

// Docs returns the description of every call, for pages; baseURL is the portal's own.
func (a *API) Docs(baseURL string) []apidocs.Group {
	calls := map[string][]apidocs.Call{}
	for _, c := range a.calls {
		noun := c.op.Tags[0]
		calls[noun] = append(calls[noun], a.docOf(c.op, baseURL))
	}
	groups := make([]apidocs.Group, len(nouns))
	for i, n := range nouns {
		groups[i] = apidocs.Group{Name: n.name, Title: n.title, Calls: calls[n.name]}
		slices.SortFunc(groups[i].Calls, func(x, y apidocs.Call) int {
			return cmp.Or(cmp.Compare(b2i(foreign(x, n.name)), b2i(foreign(y, n.name))), strings.Compare(x.Path, y.Path), cmp.Compare(slices.Index(methods, x.Method), slices.Index(methods, y.Method)))
		})
		describeOnce(groups[i].Calls)
	}
	return groups
}

// foreign tells whether the call's path begins with another noun.
func foreign(c apidocs.Call, noun string) bool {
	return !strings.HasPrefix(c.Path, Prefix+"/"+noun)
}

// describeOnce leaves each type's fields to one call that answers with one of
// it, that reads it where there is such; the others lead there.
func describeOnce(calls []apidocs.Call) {
	home := map[string]string{}
	for _, reading := range []bool{true, false} {
		for _, c := range calls {
			if c.Type != "" && !c.List && home[c.Type] == "" && (c.Method == "GET" || !reading) {
				home[c.Type] = c.ID
			}
		}
	}
	for i, c := range calls {
		if at := home[c.Type]; at != "" && at != c.ID {
			calls[i].Answer, calls[i].See = nil, at
		}
	}
}

var methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}

func (a *API) docOf(op *huma.Operation, baseURL string) apidocs.Call {
	described := a.operation(op)
	c := apidocs.Call{
		ID: described.OperationID, Method: described.Method, Path: Prefix + op.Path, Summary: described.Summary, Description: described.Description,
	}
	for _, p := range described.Parameters {
		if p.Name != "Accept" {
			c.Params = append(c.Params, apidocs.Field{Name: p.Name, Type: typeOf(p.Schema), In: p.In, Required: p.Required, Text: p.Description})
		}
	}
	c.Curl = components.CurlExample{Method: op.Method, URL: baseURL + Prefix + examplePath(op.Path)}
	if body := described.RequestBody; body != nil {
		c.Body = a.fieldsOf(body.Content["application/json"].Schema)
		c.Curl.Body = a.example(body.Content["application/json"].Schema)
	}
	for status, r := range described.Responses {
		if status == "default" {
			continue
		}
		c.Status = status
		if json := r.Content["application/json"]; json != nil {
			c.Answer = a.fieldsOf(json.Schema)
			c.Type, c.List = a.answerType(json.Schema)
		}
	}
	return c
}

// operation finds what huma made of the operation.
func (a *API) operation(op *huma.Operation) *huma.Operation {
	item := a.huma.OpenAPI().Paths[op.Path]
	return map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete}[op.Method]
}

// examplePath writes {id} as ID.
func examplePath(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if name, ok := strings.CutPrefix(p, "{"); ok {
			parts[i] = strings.ToUpper(strings.TrimSuffix(name, "}"))
		}
	}
	return strings.Join(parts, "/")
}

// fieldsOf lists the fields of an object, those that are needed first. A list is described by its items.
func (a *API) fieldsOf(s *huma.Schema) []apidocs.Field {
	s = a.resolve(s)
	if items := s.Properties["items"]; items != nil && s.Properties["next"] != nil {
		return append(a.nested("items[].", items.Items), apidocs.Field{Name: "next", Type: "string", Text: s.Properties["next"].Description})
	}
	return a.nested("", s)
}

// answerType names what is answered: a thing, or a list of such.
func (a *API) answerType(s *huma.Schema) (name string, list bool) {
	if items := a.resolve(s).Properties["items"]; items != nil {
		return typeOf(items.Items), true
	}
	return typeOf(s), false
}

func (a *API) nested(prefix string, s *huma.Schema) []apidocs.Field {
	s = a.resolve(s)
	var out []apidocs.Field
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		out = append(out, apidocs.Field{
			Name: prefix + name, Type: typeOf(p), Text: cmp.Or(p.Description, a.resolve(p).Description), Required: prefix == "" && slices.Contains(s.Required, name),
		})
	}
	slices.SortStableFunc(out, func(x, y apidocs.Field) int {
		return cmp.Compare(b2i(y.Required), b2i(x.Required))
	})
	return out
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (a *API) resolve(s *huma.Schema) *huma.Schema {
	if s.Ref != "" {
		return a.huma.OpenAPI().Components.Schemas.SchemaFromRef(s.Ref)
	}
	return s
}

// typeOf names a schema in a word or two.
func typeOf(s *huma.Schema) string {
	switch {
	case s.Ref != "":
		return s.Ref[strings.LastIndex(s.Ref, "/")+1:]
	case len(s.Enum) > 0:
		words := make([]string, len(s.Enum))
		for i, e := range s.Enum {
			words[i] = reflect.ValueOf(e).String()
		}
		return strings.Join(words, " | ")
	case s.Type == huma.TypeArray:
		return "list of " + typeOf(s.Items)
	case s.Format == "date-time":
		return "time"
	}
	return s.Type
}

// example is a body with the fields that are needed.
func (a *API) example(s *huma.Schema) string {
	s = a.resolve(s)
	body := map[string]any{}
	for name, p := range s.Properties {
		if slices.Contains(s.Required, name) {
			body[name] = exampleOf(name, p)
		}
	}
	raw, _ := json.Marshal(body) // plain values: can't fail
	return string(raw)
}

func exampleOf(name string, s *huma.Schema) any {
	switch {
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Type == huma.TypeArray:
		return []string{}
	case s.Type == huma.TypeInteger:
		return 1
	case s.Type == huma.TypeBoolean:
		return true
	case name == "clone_url":
		return "https://git.example.com/team/app.git"
	case strings.HasSuffix(name, "_id"):
		return "ID"
	}
	return cmp.Or(map[string]string{"team": "payments", "slug": "payments", "name": "checkout"}[name], "…")
}
