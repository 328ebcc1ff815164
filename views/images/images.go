// Package images holds the pages about images: the repositories that there are, the images of one, and the passport of
// an image.
package images

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"
	"slipway.dev/models"
	"slipway.dev/views/cleanup"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// Registry is where images live, as the pages beside each other are called.
type Registry struct {
	Slug string // empty: the embedded one
	Name string
	Host string
}

// Filter is what a list of images is narrowed to; the addresses of its pages carry it.
type Filter struct {
	Text    string
	Team    string // slug
	Teams   []models.Team
	AppID   string
	App     *models.App // whose repository the list is narrowed to
	Running bool
}

// Any tells whether the list is narrowed.
func (f Filter) Any() bool { return f.Text != "" || f.Team != "" || f.AppID != "" || f.Running }

// ListView is the list of repositories, or what a search found.
type ListView struct {
	Items     []models.ImageRepository
	Found     []models.Image           // of a search
	Elsewhere []models.ImageRepository // of a search: repositories of other registries
	Host      string                   // of the registry
	Example   string                   // the slug that the example commands show
	Filter    Filter
	First     string
	Next      string
	Curl      components.CurlExample
}

// ExternalView is the list of an external registry's repositories.
type ExternalView struct {
	Registry Registry
	Items    []models.ImageRepository
	Text     string
	Prefixes []string // where in it the reader may look; an empty one means everywhere
	Listed   bool     // the registry has a list; else these are known here
	Away     bool     // it should have a list, and did not answer
	Problem  string   // why it was not asked, or did not answer
	Form     components.Form
	First    string
	Next     string
	Curl     components.CurlExample
	OpenCurl components.CurlExample
}

// noteState is the tone of what is said about a list that is not the registry's own.
func (v ExternalView) noteState() string {
	if v.Away {
		return "waiting"
	}
	return "unknown"
}

// RepositoryView is the tags of one repository, or its images that no tag names.
type RepositoryView struct {
	models.ImageRepository
	Items     []models.Image
	Text      string // that the tags are narrowed to
	Sort      string
	Sorts     []components.FilterLink
	CanDeploy bool
	First     string
	Next      string
	Curl      components.CurlExample
}

// External tells whether the repository is one of another registry, which tells less.
func (v RepositoryView) External() bool { return v.Registry != "" }

// ImageView is the passport of an image.
type ImageView struct {
	models.ImagePassport
	CanDeploy bool
	CanTag    bool                    // a developer of the team
	CanDelete bool                    // a maintainer
	Compare   []components.FilterLink // comparisons that suggest themselves
	Curl      components.CurlExample
}

// FilesURL is the file explorer of the image.
func FilesURL(i models.Image) string {
	return FilesAt{Registry: i.Registry, Repository: i.Repository, Digest: i.Digest}.URL()
}

// CompareURL compares two images.
func CompareURL(a, b models.Image) string {
	return CompareAt{A: a.FullName() + "@" + a.Digest, B: b.FullName() + "@" + b.Digest}.URL()
}

// Tabs are the registries beside each other, the embedded one first; without others there are none.
func Tabs(others []models.Registry, current string) []layout.Tab {
	if len(others) == 0 {
		return nil
	}
	tabs := []layout.Tab{{Label: "This portal", Href: "/images", Current: current == ""}}
	for _, r := range others {
		tabs = append(tabs, layout.Tab{Label: r.Name, Href: RegistryURL(r.Slug), Current: current == r.Slug})
	}
	return tabs
}

// RepositoryTabs are the pages of a repository. A page more is a line more.
func RepositoryTabs(r models.ImageRepository, current string) []layout.Tab {
	at := HomeURL(r)
	tabs := []layout.Tab{{Label: "Tags", Href: at, Current: current == ""}}
	if r.Registry != "" {
		return tabs
	}
	if r.Tags > 0 {
		tabs[0].Count = components.Thousands(r.Tags)
	}
	return append(tabs, layout.Tab{Label: "Untagged", Href: at + "/-/untagged", Current: current == "untagged"},
		layout.Tab{Label: "Clean-up", Href: cleanup.URL(r.Name), Current: current == "clean-up"},
		layout.Tab{Label: "Deleted", Href: cleanup.DeletedURL(r.Name), Current: current == "deleted"},
		layout.Tab{Label: "Settings", Href: SettingsURL(r.Name), Current: current == "settings"})
}

// ImageTabs are the pages of an image. A page more is a line more.
func ImageTabs(i models.ImagePassport, current string) []layout.Tab {
	at := URL(i.Image)
	return []layout.Tab{
		{Label: "Overview", Href: at, Current: current == ""},
		{Label: "Files", Href: FilesURL(i.Image)},
		{Label: "Attestations", Href: at + "/attestations", Count: counted(len(i.Referrers)), Current: current == "attestations"},
		{Label: "Manifest", Href: at + "/manifest", Current: current == "manifest"},
	}
}

func counted(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// RegistryURL is the page of an external registry's repositories.
func RegistryURL(slug string) string {
	if slug == "" {
		return "/images"
	}
	return "/images/~" + slug
}

// URL is the image's page.
func URL(i models.Image) string { return RegistryURL(i.Registry) + "/" + i.Repository + "@" + i.Digest }

// HomeURL is the page of the repository's tags.
func HomeURL(r models.ImageRepository) string { return RegistryURL(r.Registry) + "/" + r.Name }

// RepositoryURL is the page of a repository of the embedded registry.
func RepositoryURL(name string) string { return "/images/" + name }

// homeOf is the page of the image's repository.
func homeOf(i models.Image) string { return RegistryURL(i.Registry) + "/" + i.Repository }

// siblingURL is the page of another image of the same repository.
func siblingURL(i models.Image, digest string) string { return homeOf(i) + "@" + digest }

// FileURL is the page of a file of the image with the digest.
func FileURL(i models.Image, digest, file string) string {
	return siblingURL(i, digest) + "/documents/" + file
}

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

// separator stands between a repository and its tag or digest.
func separator(i models.Image) string {
	if len(i.Tags) > 0 {
		return ":"
	}
	return "@"
}

// nothing says to what an empty list was narrowed.
func nothing(f Filter) string {
	var parts []string
	if f.Running {
		parts = append(parts, "what runs now")
	}
	if f.Team != "" {
		parts = append(parts, "what the team "+f.Team+" owns")
	}
	if f.AppID != "" {
		parts = append(parts, "what belongs to the app")
	}
	if len(parts) == 0 {
		return "Nothing that you may see fits."
	}
	return "Looked at was only " + strings.Join(parts, " and ") + "."
}

// externalNone is the heading of an empty list of an external registry.
func externalNone(v ExternalView) string {
	if v.Text != "" {
		return "No repository has this in its name"
	}
	return "No repositories are known here"
}

// openExample is a name that may be opened.
func openExample(v ExternalView) string {
	if len(v.Prefixes) > 0 && v.Prefixes[0] != "" {
		return v.Prefixes[0] + "/shop"
	}
	return "acme/shop"
}

// openHint says where the reader may look.
func openHint(v ExternalView) string {
	if len(v.Prefixes) == 0 {
		return "Your teams may not pull anything here yet. An admin can grant it."
	}
	if slices.Contains(v.Prefixes, "") {
		return "Without " + v.Registry.Host + "/ before it. Every repository may be opened."
	}
	return "Your teams may look at: " + strings.Join(v.Prefixes, ", ") + "."
}

// sharedWord says who else has the layer.
func sharedWord(n int) string {
	switch {
	case n >= models.MaxShared:
		return fmt.Sprintf("in %d+ others", models.MaxShared)
	case n == 1:
		return "in 1 other"
	}
	return fmt.Sprintf("in %d others", n)
}

// viaWord says how an attestation was found.
func viaWord(via string) string {
	switch via {
	case "index":
		return "beside the image in its index"
	case "tag":
		return "under a tag made of the digest"
	}
	return "names the image as its subject"
}

// aboutWord says what the attestation is about: a platform's image, or this one.
func aboutWord(v ImageView, r models.ImageReferrer) string {
	for _, i := range v.Images {
		if i.Digest == r.About {
			return i.Platform
		}
	}
	if r.About == "" || r.About == v.Digest {
		return "this image"
	}
	return components.ShortDigest(r.About)
}

// heldWord is what an entry of an index is called.
func heldWord(i models.ImagePlatform) string {
	if i.Platform != "" {
		return i.Platform
	}
	if strings.Contains(i.MediaType, "index") || strings.Contains(i.MediaType, "manifest.list") {
		return "Index " + components.ShortDigest(i.Digest)
	}
	return components.ShortDigest(i.Digest)
}

// platformLinks switch what the passport of an index shows.
func platformLinks(v ImageView) []components.FilterLink {
	var links []components.FilterLink
	for _, i := range v.Images {
		if i.Platform != "" {
			links = append(links, components.FilterLink{Label: i.Platform, Href: URL(v.Image) + "?platform=" + url.QueryEscape(i.Platform), Current: i.Digest == v.Shown})
		}
	}
	if len(links) < 2 {
		return nil
	}
	return links
}

// copyURL is the form that copies the image elsewhere.
func copyURL(v ImageView) templ.SafeURL {
	return templ.SafeURL("/copies/new?from=" + url.QueryEscape(v.FullName()+"@"+v.Digest))
}
