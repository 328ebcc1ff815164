package web

import (
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/services/images"
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
