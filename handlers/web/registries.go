package web

import (
	"cmp"
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/catalog"
	"slipway.dev/services/registries"
	"slipway.dev/views/admin"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// Registries is the admin's pages about external registries.
type Registries struct {
	*Base
	Catalog    *catalog.Service
	Registries *registries.Service
}

var registryCrumbs = []layout.Link{{Label: "Admin", Href: "/admin"}, {Label: "Registries", Href: "/admin/registries"}}

// List shows all registries.
func (h *Registries) List(c echo.Context) error {
	all, err := h.Registries.List(c.Request().Context())
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Admin", Window: "Registries", Nav: "admin", Tabs: admin.Tabs("registries")})
	return Render(c, http.StatusOK, admin.Registries(p, admin.RegistriesView{Registries: all, Curl: p.Curl("GET", "/api/v1/registries", "")}))
}

// New asks for the kind, and then is the form of a new registry.
func (h *Registries) New(c echo.Context) error {
	kind := c.QueryParam("kind")
	if kind == "" {
		v := admin.RegistryKindsView{}
		for _, k := range registries.Kinds() {
			v.Kinds = append(v.Kinds, kindOf(k))
		}
		p := h.page(c, layout.Page{Title: "Connect a registry", Nav: "admin", Crumbs: registryCrumbs})
		v.Curl = p.Curl("GET", "/api/v1/registries/kinds", "")
		return Render(c, http.StatusOK, admin.RegistryKinds(p, v))
	}
	return h.form(c, http.StatusOK, admin.RegistryView{Registry: models.Registry{Kind: kind}})
}

func kindOf(k registries.Kind) admin.RegistryKind {
	return admin.RegistryKind{Name: k.Name, Title: k.Title, Host: cmp.Or(k.Host, k.HostExample)}
}

// Page is one registry.
func (h *Registries) Page(c echo.Context) error {
	return h.registry(c, http.StatusOK, components.Form{}, components.Form{})
}

func (h *Registries) registry(c echo.Context, status int, form, grant components.Form) error {
	ctx := c.Request().Context()
	r, err := h.Registries.Get(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	uses, err := h.Registries.UsedBy(ctx, r.ID)
	if err != nil {
		return err
	}
	v := admin.RegistryView{Registry: *r, Form: form, GrantForm: grant}
	for _, u := range uses {
		v.Uses = append(v.Uses, admin.RegistryUse(u))
	}
	return h.form(c, status, v)
}

func (h *Registries) form(c echo.Context, status int, v admin.RegistryView) error {
	kind, err := registries.KindOf(v.Registry.Kind)
	if err != nil {
		return err
	}
	v.Kind, v.KindHelp, v.Example = kindOf(kind), kind.Help, kind.HostExample
	v.Kind.Host = kind.Host
	if v.Registry.Host == "" {
		v.Registry.Host = kind.Host
	}
	for _, f := range kind.Fields {
		v.Fields = append(v.Fields, admin.RegistryField{Name: f.Name, Label: f.Label, Help: f.Help, Example: f.Example, Secret: f.Secret, Long: f.Long, Switch: f.Switch})
		if f.Secret {
			v.Form.Values.Del(f.Name) // a secret is never sent back
		}
	}
	title, method, path, body := "Connect a registry", "POST", "/api/v1/registries", `{"kind": "`+kind.Name+`", "name": "`+kind.Title+`", "settings": {"…": "…"}, "all_teams": "pull"}`
	if v.Registry.ID != "" {
		list, err := h.Catalog.Teams(c.Request().Context(), catalog.TeamFilter{Page: models.Page{Limit: models.MaxLimit}})
		if err != nil {
			return err
		}
		v.Teams = list.Items
		title, method, path, body = v.Registry.Name, "PATCH", path+"/"+v.Registry.ID, `{"settings": {"…": "…"}, "check_repository": "acme/shop"}`
	}
	p := h.page(c, layout.Page{Title: title, Nav: "admin", Crumbs: registryCrumbs})
	v.Curl = p.Curl(method, path, body)
	v.GrantCurl = p.Curl("PUT", path+"/grants", `{"team": "payments", "prefix": "acme", "access": "push"}`)
	return Render(c, status, admin.Registry(p, v))
}

// registryInput is what the form says of a registry of the kind.
func registryInput(c echo.Context, kind string) (registries.Input, error) {
	k, err := registries.KindOf(kind)
	if err != nil {
		return registries.Input{}, models.InvalidField("kind", "Choose a kind of registry.")
	}
	var in registries.Input
	if err := bind(c, &in); err != nil {
		return in, err
	}
	in.Kind, in.PlainHTTP, in.Settings = kind, c.FormValue("plain_http") != "", map[string]string{}
	for _, f := range k.Fields {
		in.Settings[f.Name] = c.FormValue(f.Name)
	}
	return in, nil
}

// Create connects a registry.
func (h *Registries) Create(c echo.Context) error {
	kind := c.FormValue("kind")
	in, err := registryInput(c, kind)
	if err != nil {
		return err
	}
	r, err := h.Registries.Create(c.Request().Context(), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.form(c, problem.Of(c.Request().Context(), err).Status, admin.RegistryView{Registry: models.Registry{Kind: kind}, Form: form})
	}
	return c.Redirect(http.StatusSeeOther, "/admin/registries/"+r.ID)
}

// Update changes a registry.
func (h *Registries) Update(c echo.Context) error {
	ctx := c.Request().Context()
	r, err := h.Registries.Get(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	in, err := registryInput(c, r.Kind)
	if err == nil {
		_, err = h.Registries.Update(ctx, r.ID, in)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.registry(c, problem.Of(ctx, err).Status, form, components.Form{})
	}
	notify(c, "Saved and checked")
	return c.Redirect(http.StatusSeeOther, "/admin/registries/"+r.ID)
}

// Check tries now what works.
func (h *Registries) Check(c echo.Context) error {
	r, err := h.Registries.Check(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	notify(c, "Checked")
	return c.Redirect(http.StatusSeeOther, "/admin/registries/"+r.ID)
}

// Grant lets a team use the registry, or takes that back.
func (h *Registries) Grant(c echo.Context) error {
	var in registries.GrantInput
	err := bind(c, &in)
	if err == nil {
		err = h.Registries.Grant(c.Request().Context(), c.Param("id"), in)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.registry(c, problem.Of(c.Request().Context(), err).Status, components.Form{}, form)
	}
	if in.Access == models.RegistryNone {
		notify(c, "Taken back")
	} else {
		notify(c, "Granted")
	}
	return c.Redirect(http.StatusSeeOther, "/admin/registries/"+c.Param("id"))
}

// Delete forgets a registry that no app uses.
func (h *Registries) Delete(c echo.Context) error {
	err := h.Registries.Delete(c.Request().Context(), c.Param("id"))
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		form.Values = nil
		return h.registry(c, problem.Of(c.Request().Context(), err).Status, form, components.Form{})
	}
	notify(c, "Forgotten")
	return c.Redirect(http.StatusSeeOther, "/admin/registries")
}
