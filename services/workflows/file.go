package workflows

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"slipway.dev/models"
)

//go:embed workflow.yml.tmpl
var text string

// page is the form of the file. Its own marks are square, for the curly ones
// are GitHub's.
var page = template.Must(template.New("workflow").Delims("[[", "]]").Funcs(template.FuncMap{
	"q":     quote,
	"login": func(f file, step string) login { return login{f, step} },
}).Parse(text))

// file is what the form is filled with.
type file struct {
	W        *models.Workflow
	App      *models.App
	Team     string
	External string
	Image    string // without a tag
	Host     string // of the registry
	Context  string
	Minutes  int
	Branches []string
	Tags     []string

	CacheFrom    []string // at most one
	CacheToEarly []string // where the cache is GitHub's
	CacheToLate  []string // where it is in the registry
}

// login is one place of the file where it logs in.
type login struct {
	file
	Step string
}

// Cloud tells whether a cloud has to trust the run too.
func (f file) Cloud() bool {
	return f.W.Destination == models.DestinationECR || f.W.Destination == models.DestinationGAR || f.W.Destination == models.DestinationACR
}

// LoginFirst tells whether the build itself reads from the registry.
func (f file) LoginFirst() bool { return f.W.Cache == models.WorkflowCacheRegistry }

// Arguments are the values of the Dockerfile's ARGs, a line each. They are no
// secrets, and have no line breaks: models.BuildSettings sees to that.
func (f file) Arguments() string {
	lines := make([]string, 0, len(f.App.BuildSettings.Arguments))
	for _, a := range f.App.BuildSettings.Arguments {
		lines = append(lines, a.Name+"="+a.Value)
	}
	return strings.Join(lines, "\n")
}

// Platforms are what the image is made for, as BuildKit lists them; empty: the machine's own.
func (f file) Platforms() string { return strings.Join(f.App.BuildSettings.Platforms, ",") }

// Emulates tells whether commands may have to run for another platform than GitHub's machines have.
func (f file) Emulates() bool {
	return slices.ContainsFunc(f.App.BuildSettings.Platforms, func(p string) bool { return p != "linux/amd64" })
}

// KeepsLogin tells whether the login before the build is still good after it;
// the portal's lives for minutes, so there is a second one.
func (f file) KeepsLogin() bool { return f.LoginFirst() && f.W.Destination != models.DestinationPortal }

// Render writes the workflow's file. It needs the app's team and repository,
// and says so with an Invalid error where a name can't be put into such a file.
func (s *Service) Render(w *models.Workflow, app *models.App) (string, error) {
	f := file{W: w, App: app, Team: app.Team.Slug, External: s.External, Image: s.image(w, app), Context: buildContext(app.Context), Minutes: max(1, (app.BuildTimeout+59)/60)}
	f.Host, _, _ = strings.Cut(f.Image, "/")
	f.Branches, f.Tags = triggers(w, app.Repository.DefaultBranch)
	for _, name := range append(append([]string{w.Environment}, f.Branches...), f.Tags...) {
		if strings.Contains(name, "${{") {
			return "", models.Errorf(models.Invalid, "%q can't stand in a workflow file: GitHub would read an expression in it. Rename it, or list other branches.", name)
		}
	}
	switch w.Cache {
	case models.WorkflowCacheActions:
		f.CacheFrom = []string{"type=gha,scope=" + app.Name}
		f.CacheToEarly = []string{"type=gha,mode=max,ignore-error=true,scope=" + app.Name}
	case models.WorkflowCacheRegistry:
		f.CacheFrom = []string{"type=registry,ref=" + f.Image + ":buildcache"}
		f.CacheToLate = []string{"type=registry,mode=max,image-manifest=true,ignore-error=true,ref=" + f.Image + ":buildcache"}
	}
	var out bytes.Buffer
	if err := page.Execute(&out, f); err != nil {
		return "", fmt.Errorf("writing a workflow file: %w", err)
	}
	return out.String(), nil
}

// image is the name of the images that the workflow pushes, without a tag.
func (s *Service) image(w *models.Workflow, app *models.App) string {
	if w.Destination == models.DestinationPortal {
		return s.Registry.Host() + "/" + app.Team.Slug + "/" + app.Name
	}
	return w.Image
}

// buildContext is the folder as BuildKit takes it for one: a plain name would be looked up as a context's name.
func buildContext(folder string) string {
	if folder == "." {
		return "."
	}
	return "./" + folder
}

// triggers are the patterns of branches and tags whose pushes start a run.
func triggers(w *models.Workflow, defaultBranch string) (branches, tags []string) {
	for _, ref := range w.Refs {
		if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
			tags = append(tags, tag)
		} else if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok || !strings.HasPrefix(ref, "refs/") {
			branches = append(branches, branch)
		}
	}
	if len(w.Refs) == 0 && defaultBranch != "" {
		branches = []string{special.ReplaceAllString(defaultBranch, `\$0`)}
	}
	return branches, tags
}

// special are the characters that mean something in GitHub's patterns of
// branches (docs.github.com, "Filter pattern cheat sheet").
var special = regexp.MustCompile(`[*?+!\[\\]`)

// quote writes a text as a YAML string that GitHub takes literally: what begins
// like an expression becomes an expression of that text.
func quote(text string) (string, error) {
	text = strings.ReplaceAll(text, "${{", "${{ '${{' }}")
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		return "", err
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}
