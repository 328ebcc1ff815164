package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/services/catalog"
	"slipway.dev/services/images"
	"slipway.dev/views/components"
	view "slipway.dev/views/images"
	"slipway.dev/views/layout"
)

// Images are the pages about images.
type Images struct {
	*Base
	Images  *images.Service
	Catalog *catalog.Service
}

// where is what a path below /images/ names: NAME, NAME:TAG or NAME@DIGEST,
// whose names contain slashes, with ~REGISTRY/ before it where it is in an
// external registry, and a page of its own behind it: NAME/-/PAGE and
// NAME@DIGEST/PAGE.
type where struct {
	registry, repository, tag, digest string
	page                              string // empty: the first one
	rest                              string // what stands behind the page's name
}

func whereOf(path string) where {
	var w where
	if after, found := strings.CutPrefix(path, "~"); found {
		w.registry, path, _ = strings.Cut(after, "/")
	}
	if name, after, found := strings.Cut(path, "@"); found {
		w.repository = name
		w.digest, w.page, _ = strings.Cut(after, "/")
	} else if name, page, found := strings.Cut(path, "/-/"); found {
		w.repository, w.page = name, page
	} else if name, tag, found := strings.Cut(path, ":"); found && (w.registry != "" || strings.Contains(name, "/")) {
		w.repository, w.tag = name, tag
	} else if found {
		w.digest, w.page, _ = strings.Cut(path, "/")
	} else {
		w.repository = path
	}
	w.page, w.rest, _ = strings.Cut(w.page, "/")
	return w
}

// List shows the repositories of the embedded registry, or what a search finds.
func (h *Images) List(c echo.Context) error {
	ctx := c.Request().Context()
	others, err := h.Images.Elsewhere(ctx)
	if err != nil {
		return err
	}
	q := images.Query{Text: strings.TrimSpace(c.QueryParam("q")), Team: c.QueryParam("team"), AppID: c.QueryParam("app"), Running: c.QueryParam("running") != "", Page: cursor(c)}
	v := view.ListView{Host: h.Images.Registry.Host(), Filter: view.Filter{Text: q.Text, Team: q.Team, AppID: q.AppID, Running: q.Running}}
	teams, err := h.Catalog.Teams(ctx, catalog.TeamFilter{Page: models.Page{Limit: models.MaxLimit}})
	if err != nil {
		return err
	}
	if v.Filter.Teams = teams.Items; len(teams.Items) == 1 {
		v.Example = teams.Items[0].Slug
	}
	p := h.page(c, layout.Page{Title: "Images", Nav: "images", Live: []string{"images", "deployments"}, Tabs: view.Tabs(others, "")})
	v.Curl = p.Curl("GET", "/api/v1/image-repositories", "")
	if q.Text != "" {
		return h.search(c, p, v, q)
	}
	list, err := h.Images.FindRepositories(ctx, q)
	if err != nil {
		return err
	}
	v.Items = list.Items
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, view.List(p, v))
}

func (h *Images) search(c echo.Context, p layout.Page, v view.ListView, q images.Query) error {
	ctx := c.Request().Context()
	list, err := h.Images.Search(ctx, q)
	if err != nil {
		return err
	}
	if q.Page.Cursor == "" && !q.Running && q.Team == "" && q.AppID == "" {
		if v.Elsewhere, err = h.Images.FindElsewhere(ctx, q.Text); err != nil {
			return err
		}
	}
	v.Found, v.Curl = list.Items, p.Curl("GET", "/api/v1/images?q="+url.QueryEscape(q.Text), "")
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, view.List(p, v))
}

// Show is everything below /images/.
func (h *Images) Show(c echo.Context) error {
	path, err := url.PathUnescape(c.Param("*"))
	if err != nil {
		return models.Errorf(models.NotFound, "No such image.")
	}
	w := whereOf(path)
	switch {
	case w.digest != "":
		return h.imagePage(c, w)
	case w.tag != "":
		return h.byTag(c, w)
	case w.registry != "" && w.repository == "":
		return h.external(c, w.registry, components.Form{}, http.StatusOK)
	}
	return h.repositoryPage(c, w)
}

// byTag leads to the image that the tag names at this moment.
func (h *Images) byTag(c echo.Context, w where) error {
	digest, err := h.Images.Named(c.Request().Context(), w.registry, w.repository, w.tag)
	if err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, view.URL(models.Image{Registry: w.registry, Repository: w.repository, Digest: digest}))
}

// repositoryPage shows one of the pages of a repository. A page more is a case more.
func (h *Images) repositoryPage(c echo.Context, w where) error {
	switch w.page {
	case "":
		return h.repository(c, w)
	case "untagged":
		return h.untagged(c, w)
	}
	if w.registry == "" {
		return h.below(c, w)
	}
	return models.Errorf(models.NotFound, "No such image repository.")
}

// head reads the repository and makes the page that its pages have in common.
func (h *Images) head(c echo.Context, w where) (layout.Page, view.RepositoryView, error) {
	r, err := h.Images.RepositoryIn(c.Request().Context(), w.registry, w.repository)
	if err != nil {
		return layout.Page{}, view.RepositoryView{}, err
	}
	p := h.page(c, layout.Page{Title: r.Name, Nav: "images", Crumbs: crumbs(r.Registry, r.Host), Meta: view.RepositoryMeta(*r), Tabs: view.RepositoryTabs(*r, w.page)})
	if r.Registry == "" {
		p.Live = live(r.Name, r.App)
	}
	return p, view.RepositoryView{ImageRepository: *r, CanDeploy: canDeploy(c, r.App)}, nil
}

// crumbs lead from an image's page back to its registry.
func crumbs(registry, host string) []layout.Link {
	way := []layout.Link{{Label: "Images", Href: "/images"}}
	if registry != "" {
		way = append(way, layout.Link{Label: host, Href: view.RegistryURL(registry)})
	}
	return way
}

func (h *Images) repository(c echo.Context, w where) error {
	p, v, err := h.head(c, w)
	if err != nil {
		return err
	}
	q := images.TagQuery{Registry: w.registry, Repository: w.repository, Text: strings.TrimSpace(c.QueryParam("q")), Sort: images.TagSort(c.QueryParam("sort")), Page: cursor(c)}
	list, err := h.Images.Tags(c.Request().Context(), q)
	if err != nil {
		return err
	}
	v.Items, v.Text, v.Sort = list.Items, q.Text, string(q.Sort)
	if w.registry == "" {
		v.Sorts = sortLinks(c, q.Sort)
	}
	v.Curl = p.Curl("GET", tagsCall(w), "")
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, view.Repository(p, v))
}

// tagsCall is the API's twin of a repository's page.
func tagsCall(w where) string {
	registry := w.registry
	if registry == "" {
		registry = images.EmbeddedRegistry
	}
	return "/api/v1/registries/" + url.PathEscape(registry) + "/tags?repository=" + url.QueryEscape(w.repository)
}

// sortLinks order a list of tags.
func sortLinks(c echo.Context, current images.TagSort) []components.FilterLink {
	words := map[images.TagSort]string{images.TagsNewest: "Newest", images.TagsByName: "Name", images.TagsBySize: "Largest"}
	if !slices.Contains(images.TagSorts, current) {
		current = images.TagsNewest
	}
	var links []components.FilterLink
	for _, s := range images.TagSorts {
		q := url.Values{"sort": {string(s)}}
		if text := c.QueryParam("q"); text != "" {
			q.Set("q", text)
		}
		links = append(links, components.FilterLink{Label: words[s], Href: c.Request().URL.Path + "?" + q.Encode(), Current: s == current})
	}
	return links
}

func (h *Images) untagged(c echo.Context, w where) error {
	if w.registry != "" {
		return models.Errorf(models.NotFound, "No such image repository.")
	}
	p, v, err := h.head(c, w)
	if err != nil {
		return err
	}
	list, err := h.Images.Untagged(c.Request().Context(), w.repository, cursor(c))
	if err != nil {
		return err
	}
	v.Items, v.Curl = list.Items, p.Curl("GET", "/api/v1/images?untagged=true&repository="+url.QueryEscape(w.repository), "")
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, view.Untagged(p, v))
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
