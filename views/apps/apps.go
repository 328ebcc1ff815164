// Package apps holds the pages about apps: the catalog, and one app with its environments, builds, images, deployments
// and settings.
package apps

import (
	"fmt"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/builds"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// Stage is an environment as an app sees it: what serves, and what was tried last.
type Stage struct {
	Environment models.Environment
	Serving     *models.Deployment // with Build; nil: nothing was deployed yet
	Latest      *models.Deployment // the newest attempt, where it is not Serving
	State       string             // healthy, failing, stopped, deploying, failed …; empty: nothing runs
	Behind      string             // how far this stage is behind the one before it, such as "2 builds behind"
	Promote     string             // the address that deploys what the stage before runs; empty: nothing to promote
}

// ListItem is an app in the catalog.
type ListItem struct {
	App    models.App // with Team and Repository
	Last   *models.Build
	Stages []Stage
}

// ListView is the catalog.
type ListView struct {
	Items   []ListItem
	Term    string
	Team    string
	Teams   []components.FilterLink
	First   string
	Next    string
	CanMake bool
	Curl    components.CurlExample
}

// Header is what every page of an app shows above its content.
type Header struct {
	App       models.App // with Team and Repository
	CanBuild  bool
	CanEdit   bool
	CanDelete bool
	Build     builds.NewView
}

// OverviewView is an app at a glance.
type OverviewView struct {
	Header
	Stages     []Stage
	Builds     []models.Build
	Registry   string // such as localhost:8080/payments/checkout
	DeployCurl components.CurlExample
}

// BuildsView is the list of an app's builds.
type BuildsView struct {
	Header
	List builds.ListView
}

// Bad are the images that a team deploys nowhere, by digest.
type Bad map[string]models.BadImage

// ImagesView is the list of an app's images.
type ImagesView struct {
	Header
	Registry string         // such as localhost:8080/payments/checkout
	Images   []models.Image // the one pushed last first
	Bad      Bad
	First    string
	Next     string
}

// DeploymentsView is the history of an app's deployments.
type DeploymentsView struct {
	Header
	Deployments []models.Deployment // newest first, with Environment and Build
	Bad         Bad
	First       string
	Next        string
}

// SettingsView is the form of an app's settings.
type SettingsView struct {
	Header
	Form     components.Form
	Triggers components.Form
	Delete   components.Form
	Running  []models.Deployment // what would be stopped by deleting the app
	Curl     components.CurlExample

	TriggersCurl components.CurlExample
}

// pullRequestOptions are what may build pull requests.
var pullRequestOptions = []components.Option{
	{Value: string(models.PullRequestsOff), Label: "Off", Sub: "pull requests build nothing"},
	{Value: string(models.PullRequestsSame), Label: "This repository", Sub: "those of branches of the repository itself"},
	{Value: string(models.PullRequestsForks), Label: "Forks too", Sub: "each commit of a fork's waits for approval and gets no secret"},
}

// lines are patterns as they stand in a field, one a line.
func lines(patterns []string) string { return strings.Join(patterns, "\n") }

// triggersHint says what makes pushes reach Slipway at all.
func triggersHint(h Header) string {
	if h.App.Repository != nil && h.App.Repository.ConnectionID == nil {
		return "The repository has no connection to a forge yet, so nothing tells Slipway about pushes."
	}
	return "What the forge tells Slipway about builds this app by itself."
}

// URL is the app's page.
func URL(a models.App) string { return "/apps/" + a.ID }

// Tabs are the views of an app; current is one of overview, builds, images, deployments, previews, schedules, settings.
func Tabs(h Header, current string) []layout.Tab {
	base := URL(h.App)
	tabs := []layout.Tab{
		{Label: "Overview", Href: base, Current: current == "overview"},
		{Label: "Builds", Href: base + "/builds", Current: current == "builds", Count: count(h.App.BuildCount)},
		{Label: "Images", Href: base + "/images", Current: current == "images"},
		{Label: "Deployments", Href: base + "/deployments", Current: current == "deployments", Count: count(h.App.DeploymentCount)},
		{Label: "Previews", Href: base + "/previews", Current: current == "previews"},
		{Label: "Schedules", Href: base + "/schedules", Current: current == "schedules"},
	}
	if h.CanEdit || h.App.Builder == models.BuilderActions {
		tabs = append(tabs, layout.Tab{Label: "Actions", Href: base + "/actions", Current: current == "actions"})
	}
	if h.CanEdit {
		tabs = append(tabs, layout.Tab{Label: "Settings", Href: base + "/settings", Current: current == "settings"})
	}
	return tabs
}

func count(n int64) string {
	if n == 0 {
		return ""
	}
	return components.Thousands(n)
}

// Version is what people call what a deployment runs: the build's number, or the tag with the digest that it named, or
// the digest.
func Version(d models.Deployment) string {
	switch {
	case d.Build != nil:
		return d.Build.Title()
	case d.ImageTag != "":
		return d.ImageTag + "@" + components.ShortDigest(d.ImageDigest)
	}
	return components.ShortDigest(d.ImageDigest)
}

// VersionWords is Version where the deployment's own number stands beside it: it says that the number is a build's.
func VersionWords(d models.Deployment) string {
	if d.Build != nil {
		return "build " + Version(d)
	}
	return Version(d)
}

// deployHref is the page that deploys the app to an environment.
func deployHref(a models.App, environment string) string {
	return fmt.Sprintf("/apps/%s/deploy?environment=%s", a.ID, environment)
}

// port says where the container listens.
func port(a models.App) string {
	if a.Port == 0 {
		return "as the image exposes"
	}
	return fmt.Sprint(a.Port)
}

// health says in words how an instance proves that it is well.
func health(a models.App) string {
	switch a.Health {
	case models.HealthHTTP:
		return "GET " + a.HealthPath
	case models.HealthTCP:
		return "the port accepts connections"
	case models.HealthImage:
		return "the image's HEALTHCHECK"
	}
	return string(a.Health)
}

// protocolOptions are what an app can speak on its port.
var protocolOptions = []components.Option{
	{Value: string(models.ProtocolHTTP1), Label: "HTTP/1.1, with WebSocket"},
	{Value: string(models.ProtocolH2C), Label: "HTTP/2 without TLS (h2c), for gRPC"},
}

// healthOptions are the kinds of health checks.
var healthOptions = []components.Option{
	{Value: string(models.HealthHTTP), Label: "HTTP", Sub: "a path answers with 2xx or 3xx"},
	{Value: string(models.HealthTCP), Label: "TCP", Sub: "the port accepts a connection"},
	{Value: string(models.HealthImage), Label: "Image", Sub: "the image's own HEALTHCHECK"},
}

// deletes says what goes with an app.
func deletes(v SettingsView) string {
	s := "Its " + components.Count(v.App.BuildCount, "build", "builds") + " with logs and its deployments are deleted."
	if n := len(v.Running); n > 0 {
		s += " It runs in " + components.Count(n, "environment", "environments") + " and is stopped there."
	}
	return s
}
