package web

import (
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/services/identity"
	"slipway.dev/views/admin"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// Trust is the admin's pages about the trust of clouds in targets.
type Trust struct {
	*Base
	Identity *identity.Service
}

// Page shows the set-up of a target's trust, made of what the address says.
func (h *Trust) Page(c echo.Context) error {
	return h.target(c, given(c.QueryParams()), nil)
}

// Check tries an exchange, and shows what it found.
func (h *Trust) Check(c echo.Context) error {
	findings, err := h.Identity.Check(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return h.target(c, nil, findings)
}

// given are the parameters of the form. A box that is not checked sends nothing, so that a form that was sent has all of them.
func given(sent url.Values) map[string]string {
	out := map[string]string{}
	for name := range sent {
		out[name] = sent.Get(name)
	}
	return out
}

func (h *Trust) target(c echo.Context, values map[string]string, findings []identity.Finding) error {
	ctx, id := c.Request().Context(), c.Param("id")
	setup, err := h.Identity.Setup(ctx, id, values)
	status, form := http.StatusOK, components.Form{}
	if err != nil {
		var fault error
		if form, fault = again(c, err); fault != nil {
			return fault
		}
		status = problem.Of(ctx, err).Status
		if setup, err = h.Identity.Setup(ctx, id, nil); err != nil {
			return err
		}
		setup.Parts, setup.Settings = nil, nil // they are not of what was typed
	}
	v := trustView(setup, form)
	for _, f := range findings {
		v.Findings = append(v.Findings, admin.TrustFinding{Title: f.Title, State: string(f.State), Text: f.Text})
	}
	crumbs := append(targetCrumbs[:len(targetCrumbs):len(targetCrumbs)], layout.Link{Label: setup.Target, Href: "/admin/targets/" + id})
	p := h.page(c, layout.Page{Title: "Trust without keys", Nav: "admin", Crumbs: crumbs})
	v.Curl = p.Curl("GET", "/api/v1/targets/"+id+"/trust"+query(setup.Inputs), "").For("Read the commands")
	v.CheckCurl = p.Curl("POST", "/api/v1/targets/"+id+"/trust/check", "").For("Check the trust")
	return Render(c, status, admin.Trust(p, v))
}

// New shows the set-up for a target that is to be made.
func (h *Trust) New(c echo.Context) error {
	ctx, kind, name := c.Request().Context(), c.QueryParam("kind"), c.QueryParam("name")
	first := name == "" && !c.QueryParams().Has("name")
	if first {
		name = "new" // for the form alone
	}
	setup, err := h.Identity.SetupNew(ctx, kind, name, given(c.QueryParams()))
	status, form := http.StatusOK, components.Form{}
	if err != nil {
		var fault error
		if form, fault = again(c, err); fault != nil {
			return fault
		}
		status = problem.Of(ctx, err).Status
		if setup, err = h.Identity.SetupNew(ctx, kind, "new", nil); err != nil {
			return err
		}
		setup.Target = ""
		first = len(c.QueryParams()) < 3 // nothing but the name was asked yet
	}
	if first { // the name decides what the rest is proposed to be
		setup.Target, setup.Inputs, setup.Parts, setup.Settings, setup.Releases = "", nil, nil, nil, ""
		setup.Notes = nil
	}
	v := trustView(setup, form)
	v.KindName = kind
	crumbs := append(targetCrumbs[:len(targetCrumbs):len(targetCrumbs)], layout.Link{Label: "New target", Href: "/admin/targets/new?kind=" + url.QueryEscape(kind)})
	p := h.page(c, layout.Page{Title: "Trust without keys", Nav: "admin", Crumbs: crumbs})
	if len(v.Parts) > 0 {
		at := url.Values{"kind": {kind}, "name": {name}}
		v.Curl = p.Curl("GET", "/api/v1/targets/trust?"+at.Encode()+and(query(setup.Inputs)), "").For("Read the commands")
	}
	return Render(c, status, admin.Trust(p, v))
}

// query are the inputs as the parameters of an address.
func query(inputs []identity.Input) string {
	at := url.Values{}
	for _, in := range inputs {
		if in.Value != "" {
			at.Set(in.Name, in.Value)
		}
	}
	if len(at) == 0 {
		return ""
	}
	return "?" + at.Encode()
}

// and joins further parameters to those that are there.
func and(query string) string {
	if query == "" {
		return ""
	}
	return "&" + query[1:]
}

func trustView(s *identity.Setup, form components.Form) admin.TrustView {
	v := admin.TrustView{TargetID: s.TargetID, Target: s.Target, Cloud: s.Title, Issuer: s.Issuer, Audience: s.Audience, Subject: s.Subject, Releases: s.Releases, Notes: s.Notes, Form: form}
	for _, in := range s.Inputs {
		v.Inputs = append(v.Inputs, admin.TrustInput{Name: in.Name, Label: in.Label, Help: in.Help, Example: in.Example, Required: in.Required, Check: in.Check, Value: in.Value})
	}
	for _, part := range s.Parts {
		v.Parts = append(v.Parts, admin.TrustPart(part))
	}
	for _, setting := range s.Settings {
		v.Settings = append(v.Settings, admin.TrustSetting(setting))
	}
	return v
}
