package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/services/images"
	"slipway.dev/views/cleanup"
	view "slipway.dev/views/images"
	"slipway.dev/views/layout"
)

// Images are the pages about images.
type Images struct {
	*Base
	Images *images.Service
}

// List shows the repositories.
func (h *Images) List(c echo.Context) error {
	ctx := c.Request().Context()
	list, err := h.Images.Repositories(ctx, cursor(c))
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Images", Nav: "images", Live: []string{"images", "deployments"}})
	v := view.ListView{Items: list.Items, Host: h.Images.Registry.Host(), Curl: p.Curl("GET", "/api/v1/image-repositories", "")}
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, view.List(p, v))
}

// Show is everything below /images/: a digest, a repository, or a digest in a
// repository, whose names contain slashes.
func (h *Images) Show(c echo.Context) error {
	rest, err := url.PathUnescape(c.Param("*"))
	if err != nil {
		return models.Errorf(models.NotFound, "No such image.")
	}
	repository, digest, found := strings.Cut(rest, "@")
	switch {
	case found:
		return h.image(c, repository, digest)
	case strings.Contains(rest, ":"):
		return h.image(c, "", rest)
	}
	return h.repository(c, rest)
}

func (h *Images) repository(c echo.Context, name string) error {
	ctx := c.Request().Context()
	r, err := h.Images.Repository(ctx, name)
	if err != nil {
		return err
	}
	list, err := h.Images.Images(ctx, name, cursor(c))
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: name, Nav: "images", Crumbs: []layout.Link{{Label: "Images", Href: "/images"}},
		Meta: view.RepositoryMeta(*r), Tabs: cleanup.Tabs(name, "images"), Live: live(name, r.App)})
	v := view.RepositoryView{Name: name, App: r.App, Items: list.Items, Host: h.Images.Registry.Host(), CanDeploy: canDeploy(c, r.App),
		Curl: p.Curl("GET", "/api/v1/images?repository="+url.QueryEscape(name), "")}
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, view.Repository(p, v))
}

func (h *Images) image(c echo.Context, repository, digest string) error {
	passport, err := h.Images.Find(c.Request().Context(), repository, digest)
	if err != nil {
		return err
	}
	v := view.ImageView{ImagePassport: *passport, Host: h.Images.Registry.Host(), CanDeploy: canDeploy(c, passport.App), CanDelete: maintains(c, passport.TeamID)}
	p := h.page(c, layout.Page{Title: passport.Repository + ":" + view.Name(passport.Image), Nav: "images", Meta: view.Meta(v),
		Crumbs: []layout.Link{{Label: "Images", Href: "/images"}, {Label: passport.Repository, Href: view.RepositoryURL(passport.Repository)}},
		Live:   live(passport.Repository, passport.App)})
	v.Curl = p.Curl("GET", "/api/v1/images/"+passport.Digest, "")
	return Render(c, http.StatusOK, view.Image(p, v))
}

// live are the topics of a repository: pushes, and deployments of its app.
func live(repository string, app *models.App) []string {
	topics := []string{"image:" + repository}
	if app != nil {
		topics = append(topics, "app:"+app.ID)
	}
	return topics
}

func canDeploy(c echo.Context, app *models.App) bool {
	p := models.PrincipalFrom(c.Request().Context())
	return app != nil && p != nil && p.RoleIn(app.TeamID).AtLeast(models.RoleDeveloper)
}
