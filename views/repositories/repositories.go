// Package repositories holds the pages about repositories: the list, the form that registers one, and one repository
// with the Dockerfiles that were found in it.
package repositories

import (
	"cmp"
	"slices"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// ListView is the list of repositories.
type ListView struct {
	Repositories []models.Repository // with Team
	Apps         map[string]int      // number of apps by repository
	First        string
	Next         string
	CanMake      bool
	Curl         components.CurlExample
}

// NewView is the form that registers a repository.
type NewView struct {
	Form  components.Form
	Teams []models.Team // those in which the person may register
	Curl  components.CurlExample
}

// PageView is one repository.
type PageView struct {
	Repository models.Repository // with Team, Refs and DetectedDockerfiles
	Apps       []models.App
	Proposals  []Proposal
	Form       components.Form // of the proposals
	Edit       components.Form // of the access
	Delete     components.Form
	CanEdit    bool // a maintainer
	CanBuild   bool // a developer
	AppCurl    components.CurlExample

	Connections []models.Connection // of the team, for a maintainer to choose from
}

// Proposal is an app that Slipway offers for a Dockerfile that it found.
type Proposal struct {
	Dockerfile models.DetectedDockerfile
	Taken      *models.App // the app that exists for it already
}

// URL is the repository's page.
func URL(r models.Repository) string { return "/repositories/" + r.ID }

// open are the proposals without an app.
func (v PageView) open() []Proposal {
	return slices.DeleteFunc(slices.Clone(v.Proposals), func(p Proposal) bool { return p.Taken != nil })
}

// inTrouble tells whether the form about access is what the person came for.
func (v PageView) inTrouble() bool {
	return v.CanEdit && (v.Repository.State == models.RepositoryFailed || v.Edit.Err != nil)
}

// refs are the repository's refs of the kind, newest first.
func (v PageView) refs(kind models.RefKind) []models.Ref {
	refs := slices.DeleteFunc(slices.Clone(v.Repository.Refs), func(r models.Ref) bool { return r.Kind != kind })
	slices.SortFunc(refs, func(a, b models.Ref) int {
		if a.Name == v.Repository.DefaultBranch {
			return -1
		}
		if b.Name == v.Repository.DefaultBranch {
			return 1
		}
		return cmp.Or(b.CommittedAt.Compare(a.CommittedAt), cmp.Compare(a.Name, b.Name))
	})
	return refs
}

// busy tells whether a worker reads, or will read, the repository.
func busy(r models.Repository) bool {
	return r.State == models.RepositoryPending || r.State == models.RepositoryFetching
}

func teamOptions(teams []models.Team) []components.Option {
	var options []components.Option
	for _, t := range teams {
		options = append(options, components.Option{Value: t.Slug, Label: t.Name})
	}
	return options
}

// connectionOptions are the team's connections, and none.
func connectionOptions(list []models.Connection) []components.Option {
	options := []components.Option{{Value: "", Label: "None: pushes don't build by themselves"}}
	for _, c := range list {
		options = append(options, components.Option{Value: c.ID, Label: c.Name})
	}
	return options
}

func connectionID(r models.Repository) string {
	if r.ConnectionID == nil {
		return ""
	}
	return *r.ConnectionID
}

var credentialOptions = []components.Option{
	{Value: string(models.CredentialNone), Label: "None", Sub: "the repository is public, or reachable without a password"},
	{Value: string(models.CredentialToken), Label: "Token", Sub: "a user name and an access token, over https"},
	{Value: string(models.CredentialSSH), Label: "Deploy key", Sub: "Slipway makes a key pair; you add its public half to the repository"},
}

// webURL turns a clone URL into one for a browser, where it is an https one; empty otherwise.
func webURL(clone string) string {
	if strings.HasPrefix(clone, "https://") {
		return strings.TrimSuffix(clone, ".git")
	}
	return ""
}

// maxRefs is how many branches and tags the page shows; the build form knows all of them.
const maxRefs = 12

func firstRefs(refs []models.Ref) []models.Ref { return refs[:min(len(refs), maxRefs)] }

func credentialWord(kind models.CredentialKind) string {
	switch kind {
	case models.CredentialToken:
		return "Token"
	case models.CredentialSSH:
		return "Deploy key"
	}
	return "None"
}

// deletes says what goes with a repository.
func deletes(v PageView) string {
	if len(v.Apps) == 0 {
		return "Slipway forgets the repository and its copy of it."
	}
	return "Slipway forgets the repository with its " + components.Count(len(v.Apps), "app", "apps") + ", their builds and deployments; what runs is stopped."
}
