package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/catalog"
	"slipway.dev/services/forges"
	"slipway.dev/views/components"
	"slipway.dev/views/connections"
	"slipway.dev/views/layout"
	"slipway.dev/views/teams"
)

// Connections is the pages about a team's connections to forges.
type Connections struct {
	*Base
	Catalog *catalog.Service
	Forges  *forges.Service
}

// header reads the team that the address names, for its maintainers.
func (h *Connections) header(c echo.Context) (teams.Header, error) {
	ctx := c.Request().Context()
	team, err := h.Catalog.Team(ctx, c.Param("team"))
	if err == nil {
		err = models.Authorize(ctx, team.ID, models.RoleMaintainer, "team")
	}
	if err != nil {
		return teams.Header{}, err
	}
	return teams.Header{Team: *team, CanEdit: true}, nil
}

// List shows the team's connections.
func (h *Connections) List(c echo.Context) error {
	header, err := h.header(c)
	if err != nil {
		return err
	}
	list, err := h.Forges.List(c.Request().Context(), forges.ConnectionFilter{Page: cursor(c), Team: header.Team.Slug})
	if err != nil {
		return err
	}
	p := header.Frame(h.page(c, layout.Page{}), "connections")
	v := connections.ListView{Header: header, Connections: list.Items, Kinds: forgeKinds(), Curl: p.Curl("GET", "/api/v1/connections?team="+header.Team.Slug, "")}
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, connections.List(p, v))
}

// New asks for the kind of forge, or for the settings of the kind that the address names.
func (h *Connections) New(c echo.Context) error {
	return h.form(c, http.StatusOK, c.QueryParam("kind"), components.Form{})
}

func (h *Connections) form(c echo.Context, status int, kind string, form components.Form) error {
	header, err := h.header(c)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "New connection", Nav: "teams", Crumbs: connections.Crumbs(header.Team)})
	v := connections.NewView{Header: header, Kinds: forgeKinds(), Form: form}
	if k, err := forges.KindOf(models.ForgeKind(kind)); err == nil {
		view := forgeKind(k)
		v.Kind, p.Title = &view, "Connect "+k.Title
		v.Curl = p.Curl("POST", "/api/v1/connections", `{"team": "`+header.Team.Slug+`", "kind": "`+kind+`"}`)
	}
	return Render(c, status, connections.New(p, v))
}

// Create makes a connection and shows what to paste at the forge, with the secret, this once.
func (h *Connections) Create(c echo.Context) error {
	in := forges.NewConnection{Team: c.Param("team"), Kind: models.ForgeKind(c.FormValue("kind")), Name: c.FormValue("name"), BaseURL: c.FormValue("base_url"),
		Credential: models.ConnectionCredential(c.FormValue("credential"))}
	in.Settings = settingsOf(c, in.Kind, in.Credential)
	made, secret, err := h.Forges.Create(c.Request().Context(), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.form(c, problem.Of(c.Request().Context(), err).Status, string(in.Kind), form)
	}
	return h.show(c, http.StatusCreated, made.ID, connections.PageView{Secret: secret})
}

// settingsOf reads the settings of the credential that was chosen; the form holds those of the others too.
func settingsOf(c echo.Context, kind models.ForgeKind, chosen models.ConnectionCredential) map[string]string {
	k, err := forges.KindOf(kind)
	if err != nil {
		return nil
	}
	settings := map[string]string{}
	for _, credential := range k.Credentials {
		if credential.Kind != chosen {
			continue
		}
		for _, f := range credential.Fields {
			settings[f.Name] = c.FormValue(f.Name)
		}
	}
	return settings
}

// Page shows one connection.
func (h *Connections) Page(c echo.Context) error {
	return h.show(c, http.StatusOK, c.Param("id"), connections.PageView{})
}

// show adds the connection to a view that may hold a form with faults, or a new secret.
func (h *Connections) show(c echo.Context, status int, id string, v connections.PageView) error {
	ctx := c.Request().Context()
	connection, err := h.Forges.Get(ctx, id)
	if err != nil {
		return err
	}
	if v.Repositories, err = h.Forges.Repositories(ctx, id); err != nil {
		return err
	}
	kind, err := forges.KindOf(connection.Kind)
	if err != nil {
		return err
	}
	v.Connection, v.Team, v.Kind, v.HookURL = *connection, *connection.Team, forgeKind(kind), h.Forges.HookURL(connection)
	p := h.page(c, layout.Page{Title: connection.Name, Nav: "teams", Crumbs: connections.Crumbs(v.Team)})
	v.Curl = p.Curl("PATCH", "/api/v1/connections/"+id, `{"name": "forge"}`).For("Change it")
	v.CheckCurl = p.Curl("POST", "/api/v1/connections/"+id+"/check", "").For("Check it")
	trouble, _, err := h.Forges.Trouble(ctx, id)
	if err != nil {
		return err
	}
	v.Trouble = trouble.Error
	v.SecretCurl = p.Curl("POST", "/api/v1/connections/"+id+"/secret", "").For("Make a new secret")
	return Render(c, status, connections.Page(p, v))
}

// Update changes the connection.
func (h *Connections) Update(c echo.Context) error {
	ctx := c.Request().Context()
	was, err := h.Forges.Get(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	name, address, credential := c.FormValue("name"), c.FormValue("base_url"), models.ConnectionCredential(c.FormValue("credential"))
	in := forges.UpdateConnection{Name: &name, BaseURL: &address, Settings: settingsOf(c, was.Kind, credential)}
	if credential != "" {
		in.Credential = &credential
	}
	if _, err := h.Forges.Update(ctx, was.ID, in); err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.show(c, problem.Of(ctx, err).Status, was.ID, connections.PageView{Form: form})
	}
	notify(c, "Saved")
	return c.Redirect(http.StatusSeeOther, connections.URL(*was))
}

// RotateSecret makes a new secret and shows it, this once.
func (h *Connections) RotateSecret(c echo.Context) error {
	made, secret, err := h.Forges.RotateSecret(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return h.show(c, http.StatusCreated, made.ID, connections.PageView{Secret: secret})
}

// Check asks the forge what the connection's credential may do.
func (h *Connections) Check(c echo.Context) error {
	found, err := h.Forges.Check(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	v := connections.PageView{}
	for _, f := range found {
		v.Findings = append(v.Findings, connections.Finding{Name: f.Name, Verdict: string(f.Verdict), Text: f.Text})
	}
	return h.show(c, http.StatusOK, c.Param("id"), v)
}

// Delete deletes the connection.
func (h *Connections) Delete(c echo.Context) error {
	ctx := c.Request().Context()
	was, err := h.Forges.Get(ctx, c.Param("id"))
	if err == nil {
		err = h.Forges.Delete(ctx, c.Param("id"))
	}
	if err != nil {
		return err
	}
	notify(c, "Connection "+was.Name+" deleted")
	return c.Redirect(http.StatusSeeOther, teams.URL(*was.Team)+"/connections")
}

// forgeKinds are the kinds of forges as the pages show them.
func forgeKinds() []connections.Kind {
	kinds := make([]connections.Kind, len(forges.Kinds))
	for i, k := range forges.Kinds {
		kinds[i] = forgeKind(k)
	}
	return kinds
}

func forgeKind(k forges.Kind) connections.Kind {
	out := connections.Kind{Name: k.Name, Title: k.Title, Help: k.Help, BaseURL: k.BaseURL, Nowhere: k.Nowhere, Steps: k.Steps}
	for _, c := range k.Credentials {
		way := connections.Credential{Kind: c.Kind, Title: c.Title, Help: c.Help}
		for _, f := range c.Fields {
			way.Fields = append(way.Fields, connections.Field{Name: f.Name, Label: f.Label, Help: f.Help, Example: f.Example, Secret: f.Secret, Long: f.Long})
		}
		out.Credentials = append(out.Credentials, way)
	}
	return out
}
