package web

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/catalog"
	"slipway.dev/services/registries"
	"slipway.dev/views/apps"
	"slipway.dev/views/components"
)

// BuildSettings shows how the app is built, and its build secrets.
func (h *Apps) BuildSettings(c echo.Context) error {
	return h.buildSettings(c, http.StatusOK, components.Form{}, components.Form{})
}

func (h *Apps) buildSettings(c echo.Context, status int, form, secret components.Form) error {
	ctx := c.Request().Context()
	header, err := h.header(c)
	if err != nil {
		return err
	}
	if err := models.Authorize(ctx, header.App.TeamID, models.RoleDeveloper, "app"); err != nil {
		return err
	}
	v := apps.BuildSettingsView{Header: header, Form: form, SecretForm: secret}
	if v.Stages, err = h.Catalog.Stages(ctx, header.App.ID); err != nil {
		return err
	}
	if v.Secrets, err = h.Builds.Secrets(ctx, header.App.ID); err != nil {
		return err
	}
	granted, err := h.Registries.Granted(ctx, header.App.TeamID)
	if err != nil {
		return err
	}
	v.Embedded = header.App.ImageName(h.Registry.Host())
	if header.App.RegistryID != "" {
		v.Embedded = h.Registry.Host() + "/" + header.App.Team.Slug + "/" + header.App.Name
	}
	for _, g := range granted {
		if slices.ContainsFunc(g.Access, func(a models.RegistryGrant) bool { return a.Access.Allows(registries.Push) }) {
			v.Registries = append(v.Registries, g.Registry)
		}
	}
	p := h.frame(c, header, "settings", "Build settings")
	p.Live = nil // a form is being filled in
	v.Curl = p.Curl("PATCH", "/api/v1/apps/"+header.App.ID, `{"build": {"target": "prod", "platforms": ["linux/amd64", "linux/arm64"]}}`)
	v.SecretCurl = p.Curl("PUT", "/api/v1/apps/"+header.App.ID+"/build-secrets/npm", `{"value": "…", "branches": ["main"]}`).For("Set one")
	return Render(c, status, apps.BuildSettings(p, v))
}

// UpdateBuildSettings changes how the app is built.
func (h *Apps) UpdateBuildSettings(c echo.Context) error {
	in, err := buildSettings(c)
	if err == nil {
		change := catalog.UpdateApp{Build: &in}
		if sent, formErr := c.FormParams(); formErr == nil && sent.Has("registry_id") {
			registry, repository := sent.Get("registry_id"), sent.Get("image_repository")
			change.RegistryID, change.ImageRepository = &registry, &repository
		}
		_, err = h.Catalog.UpdateApp(c.Request().Context(), c.Param("id"), change)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.buildSettings(c, problem.Of(c.Request().Context(), err).Status, form, components.Form{})
	}
	notify(c, "Saved; the next build uses them")
	return c.Redirect(http.StatusSeeOther, "/apps/"+c.Param("id")+"/build-settings")
}

// buildSettings reads the form.
func buildSettings(c echo.Context) (models.BuildSettings, error) {
	in := models.BuildSettings{
		Target:     strings.TrimSpace(c.FormValue("target")),
		Platforms:  words(c.FormValue("platforms")),
		Provenance: c.FormValue("provenance") != "",
		SBOM:       c.FormValue("sbom") != "",
	}
	if c.FormValue("registry_cache") != "" {
		in.Cache = models.CacheRegistry
	}
	for line := range strings.Lines(c.FormValue("arguments")) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return in, models.InvalidField("arguments", "Write each argument as NAME=value; a line has no equals sign.")
		}
		in.Arguments = append(in.Arguments, models.BuildArgument{Name: strings.TrimSpace(name), Value: value})
	}
	return in, nil
}

// words splits a field at spaces and commas.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\r' || r == '\n' })
}

// SetBuildSecret adds a build secret or changes one.
func (h *Apps) SetBuildSecret(c echo.Context) error {
	in := builds.SecretInput{Kind: models.BuildSecretKind(c.FormValue("kind")), Value: c.FormValue("value"), Branches: words(c.FormValue("branches"))}
	s, err := h.Builds.SetSecret(c.Request().Context(), c.Param("id"), strings.TrimSpace(c.FormValue("name")), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		form.Values.Del("value") // a secret is never sent back
		return h.buildSettings(c, problem.Of(c.Request().Context(), err).Status, components.Form{}, form)
	}
	notify(c, s.Name+" set")
	return c.Redirect(http.StatusSeeOther, "/apps/"+c.Param("id")+"/build-settings#secrets")
}

// DeleteBuildSecret removes a build secret.
func (h *Apps) DeleteBuildSecret(c echo.Context) error {
	if err := h.Builds.DeleteSecret(c.Request().Context(), c.Param("id"), c.Param("name")); err != nil {
		return err
	}
	notify(c, "Deleted")
	return c.Redirect(http.StatusSeeOther, "/apps/"+c.Param("id")+"/build-settings#secrets")
}
