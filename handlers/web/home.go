package web

import (
	"context"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/catalog"
	"slipway.dev/services/deploy"
	"slipway.dev/views/apps"
	"slipway.dev/views/home"
	"slipway.dev/views/layout"
)

// Home is the first page.
type Home struct {
	*Base
	Catalog *catalog.Service
	Builds  *builds.Service
	Deploy  *deploy.Service
}

const (
	homeApps   = 12
	homeBuilds = 8
)

// Page shows what waits for the reader, then their apps with what runs where.
func (h *Home) Page(c echo.Context) error {
	ctx := c.Request().Context()
	items, more, err := h.apps(ctx)
	if err != nil {
		return err
	}
	recent, err := h.Builds.List(ctx, builds.Filter{Page: models.Page{Limit: homeBuilds}})
	if err != nil {
		return err
	}
	v := home.View{Apps: items, More: more, Builds: recent.Items, Waiting: waiting(ctx, items)}
	approvals, err := h.approvals(ctx)
	if err != nil {
		return err
	}
	decisions, err := h.decisions(ctx)
	if err != nil {
		return err
	}
	v.Waiting = append(append(approvals, decisions...), v.Waiting...)
	if v.Way, err = h.way(ctx, v); err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Home", Nav: "home", Live: []string{"builds", "deployments", "apps"}})
	v.Curl = p.Curl("GET", "/api/v1/me", "")
	return Render(c, http.StatusOK, home.Page(p, v))
}

// apps are the newest apps with their last build and what runs where.
func (h *Home) apps(ctx context.Context) ([]apps.ListItem, bool, error) {
	list, err := h.Catalog.Apps(ctx, catalog.AppFilter{Page: models.Page{Limit: homeApps}})
	if err != nil || len(list.Items) == 0 {
		return nil, false, err
	}
	items, err := items(ctx, h.Builds, h.Deploy, list.Items)
	return items, list.Next != "", err
}

// items adds to apps their last build and what runs where.
func items(ctx context.Context, builds *builds.Service, deploys *deploy.Service, list []models.App) ([]apps.ListItem, error) {
	ids := make([]string, 0, len(list))
	for _, a := range list {
		ids = append(ids, a.ID)
	}
	board := &deploy.Board{}
	if len(ids) > 0 {
		var err error
		if board, err = deploys.Board(ctx, deploy.BoardFilter{AppIDs: ids, Page: models.Page{Limit: models.MaxLimit}}); err != nil {
			return nil, err
		}
	}
	newest, err := builds.Newest(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make([]apps.ListItem, 0, len(list))
	for _, a := range list {
		item := apps.ListItem{App: a, Stages: stages(board, a)}
		if b, ok := newest[a.ID]; ok {
			item.Last = &b
		}
		out = append(out, item)
	}
	return out, nil
}

// approvals are the newest builds of forks that the reader may let run.
func (h *Home) approvals(ctx context.Context) ([]home.Wait, error) {
	list, err := h.Builds.List(ctx, builds.Filter{State: models.BuildWaiting, Page: models.Page{Limit: 5}})
	var waits []home.Wait
	for _, b := range list.Items {
		if models.PrincipalFrom(ctx).RoleIn(b.TeamID).AtLeast(models.RoleDeveloper) {
			waits = append(waits, home.Wait{State: "waiting", Name: b.App.Name + " " + b.Title(), Href: "/builds/" + b.ID, Verb: "Review",
				Text: fmt.Sprintf("waits for approval: pull request #%d comes from a fork.", b.PullRequest.Number)})
		}
	}
	return waits, err
}

// decisions are the newest deployments that the reader may let begin.
func (h *Home) decisions(ctx context.Context) ([]home.Wait, error) {
	list, err := h.Deploy.List(ctx, deploy.Filter{State: string(models.DeploymentWaiting), Page: models.Page{Limit: 10}})
	who := models.PrincipalFrom(ctx)
	var waits []home.Wait
	for _, d := range list.Items {
		if who.RoleIn(d.TeamID).AtLeast(models.RoleMaintainer) && d.CreatedBy != who.UserID {
			waits = append(waits, home.Wait{State: "waiting", Name: d.App.Name + " " + apps.Version(d), Href: "/deployments/" + d.ID, Verb: "Review",
				Text: "waits for your approval to go to " + d.Environment.Name + "."})
		}
	}
	return waits, err
}

// waiting is what needs the reader: their own newest builds and deployments that failed.
func waiting(ctx context.Context, items []apps.ListItem) []home.Wait {
	me := models.PrincipalFrom(ctx).UserID
	var list []home.Wait
	for _, item := range items {
		if b := item.Last; b != nil && b.State == models.BuildFailed && b.CreatedBy == me {
			w := home.Wait{State: "failed", Name: item.App.Name + " " + b.Title(), Text: "did not build.", Href: "/builds/" + b.ID, Verb: "See why"}
			if b.Error != nil {
				w.Text = "did not build. " + b.Error.Message
			}
			list = append(list, w)
		}
		for _, s := range item.Stages {
			if d := s.Latest; d != nil && d.State == models.DeploymentFailed && d.CreatedBy == me {
				w := home.Wait{State: "failed", Name: item.App.Name + " " + apps.Version(*d), Text: "was not deployed to " + s.Environment.Name + ".", Href: "/deployments/" + d.ID, Verb: "See why"}
				if d.Error != nil {
					w.Text += " " + d.Error.Message
				}
				list = append(list, w)
			}
		}
	}
	return list
}

// way is how to get to the first running app; nothing once one runs.
func (h *Home) way(ctx context.Context, v home.View) ([]home.Step, error) {
	if running(v.Apps) {
		return nil, nil
	}
	teams, err := h.Catalog.Teams(ctx, catalog.TeamFilter{Page: models.Page{Limit: 1}})
	if err != nil {
		return nil, err
	}
	built := false
	for _, b := range v.Builds {
		built = built || b.State == models.BuildSucceeded
	}
	build, deploy := "/apps", "/environments"
	if len(v.Apps) > 0 {
		build = apps.URL(v.Apps[0].App)
		if len(v.Apps[0].Stages) > 0 {
			deploy = build + "/deploy"
		}
	}
	return []home.Step{
		{Title: "Create a team", Text: "Repositories and environments belong to a team, and its members' roles say who may do what.", Href: "/teams/new", Verb: "Create team", Done: len(teams.Items) > 0},
		{Title: "Register a repository", Text: "Give its clone URL: Slipway finds the Dockerfiles and offers an app for each.", Href: "/repositories/new", Verb: "Register", Done: len(v.Apps) > 0},
		{Title: "Build", Text: "Choose a branch, a tag or a commit, and watch it become an image in the registry.", Href: build, Verb: "Build", Done: built},
		{Title: "Deploy and open", Text: "Make an environment and deploy the image to it. The app gets an address of its own.", Href: deploy, Verb: "Deploy"},
	}, nil
}

func running(items []apps.ListItem) bool {
	for _, item := range items {
		for _, s := range item.Stages {
			if s.Serving != nil {
				return true
			}
		}
	}
	return false
}
