package web

import (
	"context"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/catalog"
	"slipway.dev/services/deploy"
	"slipway.dev/services/images"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
	"slipway.dev/views/search"

	views "slipway.dev/views/builds"
	pictures "slipway.dev/views/images"
)

// Search finds things by their names. The palette asks it too.
type Search struct {
	*Base
	Catalog *catalog.Service
	Builds  *builds.Service
	Deploy  *deploy.Service
	Images  *images.Service
}

const (
	maxTerm = 100
	maxHits = 8 // of each kind
)

// Page shows what is called like the term.
func (h *Search) Page(c echo.Context) error {
	term := strings.TrimSpace(c.QueryParam("q"))
	if len(term) > maxTerm {
		return models.InvalidField("q", "Search for at most %d characters.", maxTerm)
	}
	v := search.View{Term: term}
	for _, find := range []func(context.Context, string) (search.Group, error){h.apps, h.builds, h.images, h.repositories, h.environments, h.teams, places} {
		group, err := find(c.Request().Context(), term)
		if err != nil {
			return err
		}
		if len(group.Hits) > 0 {
			v.Groups = append(v.Groups, group)
		}
	}
	return Render(c, http.StatusOK, search.Page(h.page(c, layout.Page{Title: "Search"}), v))
}

func (h *Search) apps(ctx context.Context, term string) (search.Group, error) {
	list, err := h.Catalog.Apps(ctx, catalog.AppFilter{Text: term, Page: models.Page{Limit: maxHits}})
	g := search.Group{Name: "Apps"}
	for _, a := range list.Items {
		team := ""
		if a.Team != nil {
			team = a.Team.Name
		}
		g.Hits = append(g.Hits, search.Hit{Icon: "box", Name: a.Name, Sub: team, Href: "/apps/" + a.ID})
	}
	return g, err
}

// builds are the newest ones, for a term that is a number or nothing at all.
func (h *Search) builds(ctx context.Context, term string) (search.Group, error) {
	g := search.Group{Name: "Builds"}
	list, err := h.Builds.List(ctx, builds.Filter{Page: models.Page{Limit: models.MaxLimit}})
	for _, b := range list.Items {
		name := b.Title() + " " + views.Subject(b)
		app := ""
		if b.App != nil {
			app = b.App.Name
		}
		if len(g.Hits) < maxHits/2 && matches(name+" "+app, term) {
			g.Hits = append(g.Hits, search.Hit{Icon: components.StateIcon(b.State), Name: name, Sub: app, Href: "/builds/" + b.ID})
		}
	}
	return g, err
}

// images are found by the names of their repositories, their tags, their digests and the commits that they were built
// of; those of other registries by the names of repositories that are known here.
func (h *Search) images(ctx context.Context, term string) (search.Group, error) {
	g := search.Group{Name: "Images"}
	if term == "" {
		return g, nil
	}
	list, err := h.Images.Search(ctx, images.Query{Text: term, Page: models.Page{Limit: maxHits}})
	if err != nil {
		return g, err
	}
	for _, i := range list.Items {
		name := i.Repository + "@" + components.ShortDigest(i.Digest)
		if len(i.Tags) > 0 {
			name = i.Repository + ":" + i.Tags[0].Name
		}
		g.Hits = append(g.Hits, search.Hit{Icon: "layers", Name: name, Sub: components.ShortDigest(i.Digest), Href: pictures.URL(i)})
	}
	others, err := h.Images.FindElsewhere(ctx, term)
	for _, r := range others[:min(len(others), maxHits/2)] {
		g.Hits = append(g.Hits, search.Hit{Icon: "layers", Name: r.Name, Sub: r.Host, Href: pictures.HomeURL(r)})
	}
	return g, err
}

func (h *Search) repositories(ctx context.Context, term string) (search.Group, error) {
	g := search.Group{Name: "Repositories"}
	list, err := h.Catalog.Repositories(ctx, catalog.RepositoryFilter{Page: models.Page{Limit: models.MaxLimit}})
	for _, r := range list.Items {
		if len(g.Hits) < maxHits && matches(r.Name+" "+r.CloneURL, term) {
			g.Hits = append(g.Hits, search.Hit{Icon: "repo", Name: r.Name, Sub: r.CloneURL, Href: "/repositories/" + r.ID})
		}
	}
	return g, err
}

func (h *Search) environments(ctx context.Context, term string) (search.Group, error) {
	g := search.Group{Name: "Environments"}
	list, err := h.Deploy.Environments(ctx, deploy.EnvironmentFilter{})
	for _, e := range list {
		if len(g.Hits) < maxHits && matches(e.Name, term) {
			team := ""
			if e.Team != nil {
				team = e.Team.Name
			}
			g.Hits = append(g.Hits, search.Hit{Icon: "server", Name: e.Name, Sub: team, Href: "/environments/" + e.ID})
		}
	}
	return g, err
}

func (h *Search) teams(ctx context.Context, term string) (search.Group, error) {
	g := search.Group{Name: "Teams"}
	list, err := h.Catalog.Teams(ctx, catalog.TeamFilter{Page: models.Page{Limit: models.MaxLimit}})
	for _, t := range list.Items {
		if len(g.Hits) < maxHits && matches(t.Name+" "+t.Slug, term) {
			g.Hits = append(g.Hits, search.Hit{Icon: "users", Name: t.Name, Sub: t.Slug, Href: "/teams/" + t.Slug})
		}
	}
	return g, err
}

// places are the portal's own pages.
func places(_ context.Context, term string) (search.Group, error) {
	g := search.Group{Name: "Go to"}
	for _, p := range []search.Hit{
		{Icon: "home", Name: "Home", Sub: "g h", Href: "/"},
		{Icon: "repo", Name: "Repositories", Sub: "g r", Href: "/repositories"},
		{Icon: "plus", Name: "Register a repository", Href: "/repositories/new"},
		{Icon: "box", Name: "Apps", Sub: "g a", Href: "/apps"},
		{Icon: "play", Name: "Builds", Sub: "g b", Href: "/builds"},
		{Icon: "layers", Name: "Images", Sub: "g i", Href: "/images"},
		{Icon: "server", Name: "Environments", Sub: "g e", Href: "/environments"},
		{Icon: "users", Name: "Teams", Sub: "g t", Href: "/teams"},
		{Icon: "key", Name: "Tokens", Href: "/tokens"},
		{Icon: "doc", Name: "API docs", Href: "/api/docs"},
	} {
		if matches(p.Name, term) {
			g.Hits = append(g.Hits, p)
		}
	}
	return g, nil
}

// matches tells whether every word of the term is in the name.
func matches(name, term string) bool {
	name = strings.ToLower(name)
	for word := range strings.FieldsSeq(strings.ToLower(term)) {
		if !strings.Contains(name, word) {
			return false
		}
	}
	return true
}
