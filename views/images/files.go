package images

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// FilesAt is a place in the file explorer: an image, a path, and what of it is shown.
type FilesAt struct {
	Registry   string // the slug of an external one
	Repository string
	Digest     string
	Platform   string
	Path       string
	Layer      string // number or digest
	Change     string // added, changed, removed
	Search     string
	Flat       bool
	BySize     bool
}

func (a FilesAt) query() url.Values {
	q := url.Values{}
	flag := map[bool]string{true: "1"}
	for name, value := range map[string]string{
		"registry": a.Registry, "repository": a.Repository, "digest": a.Digest, "platform": a.Platform, "layer": a.Layer,
		"change": a.Change, "q": a.Search, "flat": flag[a.Flat], "path": strings.TrimPrefix(a.Path, "/"),
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if a.BySize {
		q.Set("sort", "size")
	}
	return q
}

// URL is the place's page.
func (a FilesAt) URL() string { return "/images/files?" + a.query().Encode() }

// Download is where the content of the file at the place comes from.
func (a FilesAt) Download() string {
	return "/images/file?" + FilesAt{Registry: a.Registry, Repository: a.Repository, Digest: a.Digest, Platform: a.Platform, Path: a.Path, Layer: a.Layer}.query().Encode()
}

// API is the call that lists what the place shows.
func (a FilesAt) API() string {
	q := a.query()
	q.Del("digest")
	if a.Flat {
		q.Set("flat", "true")
	}
	path := "/api/v1/images/" + a.Digest + "/files"
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// ContentAPI is the call that answers with the content of the file at the place.
func (a FilesAt) ContentAPI() string {
	_, q, _ := strings.Cut(a.Download(), "?")
	values, _ := url.ParseQuery(q) // was written a line above
	values.Del("digest")
	return "/api/v1/images/" + a.Digest + "/files/content?" + values.Encode()
}

// to is the place of another path, of which all is shown.
func (a FilesAt) to(path string) FilesAt {
	a.Path, a.Search = path, ""
	return a
}

func (a FilesAt) layer(name string) FilesAt {
	a.Layer, a.Change, a.Search = name, "", ""
	return a
}

// wasted is the list of what the image's layers hold in vain, the largest first.
func (a FilesAt) wasted() FilesAt {
	return FilesAt{Registry: a.Registry, Repository: a.Repository, Digest: a.Digest, Platform: a.Platform, Change: "removed", Flat: true, BySize: true}
}

// FilesView is the file explorer.
type FilesView struct {
	models.ImageFiles
	At      FilesAt
	Content *models.FileContent // where the path is a file
	First   string
	Next    string
	Curl    components.CurlExample
}

// step is one part of a path.
type step struct{ name, path string }

func steps(path string) []step {
	out := []step{{"/", "/"}}
	at := ""
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if part != "" {
			at += "/" + part
			out = append(out, step{part, at})
		}
	}
	return out
}

func (v FilesView) path() string {
	if v.Entry == nil {
		return "/"
	}
	return v.Entry.Path
}

// number is the layer that is looked at; 0: the whole image.
func (v FilesView) number() int {
	for _, l := range v.Layers {
		if l.Digest == v.At.Layer || strconv.Itoa(l.Number) == v.At.Layer {
			return l.Number
		}
	}
	return 0
}

// pathRow is a line of a list of files.
type pathRow struct {
	models.FileEntry
	Label string // the name, or in a flat list the path below the directory
	URL   string
	Meta  models.FileMeta
	Op    models.FileOp // what became of the path itself; 0: nothing, or nothing that is asked for
	Below models.FileTally
	Size  int64
	Share string
	Was   int64 // the size before, where it was changed or removed
}

// rows are the entries as the list shows them.
func (v FilesView) rows() []pathRow {
	layer := v.number()
	out := make([]pathRow, 0, len(v.Items))
	var largest int64
	for _, e := range v.Items {
		r := pathRow{FileEntry: e, Label: label(e, v.path(), v.At.Flat || v.At.Search != ""), URL: v.At.to(e.Path).URL(), Meta: e.FileMeta, Size: e.Size + e.Bytes}
		if layer > 0 {
			r.of(layer)
		} else if v.At.Change != "" {
			r.touched(v.At.Change)
		}
		largest = max(largest, r.Size)
		out = append(out, r)
	}
	for k := range out {
		out[k].Share = hundredths(out[k].Size, largest)
	}
	return out
}

func label(e models.FileEntry, dir string, whole bool) string {
	if whole {
		return strings.TrimPrefix(strings.TrimPrefix(e.Path, strings.TrimSuffix(dir, "/")), "/")
	}
	return e.Name()
}

// of shows the row as the layer left it.
func (r *pathRow) of(layer int) {
	r.Below = r.Tally(layer)
	r.Size = r.Below.Bytes
	v, ok := r.In(layer)
	if !ok {
		return
	}
	r.Op, r.Meta = v.Op, v.FileMeta
	if before, ok := r.Before(layer); ok {
		r.Was = before.Size
	}
	if v.Op != models.FileRemoved {
		r.Size += v.Size
	}
}

// touched shows the row with the last change of the kind.
func (r *pathRow) touched(change string) {
	for _, v := range slices.Backward(r.History()) {
		if v.Op.String() == change {
			r.Op = v.Op
			r.Size = max(r.Size, v.Size)
			return
		}
	}
	for _, t := range r.Tallies {
		r.Below.Added, r.Below.Changed, r.Below.Removed = r.Below.Added+t.Added, r.Below.Changed+t.Changed, r.Below.Removed+t.Removed
	}
}

// weight is the row's size; what a layer removed weighs nothing any more.
func (r pathRow) weight() string {
	if r.Op == models.FileRemoved && r.Was > 0 {
		return more(-r.Was)
	}
	return components.Bytes(r.Size)
}

// dir tells whether the row leads to a list.
func (r pathRow) dir() bool { return r.Type == models.FileDir || len(r.Tallies) > 0 }

func (r pathRow) icon() string {
	switch {
	case r.dir():
		return "folder"
	case r.Type == models.FileSymlink || r.Type == models.FileHardlink:
		return "link"
	}
	return "doc"
}

// traits are the words about an entry that its mode says only to those who can read it.
func (r pathRow) traits() (out []string) {
	if r.Type == models.FilePlain && r.Meta.Mode&0o4000 != 0 {
		out = append(out, "setuid")
	}
	if r.Type == models.FilePlain && r.Meta.Mode&0o2000 != 0 {
		out = append(out, "setgid")
	}
	if strings.Contains(r.Xattrs, "security.capability") {
		out = append(out, "capabilities")
	}
	if r.Odd {
		out = append(out, "odd path")
	}
	switch r.Type {
	case models.FileChar, models.FileBlock, models.FileFifo, models.FileOther:
		out = append(out, r.Type.String())
	}
	return out
}

// opClass and opIcon are how a change looks; its word always stands beside them.
func opClass(o models.FileOp) string {
	return map[models.FileOp]string{models.FileAdded: "is-ok", models.FileChanged: "is-warn", models.FileRemoved: "is-bad"}[o]
}

func opIcon(o models.FileOp) string {
	return map[models.FileOp]string{models.FileAdded: "plus", models.FileChanged: "sync", models.FileRemoved: "trash"}[o]
}

func opWord(o models.FileOp) string {
	w := o.String()
	return strings.ToUpper(w[:1]) + w[1:]
}

// tallied says what happened below a directory, such as "3 added, 1 removed".
func tallied(t models.FileTally) string {
	var parts []string
	for _, p := range []struct {
		n    int64
		word string
	}{{t.Added, "added"}, {t.Changed, "changed"}, {t.Removed, "removed"}} {
		if p.n > 0 {
			parts = append(parts, components.Thousands(p.n)+" "+p.word)
		}
	}
	if len(parts) == 0 && t.Dirs > 0 {
		return components.Count(t.Dirs, "folder", "folders")
	}
	return strings.Join(parts, ", ")
}

// signs is tallied in little room: "+3 ~1 −2".
func signs(t models.FileTally) string {
	var parts []string
	for _, p := range []struct {
		n    int64
		sign string
	}{{t.Added, "+"}, {t.Changed, "~"}, {t.Removed, "−"}} {
		if p.n > 0 {
			parts = append(parts, p.sign+components.Thousands(p.n))
		}
	}
	return strings.Join(parts, " ")
}

func owner(m models.FileMeta) string { return fmt.Sprintf("%d:%d", m.UID, m.GID) }

// changes are the choices of what is shown.
func (v FilesView) changes() []components.FilterLink {
	out := []components.FilterLink{}
	for _, c := range []struct{ label, change string }{{"All", ""}, {"Added", "added"}, {"Changed", "changed"}, {"Removed", "removed"}} {
		to := v.At
		to.Change = c.change
		link := components.FilterLink{Label: c.label, Href: to.URL(), Current: v.At.Change == c.change}
		if n := v.number(); n > 0 && c.change != "" {
			t := v.Layers[n-1].Tally
			link.Count = components.Thousands(map[string]int64{"added": t.Added, "changed": t.Changed, "removed": t.Removed}[c.change])
		}
		out = append(out, link)
	}
	return out
}

// orders are the choices of how the list is sorted, and whether folders are opened up.
func (v FilesView) orders() []components.FilterLink {
	name, size, flat := v.At, v.At, v.At
	name.BySize, size.BySize, flat.Flat = false, true, !v.At.Flat
	return []components.FilterLink{
		{Label: "Name", Href: name.URL(), Current: !v.At.BySize}, {Label: "Size", Href: size.URL(), Current: v.At.BySize},
		{Label: "Without folders", Href: flat.URL(), Current: v.At.Flat},
	}
}

// listed says what the list holds.
func (v FilesView) listed() string {
	what := components.Count(v.Total, "entry", "entries")
	if v.At.Search != "" {
		return what + " whose name holds “" + v.At.Search + "”"
	}
	if v.Entry != nil && v.number() == 0 && v.At.Change == "" {
		return what + ", " + components.Bytes(v.Entry.Bytes) + " in all"
	}
	return what
}

// waits is what the page says while the list is made.
func waits(m *models.FileIndex) string {
	if m.Total > 0 && m.Done > 0 {
		return "Reading the layers: " + components.Bytes(m.Done) + " of " + components.Bytes(m.Total) + "."
	}
	return "Waiting for a worker to read " + components.Bytes(m.Total) + " of layers."
}

// layerName is what a layer is called where there is room for little.
func layerName(l models.FileLayer) string {
	if l.Instruction != "" {
		return l.Instruction
	}
	return components.ShortDigest(l.Digest)
}

// maxLines is how many lines of a file a page shows.
const maxLines = 5000

// textLines are the lines of a text, and whether there are more.
func textLines(c *models.FileContent) (lines []string, more bool) {
	lines = strings.SplitN(strings.TrimSuffix(c.Text, "\n"), "\n", maxLines+1)
	if len(lines) > maxLines {
		return lines[:maxLines], true
	}
	return lines, c.Cut
}

// fileFacts are what is known about a file beside its content.
func fileFacts(c *models.FileContent) []pair {
	e := c.Entry
	all := []pair{
		{"Looks like", c.Kind}, {"Size", components.Bytes(e.Size) + " (" + components.Count(e.Size, "byte", "bytes") + ")"}, {"Mode", e.Permissions() + fmt.Sprintf(" (%04o)", e.Mode)},
		{"Owner", owner(e.FileMeta)}, {"Attributes", e.Xattrs}, {"SHA-256", strings.TrimPrefix(e.Digest, "sha256:")},
	}
	return slices.DeleteFunc(all, func(p pair) bool { return p.value == "" })
}

// nothingListed says why a list is empty.
func nothingListed(v FilesView) string {
	switch {
	case v.At.Search != "":
		return "No name below " + v.path() + " holds “" + v.At.Search + "”."
	case v.At.Change != "":
		return "Nothing here was " + v.At.Change + "."
	case v.number() > 0:
		return "The layer changed nothing here."
	}
	return "This folder is empty."
}

// hidden are the fields that a search keeps of its page's address.
func hidden(q url.Values) (out []pair) {
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if name != "q" && name != "flat" && name != "cursor" {
			out = append(out, pair{name, q.Get(name)})
		}
	}
	return out
}
