package web

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/workflows"
	"slipway.dev/services/workload"
	"slipway.dev/views/apps"
	"slipway.dev/views/components"
)

// Actions is the pages about GitHub Actions as an app's builder.
type Actions struct {
	*Apps
	Workflows *workflows.Service
	Workloads *workload.Service
}

// Page shows how the app's runs stand, the file and the settings.
func (h *Actions) Page(c echo.Context) error { return h.page(c, http.StatusOK, components.Form{}) }

func (h *Actions) page(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	header, err := h.header(c)
	if err != nil {
		return err
	}
	v := apps.ActionsView{Header: header, Form: form, Issuers: h.Workflows.Issuers}
	if err := h.fill(c, &v); err != nil {
		return err
	}
	list, err := h.Workloads.List(ctx, workload.Filter{AppID: header.App.ID, Page: models.Page{Cursor: c.QueryParam("cursor"), Limit: 10}})
	if err != nil {
		return err
	}
	v.Exchanges = list.Items
	v.First, v.Next = pages(c, list.Next)
	p := h.frame(c, header, "actions", "GitHub Actions")
	if header.CanDelete {
		p.Live = nil // a form is being filled in
	}
	v.Curl = p.Curl("PUT", "/api/v1/apps/"+header.App.ID+"/workflow", `{"repository": "acme/shop", "on_push": true}`)
	v.FileCurl = p.Curl("POST", "/api/v1/apps/"+header.App.ID+"/workflow/pull-request", "").For("Open the pull request")
	return Render(c, status, apps.Actions(p, v))
}

// fill reads the workflow, or what one would be, and compares the file where asked.
func (h *Actions) fill(c echo.Context, v *apps.ActionsView) error {
	ctx := c.Request().Context()
	d, err := h.Workflows.Get(ctx, v.App.ID)
	v.Saved = err == nil
	if models.IsCode(err, models.NotFound) {
		if d = (&workflows.Detail{Workflow: models.Workflow{Destination: models.DestinationPortal}}); v.CanEdit {
			d, err = h.Workflows.Proposal(ctx, v.App.ID)
		} else {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	v.Workflow, v.File, v.Image, v.Connected = d.Workflow, d.File, d.Image, d.Connected
	v.Logins = logins(&d.Workflow)
	if !v.Saved || !v.Connected || c.QueryParam("compare") == "" {
		return nil
	}
	compared, err := h.Workflows.Compare(ctx, v.App.ID)
	if err != nil {
		form, fault := again(c, err)
		v.Form.Err = form.Err
		return fault
	}
	v.Compared = (*apps.Compared)(compared)
	return nil
}

func logins(w *models.Workflow) []apps.Login {
	titles := []struct {
		destination models.Destination
		title       string
	}{{models.DestinationECR, "For Amazon ECR"}, {models.DestinationGAR, "For Google Artifact Registry"}, {models.DestinationACR, "For Azure Container Registry"}}
	var out []apps.Login
	for _, t := range titles {
		l := apps.Login{Destination: t.destination, Title: t.title}
		for _, f := range workflows.Fields(t.destination) {
			l.Fields = append(l.Fields, components.Field{Name: f.Name, Label: f.Label, Hint: f.Hint, Value: w.Settings[f.Name], Mono: true, Optional: true})
		}
		out = append(out, l)
	}
	return out
}

// Save sets the workflow.
func (h *Actions) Save(c echo.Context) error {
	in, err := workflowInput(c)
	if err == nil {
		_, err = h.Workflows.Save(c.Request().Context(), c.Param("id"), in)
	}
	if err != nil {
		return h.again(c, err)
	}
	notify(c, "Saved: runs of this kind are trusted from now on")
	return c.Redirect(http.StatusSeeOther, "/apps/"+c.Param("id")+"/actions")
}

func (h *Actions) again(c echo.Context, err error) error {
	form, fault := again(c, err)
	if fault != nil {
		return fault
	}
	return h.page(c, problem.Of(c.Request().Context(), err).Status, form)
}

func workflowInput(c echo.Context) (workflows.WorkflowInput, error) {
	in := workflows.WorkflowInput{
		Repository: c.FormValue("repository"), Issuer: c.FormValue("issuer"), Path: c.FormValue("path"), Environment: c.FormValue("environment"),
		Destination: models.Destination(c.FormValue("destination")), Image: c.FormValue("image"), Cache: models.WorkflowCache(c.FormValue("cache")),
		OnPush: ticked(c, "on_push"), Refs: strings.Fields(c.FormValue("refs")), Settings: map[string]string{},
	}
	for _, f := range workflows.Fields(in.Destination) {
		in.Settings[f.Name] = c.FormValue(f.Name)
	}
	text := strings.TrimSpace(c.FormValue("repository_id"))
	if text == "" {
		return in, nil
	}
	var err error
	if in.GitHubID, err = strconv.ParseInt(text, 10, 64); err != nil {
		return in, models.InvalidField("repository_id", "Enter a whole number.")
	}
	return in, nil
}

// Propose opens the pull request.
func (h *Actions) Propose(c echo.Context) error {
	url, err := h.Workflows.Propose(c.Request().Context(), c.Param("id"))
	if err != nil {
		return h.again(c, err)
	}
	notify(c, "The pull request is open: "+url)
	return c.Redirect(http.StatusSeeOther, "/apps/"+c.Param("id")+"/actions")
}

// Delete ends the trust.
func (h *Actions) Delete(c echo.Context) error {
	if err := h.Workflows.Delete(c.Request().Context(), c.Param("id")); err != nil {
		return h.again(c, err)
	}
	notify(c, "No run of this app is trusted any more")
	return c.Redirect(http.StatusSeeOther, "/apps/"+c.Param("id")+"/actions")
}
