package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/views/admin"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// Queue is the admin's pages about what waits, what runs, and who works.
type Queue struct {
	*Base
	Builds *builds.Service
}

const queuePath = "/admin/queue"

var queueCrumbs = []layout.Link{{Label: "Admin", Href: "/admin"}, {Label: "Queue", Href: queuePath}}

// Page shows the queue and the workers.
func (h *Queue) Page(c echo.Context) error { return h.show(c, http.StatusOK, components.Form{}, "") }

// show shows the queue; the form is that of the team's limit.
func (h *Queue) show(c echo.Context, status int, form components.Form, team string) error {
	ctx := c.Request().Context()
	board, err := h.Builds.Board(ctx)
	if err != nil {
		return err
	}
	workers, err := h.Builds.Workers(ctx)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Admin", Nav: "admin", Tabs: admin.Tabs("queue"), Live: []string{"builds", "queue"}})
	v := admin.QueueView{Board: *board, Workers: workers, Form: form, FormTeam: team, Curl: p.Curl("GET", "/api/v1/queue", "")}
	return Render(c, status, admin.Queue(p, v))
}

// MoveToFront has a build go before all others.
func (h *Queue) MoveToFront(c echo.Context) error {
	b, err := h.Builds.MoveToFront(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	notify(c, "Build "+b.Title()+" is next")
	return c.Redirect(http.StatusSeeOther, queuePath)
}

// SetLimit sets how many builds a team runs at once.
func (h *Queue) SetLimit(c echo.Context) error {
	limit, err := number(c, "builds")
	if err == nil {
		_, err = h.Builds.SetTeamLimit(c.Request().Context(), c.Param("team"), limit)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.show(c, problem.Of(c.Request().Context(), err).Status, form, c.Param("team"))
	}
	notify(c, "Limit of "+c.Param("team")+" saved")
	return c.Redirect(http.StatusSeeOther, queuePath+"#limits")
}

// Worker is the form that changes a worker.
func (h *Queue) Worker(c echo.Context) error { return h.worker(c, http.StatusOK, components.Form{}) }

func (h *Queue) worker(c echo.Context, status int, form components.Form) error {
	w, err := h.Builds.Worker(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: w.Host, Nav: "admin", State: string(w.State), Crumbs: queueCrumbs})
	v := admin.WorkerView{Worker: *w, Form: form, Curl: p.Curl("PATCH", "/api/v1/workers/"+w.ID, `{"draining": true}`)}
	return Render(c, status, admin.Worker(p, v))
}

// UpdateWorker changes how many builds a worker takes, and its labels.
func (h *Queue) UpdateWorker(c echo.Context) error {
	n, err := number(c, "builds")
	if err == nil {
		_, err = h.Builds.UpdateWorker(c.Request().Context(), c.Param("id"), builds.WorkerChange{Builds: &n, Labels: labels(c, "labels")})
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.worker(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, "Saved")
	return c.Redirect(http.StatusSeeOther, queuePath)
}

// Drain has a worker take nothing new.
func (h *Queue) Drain(c echo.Context) error { return h.setDraining(c, true, "drains") }

// Resume has a worker take jobs again.
func (h *Queue) Resume(c echo.Context) error { return h.setDraining(c, false, "works again") }

func (h *Queue) setDraining(c echo.Context, draining bool, what string) error {
	w, err := h.Builds.UpdateWorker(c.Request().Context(), c.Param("id"), builds.WorkerChange{Draining: &draining})
	return h.done(c, w, what, err)
}

// Prune has a worker prune its engine's build cache.
func (h *Queue) Prune(c echo.Context) error {
	w, err := h.Builds.AskPrune(c.Request().Context(), c.Param("id"))
	return h.done(c, w, "prunes its build cache in a moment", err)
}

func (h *Queue) done(c echo.Context, w *models.WorkerInfo, what string, err error) error {
	if err != nil {
		return err
	}
	notify(c, w.Host+" "+what)
	return c.Redirect(http.StatusSeeOther, queuePath)
}
