package web

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/catalog"
	"slipway.dev/services/deploy"
	"slipway.dev/services/previews"
	"slipway.dev/services/visitors"
	"slipway.dev/views/components"
	"slipway.dev/views/environments"
	"slipway.dev/views/layout"
	views "slipway.dev/views/previews"
)

// Environments is the pages about environments.
type Environments struct {
	*Base
	Catalog *catalog.Service
	Deploy  *deploy.Service

	Visitors *visitors.Service

	Previews *previews.Service
}

// teams are all teams of the reader.
func (h *Environments) teams(ctx context.Context) (all []models.Team, err error) {
	for f := (catalog.TeamFilter{Page: models.Page{Limit: models.MaxLimit}}); ; {
		list, err := h.Catalog.Teams(ctx, f)
		all = append(all, list.Items...)
		if err != nil || list.Next == "" {
			return all, err
		}
		f.Cursor = list.Next
	}
}

// Page shows one environment.
func (h *Environments) Page(c echo.Context) error {
	return h.environment(c, http.StatusOK, environments.PageView{})
}

func (h *Environments) environment(c echo.Context, status int, v environments.PageView) error {
	ctx := c.Request().Context()
	e, err := h.Deploy.Environment(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if e.Kind == models.EnvironmentPreview {
		preview, err := h.Previews.OfEnvironment(ctx, e.ID)
		if err != nil {
			return err
		}
		return c.Redirect(http.StatusSeeOther, views.URL(*preview))
	}
	b, err := h.Deploy.Board(ctx, deploy.BoardFilter{TeamID: e.TeamID, Whole: true})
	if err != nil {
		return err
	}
	role := models.PrincipalFrom(ctx).RoleIn(e.TeamID)
	p := h.page(c, layout.Page{Title: e.Name, Nav: "environments", Meta: environments.Meta(*e), Live: []string{"environment:" + e.ID},
		Crumbs: []layout.Link{{Label: "Environments", Href: "/environments"}}})
	v.Environment, v.KeepsData = *e, h.Deploy.KeepsVolumes(e)
	if left, ok := b.Left(e.ID); ok {
		v.From = left.Name
	}
	v.CanChange, v.CanDelete = role.AtLeast(models.RoleDeveloper), role.AtLeast(models.RoleMaintainer)
	for _, a := range b.Apps {
		v.Cells = append(v.Cells, environments.AppCell{App: a, Cell: cellOf(b, *e, a), Scale: models.Scale{}.OrOne()})
	}
	if err := h.scales(ctx, &v); err != nil {
		return err
	}
	if err := h.rules(ctx, b, &v); err != nil {
		return err
	}
	if err := h.addresses(ctx, &v); err != nil {
		return err
	}
	if v.Cost, err = h.cost(ctx, e.ID); err != nil {
		return err
	}
	if v.Variables, err = h.variables(ctx, e.ID); err != nil {
		return err
	}
	list, err := h.Deploy.List(ctx, deploy.Filter{EnvironmentID: e.ID, Page: models.Page{Cursor: c.QueryParam("cursor"), Limit: 20}})
	if err != nil {
		return err
	}
	v.History = list.Items
	v.First, v.Next = pages(c, list.Next)
	return Render(c, status, environments.Page(p, v))
}

// scales fills in how much of each app is to run.
func (h *Environments) scales(ctx context.Context, v *environments.PageView) error {
	all, err := h.Deploy.Scales(ctx, v.Environment.ID)
	for _, s := range all {
		for i := range v.Cells {
			if v.Cells[i].App.ID == s.AppID {
				v.Cells[i].Scale = s.Scale
			}
		}
	}
	return err
}

// addresses fills in where visitors find the apps.
func (h *Environments) addresses(ctx context.Context, v *environments.PageView) error {
	own, err := h.Visitors.Own(ctx, v.Environment.ID)
	if err != nil {
		return err
	}
	others, err := located(ctx, h.Visitors, v.Environment)
	if err != nil {
		return err
	}
	closed, err := h.Visitors.Maintenances(ctx, v.Environment.ID)
	for _, cell := range v.Cells {
		a := cell.App
		row := environments.AppAddresses{App: a, Own: own[a.ID], Others: others[a.ID]}
		row.Maintenance = slices.ContainsFunc(closed, func(m models.Maintenance) bool { return m.AppID == a.ID })
		v.Addresses = append(v.Addresses, row)
	}
	return err
}

// variables sums up what apps get, and what they don't run with yet.
func (h *Environments) variables(ctx context.Context, environmentID string) (environments.VariablesView, error) {
	n, err := h.Deploy.CountSettings(ctx, environmentID)
	if err != nil {
		return environments.VariablesView{}, err
	}
	v := environments.VariablesView{Variables: n.Variables, Secrets: n.Secrets, Inherited: n.Inherited}
	late, err := h.Deploy.NotRolledOut(ctx, deploy.Scope{EnvironmentID: environmentID})
	for i := range late {
		v.Late = append(v.Late, lateOf(&late[i]))
	}
	return v, err
}

// rules fills in what has to hold, and what comes by itself.
func (h *Environments) rules(ctx context.Context, b *deploy.Board, v *environments.PageView) error {
	before := ""
	for _, e := range b.Environments {
		if e.ID == v.Environment.Protection.After {
			before = e.Name
		}
	}
	v.Rules = environments.Rules(v.Environment.Protection, before)
	all, err := h.Deploy.AutoDeploys(ctx, v.Environment.ID)
	for n := range all {
		for i := range v.Cells {
			if v.Cells[i].App.ID == all[n].AppID {
				v.Cells[i].Auto = &all[n]
			}
		}
	}
	return err
}

// New is the form that makes an environment.
func (h *Environments) New(c echo.Context) error { return h.form(c, http.StatusOK, components.Form{}) }

func (h *Environments) form(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	teams, err := h.teams(ctx)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "New environment", Nav: "environments", Crumbs: []layout.Link{{Label: "Environments", Href: "/environments"}}})
	v := environments.NewView{Form: form, Curl: p.Curl("POST", "/api/v1/environments", `{"team": "payments", "name": "staging"}`)}
	for _, t := range teams {
		if !models.PrincipalFrom(ctx).RoleIn(t.ID).AtLeast(models.RoleMaintainer) {
			continue
		}
		targets, err := h.Deploy.GrantedTargets(ctx, t.ID)
		if err != nil {
			return err
		}
		v.Teams = append(v.Teams, environments.TeamTargets{Team: t, Targets: targets})
	}
	return Render(c, status, environments.New(p, v))
}

// Create makes an environment.
func (h *Environments) Create(c echo.Context) error {
	var in deploy.EnvironmentInput
	if err := bind(c, &in); err != nil {
		return err
	}
	e, err := h.Deploy.CreateEnvironment(c.Request().Context(), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.form(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, "Environment "+e.Name+" created")
	return c.Redirect(http.StatusSeeOther, environments.URL(*e))
}

// refused shows the environment again, with what is wrong.
func (h *Environments) refused(c echo.Context, err error) error {
	form, fault := again(c, err)
	if fault != nil {
		return fault
	}
	return h.environment(c, problem.Of(c.Request().Context(), err).Status, environments.PageView{Err: form.Err})
}

// SetScale says how much of an app runs in the environment, and rolls it out at once where asked.
func (h *Environments) SetScale(c echo.Context) error {
	ctx := c.Request().Context()
	in := deploy.ScaleInput{EnvironmentID: c.Param("id"), AppID: c.FormValue("app_id")}
	err := scale(c, &in.Scale)
	if err == nil {
		_, err = h.Deploy.SetScale(ctx, in)
	}
	var d *models.Deployment
	if now := c.FormValue("digest"); err == nil && now != "" {
		d, err = h.Deploy.Deploy(ctx, deploy.Input{EnvironmentID: in.EnvironmentID, AppID: in.AppID, Image: now})
	}
	if err != nil {
		return h.refused(c, err)
	}
	if d != nil {
		return c.Redirect(http.StatusSeeOther, "/deployments/"+d.ID)
	}
	notify(c, "Saved. It counts from the next deployment on")
	return c.Redirect(http.StatusSeeOther, "/environments/"+in.EnvironmentID+"#running")
}

// scale reads what the form says: processors and MiB, empty for no limit.
func scale(c echo.Context, to *models.Scale) error {
	wrong := map[string]string{}
	number := func(field string) float64 {
		text := strings.TrimSpace(c.FormValue(field))
		if text == "" {
			return 0
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n < 0 || n > 1e9 {
			wrong[field] = "This is not a number that makes sense here."
		}
		return n
	}
	to.Replicas, to.CPU, to.Memory = int(number("replicas")), int64(number("cpu")*1000), int64(number("memory")*(1<<20))
	to.Max, to.CPUTarget = int(number("max")), int(number("cpu_target"))
	return models.InvalidFields(wrong)
}

// Protection is the form of what has to hold before a deployment.
func (h *Environments) Protection(c echo.Context) error {
	return h.protection(c, http.StatusOK, components.Form{})
}

func (h *Environments) protection(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	e, err := h.Deploy.Environment(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if err := models.Authorize(ctx, e.TeamID, models.RoleMaintainer, "environment"); err != nil {
		return err
	}
	v := environments.ProtectionView{Environment: *e, Form: form}
	if v.Others, err = h.Deploy.Environments(ctx, deploy.EnvironmentFilter{TeamID: e.TeamID}); err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Protection of " + e.Name, Nav: "environments", Crumbs: []layout.Link{{Label: "Environments", Href: "/environments"}, {Label: e.Name, Href: environments.URL(*e)}}})
	v.Curl = p.Curl("PUT", "/api/v1/environments/"+e.ID+"/protection", `{"approvals": 1, "branches": ["main"], "after": "", "freezes": []}`)
	return Render(c, status, environments.Protection(p, v))
}

// Protect sets approvals, branches and order; freezes stay.
func (h *Environments) Protect(c echo.Context) error {
	return h.protect(c, func(p *models.Protection) error {
		n, err := strconv.Atoi(c.FormValue("approvals"))
		if err != nil {
			return models.InvalidField("approvals", "This is not a number.")
		}
		p.Approvals, p.Branches, p.After = n, strings.Split(c.FormValue("branches"), "\n"), c.FormValue("after")
		return nil
	})
}

// AddFreeze adds a time in which nothing is deployed.
func (h *Environments) AddFreeze(c echo.Context) error {
	f, err := freeze(c)
	if err == nil {
		_, err = h.Deploy.AddFreeze(c.Request().Context(), c.Param("id"), f)
	}
	return h.protected(c, err)
}

// freeze reads what the form says: a time of every week, or one that comes once.
func freeze(c echo.Context) (models.Freeze, error) {
	f := models.Freeze{Name: strings.TrimSpace(c.FormValue("name"))}
	if c.FormValue("start") == "" && c.FormValue("end") == "" {
		from, err1 := strconv.Atoi(c.FormValue("from_day"))
		to, err2 := strconv.Atoi(c.FormValue("to_day"))
		if err1 != nil || err2 != nil {
			return f, models.InvalidField("from_day", "Choose a day.")
		}
		f.Zone, f.FromDay, f.ToDay = strings.TrimSpace(c.FormValue("zone")), time.Weekday(from), time.Weekday(to)
		f.FromTime, f.ToTime = c.FormValue("from_time"), c.FormValue("to_time")
		return f, nil
	}
	for field, to := range map[string]**time.Time{"start": &f.Start, "end": &f.End} {
		at, err := time.Parse("2006-01-02T15:04", c.FormValue(field))
		if err != nil {
			return f, models.InvalidField(field, "This is not a date and time.")
		}
		*to = &at
	}
	return f, nil
}

// DeleteFreeze takes a freeze away.
func (h *Environments) DeleteFreeze(c echo.Context) error {
	_, err := h.Deploy.DeleteFreeze(c.Request().Context(), c.Param("id"), c.Param("freeze"))
	return h.protected(c, err)
}

// protect changes the protection, and shows the form again where that is refused.
func (h *Environments) protect(c echo.Context, change func(*models.Protection) error) error {
	_, err := h.Deploy.ChangeProtection(c.Request().Context(), c.Param("id"), change)
	return h.protected(c, err)
}

// protected goes back to the form, or shows it again with what is wrong.
func (h *Environments) protected(c echo.Context, err error) error {
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.protection(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, "Saved")
	return c.Redirect(http.StatusSeeOther, "/environments/"+c.Param("id")+"/protection")
}

// SetAuto has good builds of a branch deployed by themselves, or none.
func (h *Environments) SetAuto(c echo.Context) error {
	ctx := c.Request().Context()
	in := deploy.AutoInput{EnvironmentID: c.Param("id"), AppID: c.FormValue("app_id"), Branch: strings.TrimSpace(c.FormValue("branch"))}
	var err error
	if in.Branch == "" {
		err = h.Deploy.UnsetAuto(ctx, in.EnvironmentID, in.AppID)
	} else {
		_, err = h.Deploy.SetAuto(ctx, in)
	}
	if err != nil {
		return h.refused(c, err)
	}
	notify(c, "Saved")
	return c.Redirect(http.StatusSeeOther, "/environments/"+in.EnvironmentID+"#running")
}

// LiftHold has good builds deployed again after a rollback.
func (h *Environments) LiftHold(c echo.Context) error {
	if err := h.Deploy.LiftHold(c.Request().Context(), c.Param("id"), c.FormValue("app_id")); err != nil {
		return h.refused(c, err)
	}
	notify(c, "Good builds are deployed again")
	return c.Redirect(http.StatusSeeOther, "/environments/"+c.Param("id")+"#running")
}

// Delete removes an environment in which nothing runs.
func (h *Environments) Delete(c echo.Context) error {
	ctx := c.Request().Context()
	e, err := h.Deploy.Environment(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if err = confirmed(c, e.Name); err == nil {
		err = h.Deploy.DeleteEnvironment(ctx, e.ID)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.environment(c, problem.Of(ctx, err).Status, environments.PageView{Err: form.Err, Delete: form})
	}
	notify(c, "Environment "+e.Name+" deleted")
	return c.Redirect(http.StatusSeeOther, "/environments")
}
