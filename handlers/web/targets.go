package web

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/catalog"
	"slipway.dev/services/deploy"
	"slipway.dev/services/registries"
	"slipway.dev/views/admin"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// Targets is the admin's pages about where containers run.
type Targets struct {
	*Base
	Catalog *catalog.Service
	Deploy  *deploy.Service

	Registries *registries.Service
}

var targetCrumbs = []layout.Link{{Label: "Admin", Href: "/admin"}, {Label: "Targets", Href: "/admin/targets"}}

// List shows all targets.
func (h *Targets) List(c echo.Context) error {
	ctx := c.Request().Context()
	all, err := h.Deploy.Targets(ctx)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Admin", Nav: "admin", Tabs: admin.Tabs("targets")})
	v := admin.TargetsView{Curl: p.Curl("GET", "/api/v1/targets", "")}
	if v.Removals, err = h.Deploy.TargetRemovals(ctx); err != nil {
		return err
	}
	for _, t := range all {
		row, err := h.row(ctx, t)
		if err != nil {
			return err
		}
		v.Targets = append(v.Targets, row)
	}
	return Render(c, http.StatusOK, admin.Targets(p, v))
}

// row is a target and how it is right now.
func (h *Targets) row(ctx context.Context, t models.Target) (admin.TargetRow, error) {
	row := admin.TargetRow{Target: t, State: "reachable"}
	info, err := h.Deploy.CheckTarget(ctx, t.ID)
	if e, ok := errors.AsType[*models.Error](err); ok {
		row.State, row.Message = "unreachable", e.Message
		return row, nil
	}
	row.Message = info.Version
	if info.Platform != "" {
		row.Message += " on " + info.Platform
	}
	return row, err
}

// New asks for the kind of the target, or for the settings of the kind that the address names.
func (h *Targets) New(c echo.Context) error {
	if kind := c.QueryParam("kind"); kind != "" {
		return h.form(c, http.StatusOK, admin.TargetView{Target: models.Target{Kind: kind, AllTeams: true}})
	}
	p := h.page(c, layout.Page{Title: "New target", Nav: "admin", Crumbs: targetCrumbs})
	v := admin.TargetKindsView{Curl: p.Curl("GET", "/api/v1/targets/kinds", "")}
	for _, k := range h.Deploy.Kinds {
		v.Kinds = append(v.Kinds, admin.TargetKind{Name: k.Name, Title: k.Title, Help: k.Help})
	}
	return Render(c, http.StatusOK, admin.TargetKinds(p, v))
}

// Page is the form that changes a target.
func (h *Targets) Page(c echo.Context) error {
	return h.target(c, http.StatusOK, components.Form{})
}

func (h *Targets) target(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	t, granted, err := h.Deploy.Target(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	row, err := h.row(ctx, *t)
	if err != nil {
		return err
	}
	return h.form(c, status, admin.TargetView{Target: *t, Granted: granted, State: row.State, Message: row.Message, Form: form, Keeps: h.Deploy.KeepsThings(ctx, t.ID)})
}

func (h *Targets) form(c echo.Context, status int, v admin.TargetView) error {
	kind, err := h.Deploy.KindOf(v.Target.Kind)
	if err != nil {
		return err
	}
	v.KindTitle, v.KindHelp, v.Federates = kind.Title, kind.Help, kind.Federation != ""
	for _, f := range kind.AllFields() {
		to := &v.Fields
		if f.Price {
			to = &v.Prices
		}
		*to = append(*to, admin.TargetField{Group: f.Group, Name: f.Name, Label: f.Label, Help: f.Help, Example: f.Example, Secret: f.Secret, Required: f.Required, Lines: f.Lines, Check: f.Check, Made: f.Made, Registry: f.Registry})
	}
	if v.Choices, err = h.choices(c.Request().Context(), kind); err != nil {
		return err
	}
	list, err := h.Catalog.Teams(c.Request().Context(), catalog.TeamFilter{Page: models.Page{Limit: models.MaxLimit}})
	if err != nil {
		return err
	}
	v.Teams = list.Items
	if kind.CloudInit != nil && v.Target.ID != "" {
		if v.CloudInit, err = h.Deploy.CloudInit(c.Request().Context(), v.Target.ID); err != nil {
			return err
		}
	}
	title := v.Target.Name
	if title == "" {
		title = "New target: " + v.KindTitle
	}
	return Render(c, status, admin.Target(h.page(c, layout.Page{Title: title, Nav: "admin", State: v.State, Crumbs: targetCrumbs}), v))
}

// choices are the registries that targets of the kind may pull from.
func (h *Targets) choices(ctx context.Context, kind deploy.Kind) ([]components.Option, error) {
	if !kind.Mirrors {
		return []components.Option{}, nil
	}
	all, err := h.Registries.List(ctx)
	out := []components.Option{{Label: "Where images are"}, {Value: models.EmbeddedRegistry, Label: "The portal's own"}}
	for _, r := range all {
		out = append(out, components.Option{Value: r.ID, Label: r.Name + " (" + r.Host + ")"})
	}
	return out, err
}

// input is what the form says of a target of the kind.
func (h *Targets) input(c echo.Context, kind string) (deploy.TargetInput, error) {
	k, err := h.Deploy.KindOf(kind)
	if err != nil {
		return deploy.TargetInput{}, err
	}
	sent, err := c.FormParams()
	if err != nil {
		return deploy.TargetInput{}, models.Errorf(models.Invalid, "The form could not be read.")
	}
	in := deploy.TargetInput{Name: sent.Get("name"), Kind: kind, AllTeams: sent.Get("all_teams") != "", TeamIDs: sent["team_ids"], Settings: map[string]string{}}
	for _, f := range k.AllFields() {
		in.Settings[f.Name] = sent.Get(f.Name)
	}
	return in, nil
}

// Create adds a target.
func (h *Targets) Create(c echo.Context) error {
	kind := c.FormValue("kind")
	in, err := h.input(c, kind)
	if err != nil {
		return err
	}
	t, err := h.Deploy.CreateTarget(c.Request().Context(), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.form(c, problem.Of(c.Request().Context(), err).Status, admin.TargetView{Target: models.Target{Kind: kind, AllTeams: in.AllTeams}, Granted: in.TeamIDs, Form: form})
	}
	return c.Redirect(http.StatusSeeOther, "/admin/targets/"+t.ID)
}

// Update changes a target.
func (h *Targets) Update(c echo.Context) error {
	ctx := c.Request().Context()
	t, _, err := h.Deploy.Target(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	in, err := h.input(c, t.Kind)
	if err == nil {
		_, err = h.Deploy.UpdateTarget(ctx, t.ID, in)
	}
	return h.done(c, "Saved", "/admin/targets/"+t.ID, err)
}

// AskDelete says what goes at the provider with the target.
func (h *Targets) AskDelete(c echo.Context) error {
	ctx := c.Request().Context()
	t, _, err := h.Deploy.Target(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	kept, err := h.Deploy.Kept(ctx, t.ID)
	v := admin.TargetDeleteView{Target: *t}
	if v.Unknown, err = told(err); err != nil {
		return err
	}
	for _, r := range kept {
		v.Resources = append(v.Resources, admin.KeptResource(r))
	}
	crumbs := append(slices.Clone(targetCrumbs), layout.Link{Label: t.Name, Href: "/admin/targets/" + t.ID})
	p := h.page(c, layout.Page{Title: "Delete " + t.Name, Nav: "admin", Crumbs: crumbs})
	v.Curl = p.Curl("GET", "/api/v1/targets/"+t.ID+"/kept", "")
	return Render(c, http.StatusOK, admin.TargetDelete(p, v))
}

// Forget gives up removing what a deleted target kept.
func (h *Targets) Forget(c echo.Context) error {
	if err := h.Deploy.ForgetRemoval(c.Request().Context(), c.Param("id")); err != nil {
		return err
	}
	notify(c, "Given up")
	return c.Redirect(http.StatusSeeOther, "/admin/targets")
}

// Delete removes a target that no environment uses.
func (h *Targets) Delete(c echo.Context) error {
	return h.done(c, "Deleted", "/admin/targets", h.Deploy.DeleteTarget(c.Request().Context(), c.Param("id")))
}

// done leads on, or shows the form again with what is wrong.
func (h *Targets) done(c echo.Context, text, to string, err error) error {
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.target(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, text)
	return c.Redirect(http.StatusSeeOther, to)
}
