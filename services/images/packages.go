package images

import (
	"encoding/json"
	"slices"
	"strings"

	"slipway.dev/models"
)

const maxPackages = 50_000 // of one bill of materials that are read

// bill has what is read of a bill of materials: SPDX's packages (spdx.github.io/spdx-spec/v2.3)
// and CycloneDX's components (cyclonedx.org/docs/1.6/json).
type bill struct {
	Packages   []spdxPackage `json:"packages"`
	Components []component   `json:"components"`
}

type spdxPackage struct {
	Name      string `json:"name"`
	Version   string `json:"versionInfo"`
	Concluded string `json:"licenseConcluded"`
	Declared  string `json:"licenseDeclared"`
	External  []struct {
		Type    string `json:"referenceType"`
		Locator string `json:"referenceLocator"`
	} `json:"externalRefs"`
}

type component struct {
	Group    string `json:"group"`
	Name     string `json:"name"`
	Version  string `json:"version"`
	PURL     string `json:"purl"`
	Licenses []struct {
		License struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		} `json:"license"`
		Expression string `json:"expression"`
	} `json:"licenses"`
	Components []component `json:"components"`
}

// readPackages reads the packages of an SPDX or CycloneDX document, sorted by
// name. What is neither has none.
func readPackages(predicate []byte) []models.Package {
	var b bill
	if json.Unmarshal(predicate, &b) != nil {
		return nil
	}
	var out []models.Package
	for _, p := range b.Packages[:min(len(b.Packages), maxPackages)] {
		out = append(out, p.shown())
	}
	out = addComponents(out, b.Components)
	slices.SortStableFunc(out, func(a, b models.Package) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Version, b.Version)
	})
	return out
}

func (p spdxPackage) shown() models.Package {
	out := models.Package{Name: clip(p.Name), Version: clip(p.Version)}
	for _, l := range []string{p.Concluded, p.Declared} {
		if out.License == "" && l != "NOASSERTION" && l != "NONE" {
			out.License = clip(l)
		}
	}
	for _, e := range p.External {
		if e.Type == "purl" {
			out.PURL = clip(e.Locator)
		}
	}
	return out
}

// addComponents takes components apart that stand in others.
func addComponents(out []models.Package, list []component) []models.Package {
	for _, c := range list {
		if len(out) >= maxPackages {
			return out
		}
		p := models.Package{Name: clip(c.Name), Version: clip(c.Version), PURL: clip(c.PURL)}
		if c.Group != "" {
			p.Name = clip(c.Group + "/" + c.Name)
		}
		var licenses []string
		for _, l := range c.Licenses[:min(len(c.Licenses), 20)] {
			for _, text := range []string{l.Expression, l.License.ID, l.License.Name} {
				if text != "" {
					licenses = append(licenses, text)
					break
				}
			}
		}
		p.License = clip(strings.Join(licenses, " AND "))
		out = addComponents(append(out, p), c.Components)
	}
	return out
}
