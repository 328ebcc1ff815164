package apps

import (
	"fmt"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// ActionsView is how GitHub Actions builds an app: the workflow's file, which
// runs are trusted, and those that asked for a credential.
type ActionsView struct {
	Header
	Workflow  models.Workflow // as it is, or as it is proposed
	Saved     bool
	File      string
	Image     string // what the workflow pushes, without a tag
	Connected bool   // Slipway may ask GitHub
	Issuers   []string
	Logins    []Login // what the destinations' logins ask for
	Exchanges []models.Exchange
	First     string
	Next      string
	Compared  *Compared // nil: nobody asked
	Form      components.Form
	Curl      components.CurlExample
	FileCurl  components.CurlExample
}

// Compared is the file in the repository beside Slipway's.
type Compared struct {
	There bool
	Same  bool
	Diff  string
}

// Login is what a destination's login asks for.
type Login struct {
	Destination models.Destination
	Title       string
	Fields      []components.Field
}

// ActionsURL is the app's page about GitHub Actions.
func ActionsURL(a models.App) string { return URL(a) + "/actions" }

var destinationOptions = []components.Option{
	{Value: string(models.DestinationPortal), Label: "This portal's registry"},
	{Value: string(models.DestinationGHCR), Label: "GitHub's registry (ghcr.io)"},
	{Value: string(models.DestinationECR), Label: "Amazon ECR"},
	{Value: string(models.DestinationGAR), Label: "Google Artifact Registry"},
	{Value: string(models.DestinationACR), Label: "Azure Container Registry"},
}

var cacheOptions = []components.Option{
	{Value: string(models.WorkflowCacheActions), Label: "GitHub's cache: kept by branch, 10 GB for a repository"},
	{Value: string(models.CacheRegistry), Label: "The registry, under the tag buildcache"},
	{Value: string(models.WorkflowCacheNone), Label: "None"},
}

var builderOptions = []components.Option{
	{Value: string(models.BuilderBuildKit), Label: "BuildKit here", Sub: "Slipway's own build engines"},
	{Value: string(models.BuilderActions), Label: "GitHub Actions", Sub: "a workflow in the repository; set it up under Actions"},
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// trusted says in words which runs are.
func (v ActionsView) trusted() string {
	refs := "the default branch"
	if len(v.Workflow.Refs) > 0 {
		refs = strings.Join(v.Workflow.Refs, ", ")
	}
	text := fmt.Sprintf("Runs of %s (number %d) from %s, of the file %s", v.Workflow.Repository, v.Workflow.GitHubID, refs, v.Workflow.Path)
	if v.Workflow.Environment != "" {
		text += ", in the environment " + v.Workflow.Environment
	}
	return text + "."
}

// standing is the state of the note on top and what it says.
func (v ActionsView) standing() (state, text string) {
	last := models.Exchange{}
	if len(v.Exchanges) > 0 && v.First == "" {
		last = v.Exchanges[0]
	}
	switch {
	case last.ID != "" && !last.Granted:
		return "failed", "The last run that asked for a credential was refused. " + last.Reason
	case v.App.Builder != models.BuilderActions:
		return "waiting", "The runs are trusted, and builds that are asked for here still run here. Choose GitHub Actions as the builder in the app's settings to change that."
	case !v.Connected:
		return "waiting", "Slipway can't start runs: the repository has no connection with GitHub that has a credential. Runs that start there appear here with what they push."
	case last.ID == "":
		return "waiting", "No run has asked for a credential yet. Bring the file into the repository and build."
	}
	return "succeeded", "The last run that asked for a credential got one."
}

// diffLine is a line of a diff with its class.
type diffLine struct{ class, text string }

func diffLines(diff string) (lines []diffLine) {
	for _, text := range strings.Split(strings.TrimSuffix(diff, "\n"), "\n") {
		class := ""
		switch {
		case strings.HasPrefix(text, "+") && !strings.HasPrefix(text, "+++"):
			class = "add"
		case strings.HasPrefix(text, "-") && !strings.HasPrefix(text, "---"):
			class = "del"
		}
		lines = append(lines, diffLine{class, text})
	}
	return lines
}

// granted is the state of an exchange.
func granted(x models.Exchange) string {
	if x.Granted {
		return "granted"
	}
	return "refused"
}
