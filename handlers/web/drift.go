package web

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	views "slipway.dev/views/deployments"
	"slipway.dev/views/layout"
)

// Drift shows how what runs differs from what was deployed.
func (h *Deployments) Drift(c echo.Context) error {
	ctx := c.Request().Context()
	d, err := h.Deploy.Get(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	found, err := h.Deploy.Drift(ctx, d.ID)
	why, ok := errors.AsType[*models.Error](err)
	if err != nil && (!ok || why.Code != models.Conflict) {
		return err
	}
	frame := deploymentFrame(d)
	frame.Title, frame.Window = "What runs and what was deployed", "Drift of "+frame.Window
	frame.Crumbs = append(frame.Crumbs, layout.Link{Label: d.Title(), Href: views.URL(*d)})
	p := h.page(c, frame)
	v := views.DriftView{Deployment: *d, CanApply: models.PrincipalFrom(ctx).RoleIn(d.TeamID).AtLeast(models.RoleDeveloper),
		Curl: p.Curl("GET", "/api/v1/deployments/"+d.ID+"/drift", "").For("Read the differences"), ApplyCurl: p.Curl("POST", "/api/v1/deployments/"+d.ID+"/apply", "").For("Apply again")}
	if why != nil {
		v.Why = why.Message
	}
	for _, one := range found {
		v.Rows = append(v.Rows, views.Drift(one))
	}
	return Render(c, http.StatusOK, views.DriftPage(p, v))
}

// ApplyAgain has what others changed put back.
func (h *Deployments) ApplyAgain(c echo.Context) error {
	d, err := h.Deploy.ApplyAgain(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	notify(c, "Slipway applies it again")
	return c.Redirect(http.StatusSeeOther, views.URL(*d)+"/drift")
}
