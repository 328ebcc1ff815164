package images

import (
	"fmt"
	"net/url"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// CompareAt is a place in a comparison: two images and what of their differences is listed.
type CompareAt struct {
	A, B     string // as people write them: NAME:TAG or NAME@DIGEST
	Platform string
	Path     string
	Change   string
	Search   string
	Flat     bool
	BySize   bool
}

func (a CompareAt) query() url.Values {
	q := FilesAt{Platform: a.Platform, Path: a.Path, Change: a.Change, Search: a.Search, Flat: a.Flat, BySize: a.BySize}.query()
	for name, value := range map[string]string{"a": a.A, "b": a.B} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// URL is the place's page.
func (a CompareAt) URL() string { return "/images/compare?" + a.query().Encode() }

// API is the call that answers with what the place shows.
func (a CompareAt) API() string {
	q := a.query()
	if a.Flat {
		q.Set("flat", "true")
	}
	return "/api/v1/images/compare?" + q.Encode()
}

func (a CompareAt) to(path string) CompareAt {
	a.Path, a.Search = path, ""
	return a
}

// CompareView is the page that compares two images. Comparison is nil before two were named.
type CompareView struct {
	*models.ImageComparison
	At    CompareAt
	Form  components.Form
	First string
	Curl  components.CurlExample
}

// next is the address of the page after.
func (v CompareView) next() string {
	if v.Next == "" {
		return ""
	}
	q := v.At.query()
	q.Set("cursor", v.Next)
	return "/images/compare?" + q.Encode()
}

func (v CompareView) path() string {
	if v.Entry == nil {
		return "/"
	}
	return v.Entry.Path
}

// top is the image that people named: the index where there is one.
func top(index, image *models.ImagePassport) models.Image {
	if index != nil {
		return index.Image
	}
	return image.Image
}

// names are what the two images are called: by their tags, where these tell them apart.
func names(c *models.ImageComparison) (a, b string) {
	x, y := top(c.IndexA, c.A), top(c.IndexB, c.B)
	if len(x.Tags) > 0 && len(y.Tags) > 0 && x.Tags[0].Name != y.Tags[0].Name {
		return x.Tags[0].Name, y.Tags[0].Name
	}
	return "A", "B"
}

// Summary says in one sentence what became of A in B.
func Summary(c *models.ImageComparison) string {
	a, b := names(c)
	if c.A.Digest == c.B.Digest {
		return "Both are the same image."
	}
	size := b + " is as large as " + a
	switch d := c.B.Size - c.A.Size; {
	case d > 0:
		size = b + " is " + components.Bytes(d) + " larger than " + a
	case d < 0:
		size = b + " is " + components.Bytes(-d) + " smaller than " + a
	}
	parts := append(filesChanged(c), settingsChanged(c)...)
	if len(parts) == 0 {
		return size + ". Nothing else differs."
	}
	return size + ": " + strings.Join(parts, "; ") + "."
}

func filesChanged(c *models.ImageComparison) []string {
	if c.Making != nil || c.Entry == nil {
		return nil
	}
	t := c.Files
	if t.Files() == 0 && t.Dirs == 0 {
		return []string{"no file differs"}
	}
	if t.Files() == 0 {
		return []string{components.Count(t.Dirs, "folder differs", "folders differ")}
	}
	where := ""
	if c.Below != "" && c.Below != "/" {
		where = " below " + c.Below
	}
	var parts []string
	for _, p := range []struct {
		n    int64
		word string
	}{{t.Added, "added"}, {t.Changed, "changed"}, {t.Removed, "removed"}} {
		switch {
		case p.n == 0:
		case len(parts) == 0:
			parts = append(parts, components.Count(p.n, "file", "files")+" "+p.word)
		default:
			parts = append(parts, components.Thousands(p.n)+" "+p.word)
		}
	}
	most := ""
	if where != "" {
		most = ", most of them" + where
		if t.Files() == 1 {
			most = where
		}
	}
	return []string{strings.Join(parts, ", ") + most}
}

func settingsChanged(c *models.ImageComparison) (out []string) {
	if len(c.Settings) > 0 {
		var words []string
		for _, s := range c.Settings {
			words = append(words, strings.ToLower(s.Name))
		}
		out = append(out, strings.Join(words, ", ")+" changed")
	}
	if n := len(c.Environment); n > 0 {
		out = append(out, components.Count(n, "variable differs", "variables differ"))
	}
	if n := len(c.Labels); n > 0 {
		out = append(out, components.Count(n, "label differs", "labels differ"))
	}
	return out
}

// more writes a difference of sizes with its sign.
func more(d int64) string {
	switch {
	case d > 0:
		return "+" + components.Bytes(d)
	case d < 0:
		return "−" + components.Bytes(-d)
	}
	return "0 B"
}

// changedRow is a line of what differs.
type changedRow struct {
	models.FileEntry
	Label string
	URL   string
	Op    models.FileOp
	Below models.FileTally
	Delta int64
	Notes []string // what else changed: mode, owner, type
}

// rows are the entries that differ.
func (v CompareView) rows() (out []changedRow) {
	for _, e := range v.Items {
		r := changedRow{FileEntry: e, Label: label(e, v.path(), v.At.Flat || v.At.Search != ""), Below: e.Tally(2)}
		r.Delta = r.Below.Bytes - r.Below.Before
		if now, ok := e.In(2); ok {
			r.Op = now.Op
			before, _ := e.Before(2)
			r.Delta += now.Size - before.Size
			if now.Op == models.FileRemoved {
				r.Delta -= now.Size
			}
			r.Notes = notes(before, now)
		}
		if r.dir() {
			r.URL = v.At.to(e.Path).URL()
		} else {
			r.URL = v.file(e, r.Op)
		}
		out = append(out, r)
	}
	return out
}

func (r changedRow) dir() bool { return r.Type == models.FileDir || len(r.Tallies) > 0 }

func (r changedRow) icon() string { return pathRow{FileEntry: r.FileEntry}.icon() }

// file is the page of a file, in the image that has it.
func (v CompareView) file(e models.FileEntry, op models.FileOp) string {
	i := v.B.Image
	if op == models.FileRemoved {
		i = v.A.Image
	}
	return FilesAt{Registry: i.Registry, Repository: i.Repository, Digest: i.Digest, Path: e.Path}.URL()
}

// notes say what changed of a path beside its content.
func notes(before, now models.FileVersion) (out []string) {
	if now.Op != models.FileChanged {
		return nil
	}
	if before.Type != now.Type {
		out = append(out, before.Type.String()+" → "+now.Type.String())
	}
	if before.Mode != now.Mode {
		out = append(out, fmt.Sprintf("mode %04o → %04o", before.Mode, now.Mode))
	}
	if before.UID != now.UID || before.GID != now.GID {
		out = append(out, "owner "+owner(before.FileMeta)+" → "+owner(now.FileMeta))
	}
	return out
}

// changes are the choices of what is listed.
func (v CompareView) changes() (out []components.FilterLink) {
	t := v.ImageComparison.Files
	for _, c := range []struct {
		label, change string
		n             int64
	}{{"All", "", t.Files()}, {"Added", "added", t.Added}, {"Changed", "changed", t.Changed}, {"Removed", "removed", t.Removed}} {
		to := v.At
		to.Change = c.change
		out = append(out, components.FilterLink{Label: c.label, Href: to.URL(), Current: v.At.Change == c.change, Count: components.Thousands(c.n)})
	}
	return out
}

func (v CompareView) orders() []components.FilterLink {
	name, size, flat := v.At, v.At, v.At
	name.BySize, size.BySize, flat.Flat = false, true, !v.At.Flat
	return []components.FilterLink{
		{Label: "Name", Href: name.URL(), Current: !v.At.BySize}, {Label: "Size", Href: size.URL(), Current: v.At.BySize},
		{Label: "Without folders", Href: flat.URL(), Current: v.At.Flat},
	}
}

// swapped is the comparison the other way round.
func (v CompareView) swapped() string {
	return CompareAt{A: v.At.B, B: v.At.A, Platform: v.At.Platform}.URL()
}

// sizeOf sums up layers.
func sizeOf(layers []models.FileLayer) (n int64) {
	for _, l := range layers {
		n += l.Size
	}
	return n
}

// sides are the facts of the two images beside each other.
type side struct{ name, a, b string }

func sides(c *models.ImageComparison) []side {
	out := []side{
		{"Compressed", components.Bytes(c.A.Size), components.Bytes(c.B.Size)},
		{"Layers", components.Thousands(len(c.Shared) + len(c.OnlyA)), components.Thousands(len(c.Shared) + len(c.OnlyB))},
	}
	if c.Making == nil {
		out = append(out, side{"Files", components.Bytes(c.BytesA), components.Bytes(c.BytesB)})
	}
	return out
}

func commitsTitle(c *models.ImageComparison) string {
	if c.Back {
		return "Commits taken away"
	}
	return "Commits"
}
