// Package images holds the pages about images: the repositories that there are, the images of one, and the passport of
// an image.
package images

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// ListView is the list of repositories.
type ListView struct {
	Items []models.ImageRepository
	Host  string // of the registry
	Team  string // the slug that the example commands show
	First string
	Next  string
	Curl  components.CurlExample
}

// RepositoryView is the images of one repository.
type RepositoryView struct {
	Name      string
	App       *models.App // nil: images from outside, which no app deploys
	Items     []models.Image
	Host      string
	CanDeploy bool
	First     string
	Next      string
	Curl      components.CurlExample
}

// ImageView is the passport of an image.
type ImageView struct {
	models.ImagePassport
	Host      string
	CanDeploy bool
	Compare   []components.FilterLink // comparisons that suggest themselves
	Curl      components.CurlExample
}

// FilesURL is the file explorer of the image.
func FilesURL(i models.Image) string {
	return FilesAt{Repository: i.Repository, Digest: i.Digest}.URL()
}

// CompareURL compares two images.
func CompareURL(a, b models.Image) string {
	return CompareAt{A: a.Repository + "@" + a.Digest, B: b.Repository + "@" + b.Digest}.URL()
}

// URL is the image's page.
func URL(i models.Image) string { return "/images/" + i.Repository + "@" + i.Digest }

// RepositoryURL is the page of the repository's images.
func RepositoryURL(name string) string { return "/images/" + name }

// Name is what people call the image: its tag, else its digest.
func Name(i models.Image) string {
	if len(i.Tags) > 0 {
		return i.Tags[0].Name
	}
	return components.ShortDigest(i.Digest)
}

// deployURL is the page that deploys the image.
func deployURL(i models.Image) string {
	return "/apps/" + i.App.ID + "/deploy?image=" + i.Digest
}

// shownTags is how many tags a row has room for.
const shownTags = 4

func moreTags(i models.Image) []models.ImageTag {
	return i.Tags[min(1, len(i.Tags)):min(1+shownTags, len(i.Tags))]
}

func hiddenTags(i models.Image) string {
	if n := len(i.Tags) - 1 - shownTags; n > 0 {
		return fmt.Sprintf("+%d", n)
	}
	return ""
}

// servingWord is the state of a place where an image serves.
func servingWord(d models.ImageDeployment) string {
	switch {
	case d.Stopped:
		return "stopped"
	case d.Active:
		return "healthy"
	}
	return string(d.State)
}

// served is what the list of places says of one where the image is no more.
func placeWord(d models.ImageDeployment) string {
	switch {
	case d.Active && d.Stopped:
		return "Stopped"
	case d.Active:
		return "Serving"
	case d.State == models.DeploymentSucceeded:
		return "Replaced"
	}
	return components.Word(d.State)
}

func placeState(d models.ImageDeployment) string {
	if !d.Active && d.State == models.DeploymentSucceeded {
		return "superseded"
	}
	return servingWord(d)
}

// layerLine is a layer with its share of the image.
type layerLine struct {
	models.ImageLayer
	Number string
	Share  string // of the largest layer, in hundredths
}

func lines(layers []models.ImageLayer) []layerLine {
	var largest int64
	for _, l := range layers {
		largest = max(largest, l.Size)
	}
	out := make([]layerLine, 0, len(layers))
	for i, l := range layers {
		out = append(out, layerLine{l, strconv.Itoa(i + 1), hundredths(l.Size, largest)})
	}
	return out
}

func hundredths(part, whole int64) string {
	if whole <= 0 {
		return "0"
	}
	return strconv.FormatFloat(100*float64(part)/float64(whole), 'f', 2, 64)
}

// share is one layer in the bar of the whole image.
type share struct{ X, Width, Class, Title string }

// shares lays the layers beside each other, as wide as they are large; the largest stands out.
func shares(layers []models.ImageLayer) []share {
	var total, largest int64
	for _, l := range layers {
		total += l.Size
		largest = max(largest, l.Size)
	}
	if total == 0 {
		return nil
	}
	const gap = .6
	var out []share
	x := 0.0
	for _, l := range layers {
		if l.Size == 0 {
			continue
		}
		width := 100 * float64(l.Size) / float64(total)
		s := share{X: number(x), Width: number(max(.4, width-gap)), Class: "base", Title: components.Bytes(l.Size) + " " + said(l)}
		if l.Size == largest {
			s.Class = "own"
		}
		out = append(out, s)
		x += width
	}
	return out
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

// said is what made the layer, in the Dockerfile's words where they are known.
func said(l models.ImageLayer) string {
	if l.Instruction != "" {
		return l.Instruction
	}
	if l.Comment != "" {
		return l.Comment
	}
	return l.MediaType
}

func countLayers(layers []models.ImageLayer) int {
	n := 0
	for _, l := range layers {
		if l.Digest != "" {
			n++
		}
	}
	return n
}

// command writes an entrypoint or command as its JSON form.
func command(args []string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if len(args) == 0 || e.Encode(args) != nil {
		return ""
	}
	return strings.TrimSpace(b.String())
}

// pair is a name with its value.
type pair struct{ name, value string }

func sorted(m map[string]string) []pair {
	out := make([]pair, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, pair{k, m[k]})
	}
	return out
}

func environment(env []string) []pair {
	out := make([]pair, 0, len(env))
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		out = append(out, pair{name, value})
	}
	return out
}

// settings are the facts of a config, without those that it does not set.
func settings(c *models.ImageConfig) []pair {
	all := []pair{
		{"Platform", c.Platform}, {"Entrypoint", command(c.Entrypoint)}, {"Command", command(c.Cmd)}, {"User", c.User},
		{"Folder", c.WorkingDir}, {"Ports", strings.Join(c.ExposedPorts, ", ")}, {"Volumes", strings.Join(c.Volumes, ", ")},
		{"Stop signal", c.StopSignal}, {"Health check", command(c.Healthcheck)},
	}
	return slices.DeleteFunc(all, func(p pair) bool { return p.value == "" })
}

// maxManifest is how much of a manifest the page shows; real ones have a few kilobytes.
const maxManifest = 32 << 10

// pretty indents the manifest; what is no JSON, or too large, is shown as it is.
func pretty(content []byte) string {
	var b bytes.Buffer
	if len(content) > maxManifest {
		return strings.ToValidUTF8(string(content[:maxManifest]), "") + "…"
	}
	if json.Indent(&b, content, "", "  ") != nil {
		return string(content)
	}
	return b.String()
}

// pull is the command that brings the image to a machine. It names the digest, which never means another image.
func pull(v ImageView) string { return "docker pull " + v.Host + "/" + v.Repository + "@" + v.Digest }

// commands are the lines that push to and pull from a repository.
func commands(host, repository string) string {
	ref := host + "/" + repository + ":TAG"
	return strings.Join([]string{
		"docker login " + host,
		"docker tag IMAGE " + ref, "docker push " + ref, "docker pull " + ref,
	}, "\n")
}

func exampleName(v ListView) string {
	if v.Team == "" {
		return "TEAM/NAME"
	}
	return v.Team + "/NAME"
}

// by is who did something; Slipway itself has no name.
func by(name string) string {
	if name == "" {
		return "Slipway"
	}
	return name
}

// moved says in words what a move did to the tag of this image.
func moved(v ImageView, m models.RegistryTagEvent) string {
	switch {
	case m.Digest == v.Digest && m.Previous == "":
		return "was made here"
	case m.Digest == v.Digest:
		return "came from " + components.ShortDigest(m.Previous)
	case m.Digest == "":
		return "was deleted"
	}
	return "went on to " + components.ShortDigest(m.Digest)
}
