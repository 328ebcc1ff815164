package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/registry"
	"slipway.dev/views/cleanup"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// Deleted shows what was deleted of a team or of a repository.
func (h *CleanUp) Deleted(c echo.Context) error { return h.deleted(c, http.StatusOK, nil) }

func (h *CleanUp) deleted(c echo.Context, status int, failed *models.Error) error {
	ctx := c.Request().Context()
	f := registry.DeletionFilter{Page: cursor(c), Repository: c.QueryParam("repository")}
	page, call := imagesPage(f.Repository, "deleted"), "repository="+url.QueryEscape(f.Repository)
	if f.Repository != "" {
		policy, err := h.Retention.Policy(ctx, f.Repository)
		if err != nil {
			return err
		}
		f.TeamID = policy.TeamID
	} else {
		team, err := h.Catalog.Team(ctx, c.QueryParam("team"))
		if err != nil {
			return err
		}
		f.TeamID = team.ID
		page = layout.Page{Title: "Deleted images", Nav: "images", Crumbs: []layout.Link{{Label: "Images", Href: "/images"}, {Label: team.Name, Href: "/teams/" + team.Slug + "/images"}}}
		call = "team=" + url.QueryEscape(team.Slug)
	}
	list, err := h.Registry.Deletions(ctx, f)
	if err != nil {
		return err
	}
	p := h.page(c, page)
	v := cleanup.DeletedView{Items: list.Items, Repository: f.Repository, CanEdit: maintains(c, f.TeamID), Err: failed}
	v.First, v.Next = pages(c, list.Next)
	v.Curl = []components.CurlExample{
		p.Curl("GET", "/api/v1/deleted-images?"+call, "").For("List"),
		p.Curl("POST", "/api/v1/deleted-images/ID/restore", "").For("Restore"),
		p.Curl("DELETE", "/api/v1/deleted-images/ID", "").For("Delete for good"),
	}
	return Render(c, status, cleanup.Deleted(p, v))
}

// Restore brings back what was deleted.
func (h *CleanUp) Restore(c echo.Context) error {
	ctx := c.Request().Context()
	out, err := h.Registry.Restore(ctx, c.Param("id"))
	if err != nil {
		return h.deletedAgain(c, err)
	}
	text := "Restored " + cut(out.Deletion.Title(), 120)
	if len(out.LeftOut) > 0 {
		text += ". Left out: " + cut(strings.Join(out.LeftOut, " "), 150)
	}
	notify(c, text)
	to := "/images/" + out.Deletion.Repository
	if out.Deletion.Kind == models.DeletionImage {
		to += "@" + out.Deletion.Digest
	}
	return c.Redirect(http.StatusSeeOther, to)
}

func (h *CleanUp) deletedAgain(c echo.Context, err error) error {
	form, fault := again(c, err)
	if fault != nil {
		return fault
	}
	d, gone := h.Registry.Deletion(c.Request().Context(), c.Param("id"))
	if gone != nil {
		return gone
	}
	c.QueryParams().Set("repository", d.Repository)
	return h.deleted(c, problem.Of(c.Request().Context(), err).Status, form.Err)
}

// cut shortens the text to what a notice has room for.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// Purge deletes for good what could be restored.
func (h *CleanUp) Purge(c echo.Context) error {
	ctx := c.Request().Context()
	d, err := h.Registry.Deletion(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if err := h.Registry.Purge(ctx, d.ID); err != nil {
		return err
	}
	notify(c, "Gone for good: "+cut(d.Title(), 200))
	return c.Redirect(http.StatusSeeOther, h.Back(c.Request(), cleanup.DeletedURL(d.Repository)))
}

// AskDelete asks before a tag, an image or a repository is deleted.
func (h *CleanUp) AskDelete(c echo.Context) error {
	return h.askDelete(c, c.QueryParam("repository"), c.QueryParam("tag"), c.QueryParam("digest"), http.StatusOK, components.Form{})
}

func (h *CleanUp) askDelete(c echo.Context, name, tag, digest string, status int, form components.Form) error {
	f, err := h.Registry.Forecast(c.Request().Context(), name, tag, digest)
	if err != nil {
		return err
	}
	v := cleanup.DeleteView{DeletionForecast: *f, Tag: tag, Form: form}
	title, call := "Delete all images of "+name+"?", "/api/v1/image-repositories?repository="+url.QueryEscape(name)
	switch f.Kind {
	case models.DeletionTag:
		title, call = "Delete the tag "+tag+"?", "/api/v1/image-tags?repository="+url.QueryEscape(name)+"&tag="+url.QueryEscape(tag)
	case models.DeletionImage:
		title, call = "Delete the image "+components.ShortDigest(digest)+"?", "/api/v1/images/"+digest+"?repository="+url.QueryEscape(name)
	}
	p := h.page(c, layout.Page{Title: title, Nav: "images", Crumbs: []layout.Link{{Label: "Images", Href: "/images"}, {Label: name, Href: "/images/" + name}}})
	v.Curl = p.Curl("DELETE", call, "")
	return Render(c, status, cleanup.Delete(p, v))
}

// DeleteTag deletes a tag, and offers to take that back.
func (h *CleanUp) DeleteTag(c echo.Context) error {
	return h.delete(c, func() (*models.RegistryDeletion, error) {
		return h.Registry.DeleteTag(c.Request().Context(), c.FormValue("repository"), c.FormValue("tag"))
	})
}

// DeleteImage deletes an image, and offers to take that back.
func (h *CleanUp) DeleteImage(c echo.Context) error {
	return h.delete(c, func() (*models.RegistryDeletion, error) {
		return h.Registry.DeleteImage(c.Request().Context(), c.FormValue("repository"), c.FormValue("digest"))
	})
}

// DeleteRepository deletes all images of a repository, after its name was typed, and offers to take that back.
func (h *CleanUp) DeleteRepository(c echo.Context) error {
	return h.delete(c, func() (*models.RegistryDeletion, error) {
		if _, err := h.Registry.Forecast(c.Request().Context(), c.FormValue("repository"), "", ""); err != nil {
			return nil, err
		}
		if err := confirmed(c, c.FormValue("repository")); err != nil {
			return nil, err
		}
		return h.Registry.DeleteRepository(c.Request().Context(), c.FormValue("repository"))
	})
}

func (h *CleanUp) delete(c echo.Context, run func() (*models.RegistryDeletion, error)) error {
	d, err := run()
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		tag, digest := c.FormValue("tag"), c.FormValue("digest")
		return h.askDelete(c, c.FormValue("repository"), tag, digest, problem.Of(c.Request().Context(), err).Status, form)
	}
	notifyUndo(c, "Deleted "+cut(d.Title(), 200), undoDeletion+d.ID+"/restore")
	to := "/images/" + d.Repository
	if d.Kind == models.DeletionRepository {
		to = "/images"
	}
	return c.Redirect(http.StatusSeeOther, to)
}
