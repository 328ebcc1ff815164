package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/engines"
	"slipway.dev/views/admin"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// Engines is the admin's pages about what builds run on.
type Engines struct {
	*Base
	Engines *engines.Service
}

var engineCrumbs = []layout.Link{{Label: "Admin", Href: "/admin"}, {Label: "Build engines", Href: "/admin/engines"}}

// List shows all engines.
func (h *Engines) List(c echo.Context) error {
	all, err := h.Engines.List(c.Request().Context())
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Admin", Window: "Build engines", Nav: "admin", Tabs: admin.Tabs("engines")})
	v := admin.EnginesView{Curl: p.Curl("GET", "/api/v1/engines", "")}
	for _, e := range all {
		v.Engines = append(v.Engines, engineRow(e))
	}
	return Render(c, http.StatusOK, admin.Engines(p, v))
}

func engineRow(e engines.Engine) admin.EngineRow {
	return admin.EngineRow{Engine: e.BuildEngine, Fixed: e.Fixed, Running: e.Running}
}

// New is the form of an engine to add.
func (h *Engines) New(c echo.Context) error {
	return h.form(c, http.StatusOK, admin.EngineRow{Engine: models.BuildEngine{MaxBuilds: 4, Enabled: true}}, components.Form{})
}

// Page is the form of one engine.
func (h *Engines) Page(c echo.Context) error { return h.engine(c, http.StatusOK, components.Form{}) }

func (h *Engines) engine(c echo.Context, status int, form components.Form) error {
	e, err := h.Engines.Get(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return h.form(c, status, engineRow(*e), form)
}

func (h *Engines) form(c echo.Context, status int, row admin.EngineRow, form components.Form) error {
	v := admin.EngineView{EngineRow: row, Form: form}
	title, method, path := "New build engine", "POST", "/api/v1/engines"
	if row.Engine.ID != "" {
		title, method, path = row.Engine.Name, "PUT", path+"/"+row.Engine.ID
	}
	p := h.page(c, layout.Page{Title: title, Nav: "admin", Crumbs: engineCrumbs})
	v.Curl = p.Curl(method, path, `{"name": "fast", "address": "tcp://buildkit.example.com:1234", "ca": "…", "cert": "…", "key": "…", "enabled": true}`)
	return Render(c, status, admin.Engine(p, v))
}

// engineInput reads the form.
func engineInput(c echo.Context) (engines.EngineInput, error) {
	n, err := number(c, "max_builds")
	return engines.EngineInput{
		Name: c.FormValue("name"), Address: c.FormValue("address"), CA: c.FormValue("ca"), Cert: c.FormValue("cert"), Key: c.FormValue("key"),
		MaxBuilds: n, Enabled: c.FormValue("enabled") != "",
	}, err
}

// Create adds an engine.
func (h *Engines) Create(c echo.Context) error {
	var e *engines.Engine
	in, err := engineInput(c)
	if err == nil {
		e, err = h.Engines.Create(c.Request().Context(), in)
	}
	if err != nil {
		form, fault := againWithoutKeys(c, err)
		if fault != nil {
			return fault
		}
		return h.form(c, problem.Of(c.Request().Context(), err).Status, admin.EngineRow{Engine: models.BuildEngine{MaxBuilds: in.MaxBuilds, Enabled: true}}, form)
	}
	return c.Redirect(http.StatusSeeOther, "/admin/engines/"+e.ID)
}

// Update changes an engine.
func (h *Engines) Update(c echo.Context) error {
	in, err := engineInput(c)
	if err == nil {
		_, err = h.Engines.Update(c.Request().Context(), c.Param("id"), in)
	}
	if err != nil {
		form, fault := againWithoutKeys(c, err)
		if fault != nil {
			return fault
		}
		return h.engine(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, "Saved")
	return c.Redirect(http.StatusSeeOther, "/admin/engines/"+c.Param("id"))
}

// againWithoutKeys is again, without what is secret.
func againWithoutKeys(c echo.Context, err error) (components.Form, error) {
	form, fault := again(c, err)
	for _, name := range []string{"ca", "cert", "key"} {
		form.Values.Del(name)
	}
	return form, fault
}

// Check looks at an engine now.
func (h *Engines) Check(c echo.Context) error {
	e, err := h.Engines.Check(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	if e.Error == "" {
		notify(c, e.Name+" answers")
	}
	return c.Redirect(http.StatusSeeOther, "/admin/engines/"+e.ID)
}

// Delete forgets an engine on which nothing runs.
func (h *Engines) Delete(c echo.Context) error {
	err := h.Engines.Delete(c.Request().Context(), c.Param("id"))
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		form.Values = nil
		return h.engine(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, "Deleted")
	return c.Redirect(http.StatusSeeOther, "/admin/engines")
}
