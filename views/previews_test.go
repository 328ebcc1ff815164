package views_test

import (
	"time"

	"slipway.dev/models"
	"slipway.dev/views/admin"
	"slipway.dev/views/apps"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
	"slipway.dev/views/previews"
)

func aPreview(number int64, state models.PreviewState, title, branch, author string, age time.Duration) models.Preview {
	began := now.Add(-age)
	p := models.Preview{
		ID: "p" + branch, TeamID: "t1", AppID: "a1", RepositoryID: "r1", Number: number, Title: title, Branch: branch, PullURL: "https://git.acme.example/payments/checkout/pull/12", Author: author, State: state,
		HeadID: "b1", HeadNumber: 143, HeadCommit: "9f3c2ab41be0d4c07e511aa0b81d9aa5d20c9e03", HeadState: models.BuildSucceeded, BuildID: "b1", BuildNumber: 143, Commit: "9f3c2ab41be0d4c07e511aa0b81d9aa5d20c9e03",
		ExpiresAt: now.Add(70 * time.Hour), StartedAt: &began, App: &checkout, Team: payments,
	}
	if state == models.PreviewLive {
		p.DeploymentID, p.ServingID, p.DeploymentState, p.URL = "d1", "d1", models.DeploymentSucceeded, "https://pr-12-checkout-api.apps.acme.example"
		p.Deployment = &models.Deployment{ID: "d1", Number: 31, State: models.DeploymentSucceeded}
		p.Environment = &models.Environment{ID: "e9", Name: "pr-12-checkout-api", Target: &models.Target{Name: "local"}}
	}
	return p
}

func previewSamples() []sample {
	ready := aPreview(12, models.PreviewLive, "Split cart totals into their own service", "feat/cart-totals", "jonas", 26*time.Hour)
	failed := aPreview(14, models.PreviewLive, "Retry webhooks of the bank with growing pauses", "fix/bank-webhooks", "mira", 3*time.Hour)
	failed.DeploymentState, failed.Deployment = models.DeploymentFailed, &models.Deployment{ID: "d2", Number: 32, State: models.DeploymentFailed, Error: &models.DeploymentError{Stage: "start", Message: "The container ended with exit code 1 before it was healthy."}}
	queued := aPreview(15, models.PreviewQueued, "Show SEPA mandates in the list of payments", "feat/mandates", "ada", 0)
	queued.StartedAt, queued.Note = nil, "The team has 2 previews at once, and no place is free. This one starts as soon as one is."
	fork := aPreview(16, models.PreviewBuilding, "Fix a typo", "patch-1", "a-stranger", 0)
	fork.Fork, fork.HeadState, fork.StartedAt, fork.Commit, fork.BuildID = true, models.BuildWaiting, nil, "", ""
	ended := aPreview(9, models.PreviewEnded, "Old idea", "feat/old", "mira", 90*time.Hour)
	ended.EndReason, ended.EndedAt = models.PreviewExpired, before(2*time.Hour)

	list := testPage("Previews")
	list.Nav, list.Crumbs = "environments", []layout.Link{{Label: "Environments", Href: "/environments"}}
	filters := []components.FilterLink{{Label: "Open", Href: "/previews", Current: true}, {Label: "Ended", Href: "/previews?state=ended"}}
	usage := models.PreviewUsage{Team: *payments, Limit: 2, Live: 2, Queued: 1}
	header := apps.Header{App: checkout, CanEdit: true, CanDelete: true}
	app := testPage("checkout-api")
	app.Nav, app.Tabs, app.Meta = "apps", apps.Tabs(header, "previews"), apps.Meta(checkout)
	view := previews.AppView{Header: header, Previews: []models.Preview{ready, queued}, Filters: filters, Usage: usage, Settings: models.PreviewSettings{Enabled: true, TargetID: "g1", TemplateID: "e2", Hours: 72, AtMost: 5},
		Targets: []models.Target{{ID: "g1", Name: "local"}}, Environments: []models.Environment{dev, staging}, Curl: app.Curl("PUT", "/api/v1/apps/a1/preview-settings", `{"enabled": true}`)}
	viewer := view
	viewer.Header.CanEdit, viewer.Header.CanDelete, viewer.Previews = false, false, nil
	page := func(name string, p models.Preview) sample {
		f := testPage(previews.Name(p))
		f.State, f.Nav, f.Meta, f.Crumbs = p.Status(), "environments", previews.Meta(p), []layout.Link{{Label: "Environments", Href: "/environments"}, {Label: "Previews", Href: "/previews"}}
		return sample{name, previews.Page(f, previews.PageView{Preview: p, CanAct: true, Told: true, Comment: models.ForgeComment{SentAt: before(time.Minute)}, Curl: f.Curl("POST", "/api/v1/previews/p1/redeploy", "")})}
	}
	limits := testPage("Admin")
	limits.Nav, limits.Tabs = "admin", admin.Tabs("previews")
	return []sample{
		{"previews", previews.List(list, previews.ListView{Previews: []models.Preview{fork, queued, failed, ready}, Filters: filters, Usages: []models.PreviewUsage{usage}, Curl: list.Curl("GET", "/api/v1/previews", "")})},
		{"previews-empty", previews.List(list, previews.ListView{Filters: filters, Curl: list.Curl("GET", "/api/v1/previews", "")})},
		{"previews-app", previews.App(app, view)}, {"previews-app-viewer", previews.App(app, viewer)},
		page("preview-ready", ready), page("preview-failed", failed), page("preview-queued", queued), page("preview-fork", fork), page("preview-ended", ended),
		{"previews-limits", admin.Previews(limits, admin.PreviewsView{Usages: []models.PreviewUsage{usage, {Team: models.Team{Slug: "search", Name: "Search", PreviewLimit: 20}, Limit: 20, Live: 3}}, Curl: limits.Curl("PUT", "/api/v1/preview-limits/payments", `{"previews": 20}`)})},
	}
}
