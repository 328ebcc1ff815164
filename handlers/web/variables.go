package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/catalog"
	"slipway.dev/services/deploy"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
	"slipway.dev/views/teams"
	"slipway.dev/views/variables"
)

// Variables is the pages about variables and secrets, of a team or of an environment, as the address says.
type Variables struct {
	*Base
	Catalog *catalog.Service
	Deploy  *deploy.Service
}

// scopeOf names the variables that the page is about.
func scopeOf(at variables.Place) deploy.Scope {
	in := deploy.Scope{TeamID: at.Team.ID}
	if at.Environment != nil {
		in.EnvironmentID = at.Environment.ID
	}
	if at.App != nil {
		in.AppID = at.App.ID
	}
	return in
}

// place finds what the address names: a team, or an environment and, in the query or the form, an app.
func (h *Variables) place(c echo.Context) (variables.Place, error) {
	ctx := c.Request().Context()
	if slug := c.Param("team"); slug != "" {
		team, err := h.Catalog.Team(ctx, slug)
		if err != nil {
			return variables.Place{}, err
		}
		return h.placeIn(ctx, *team, nil, "")
	}
	e, err := h.Deploy.Environment(ctx, c.Param("id"))
	if err != nil {
		return variables.Place{}, err
	}
	return h.placeIn(ctx, *e.Team, e, c.FormValue("app_id"))
}

func (h *Variables) placeIn(ctx context.Context, team models.Team, e *models.Environment, appID string) (variables.Place, error) {
	role := models.PrincipalFrom(ctx).RoleIn(team.ID)
	at := variables.Place{Team: team, Environment: e, CanChange: role.AtLeast(models.RoleDeveloper), CanForget: role.AtLeast(models.RoleMaintainer)}
	if e == nil {
		return at, nil
	}
	var err error
	if at.Apps, err = h.apps(ctx, team.Slug); err != nil {
		return at, err
	}
	for i := range at.Apps {
		if at.Apps[i].ID == appID {
			at.App = &at.Apps[i]
		}
	}
	if appID != "" && at.App == nil {
		return at, models.Errorf(models.NotFound, "No such app.")
	}
	return at, nil
}

// apps are all apps of the team by name.
func (h *Variables) apps(ctx context.Context, team string) (all []models.App, err error) {
	for f := (catalog.AppFilter{Team: team, Page: models.Page{Limit: models.MaxLimit}}); ; {
		list, err := h.Catalog.Apps(ctx, f)
		all = append(all, list.Items...)
		if err != nil || list.Next == "" {
			slices.SortFunc(all, func(a, b models.App) int { return cmp.Compare(a.Name, b.Name) })
			return all, err
		}
		f.Cursor = list.Next
	}
}

// frame is the page's title and place; what is empty for the page of the variables themselves.
func (h *Variables) frame(c echo.Context, at variables.Place, what string) layout.Page {
	p := h.page(c, layout.Page{Live: []string{"team:" + at.Team.ID}})
	if at.Environment == nil {
		p = teams.Header{Team: at.Team, CanEdit: at.CanForget}.Frame(p, "variables")
		if what != "" {
			p.Title, p.Tabs = what, nil
			p.Crumbs = append(p.Crumbs, layout.Link{Label: at.Team.Name, Href: teams.URL(at.Team)}, layout.Link{Label: "Variables", Href: at.URL("")})
		}
		return p
	}
	p.Title, p.Nav = "Variables of "+at.Name(), "environments"
	p.Crumbs = []layout.Link{{Label: "Environments", Href: "/environments"}, {Label: at.Environment.Name, Href: "/environments/" + at.Environment.ID}}
	if what != "" {
		p.Title = what
		p.Crumbs = append(p.Crumbs, layout.Link{Label: "Variables", Href: at.URL("")})
	}
	return p
}

// Page shows what counts in the place, and the form that changes it.
func (h *Variables) Page(c echo.Context) error {
	at, err := h.place(c)
	if err != nil {
		return err
	}
	return h.show(c, http.StatusOK, variables.View{Place: at, Edit: variables.Edit{Name: c.QueryParam("name")}})
}

func (h *Variables) show(c echo.Context, status int, v variables.View) error {
	ctx := c.Request().Context()
	v.Query = strings.TrimSpace(c.QueryParam("q"))
	late, err := h.Deploy.NotRolledOut(ctx, scopeOf(v.Place))
	if err != nil {
		return err
	}
	for i := range late {
		v.Late = append(v.Late, lateOf(&late[i]))
	}
	list, err := h.Deploy.Settings(ctx, deploy.SettingFilter{Scope: scopeOf(v.Place), Query: v.Query, Page: models.Page{Cursor: c.QueryParam("cursor"), Limit: models.MaxLimit}})
	if err != nil {
		return err
	}
	for _, x := range list.Items {
		row := variables.Row{Variable: x.Variable, Overrides: x.Overrides}
		for i := range late {
			if late[i].Waits(&x.Variable) {
				row.Late++
			}
		}
		v.Rows = append(v.Rows, row)
	}
	v.First, v.Next = pages(c, list.Next)
	if err := h.edited(ctx, &v); err != nil {
		return err
	}
	p := h.frame(c, v.Place, "")
	v.Curl = variableCurls(p, v.Place)
	return Render(c, status, variables.Page(p, v))
}

func lateOf(n *deploy.NotRolledOut) variables.Late {
	l := variables.Late{Digest: n.Deployment.ImageDigest}
	if n.Deployment.App != nil && n.Deployment.Environment != nil {
		l.App, l.Environment = *n.Deployment.App, *n.Deployment.Environment
	}
	for _, c := range slices.Concat(n.Variables, n.Secrets) {
		l.Changes = append(l.Changes, variables.LateChange{Name: c.Name, Kind: c.Kind})
	}
	return l
}

// edited finds the variable that the form is about: as it is set in the place, and as it would be inherited.
func (h *Variables) edited(ctx context.Context, v *variables.View) error {
	name := v.Edit.Name
	if name == "" {
		return nil
	}
	list, err := h.Deploy.Settings(ctx, deploy.SettingFilter{Scope: scopeOf(v.Place), Name: name})
	if err != nil {
		return err
	}
	if len(list.Items) > 0 {
		all := append([]models.Variable{list.Items[0].Variable}, list.Items[0].Overrides...)
		if all[0].Level() == v.Level() {
			v.Edit.Set, all = &all[0], all[1:]
		}
		if len(all) > 0 {
			v.Edit.Inherited = &all[0]
		}
		return nil
	}
	if v.Edit.Form.Err == nil {
		v.Edit.Name = "" // nothing of the name counts here any more
	}
	return nil
}

func variableCurls(p layout.Page, at variables.Place) []components.CurlExample {
	if at.Environment == nil {
		return []components.CurlExample{p.Curl("PUT", "/api/v1/teams/"+at.Team.Slug+"/variables/LOG_LEVEL", `{"value": "debug"}`).For("Set a variable")}
	}
	call, app := "/api/v1/environments/"+at.Environment.ID, ""
	query := ""
	if at.App != nil {
		app, query = `"app_id": "`+at.App.ID+`", `, "?app_id="+at.App.ID
	}
	return []components.CurlExample{
		p.Curl("PUT", call+"/variables/LOG_LEVEL", `{`+app+`"value": "debug"}`).For("Set a variable"),
		p.Curl("GET", call+"/settings"+query, "").For("Read what counts"),
	}
}

// Set sets a variable or a secret.
func (h *Variables) Set(c echo.Context) error {
	at, err := h.place(c)
	if err != nil {
		return err
	}
	in := scopeOf(at)
	set := deploy.VariableInput{TeamID: in.TeamID, EnvironmentID: in.EnvironmentID, AppID: in.AppID, Name: strings.TrimSpace(c.FormValue("name")),
		Value: unixLines(c.FormValue("value")), Secret: c.FormValue("secret") != "", Revision: sent(c, "revision")}
	v, err := h.Deploy.SetVariable(c.Request().Context(), set)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		if set.Secret {
			form.Values.Del("value") // a secret is never sent back
		}
		return h.show(c, problem.Of(c.Request().Context(), err).Status, variables.View{Place: at, Edit: variables.Edit{Form: form, Name: set.Name}})
	}
	if set.Revision != nil && *set.Revision == v.Revision {
		notify(c, v.Name+" stays as it is")
	} else {
		notifyUndo(c, v.Name+" set", undoURL(v.Revision))
	}
	return c.Redirect(http.StatusSeeOther, at.URL(""))
}

// undoURL is where a POST takes the change back.
func undoURL(change string) string { return undoVariable + change + "/undo" }

// unixLines takes the carriage returns away that browsers put into what was typed.
func unixLines(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// sent is what the form says of the field; nil: it has no such field.
func sent(c echo.Context, name string) *string {
	form, err := c.FormParams()
	if err != nil || !form.Has(name) {
		return nil
	}
	value := form.Get(name)
	return &value
}

// Delete removes a variable or a secret.
func (h *Variables) Delete(c echo.Context) error {
	at, err := h.place(c)
	if err != nil {
		return err
	}
	v, err := h.Deploy.DeleteVariable(c.Request().Context(), scopeOf(at), c.Param("variable"), sent(c, "revision"))
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.show(c, problem.Of(c.Request().Context(), err).Status, variables.View{Place: at, Err: form.Err})
	}
	notifyUndo(c, v.Name+" deleted", undoURL(v.Revision))
	return c.Redirect(http.StatusSeeOther, at.URL(""))
}
