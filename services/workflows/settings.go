package workflows

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/google/go-containerregistry/pkg/name"
	"slipway.dev/models"
)

// WorkflowInput is what a person says about an app's workflow.
type WorkflowInput struct {
	Repository  string               `json:"repository,omitempty" form:"repository" doc:"owner/name at GitHub; empty: as the clone URL says."`
	GitHubID    int64                `json:"repository_id,omitempty" form:"repository_id" doc:"GitHub's number of the repository, which never changes hands. 0: asked for over the connection."`
	Issuer      string               `json:"issuer,omitempty" form:"issuer" doc:"Of the runs' tokens; empty: GitHub's own."`
	Path        string               `json:"path,omitempty" form:"path" doc:"Of the workflow's file; empty: .github/workflows/slipway-APP.yml."`
	Refs        []string             `json:"refs,omitempty" form:"refs" maxItems:"20" doc:"Globs of trusted branches, such as main or release/*, or of refs, such as refs/tags/v*. Empty: the default branch."`
	Environment string               `json:"environment,omitempty" form:"environment" doc:"Of GitHub. Where set, only jobs in it are trusted, and the file's job runs in it."`
	Destination models.Destination   `json:"destination,omitempty" form:"destination" enum:"portal,ghcr,ecr,gar,acr" doc:"Empty: portal, the registry of this portal."`
	Image       string               `json:"image,omitempty" form:"image" doc:"Where the destination is not the portal: the image's name without a tag."`
	Settings    map[string]string    `json:"settings,omitempty" doc:"What the destination's login asks for. ecr: role, region. gar: provider, service_account. acr: client_id, tenant_id, subscription_id."`
	Cache       models.WorkflowCache `json:"cache,omitempty" form:"cache" enum:"actions,registry,none" doc:"Empty: actions, GitHub's cache."`
	OnPush      bool                 `json:"on_push,omitempty" form:"on_push" doc:"Run on pushes to the trusted refs too, not only when asked."`
}

// Field is something that a destination's login asks for.
type Field struct{ Name, Label, Hint string }

// Fields are what each destination's login asks for.
func Fields(d models.Destination) []Field {
	switch d {
	case models.DestinationECR:
		return []Field{{"role", "IAM role", "ARN of the role that trusts this repository's runs, such as arn:aws:iam::123456789012:role/slipway."}, {"region", "Region", "Such as eu-central-1."}}
	case models.DestinationGAR:
		return []Field{{"provider", "Workload identity provider", "projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER."}, {"service_account", "Service account", "Such as builder@project.iam.gserviceaccount.com."}}
	case models.DestinationACR:
		return []Field{{"client_id", "Client id", "Of the application that trusts this repository's runs."}, {"tenant_id", "Tenant id", ""}, {"subscription_id", "Subscription id", ""}}
	case models.DestinationPortal, models.DestinationGHCR:
	}
	return nil
}

func (in WorkflowInput) workflow(app *models.App, issuer string) *models.Workflow {
	w := &models.Workflow{AppID: app.ID, TeamID: app.TeamID, Issuer: strings.TrimSpace(in.Issuer), Repository: strings.TrimSpace(in.Repository), GitHubID: in.GitHubID,
		Path: strings.TrimSpace(in.Path), Environment: strings.TrimSpace(in.Environment), Destination: in.Destination,
		Image: strings.TrimSpace(in.Image), Settings: map[string]string{}, Cache: in.Cache, OnPush: in.OnPush}
	for _, ref := range in.Refs {
		if ref = strings.TrimSpace(ref); ref != "" {
			w.Refs = append(w.Refs, ref)
		}
	}
	fill(&w.Issuer, issuer)
	fill(&w.Repository, nameOf(app.Repository.CloneURL))
	fill(&w.Path, defaultPath(app))
	fill(&w.Destination, models.DestinationPortal)
	fill(&w.Cache, models.WorkflowCacheActions)
	for _, f := range Fields(w.Destination) {
		w.Settings[f.Name] = strings.TrimSpace(in.Settings[f.Name])
	}
	if w.Destination == models.DestinationPortal {
		w.Image = ""
	}
	if w.Destination == models.DestinationGHCR {
		fill(&w.Image, "ghcr.io/"+strings.ToLower(w.Repository))
	}
	return w
}

func fill[T ~string](field *T, value T) {
	if *field == "" {
		*field = value
	}
}

// nameOf is owner/name as a clone URL has them; empty where it has no two parts.
func nameOf(cloneURL string) string {
	p := cloneURL
	if u, err := url.Parse(cloneURL); err == nil && u.Host != "" {
		p = u.Path
	} else if _, after, ok := strings.Cut(cloneURL, ":"); ok {
		p = after // git@github.com:owner/name.git
	}
	p = strings.TrimSuffix(strings.Trim(p, "/"), ".git")
	if _, _, ok := splitName(p); !ok {
		return ""
	}
	return p
}

var repositoryPart = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

func splitName(full string) (owner, name string, ok bool) {
	owner, name, ok = strings.Cut(full, "/")
	ok = ok && repositoryPart.MatchString(owner) && repositoryPart.MatchString(name) && strings.Trim(name, ".") != "" && strings.Trim(owner, ".") != ""
	return owner, name, ok
}

var (
	workflowPath = regexp.MustCompile(`^\.github/workflows/[A-Za-z0-9][A-Za-z0-9._-]{0,80}\.ya?ml$`)
	refGlob      = regexp.MustCompile(`^[A-Za-z0-9*][A-Za-z0-9._/*-]{0,200}$`)
)

// check says which fields need attention.
func (s *Service) check(w *models.Workflow, app *models.App) error {
	wrong := map[string]string{}
	if _, _, ok := splitName(w.Repository); !ok {
		wrong["repository"] = "Name the repository at GitHub as owner/name."
	}
	if w.GitHubID <= 0 {
		wrong["repository_id"] = "Enter GitHub's number of the repository: gh api repos/OWNER/NAME --jq .id prints it. With a connection Slipway asks for it."
	}
	if !slices.Contains(s.Issuers, w.Issuer) {
		wrong["issuer"] = "Choose one that this portal trusts: " + strings.Join(s.Issuers, ", ") + "."
	}
	if !workflowPath.MatchString(w.Path) {
		wrong["path"] = "Use a file of .github/workflows, such as " + defaultPath(app) + "."
	}
	checkRefs(w, wrong)
	if len(w.Environment) > 255 || strings.ContainsFunc(w.Environment, func(r rune) bool { return unicode.IsControl(r) || strings.ContainsRune("'\"`,;\\", r) }) {
		wrong["environment"] = "Use the name of an environment of the repository at GitHub."
	}
	if !slices.Contains([]models.WorkflowCache{models.WorkflowCacheActions, models.WorkflowCacheRegistry, models.WorkflowCacheNone}, w.Cache) {
		wrong["cache"] = "Choose actions, registry or none."
	}
	checkDestination(w, wrong)
	return models.InvalidFields(wrong)
}

func checkRefs(w *models.Workflow, wrong map[string]string) {
	if len(w.Refs) > 20 {
		wrong["refs"] = "Use at most 20 patterns."
	}
	for _, ref := range w.Refs {
		special := strings.HasPrefix(ref, "refs/") && !strings.HasPrefix(ref, "refs/heads/") && !strings.HasPrefix(ref, "refs/tags/")
		if special || !refGlob.MatchString(ref) || strings.Contains(ref, "..") || !doublestar.ValidatePattern(ref) {
			wrong["refs"] = "Use branches such as main or release/*, or refs such as refs/tags/v*: letters, digits, . _ - / and *."
		}
	}
}

func checkDestination(w *models.Workflow, wrong map[string]string) {
	all := []models.Destination{models.DestinationPortal, models.DestinationGHCR, models.DestinationECR, models.DestinationGAR, models.DestinationACR}
	if !slices.Contains(all, w.Destination) {
		wrong["destination"] = "Choose portal, ghcr, ecr, gar or acr."
		return
	}
	for _, f := range Fields(w.Destination) {
		if v := w.Settings[f.Name]; v == "" || len(v) > 300 || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) {
			wrong[f.Name] = "Enter it as the cloud shows it. " + f.Hint
		}
	}
	if w.Destination == models.DestinationPortal {
		return
	}
	repo, err := name.NewRepository(w.Image, name.StrictValidation)
	if err != nil || path.Clean(w.Image) != w.Image || !strings.Contains(w.Image, "/") || strings.ContainsAny(w.Image, "@$") || repo.RegistryStr() == name.DefaultRegistry {
		wrong["image"] = "Use the image's full name without a tag, such as ghcr.io/acme/checkout."
	}
}
