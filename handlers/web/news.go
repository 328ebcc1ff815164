package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/views/components"
	views "slipway.dev/views/deployments"
	"slipway.dev/views/environments"
	"slipway.dev/views/layout"
)

// newsOnPage is how many deployments a page of changes has.
const newsOnPage = 20

// News shows what came to the environment, deployment by deployment.
func (h *Environments) News(c echo.Context) error {
	ctx := c.Request().Context()
	e, err := h.Deploy.Environment(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	v := environments.NewsView{Environment: *e, AppID: c.QueryParam("app")}
	list, err := h.Deploy.News(ctx, deploy.NewsFilter{EnvironmentID: e.ID, AppID: v.AppID, Page: models.Page{Cursor: c.QueryParam("cursor"), Limit: newsOnPage}})
	if err != nil {
		return err
	}
	for _, n := range list.Items {
		v.Items = append(v.Items, newsItem(n))
	}
	if v.Apps, err = h.Deploy.AppsOf(ctx, e.TeamID); err != nil {
		return err
	}
	v.First, v.Next = pages(c, list.Next)
	p := h.page(c, layout.Page{Title: "What's new in " + e.Name, Nav: "environments", Live: []string{"environment:" + e.ID},
		Crumbs: []layout.Link{{Label: "Environments", Href: "/environments"}, {Label: e.Name, Href: environments.URL(*e)}}})
	v.Curl = p.Curl("GET", "/api/v1/environments/"+e.ID+"/changes", "").For("Read the changes")
	v.FeedCurl = p.Curl("GET", "/api/v1/environments/"+e.ID+"/changes.atom", "").For("Follow them in a feed reader")
	return Render(c, http.StatusOK, environments.News(p, v))
}

// newsItem is a deployment with what it brought, as the page takes it.
func newsItem(n deploy.News) environments.NewsItem {
	out := environments.NewsItem{Deployment: n.Deployment, Words: n.Note}
	if n.Previous != nil {
		out.Compare = views.CompareURL(n.Deployment.AppID, n.Previous.ID, n.Deployment.ID)
	}
	switch r := n.Range; {
	case n.Counting:
		out.Words = "The commits are being read…"
	case r != nil && r.Back():
		out.Words = components.Count(r.Behind, "commit was", "commits were") + " taken back"
	case r != nil && r.Behind > 0:
		out.Words = components.Count(r.Ahead, "commit", "commits") + " came, and " + components.Count(r.Behind, "one", "others") + " went"
	case r != nil:
		out.Words = components.Count(r.Ahead, "commit", "commits")
	}
	if n.Range != nil {
		out.Commits, out.More = n.Range.Commits, n.Range.More()
	}
	return out
}
