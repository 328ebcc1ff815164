package web

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/views/components"
	"slipway.dev/views/environments"
	"slipway.dev/views/layout"
	"slipway.dev/views/observe"
)

// Runtime is the form of how an app runs in the environment.
func (h *Environments) Runtime(c echo.Context) error {
	return h.runtime(c, http.StatusOK, components.Form{})
}

func (h *Environments) runtime(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	e, err := h.Deploy.Environment(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if err := models.Authorize(ctx, e.TeamID, models.RoleDeveloper, "environment"); err != nil {
		return err
	}
	b, err := h.Deploy.Board(ctx, deploy.BoardFilter{TeamID: e.TeamID, AppIDs: []string{c.Param("app")}})
	if err != nil {
		return err
	}
	if len(b.Apps) == 0 {
		return models.Errorf(models.NotFound, "The team has no such app.")
	}
	v := environments.RuntimeView{Environment: *e, App: b.Apps[0], KeepsData: h.Deploy.KeepsVolumes(e), Splits: h.Deploy.Splits(e), Form: form,
		CanHost: models.PrincipalFrom(ctx).RoleIn(e.TeamID).AtLeast(models.RoleMaintainer)}
	if d := b.Cell(e.ID, v.App.ID).Active; d != nil && !d.Stopped {
		v.Serving = d.ImageDigest
	}
	all, err := h.Deploy.Runtimes(ctx, e.ID)
	if err != nil {
		return err
	}
	if n := slices.IndexFunc(all, func(r models.AppRuntime) bool { return r.AppID == v.App.ID }); n >= 0 {
		v.Runtime = all[n].Runtime
	}
	frame := observe.Settings(*e, v.App, "settings", true)
	frame.Window = "Settings of " + frame.Title
	p := h.page(c, frame)
	v.Curl = p.Curl("PUT", "/api/v1/environments/"+e.ID+"/runtimes/"+v.App.ID, `{"volumes": [{"name": "uploads", "path": "/data"}], "restart": "on-failure", "restart_max": 5, "gradual": [{"percent": 10, "minutes": 5}, {"percent": 50, "minutes": 10}]}`)
	return Render(c, status, environments.Runtime(p, v))
}

// SetRuntime says how an app runs in the environment, and rolls it out at once where asked.
func (h *Environments) SetRuntime(c echo.Context) error {
	ctx := c.Request().Context()
	in := deploy.RuntimeInput{EnvironmentID: c.Param("id"), AppID: c.Param("app")}
	err := runtime(c, &in.Runtime)
	if err == nil {
		_, err = h.Deploy.SetRuntime(ctx, in)
	}
	var d *models.Deployment
	if now := c.FormValue("digest"); err == nil && now != "" {
		d, err = h.Deploy.Deploy(ctx, deploy.Input{EnvironmentID: in.EnvironmentID, AppID: in.AppID, Image: now})
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.runtime(c, problem.Of(ctx, err).Status, form)
	}
	if d != nil {
		return c.Redirect(http.StatusSeeOther, "/deployments/"+d.ID)
	}
	notify(c, "Saved. It counts from the next deployment on")
	return c.Redirect(http.StatusSeeOther, "/environments/"+in.EnvironmentID+"#running")
}

// runtime reads what the form says: a mount on each line.
func runtime(c echo.Context, to *models.Runtime) error {
	wrong := map[string]string{}
	to.Restart, to.Recreate, to.HostNetwork = models.Restart(c.FormValue("restart")), c.FormValue("recreate") != "", c.FormValue("host_network") != ""
	to.RestartMax, _ = strconv.Atoi(strings.TrimSpace(c.FormValue("restart_max"))) // what is no number is not from 1 to 100
	steps, err := models.ParseGradual(c.FormValue("gradual"))
	if told, ok := errors.AsType[*models.Error](err); ok {
		wrong["gradual"] = told.Fields["gradual"]
	}
	to.Gradual = steps
	for _, m := range mounts(c.FormValue("volumes"), "volumes", "uploads /data", wrong) {
		to.Volumes = append(to.Volumes, models.VolumeMount{Name: m.from, Path: m.to, ReadOnly: m.readOnly})
	}
	for _, m := range mounts(c.FormValue("host_paths"), "host_paths", "/srv/data/shop /data", wrong) {
		to.HostPaths = append(to.HostPaths, models.HostPath{Source: m.from, Path: m.to, ReadOnly: m.readOnly})
	}
	return models.InvalidFields(wrong)
}

type mounted struct {
	from, to string
	readOnly bool
}

// mounts reads "from to" or "from to ro" of each line.
func mounts(text, field, example string, wrong map[string]string) (all []mounted) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case len(words) == 2, len(words) == 3 && words[2] == "ro":
			all = append(all, mounted{words[0], words[1], len(words) == 3})
		default:
			wrong[field] = "Each line is like " + example + ", or like " + example + " ro."
		}
	}
	return all
}

// Volumes shows what the environment's target keeps.
func (h *Environments) Volumes(c echo.Context) error {
	return h.volumes(c, http.StatusOK, components.Form{})
}

func (h *Environments) volumes(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	e, err := h.Deploy.Environment(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Volumes of " + e.Name, Nav: "environments", Crumbs: []layout.Link{{Label: "Environments", Href: "/environments"}, {Label: e.Name, Href: environments.URL(*e)}}})
	v := environments.VolumesView{Environment: *e, Form: form, CanDelete: models.PrincipalFrom(ctx).RoleIn(e.TeamID).AtLeast(models.RoleMaintainer),
		Curl: p.Curl("GET", "/api/v1/environments/"+e.ID+"/volumes", "")}
	all, err := h.Deploy.Volumes(ctx, e.ID)
	if told, ok := errors.AsType[*models.Error](err); ok && told.Code == models.Unavailable {
		v.Unreachable = told.Message
	} else if err != nil {
		return err
	}
	for _, x := range all {
		v.Volumes = append(v.Volumes, environments.Volume{ID: x.ID, App: x.App, AppID: x.AppID, Name: x.Name, Size: x.Size, Users: x.Users, Mounted: x.Mounted})
	}
	return Render(c, status, environments.Volumes(p, v))
}

// DeleteVolume removes a volume with its data.
func (h *Environments) DeleteVolume(c echo.Context) error {
	in := deploy.VolumeInput{EnvironmentID: c.Param("id"), AppID: c.FormValue("app_id"), Name: c.FormValue("name"), Confirm: c.FormValue("confirm")}
	if err := h.Deploy.DeleteVolume(c.Request().Context(), in); err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.volumes(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, "Volume "+in.Name+" deleted")
	return c.Redirect(http.StatusSeeOther, "/environments/"+in.EnvironmentID+"/volumes")
}
