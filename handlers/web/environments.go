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
	"slipway.dev/services/visitors"
	"slipway.dev/views/components"
	"slipway.dev/views/environments"
	"slipway.dev/views/layout"
)

// Environments is the pages about environments.
type Environments struct {
	*Base
	Catalog *catalog.Service
	Deploy  *deploy.Service

	Visitors *visitors.Service
}

// Board shows what runs where.
func (h *Environments) Board(c echo.Context) error {
	ctx := c.Request().Context()
	b, err := h.Deploy.Board(ctx, "", "")
	if err != nil {
		return err
	}
	teams, err := h.teams(ctx)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Environments", Nav: "environments", Live: []string{"environments"}})
	v := environments.BoardView{Curl: p.Curl("POST", "/api/v1/environments", `{"team": "payments", "name": "staging"}`)}
	who := models.PrincipalFrom(ctx)
	for _, t := range teams {
		v.CanMake = v.CanMake || who.RoleIn(t.ID).AtLeast(models.RoleMaintainer)
		if team := teamBoard(b, t); len(team.Environments) > 0 {
			team.CanDeploy = who.RoleIn(t.ID).AtLeast(models.RoleDeveloper)
			v.Teams = append(v.Teams, team)
		}
	}
	return Render(c, http.StatusOK, environments.Board(p, v))
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

// teamBoard is the part of the board that is the team's.
func teamBoard(b *deploy.Board, t models.Team) environments.TeamBoard {
	board := environments.TeamBoard{Team: t}
	for _, e := range b.Environments {
		if e.TeamID == t.ID {
			board.Environments = append(board.Environments, e)
		}
	}
	for _, a := range b.Apps {
		if a.TeamID != t.ID {
			continue
		}
		row := environments.Row{App: a}
		for _, e := range board.Environments {
			row.Cells = append(row.Cells, cellOf(b, e, a))
		}
		board.Rows = append(board.Rows, row)
	}
	return board
}

// cellOf is an app in an environment; attempts that are history are left out.
func cellOf(b *deploy.Board, e models.Environment, a models.App) environments.Cell {
	cell := b.Cell(e.ID, a.ID)
	out := environments.Cell{Environment: e, Serving: cell.Active, Latest: cell.Latest, State: stageState(cell)}
	if cell.Active != nil {
		out.State = stageState(deploy.Cell{Active: cell.Active})
		if cell.Latest != nil && cell.Latest.State.Ended() && cell.Latest.State != models.DeploymentFailed {
			out.Latest = nil
		}
	}
	return out
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
	b, err := h.Deploy.Board(ctx, e.TeamID, "")
	if err != nil {
		return err
	}
	role := models.PrincipalFrom(ctx).RoleIn(e.TeamID)
	p := h.page(c, layout.Page{Title: e.Name, Nav: "environments", Meta: environments.Meta(*e), Live: []string{"environment:" + e.ID},
		Crumbs: []layout.Link{{Label: "Environments", Href: "/environments"}}})
	v.Environment, v.Apps = *e, b.Apps
	v.CanChange, v.CanDelete = role.AtLeast(models.RoleDeveloper), role.AtLeast(models.RoleMaintainer)
	v.Curl = p.Curl("PUT", "/api/v1/environments/"+e.ID+"/variables/LOG_LEVEL", `{"value": "debug"}`).For("Set a variable")
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
	if v.Variables, err = h.Deploy.Variables(ctx, e.ID); err != nil {
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
	for _, a := range v.Apps {
		row := environments.AppAddresses{App: a, Own: own[a.ID], Others: others[a.ID]}
		row.Maintenance = slices.ContainsFunc(closed, func(m models.Maintenance) bool { return m.AppID == a.ID })
		v.Addresses = append(v.Addresses, row)
	}
	return err
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
	notify(c, "Environment "+e.Name+" made")
	return c.Redirect(http.StatusSeeOther, environments.URL(*e))
}

// SetVariable sets a variable or a secret.
func (h *Environments) SetVariable(c echo.Context) error {
	in := deploy.VariableInput{EnvironmentID: c.Param("id"), AppID: c.FormValue("app_id"), Name: c.FormValue("name"), Value: c.FormValue("value"), Secret: c.FormValue("secret") != ""}
	v, err := h.Deploy.SetVariable(c.Request().Context(), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		if in.Secret {
			form.Values.Del("value") // a secret is never sent back
		}
		return h.environment(c, problem.Of(c.Request().Context(), err).Status, environments.PageView{Form: form})
	}
	notify(c, v.Name+" set")
	return c.Redirect(http.StatusSeeOther, "/environments/"+in.EnvironmentID+"#variables")
}

// refused shows the environment again, with what is wrong.
func (h *Environments) refused(c echo.Context, err error) error {
	form, fault := again(c, err)
	if fault != nil {
		return fault
	}
	return h.environment(c, problem.Of(c.Request().Context(), err).Status, environments.PageView{Err: form.Err})
}

// DeleteVariable removes a variable or a secret.
func (h *Environments) DeleteVariable(c echo.Context) error {
	if err := h.Deploy.DeleteVariable(c.Request().Context(), c.Param("id"), c.Param("variable")); err != nil {
		return err
	}
	notify(c, "Deleted")
	return c.Redirect(http.StatusSeeOther, "/environments/"+c.Param("id")+"#variables")
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
	return h.protect(c, func(p *models.Protection) error {
		f := models.Freeze{Name: strings.TrimSpace(c.FormValue("name"))}
		if c.FormValue("start") == "" && c.FormValue("end") == "" {
			from, err1 := strconv.Atoi(c.FormValue("from_day"))
			to, err2 := strconv.Atoi(c.FormValue("to_day"))
			if err1 != nil || err2 != nil {
				return models.InvalidField("from_day", "Choose a day.")
			}
			f.Zone, f.FromDay, f.ToDay = strings.TrimSpace(c.FormValue("zone")), time.Weekday(from), time.Weekday(to)
			f.FromTime, f.ToTime = c.FormValue("from_time"), c.FormValue("to_time")
		} else {
			for field, to := range map[string]**time.Time{"start": &f.Start, "end": &f.End} {
				at, err := time.Parse("2006-01-02T15:04", c.FormValue(field))
				if err != nil {
					return models.InvalidField(field, "This is not a date and time.")
				}
				*to = &at
			}
		}
		p.Freezes = append(p.Freezes, f)
		return nil
	})
}

// DeleteFreeze takes a freeze away.
func (h *Environments) DeleteFreeze(c echo.Context) error {
	return h.protect(c, func(p *models.Protection) error {
		n, err := strconv.Atoi(c.Param("n"))
		if err != nil || n < 0 || n >= len(p.Freezes) {
			return models.Errorf(models.NotFound, "No such freeze.")
		}
		p.Freezes = slices.Delete(p.Freezes, n, n+1)
		return nil
	})
}

// protect changes the protection, and shows the form again where that is refused.
func (h *Environments) protect(c echo.Context, change func(*models.Protection) error) error {
	ctx := c.Request().Context()
	e, err := h.Deploy.Environment(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	rules := e.Protection
	if err = change(&rules); err == nil {
		_, err = h.Deploy.Protect(ctx, e.ID, rules)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.protection(c, problem.Of(ctx, err).Status, form)
	}
	notify(c, "Saved")
	return c.Redirect(http.StatusSeeOther, environments.URL(*e)+"/protection")
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
	if c.FormValue("confirm") != e.Name {
		err = models.Errorf(models.Invalid, "Type %s to confirm.", e.Name)
	} else {
		err = h.Deploy.DeleteEnvironment(ctx, e.ID)
	}
	if err != nil {
		return h.refused(c, err)
	}
	notify(c, "Environment "+e.Name+" deleted")
	return c.Redirect(http.StatusSeeOther, "/environments")
}
