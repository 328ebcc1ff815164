package web

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/sse"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/views/apps"
	"slipway.dev/views/components"
	views "slipway.dev/views/deployments"
	"slipway.dev/views/layout"
)

// Deployments is the pages about single deployments.
type Deployments struct {
	*Base
	Deploy  *deploy.Service
	Streams *sse.Streams
}

// Page shows one deployment.
func (h *Deployments) Page(c echo.Context) error {
	ctx := c.Request().Context()
	d, err := h.Deploy.Get(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	p := h.page(c, deploymentFrame(d))
	v := views.PageView{
		Deployment: *d, CanDeploy: models.PrincipalFrom(ctx).RoleIn(d.TeamID).AtLeast(models.RoleDeveloper), Log: runtimeLog(d),
		Curl:    p.Curl("POST", "/api/v1/deployments/"+d.ID+"/rollback", "").For("Roll back to this"),
		LogCurl: p.Curl("GET", "/api/v1/deployments/"+d.ID+"/logs", "").For("Read the log"),
	}
	v.ShiftCurl = p.Curl("POST", "/api/v1/deployments/"+d.ID+"/everyone", "").For("Send everyone now")
	answers, err := h.Deploy.Answers(ctx, d)
	if err != nil {
		return err
	}
	v.Answers = answers.String()
	v.CanDrift = h.Deploy.CanDrift(ctx, d)
	resources, events := h.Deploy.Tells(ctx, d)
	v.Tells = resources || events
	who := models.PrincipalFrom(ctx)
	v.CanDecide = d.State == models.DeploymentWaiting && who.RoleIn(d.TeamID).AtLeast(models.RoleMaintainer) && who.UserID != d.CreatedBy
	if v.Bad, err = h.Deploy.Bad(ctx, d); err != nil {
		return err
	}
	if v.Reason, err = h.Deploy.WhyWaiting(ctx, d); err != nil {
		return err
	}
	if v.Earlier, err = h.earlier(ctx, d); err != nil {
		return err
	}
	return Render(c, http.StatusOK, views.Page(p, v))
}

// deploymentFrame is the page around a deployment.
func deploymentFrame(d *models.Deployment) layout.Page {
	title := fmt.Sprintf("%s %s in %s", d.App.Name, apps.Version(*d), d.Environment.Name)
	p := layout.Page{
		Title: title, State: views.State(*d), Nav: "environments", Meta: views.Meta(*d), Live: []string{"deployment:" + d.ID},
		Crumbs: []layout.Link{{Label: "Apps", Href: "/apps"}, {Label: d.App.Name, Href: "/apps/" + d.AppID}, {Label: "Deployments", Href: "/apps/" + d.AppID + "/deployments"}},
	}
	if !d.State.Ended() {
		p.Reload = 5
	}
	return p
}

// runtimeLog is what the instances print: what was kept where they are gone, a stream otherwise.
func runtimeLog(d *models.Deployment) components.LogView {
	base := views.URL(*d)
	v := components.LogView{ID: "log", Title: "Log of the app", Raw: base + "/log.txt", Waiting: "The app has printed nothing yet."}
	if d.RetiredAt == nil && (!d.State.Ended() || d.Active) {
		v.Stream, v.Running = base+"/log", true
		return v
	}
	v.Waiting = "Its instances are gone, and they had printed nothing."
	for _, i := range d.Instances {
		v.Lines = append(v.Lines, components.Lines(int64(len(v.Lines))+1, i.LastLogs)...)
	}
	return v
}

// earlier is what serves instead of a deployment that failed, or what served before the one that serves.
func (h *Deployments) earlier(ctx context.Context, d *models.Deployment) (*models.Deployment, error) {
	switch {
	case d.Active && d.PreviousID != nil:
		before, err := h.Deploy.Get(ctx, *d.PreviousID)
		if models.IsCode(err, models.NotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if bad, err := h.Deploy.Bad(ctx, before); err != nil || bad != nil {
			return nil, err
		}
		return before, nil
	case d.State == models.DeploymentFailed:
		list, err := h.Deploy.List(ctx, deploy.Filter{AppID: d.AppID, EnvironmentID: d.EnvironmentID, Active: true})
		if err != nil || len(list.Items) == 0 {
			return nil, err
		}
		return &list.Items[0], nil
	}
	return nil, nil
}

// Log streams what the deployment's instances print, after the line that the browser has.
func (h *Deployments) Log(c echo.Context) error {
	id := c.Param("id")
	st, err := h.Streams.Open(c.Response(), c.Request(), func(ctx context.Context) error {
		_, err := h.Deploy.Get(ctx, id)
		return err
	})
	if err != nil {
		return err
	}
	defer st.Close()
	lines, err := h.Deploy.Logs(st.Context(), id, sse.After(c.Request()), true)
	if err != nil {
		return err
	}
	if st.Pour(lineEvents(st.Context(), lines)) == nil {
		_ = st.Send("", "end", "done") // the browser may be gone
	}
	return nil
}

// lineEvents draws each line as the page takes it. A log that can't be read any
// further ends with a line that says so.
func lineEvents(ctx context.Context, lines iter.Seq2[deploy.Line, error]) iter.Seq[[]byte] {
	var liner components.Liner
	return func(yield func([]byte) bool) {
		n := int64(0)
		for line, err := range lines {
			if err != nil {
				line = deploy.Line{N: n + 1, Text: "The log can't be read any further now."}
			}
			n = line.N
			var html, event bytes.Buffer
			drawn := []components.Line{liner.Line(line.N, "", line.Text, err != nil)}
			if components.LogLines(drawn).Render(ctx, &html) != nil {
				return
			}
			cursor := ""
			if err == nil {
				cursor = line.Cursor()
			}
			sse.Append(&event, cursor, "", html.String())
			if !yield(event.Bytes()) || err != nil {
				return
			}
		}
	}
}

// RawLog is what there is of the log, as text.
func (h *Deployments) RawLog(c echo.Context) error {
	lines, err := h.Deploy.Logs(c.Request().Context(), c.Param("id"), "", false)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderContentType, "text/plain; charset=utf-8")
	for line, err := range lines {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(c.Response(), line.Text); err != nil {
			return nil // the reader is gone
		}
	}
	return nil
}

// Cancel ends a deployment that does not serve yet.
func (h *Deployments) Cancel(c echo.Context) error { return h.act(c, h.Deploy.Cancel) }

// SendEveryone ends the steps in which visitors move to the deployment.
func (h *Deployments) SendEveryone(c echo.Context) error { return h.act(c, h.Deploy.SendEveryone) }

// Approve lets a deployment begin that waits for it.
func (h *Deployments) Approve(c echo.Context) error { return h.decide(c, h.Deploy.Approve) }

// Reject ends a deployment that waits for approval.
func (h *Deployments) Reject(c echo.Context) error { return h.decide(c, h.Deploy.Reject) }

// decide takes a maintainer's word on the image and the configuration that the page showed.
func (h *Deployments) decide(c echo.Context, do func(context.Context, string, deploy.ApprovalInput) (*models.Deployment, error)) error {
	said := deploy.ApprovalInput{Digest: c.FormValue("digest"), ConfigHash: c.FormValue("config_hash"), Comment: c.FormValue("comment")}
	return h.act(c, func(ctx context.Context, id string) (*models.Deployment, error) { return do(ctx, id, said) })
}

// MarkBad keeps the deployment's image from being deployed anywhere in the team.
func (h *Deployments) MarkBad(c echo.Context) error {
	return h.act(c, func(ctx context.Context, id string) (*models.Deployment, error) {
		d, err := h.Deploy.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		_, err = h.Deploy.MarkBad(ctx, d.TeamID, d.ImageDigest, c.FormValue("reason"))
		return d, err
	})
}

// UnmarkBad lets the deployment's image be deployed again.
func (h *Deployments) UnmarkBad(c echo.Context) error {
	return h.act(c, func(ctx context.Context, id string) (*models.Deployment, error) {
		d, err := h.Deploy.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		return d, h.Deploy.UnmarkBad(ctx, d.TeamID, d.ImageDigest)
	})
}

// Stop ends what serves.
func (h *Deployments) Stop(c echo.Context) error { return h.act(c, h.Deploy.Stop) }

// Start runs again what was stopped.
func (h *Deployments) Start(c echo.Context) error { return h.act(c, h.Deploy.Resume) }

// Restart replaces the instances of what serves.
func (h *Deployments) Restart(c echo.Context) error { return h.act(c, h.Deploy.Restart) }

// Rollback deploys what the deployment ran.
func (h *Deployments) Rollback(c echo.Context) error { return h.act(c, h.Deploy.Rollback) }

// act does it and leads to the deployment that came of it. Where it can't be done any more the page says what is.
func (h *Deployments) act(c echo.Context, do func(context.Context, string) (*models.Deployment, error)) error {
	d, err := do(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, views.URL(*d))
}
