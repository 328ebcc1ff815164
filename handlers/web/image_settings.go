package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/registry"
	"slipway.dev/views/components"
	view "slipway.dev/views/images"
	"slipway.dev/views/layout"
)

// below shows the pages that a repository of the embedded registry has more: its
// settings, a tag's history, and the form of a new tag.
func (h *Images) below(c echo.Context, w where) error {
	switch {
	case w.page == "tags" && w.rest != "":
		return h.tag(c, http.StatusOK, w.repository, w.rest, nil)
	case w.page == "settings":
		return h.settings(c, http.StatusOK, w.repository, components.Form{})
	case w.page == "tag":
		return h.addTag(c, http.StatusOK, w.repository, c.QueryParam("digest"), components.Form{})
	}
	return models.Errorf(models.NotFound, "No such page.")
}

func (h *Images) settings(c echo.Context, status int, repository string, form components.Form) error {
	ctx := c.Request().Context()
	s, err := h.Images.Registry.Settings(ctx, repository)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: repository, Nav: "images", Crumbs: []layout.Link{{Label: "Images", Href: "/images"}},
		Tabs: view.RepositoryTabs(models.ImageRepository{Name: repository}, "settings")})
	v := view.SettingsView{
		Name: repository, Pull: s.Repository.AnonymousPull, Own: s.Repository.ImmutableTags, Team: s.Team, Form: form, Public: s.Public(),
		Patterns: s.ImmutableTags(), CanEdit: models.PrincipalFrom(ctx).RoleIn(s.Team.ID).AtLeast(models.RoleMaintainer),
		Curl: p.Curl("PATCH", "/api/v1/image-repositories/settings?repository="+url.QueryEscape(repository), `{"immutable_tags": ["v*"]}`),
	}
	return Render(c, status, view.Settings(p, v))
}

// SaveSettings changes who may pull from a repository and which tags stay.
func (h *Images) SaveSettings(c echo.Context) error {
	ctx, name := c.Request().Context(), c.FormValue("repository")
	pull, patterns := models.AnonymousPull(c.FormValue("anonymous_pull")), lines(c.FormValue("immutable_tags"))
	if pull == "team" {
		pull = models.AnonymousAsTeam
	}
	in := registry.ChangeSettings{AnonymousPull: &pull, ImmutableTags: &patterns, TagsAsTeam: c.FormValue("tags_from") == "team"}
	if _, err := h.Images.Registry.UpdateSettings(ctx, name, in); err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.settings(c, problem.Of(ctx, err).Status, name, form)
	}
	notify(c, "Settings saved")
	return c.Redirect(http.StatusSeeOther, view.SettingsURL(name))
}

// lines are those of a text that hold anything.
func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
}

func (h *Images) tag(c echo.Context, status int, repository, tag string, failed *models.Error) error {
	ctx := c.Request().Context()
	history, err := h.Images.History(ctx, repository, tag, cursor(c))
	if err != nil {
		return err
	}
	s, err := h.Images.Registry.Settings(ctx, repository)
	if err != nil {
		return err
	}
	v := view.TagView{TagHistory: *history, Pattern: s.Pattern(tag), Err: failed,
		CanMove: models.PrincipalFrom(ctx).RoleIn(history.TeamID).AtLeast(models.RoleDeveloper)}
	v.First, v.Next = pages(c, history.Next)
	p := h.page(c, layout.Page{Title: repository + ":" + tag, Nav: "images", Meta: view.TagMeta(v), Live: []string{"image:" + repository},
		Crumbs: []layout.Link{{Label: "Images", Href: "/images"}, {Label: repository, Href: view.RepositoryURL(repository)}}})
	v.Curl = p.Curl("GET", "/api/v1/image-tags/moves?repository="+url.QueryEscape(repository)+"&tag="+url.QueryEscape(tag), "")
	return Render(c, status, view.Tag(p, v))
}

func (h *Images) addTag(c echo.Context, status int, repository, digest string, form components.Form) error {
	ctx := c.Request().Context()
	image, err := h.Images.Find(ctx, repository, digest)
	if err != nil {
		return err
	}
	if err := models.Authorize(ctx, image.TeamID, models.RoleDeveloper, "image"); err != nil {
		return err
	}
	s, err := h.Images.Registry.Settings(ctx, repository)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Add a tag", Nav: "images",
		Crumbs: []layout.Link{{Label: "Images", Href: "/images"}, {Label: repository, Href: view.RepositoryURL(repository)}}})
	v := view.AddTagView{Repository: repository, Digest: digest, Patterns: s.ImmutableTags(), Form: form,
		Curl: p.Curl("POST", "/api/v1/image-tags", `{"repository": "`+repository+`", "tag": "stable", "digest": "`+digest+`"}`)}
	return Render(c, status, view.AddTag(p, v))
}

// SetTag points a tag at an image: a new one, or back at an image that it named before.
func (h *Images) SetTag(c echo.Context) error {
	ctx := c.Request().Context()
	isNew := c.FormValue("new") != ""
	in := registry.Retag{Repository: c.FormValue("repository"), Tag: strings.TrimSpace(c.FormValue("tag")), Digest: c.FormValue("digest"),
		Was: c.FormValue("was"), Checked: !isNew}
	if err := h.Images.Registry.Tag(ctx, in); err != nil {
		form, fault := again(c, err)
		switch {
		case fault != nil:
			return fault
		case isNew:
			return h.addTag(c, problem.Of(ctx, err).Status, in.Repository, in.Digest, form)
		}
		return h.tag(c, problem.Of(ctx, err).Status, in.Repository, in.Tag, form.Err)
	}
	notify(c, in.Tag+" names "+components.ShortDigest(in.Digest)+" now")
	return c.Redirect(http.StatusSeeOther, view.TagURL(in.Repository, in.Tag))
}
