package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/views/components"
	"slipway.dev/views/variables"
)

// History shows who changed what, newest first.
func (h *Variables) History(c echo.Context) error {
	at, err := h.place(c)
	if err != nil {
		return err
	}
	return h.history(c, http.StatusOK, variables.HistoryView{Place: at, Name: c.QueryParam("name")})
}

func (h *Variables) history(c echo.Context, status int, v variables.HistoryView) error {
	f := deploy.ChangeFilter{Scope: scopeOf(v.Place), Name: v.Name, Page: models.Page{Cursor: c.QueryParam("cursor"), Limit: 20}}
	list, err := h.Deploy.VariableChanges(c.Request().Context(), f)
	if err != nil {
		return err
	}
	v.Changes = list.Items
	v.First, v.Next = pages(c, list.Next)
	title := "History of " + v.Place.Name()
	if v.Name != "" {
		title = "History of " + v.Name
	}
	p := h.frame(c, v.Place, title)
	at := "/api/v1/teams/" + v.Team.Slug
	if v.Environment != nil {
		at = "/api/v1/environments/" + v.Environment.ID
	}
	v.Curl = []components.CurlExample{
		p.Curl("GET", at+"/variable-changes", "").For("List"),
		p.Curl("POST", "/api/v1/variable-changes/ID/undo", "").For("Put back"),
	}
	return Render(c, status, variables.History(p, v))
}

// Undo puts back what was before a change.
func (h *Variables) Undo(c echo.Context) error {
	ctx := c.Request().Context()
	change, err := h.Deploy.UndoVariableChange(ctx, c.Param("id"), sent(c, "revision"))
	if err != nil && (change == nil || change.Team == nil) {
		return err
	}
	var e *models.Environment
	if change.EnvironmentID != "" {
		found, missing := h.Deploy.Environment(ctx, change.EnvironmentID)
		if missing != nil {
			return missing
		}
		e = found
	}
	at, missing := h.placeIn(ctx, *change.Team, e, change.AppID)
	if missing != nil {
		return missing
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.history(c, problem.Of(ctx, err).Status, variables.HistoryView{Place: at, Name: change.Name, Err: form.Err})
	}
	notify(c, change.Name+" is as it was before")
	return c.Redirect(http.StatusSeeOther, h.Back(c.Request(), at.URL("/history", "name", change.Name)))
}

// Forget removes former values for good.
func (h *Variables) Forget(c echo.Context) error {
	at, err := h.place(c)
	if err != nil {
		return err
	}
	n, err := h.Deploy.ForgetVariables(c.Request().Context(), scopeOf(at), c.FormValue("name"))
	if err != nil {
		return err
	}
	notify(c, "Values of "+components.Count(n, "change", "changes")+" forgotten")
	return c.Redirect(http.StatusSeeOther, at.URL("/history"))
}
