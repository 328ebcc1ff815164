package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "slipway.dev/"

// layer says what the packages below a folder may import, besides the standard library.
type layer struct {
	folder string
	may    []string // prefixes
	never  []string // prefixes that win over may
}

// leaves are the services that all others may use.
var leaves = []string{"logs", "events", "audit", "secrets", "blobs", "jobs", "outbound", "limits", "distribution", "layers", "signing"}

var layers = []layer{
	{folder: "models", may: []string{"gorm.io/", "github.com/glebarez/", "github.com/jackc/pgx/", "github.com/google/uuid"}},
	{folder: "migrations", may: []string{"github.com/pressly/goose/"}},
	{folder: "static", may: []string{"github.com/tdewolff/", "github.com/andybalholm/", "github.com/klauspost/"}},
	{folder: "views", may: []string{module + "models", module + "views", "github.com/a-h/templ", "github.com/dustin/go-humanize"}},
	{folder: "services", may: []string{""}, never: []string{
		module + "handlers", module + "views", module + "static", module + "cmd", module + "migrations",
		"github.com/labstack/", "github.com/a-h/templ", "github.com/danielgtaylor/"}},
	{folder: "handlers", may: []string{""}, never: []string{
		module + "services/builds/", module + "services/deploy/", module + "cmd", module + "migrations",
		"gorm.io/", "github.com/docker/", "github.com/moby/", "k8s.io/", "github.com/coreos/", "github.com/aws/", "cloud.google.com/", "github.com/Azure/"}},
}

// siblings says which service may import which other one that is not a leaf.
var siblings = map[string][]string{
	"services/catalog": {"services/git", "services/registries"},
	"services/forges":  {"services/git"},
	"services/hooks":   {"services/git", "services/forges", "services/builds"},
	"services/auth":    {"services/idp"},
	"services/builds":  {"services/git", "services/registry", "services/registries", "services/builds"},
	"services/engines": {"services/builds"},
	"services/images":  {"services/registry", "services/registries"},
	// one door to the embedded registry and to all others
	"services/registries": {"services/registry"},
	// clean-ups delete by the registry's own means
	"services/retention": {"services/registry"},
	"services/deploy":    {"services/git", "services/images", "services/registry", "services/registries", "services/builds", "services/copies", "services/deploy"},
	"services/git":       {},
	// measures and listens to what deployments run, on their targets
	"services/observe": {"services/deploy"},
	// trust in targets, whose settings it reads
	"services/identity": {"services/deploy"},
	// images of any registry; commits between two of them
	"services/explorer": {"services/images", "services/git"},
	// a run's credential is one of the registry; workflows queue the builds of runs
	"services/workload":  {"services/registry"},
	"services/workflows": {"services/builds", "services/registry", "services/workload"},

	"services/proxy": {"services/certificates"},

	"services/schedules": {"services/builds", "services/git"},

	// what previews make of builds and pull requests, which tell them of it by functions that cmd sets
	"services/previews": {"services/deploy"},

	"services/copies":      {"services/registries"},
	"services/pullthrough": {"services/registries", "services/registry"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestEachPackageImportsOnlyWhatItsLayerMay(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, l := range layers {
			if path != l.folder && !strings.HasPrefix(path, l.folder+"/") {
				continue
			}
			for _, imported := range p.Imports {
				if external(imported) && (!hasPrefix(imported, l.may) || hasPrefix(imported, l.never)) {
					t.Errorf("%s may not import %s", path, imported)
				}
			}
		}
	}
}

func TestServicesImportEachOtherOneWayOnly(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		own := service(path)
		if own == "" {
			continue
		}
		for _, imported := range p.Imports {
			other := service(strings.TrimPrefix(imported, module))
			if !strings.HasPrefix(imported, module) || other == "" || other == own {
				continue
			}
			if slices.Contains(leaves, strings.TrimPrefix(other, "services/")) || slices.Contains(siblings[own], other) {
				continue
			}
			t.Errorf("%s may not import %s", path, strings.TrimPrefix(imported, module))
		}
	}
}

// service returns the service that a package belongs to: "services/builds" for "services/builds/buildkit".
func service(path string) string {
	parts := strings.Split(path, "/")
	if len(parts) < 2 || parts[0] != "services" {
		return ""
	}
	return parts[0] + "/" + parts[1]
}

// packages lists the packages of the program; those that only tests use end in "test" and have no rules.
func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if !testOnly(p.ImportPath) {
			list = append(list, p)
		}
	}
	if len(list) < 10 {
		t.Fatalf("go list named only %d packages", len(list))
	}
	return list
}

func testOnly(path string) bool {
	return slices.ContainsFunc(strings.Split(path, "/"), func(part string) bool { return strings.HasSuffix(part, "test") })
}

func external(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return strings.Contains(first, ".")
}

func hasPrefix(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(path, p) })
}

func TestGitIsTheOnlyProgramThatIsStarted(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if slices.Contains(p.Imports, "os/exec") && strings.TrimPrefix(p.ImportPath, module) != "services/git" {
			t.Errorf("%s starts programs: text from outside could become their arguments", p.ImportPath)
		}
	}
}
