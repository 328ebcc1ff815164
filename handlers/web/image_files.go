package web

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/download"
	"slipway.dev/models"
	"slipway.dev/services/explorer"
	view "slipway.dev/views/images"
	"slipway.dev/views/layout"
)

// ImageFiles are the pages about what is in images: the file explorer and the comparison of two.
type ImageFiles struct {
	*Base
	Explorer *explorer.Service
}

// remake is after how many seconds a page without scripts looks again for a list that is being made.
const remake = 2

// filesAt is the place in the explorer that the address names.
func filesAt(c echo.Context) view.FilesAt {
	return view.FilesAt{
		Registry: c.QueryParam("registry"), Repository: c.QueryParam("repository"), Digest: c.QueryParam("digest"), Platform: c.QueryParam("platform"),
		Path: c.QueryParam("path"), Layer: c.QueryParam("layer"), Change: c.QueryParam("change"), Search: strings.TrimSpace(c.QueryParam("q")),
		Flat: c.QueryParam("flat") != "", BySize: c.QueryParam("sort") == "size",
	}
}

func reference(at view.FilesAt) explorer.Reference {
	return explorer.Reference{Registry: at.Registry, Repository: at.Repository, Name: at.Digest}
}

func fileQuery(at view.FilesAt) explorer.FileQuery {
	return explorer.FileQuery{At: reference(at), Platform: at.Platform, Path: at.Path, Layer: at.Layer}
}

// Show is a folder or a file of an image.
func (h *ImageFiles) Show(c echo.Context) error {
	ctx, at := c.Request().Context(), filesAt(c)
	files, err := h.Explorer.Files(ctx, explorer.Query{At: reference(at), Platform: at.Platform, Path: at.Path, Layer: at.Layer,
		Change: at.Change, Search: at.Search, Flat: at.Flat, BySize: at.BySize, Page: cursor(c)})
	if err != nil {
		return err
	}
	at.Repository = files.Image.Repository
	v := view.FilesView{ImageFiles: *files, At: at}
	v.First, v.Next = pages(c, files.Next)
	call := at.API()
	if files.Entry != nil && files.Entry.Type != models.FileDir {
		if v.Content, err = h.content(c, files, at); err != nil {
			return err
		}
		call = at.ContentAPI()
	}
	p := h.page(c, filesPage(v))
	v.Curl = p.Curl("GET", call, "")
	return Render(c, http.StatusOK, view.Files(p, v))
}

// content is the file at the path. What has no content says why.
func (h *ImageFiles) content(c echo.Context, files *models.ImageFiles, at view.FilesAt) (*models.FileContent, error) {
	content, err := h.Explorer.File(c.Request().Context(), fileQuery(at))
	told, ok := errors.AsType[*models.Error](err)
	switch {
	case ok && told.Code == models.NotFound:
		return &models.FileContent{Entry: *files.Entry, Unreadable: "A later layer removed this file. Look at it as one of the layers wrote it."}, nil
	case ok && told.Code == models.Conflict:
		return &models.FileContent{Entry: *files.Entry, Unreadable: told.Message}, nil
	}
	return content, err
}

// filesPage is what the page around a list of files says.
func filesPage(v view.FilesView) layout.Page {
	image := v.Image.Image
	if v.Index != nil {
		image = v.Index.Image
	}
	p := layout.Page{Title: "Files", Window: "Files of " + image.Repository + ":" + view.Name(image), Nav: "images", Meta: view.FilesMeta(v),
		Crumbs: append(imageCrumbs(image), layout.Link{Label: view.Name(image), Href: view.URL(image)})}
	if v.Making != nil && v.Making.State == models.IndexWaiting {
		p.Live, p.Reload = []string{models.FileIndexTopic(v.Making.ID)}, remake
	}
	return p
}

// Download answers with the content of a file, as something to keep and never to show.
func (h *ImageFiles) Download(c echo.Context) error {
	ctx, sent := c.Request().Context(), false
	err := h.Explorer.Content(ctx, fileQuery(filesAt(c)), func(e models.FileEntry, content io.Reader) error {
		download.Headers(c.Response().Header(), e.Name(), e.Size)
		c.Response().WriteHeader(http.StatusOK)
		sent = true
		_, err := io.Copy(c.Response(), content)
		return err
	})
	if err != nil && sent { // what was sent can't be taken back: the client must see that it is not whole
		slog.WarnContext(ctx, "a file of an image could not be sent whole", "error", err)
		panic(http.ErrAbortHandler)
	}
	return err
}

// Compare is what differs between two images. Before two are named it asks for them.
func (h *ImageFiles) Compare(c echo.Context) error {
	at := view.CompareAt{A: strings.TrimSpace(c.QueryParam("a")), B: strings.TrimSpace(c.QueryParam("b")), Platform: c.QueryParam("platform"), Path: c.QueryParam("path"),
		Change: c.QueryParam("change"), Search: strings.TrimSpace(c.QueryParam("q")), Flat: c.QueryParam("flat") != "", BySize: c.QueryParam("sort") == "size"}
	v := view.CompareView{At: at}
	p := layout.Page{Title: "Compare images", Nav: "images", Crumbs: []layout.Link{{Label: "Images", Href: "/images"}}}
	if at.A == "" || at.B == "" {
		return Render(c, http.StatusOK, view.Compare(h.page(c, p), v))
	}
	compared, err := h.compare(c, at)
	if told, ok := errors.AsType[*models.Error](err); ok && told.Code == models.Invalid {
		v.Form.Err = told
		return Render(c, http.StatusUnprocessableEntity, view.Compare(h.page(c, p), v))
	}
	if err != nil {
		return err
	}
	v.ImageComparison = compared
	v.First, _ = pages(c, "")
	p.Lead = view.Summary(compared)
	if compared.Making != nil && compared.Making.State == models.IndexWaiting {
		p.Live, p.Reload = []string{models.FileIndexTopic(compared.Making.ID)}, remake
	}
	p = h.page(c, p)
	v.Curl = p.Curl("GET", at.API(), "")
	return Render(c, http.StatusOK, view.Compare(p, v))
}

func (h *ImageFiles) compare(c echo.Context, at view.CompareAt) (*models.ImageComparison, error) {
	a, errA := explorer.Parse("a", at.A)
	b, errB := explorer.Parse("b", at.B)
	if err := cmp.Or(errA, errB); err != nil {
		return nil, err
	}
	return h.Explorer.Compare(c.Request().Context(), explorer.CompareQuery{A: a, B: b, Platform: at.Platform, Path: at.Path,
		Change: at.Change, Search: at.Search, Flat: at.Flat, BySize: at.BySize, Page: cursor(c)})
}
