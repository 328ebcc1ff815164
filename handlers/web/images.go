package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/services/images"
	"slipway.dev/views/components"
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
		Meta: view.RepositoryMeta(*r), Live: live(name, r.App)})
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
	v := view.ImageView{ImagePassport: *passport, Host: h.Images.Registry.Host(), CanDeploy: canDeploy(c, passport.App)}
	p := h.page(c, layout.Page{Title: passport.Repository + ":" + view.Name(passport.Image), Nav: "images", Meta: view.Meta(v),
		Crumbs: []layout.Link{{Label: "Images", Href: "/images"}, {Label: passport.Repository, Href: view.RepositoryURL(passport.Repository)}},
		Live:   live(passport.Repository, passport.App)})
	if v.Compare, err = h.comparisons(c, passport.Image); err != nil {
		return err
	}
	v.Curl = p.Curl("GET", "/api/v1/images/"+passport.Digest, "")
	return Render(c, http.StatusOK, view.Image(p, v))
}

// comparisons are those with the image that was pushed before this one, and with what runs.
func (h *Images) comparisons(c echo.Context, i models.Image) (out []components.FilterLink, err error) {
	ctx := c.Request().Context()
	before, err := h.Images.Images(ctx, i.Repository, models.Page{Cursor: i.PushID, Limit: 1})
	if err != nil {
		return nil, err
	}
	for _, b := range before.Items {
		out = append(out, components.FilterLink{Label: "With the one before", Count: view.Name(b), Href: view.CompareURL(b, i)})
	}
	r, err := h.Images.Repository(ctx, i.Repository)
	if err != nil {
		return nil, err
	}
	for _, d := range r.Running {
		if d.Digest != i.Digest {
			running := models.Image{Repository: i.Repository, Digest: d.Digest}
			out = append(out, components.FilterLink{Label: "With what runs in " + d.EnvironmentName, Count: components.ShortDigest(d.Digest), Href: view.CompareURL(running, i)})
		}
	}
	return out, nil
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
