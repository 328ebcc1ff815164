package web

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/views/components"
	views "slipway.dev/views/deployments"
	"slipway.dev/views/layout"
)

// Compare shows how two deployments of an app differ. The list of deployments sends the two that were ticked as ?d=&d=,
// the newer one first.
func (h *Deploy) Compare(c echo.Context) error {
	ctx := c.Request().Context()
	app, err := h.Catalog.App(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	picked := c.QueryParams()["d"]
	if len(picked) == 2 {
		return c.Redirect(http.StatusSeeOther, views.CompareURL(app.ID, picked[1], picked[0]))
	}
	list, err := h.Deploy.List(ctx, deploy.Filter{AppID: app.ID, Page: models.Page{Limit: models.MaxLimit}})
	if err != nil {
		return err
	}
	v := views.CompareView{App: *app, Choices: list.Items, A: c.QueryParam("a"), B: c.QueryParam("b")}
	status := http.StatusOK
	if c.QueryParams().Has("d") {
		v.A, status = picked[0], http.StatusUnprocessableEntity
		v.Form = components.Form{Err: &models.Error{Code: models.Invalid, Message: "Tick two deployments to compare."}}
	}
	proposePair(&v)
	if status == http.StatusOK && v.A != "" && v.B != "" {
		if status, err = h.compare(c, &v); err != nil {
			return err
		}
	}
	p := h.page(c, layout.Page{Title: "Compare deployments", Window: "Compare deployments of " + app.Name, Nav: "apps",
		Crumbs: []layout.Link{{Label: "Apps", Href: "/apps"}, {Label: app.Name, Href: "/apps/" + app.ID}, {Label: "Deployments", Href: "/apps/" + app.ID + "/deployments"}}})
	v.Curl = p.Curl("GET", "/api/v1/deployments/compare?a="+v.A+"&b="+v.B, "")
	return Render(c, status, views.Compare(p, v))
}

// proposePair chooses what the address leaves open: the newest deployment, and the one before the other.
func proposePair(v *views.CompareView) {
	all := v.Choices
	if len(all) < 2 {
		return
	}
	if v.B == "" {
		v.B = all[0].ID
		if v.A == v.B {
			v.B = all[1].ID
		}
	}
	if v.A == "" {
		v.A = all[1].ID
		if i := slices.IndexFunc(all, func(d models.Deployment) bool { return d.ID == v.B }); i >= 0 && i+1 < len(all) {
			v.A = all[i+1].ID
		}
	}
}

// compare adds the comparison to the page, or says why there is none.
func (h *Deploy) compare(c echo.Context, v *views.CompareView) (int, error) {
	ctx := c.Request().Context()
	found, err := h.Deploy.Compare(ctx, v.A, v.B)
	if err == nil && found.A.AppID != v.App.ID {
		err = models.Errorf(models.NotFound, "No such deployment.")
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return 0, fault
		}
		v.Form = components.Form{Err: form.Err}
		return problem.Of(ctx, err).Status, nil
	}
	for _, d := range []*models.Deployment{found.A, found.B} { // older ones than the form offers
		if !slices.ContainsFunc(v.Choices, func(o models.Deployment) bool { return o.ID == d.ID }) {
			v.Choices = append(v.Choices, *d)
		}
	}
	view := views.Comparison{A: *found.A, B: *found.B, Range: found.Range, CommitsNote: found.CommitsNote}
	for _, d := range found.Settings {
		view.Settings = append(view.Settings, views.Difference(d))
	}
	for _, x := range found.Variables {
		view.Variables = append(view.Variables, views.Change(x))
	}
	for _, x := range found.Secrets {
		view.Secrets = append(view.Secrets, views.Change(x))
	}
	v.Comparison = &view
	return http.StatusOK, nil
}
