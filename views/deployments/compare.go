package deployments

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/apps"
	"slipway.dev/views/components"
)

// CompareView is how two deployments of an app differ.
type CompareView struct {
	App        models.App          // with Repository
	Choices    []models.Deployment // to choose from, newest first, with Environment and Build
	A, B       string              // the ids that are chosen; may be empty
	Comparison *Comparison         // nil: not both are chosen, or Form says what is wrong
	Form       components.Form
	Curl       components.CurlExample
}

// Comparison is what changes from A to B.
type Comparison struct {
	A, B        models.Deployment // with Environment and Build
	Range       models.CommitRange
	CommitsNote string // why there are no commits
	Settings    []Difference
	Variables   []Change
	Secrets     []Change
}

// CompareURL is the page that compares two deployments of an app.
func CompareURL(app, a, b string) string {
	return "/apps/" + app + "/compare?" + url.Values{"a": {a}, "b": {b}}.Encode()
}

func (c Comparison) sameImage() bool { return c.A.ImageDigest == c.B.ImageDigest }

// facts are what stands beside each other.
func (c Comparison) facts() []Difference {
	fact := func(name string, of func(models.Deployment) string) Difference {
		return Difference{Name: name, Before: of(c.A), After: of(c.B)}
	}
	return []Difference{
		fact("Environment", func(d models.Deployment) string {
			if d.Environment == nil {
				return ""
			}
			return d.Environment.Name
		}),
		fact("Version", apps.Version),
		fact("Commit", func(d models.Deployment) string {
			if d.Build == nil {
				return "not known"
			}
			return components.ShortCommit(d.Build.Commit) + " " + d.Build.CommitSubject
		}),
		fact("Size", func(d models.Deployment) string {
			if d.Build == nil || d.Build.ImageSize == 0 {
				return "not known"
			}
			return components.Bytes(d.Build.ImageSize) + " compressed"
		}),
		fact("Scale", func(d models.Deployment) string { return components.Scale(d.Config.Scale) }),
		fact("Healthy when", func(d models.Deployment) string { return checked(d.Config) }),
		fact("Asked for by", func(d models.Deployment) string {
			if d.CreatedByName == "" {
				return "Slipway"
			}
			return d.CreatedByName
		}),
		fact("Took", func(d models.Deployment) string {
			if d.StartedAt == nil || d.FinishedAt == nil {
				return "–"
			}
			return components.Lasted(d.FinishedAt.Sub(*d.StartedAt))
		}),
	}
}

// sameNames are the variables and secrets of both with the same value.
func (c Comparison) sameNames() []string {
	names := map[string]bool{}
	for _, pair := range [][2]map[string]string{{c.A.Config.Variables, c.B.Config.Variables}, {c.A.Config.Secrets, c.B.Config.Secrets}} {
		for name, value := range pair[0] {
			if other, ok := pair[1][name]; ok && other == value {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func joined(names []string) string { return strings.Join(names, ", ") }

// choiceName is a deployment as the form offers it.
func choiceName(d models.Deployment) string {
	name := d.Title() + " of " + apps.VersionWords(d)
	if d.Environment != nil {
		name += " to " + d.Environment.Name
	}
	return name + ", " + strings.ToLower(components.Word(d.State)) + " " + d.CreatedAt.UTC().Format("2 Jan 15:04")
}

// rangeWords says how many commits come and go.
func rangeWords(r models.CommitRange) string {
	switch {
	case r.Back():
		return components.Count(r.Behind, "commit is", "commits are") + " taken back"
	case r.Behind > 0:
		return components.Count(r.Ahead, "commit comes", "commits come") + ", " + components.Count(r.Behind, "commit goes", "commits go")
	}
	return components.Count(r.Ahead, "commit comes", "commits come")
}
