package web

import (
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/services/images"
	"slipway.dev/views/components"
	view "slipway.dev/views/images"
	"slipway.dev/views/layout"
)

// imagePage shows one of the pages of an image. A page more is a case more.
func (h *Images) imagePage(c echo.Context, w where) error {
	switch w.page {
	case "":
		return h.image(c, w)
	case "attestations":
		return h.attestations(c, w)
	case "manifest":
		return h.manifest(c, w)
	case "layers":
		return h.sharing(c, w)
	case "documents":
		return h.document(c, w)
	}
	return models.Errorf(models.NotFound, "No such image.")
}

// which is the image that the address names.
func which(c echo.Context, w where) images.Which {
	return images.Which{Registry: w.registry, Repository: w.repository, Digest: w.digest, Platform: c.QueryParam("platform")}
}

// passport reads the image and makes the page that its pages have in common.
func (h *Images) passport(c echo.Context, w where) (layout.Page, view.ImageView, error) {
	passport, err := h.Images.Passport(c.Request().Context(), which(c, w))
	if err != nil {
		return layout.Page{}, view.ImageView{}, err
	}
	v := view.ImageView{ImagePassport: *passport, CanDeploy: canDeploy(c, passport.App)}
	if passport.Registry == "" {
		role := models.PrincipalFrom(c.Request().Context()).RoleIn(passport.TeamID)
		v.CanTag, v.CanDelete = role.AtLeast(models.RoleDeveloper), role.AtLeast(models.RoleMaintainer)
	}
	p := h.page(c, layout.Page{Title: passport.Repository + ":" + view.Name(passport.Image), Nav: "images", Meta: view.Meta(v),
		Crumbs: imageCrumbs(passport.Image), Tabs: view.ImageTabs(*passport, w.page)})
	if passport.Registry == "" {
		p.Live = live(passport.Repository, passport.App)
	}
	v.Curl = p.Curl("GET", imageCall(passport.Image, ""), "")
	return p, v, nil
}

// imageCrumbs lead from an image's page back to its repository and its registry.
func imageCrumbs(i models.Image) []layout.Link {
	home := view.HomeURL(models.ImageRepository{Registry: i.Registry, Name: i.Repository})
	return append(crumbs(i.Registry, i.Host), layout.Link{Label: i.Repository, Href: home})
}

// imageCall is a call of the API about the image; behind stands after its digest.
func imageCall(i models.Image, behind string) string {
	call := "/api/v1/images/" + i.Digest + behind + "?repository=" + url.QueryEscape(i.Repository)
	if i.Registry != "" {
		call += "&registry=" + url.QueryEscape(i.Registry)
	}
	return call
}

func (h *Images) image(c echo.Context, w where) error {
	p, v, err := h.passport(c, w)
	if err != nil {
		return err
	}
	if v.Compare, err = h.comparisons(c, v.Image); err != nil {
		return err
	}
	return Render(c, http.StatusOK, view.Image(p, v))
}

func (h *Images) attestations(c echo.Context, w where) error {
	p, v, err := h.passport(c, w)
	if err != nil {
		return err
	}
	return Render(c, http.StatusOK, view.Attestations(p, v))
}

func (h *Images) manifest(c echo.Context, w where) error {
	p, v, err := h.passport(c, w)
	if err != nil {
		return err
	}
	return Render(c, http.StatusOK, view.Manifest(p, v))
}

// sharing shows which other images have a layer.
func (h *Images) sharing(c echo.Context, w where) error {
	i, list, err := h.Images.Sharing(c.Request().Context(), which(c, w), w.rest)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Layer " + view.Name(models.Image{Digest: w.rest}), Nav: "images", Crumbs: append(imageCrumbs(i), layout.Link{Label: view.Name(i), Href: view.URL(i)})})
	return Render(c, http.StatusOK, view.Sharing(p, view.SharingView{Items: list, Curl: p.Curl("GET", imageCall(i, "/layers/"+w.rest+"/images"), "")}))
}

// document shows a file of an image.
func (h *Images) document(c echo.Context, w where) error {
	q := images.DocumentQuery{Which: which(c, w), File: w.rest, Text: c.QueryParam("q"), Page: cursor(c)}
	d, err := h.Images.Document(c.Request().Context(), q)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: d.Title, Nav: "images", Meta: view.DocumentMeta(*d), Crumbs: append(imageCrumbs(d.Image), layout.Link{Label: view.Name(d.Image), Href: view.URL(d.Image)})})
	v := view.DocumentView{ImageDocument: *d, At: c.Request().URL.Path, Text: q.Text, Curl: p.Curl("GET", imageCall(d.Image, "/documents/"+d.Digest), "")}
	v.First, v.Next = pages(c, d.Packages.Next)
	return Render(c, http.StatusOK, view.Document(p, v))
}

// comparisons are those with the image that was pushed before this one, where the registry tells it, and with what runs.
func (h *Images) comparisons(c echo.Context, i models.Image) (out []components.FilterLink, err error) {
	ctx := c.Request().Context()
	if i.Registry == "" {
		before, err := h.Images.Images(ctx, i.Repository, models.Page{Cursor: i.PushID, Limit: 1})
		if err != nil {
			return nil, err
		}
		for _, b := range before.Items {
			out = append(out, components.FilterLink{Label: "With the one before", Count: view.Name(b), Href: view.CompareURL(b, i)})
		}
	}
	r, err := h.Images.RepositoryIn(ctx, i.Registry, i.Repository)
	if err != nil {
		return nil, err
	}
	for _, d := range r.Running {
		if d.Digest != i.Digest {
			running := models.Image{Host: i.Host, Repository: i.Repository, Digest: d.Digest}
			out = append(out, components.FilterLink{Label: "With what runs in " + d.EnvironmentName, Count: components.ShortDigest(d.Digest), Href: view.CompareURL(running, i)})
		}
	}
	return out, nil
}
