package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/schedules"
	"slipway.dev/views/apps"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// Schedules is the pages about the schedules of apps.
type Schedules struct {
	*Apps
	Schedules *schedules.Service
}

// List shows an app's schedules and the form that makes one.
func (h *Schedules) List(c echo.Context) error { return h.list(c, http.StatusOK, components.Form{}) }

func (h *Schedules) list(c echo.Context, status int, form components.Form) error {
	header, err := h.header(c)
	if err != nil {
		return err
	}
	list, err := h.Schedules.List(c.Request().Context(), header.App.ID, cursor(c))
	if err != nil {
		return err
	}
	v := apps.SchedulesView{Header: header, Form: form}
	for _, s := range list.Items {
		v.Schedules = append(v.Schedules, apps.Schedule(s))
	}
	v.First, v.Next = pages(c, list.Next)
	p := h.frame(c, header, "schedules", "Schedules")
	if header.CanEdit {
		p.Live = nil // a form is being filled in
	}
	v.Curl = p.Curl("POST", "/api/v1/apps/"+header.App.ID+"/schedules", `{"cron": "0 2 * * 1-5", "time_zone": "Europe/Berlin"}`)
	return Render(c, status, apps.Schedules(p, v))
}

// Create makes a schedule.
func (h *Schedules) Create(c echo.Context) error {
	in := schedules.New{Cron: c.FormValue("cron"), TimeZone: c.FormValue("time_zone"), Ref: c.FormValue("ref"), OnlyNew: ticked(c, "only_new"), NoCache: ticked(c, "no_cache")}
	made, err := h.Schedules.Create(c.Request().Context(), c.Param("id"), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.list(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, "Schedule added")
	return c.Redirect(http.StatusSeeOther, "/apps/"+made.AppID+"/schedules")
}

func ticked(c echo.Context, name string) bool { return c.FormValue(name) != "" }

// Edit is the form that changes a schedule.
func (h *Schedules) Edit(c echo.Context) error { return h.edit(c, http.StatusOK, components.Form{}) }

func (h *Schedules) edit(c echo.Context, status int, form components.Form) error {
	s, err := h.Schedules.Get(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	if err := models.Authorize(c.Request().Context(), s.TeamID, models.RoleDeveloper, "schedule"); err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Schedule of " + s.App.Name, Nav: "apps", Crumbs: []layout.Link{
		{Label: "Apps", Href: "/apps"}, {Label: s.App.Name, Href: apps.URL(*s.App)}, {Label: "Schedules", Href: apps.URL(*s.App) + "/schedules"},
	}})
	v := apps.ScheduleView{Header: apps.Header{App: *s.App, CanEdit: true}, Schedule: apps.Schedule(*s), Form: form}
	v.Curl = p.Curl("PATCH", "/api/v1/schedules/"+s.ID, `{"cron": "`+s.Cron+`", "enabled": true}`)
	return Render(c, status, apps.EditSchedule(p, v))
}

// Update changes a schedule.
func (h *Schedules) Update(c echo.Context) error {
	cron, zone, ref, onlyNew, noCache := c.FormValue("cron"), c.FormValue("time_zone"), c.FormValue("ref"), ticked(c, "only_new"), ticked(c, "no_cache")
	in := schedules.Change{Cron: &cron, TimeZone: &zone, Ref: &ref, OnlyNew: &onlyNew, NoCache: &noCache}
	s, err := h.Schedules.Update(c.Request().Context(), c.Param("id"), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.edit(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, "Schedule saved")
	return c.Redirect(http.StatusSeeOther, "/apps/"+s.AppID+"/schedules")
}

// Pause switches a schedule off.
func (h *Schedules) Pause(c echo.Context) error { return h.enable(c, false, "Schedule paused") }

// Resume switches a schedule on; its next turn is counted from now.
func (h *Schedules) Resume(c echo.Context) error { return h.enable(c, true, "Schedule resumed") }

func (h *Schedules) enable(c echo.Context, on bool, done string) error {
	s, err := h.Schedules.Update(c.Request().Context(), c.Param("id"), schedules.Change{Enabled: &on})
	if err != nil {
		return err
	}
	notify(c, done)
	return c.Redirect(http.StatusSeeOther, "/apps/"+s.AppID+"/schedules")
}

// Delete deletes a schedule.
func (h *Schedules) Delete(c echo.Context) error {
	ctx := c.Request().Context()
	s, err := h.Schedules.Get(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if err := h.Schedules.Delete(ctx, s.ID); err != nil {
		return err
	}
	notify(c, "Schedule deleted")
	return c.Redirect(http.StatusSeeOther, "/apps/"+s.AppID+"/schedules")
}
