package layers_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"slipway.dev/models"
	"slipway.dev/services/layers"
)

// item is an entry of an archive. A name that ends in a slash is a directory;
// "a -> b" is a symlink and "a => b" a hard link.
type item struct {
	name, content string
	header        tar.Header // what else its header says
}

func (i item) write(w *tar.Writer) error {
	h := i.header
	h.Name, h.Size = i.name, int64(len(i.content))
	h.Format = tar.FormatPAX
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	switch {
	case h.Typeflag != 0:
	case strings.Contains(i.name, " -> "):
		h.Name, h.Linkname, _ = strings.Cut(i.name, " -> ")
		h.Typeflag = tar.TypeSymlink
	case strings.Contains(i.name, " => "):
		h.Name, h.Linkname, _ = strings.Cut(i.name, " => ")
		h.Typeflag = tar.TypeLink
	case strings.HasSuffix(i.name, "/"):
		h.Typeflag = tar.TypeDir
	default:
		h.Typeflag = tar.TypeReg
	}
	if err := w.WriteHeader(&h); err != nil {
		return err
	}
	_, err := io.WriteString(w, i.content)
	return err
}

func file(name, content string) item { return item{name: name, content: content} }

func names(list ...string) (items []item) {
	for _, n := range list {
		items = append(items, item{name: n})
	}
	return items
}

func archive(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		if err := i.write(w); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// scan makes the index of a layer.
func scan(t testing.TB, layer []byte, o layers.Options) *layers.Index {
	t.Helper()
	var b bytes.Buffer
	if _, err := layers.Scan(t.Context(), bytes.NewReader(layer), &b, o); err != nil {
		t.Fatal(err)
	}
	return open(t, b.Bytes())
}

func open(t testing.TB, index []byte) *layers.Index {
	t.Helper()
	x, err := layers.Open(t.Context(), int64(len(index)), reader(index))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func reader(index []byte) layers.ReadAt {
	return func(_ context.Context, offset, length int64) ([]byte, error) {
		if offset < 0 || length < 0 || offset+length > int64(len(index)) {
			return nil, io.ErrUnexpectedEOF
		}
		return index[offset : offset+length], nil
	}
}

// image makes the index of an image of the layers.
func image(t testing.TB, all ...[]item) *layers.Index {
	t.Helper()
	var list []*layers.Index
	for _, items := range all {
		list = append(list, scan(t, archive(t, items...), layers.Options{}))
	}
	var b bytes.Buffer
	if _, err := layers.Merge(t.Context(), list, &b, layers.Limits{}); err != nil {
		t.Fatal(err)
	}
	return open(t, b.Bytes())
}

func compare(t testing.TB, a, b *layers.Index) *layers.Index {
	t.Helper()
	var out bytes.Buffer
	if _, err := layers.Compare(t.Context(), a, b, &out, layers.Limits{}); err != nil {
		t.Fatal(err)
	}
	return open(t, out.Bytes())
}

// list returns all that the query finds, over as many pages as it takes.
func list(t testing.TB, x *layers.Index, q layers.Query) (all []layers.Entry) {
	t.Helper()
	for {
		page, err := x.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Items...)
		if q.Page.Cursor = page.Next; page.Next == "" {
			if int64(len(all)) != page.Total {
				t.Errorf("%d entries on all pages, and a total of %d", len(all), page.Total)
			}
			return all
		}
	}
}

// paths are the paths of the entries, directories with a slash at the end.
func paths(list []layers.Entry) (out []string) {
	for _, e := range list {
		if e.Type == layers.Dir {
			e.Path += "/"
		}
		out = append(out, e.Path)
	}
	return out
}

// tree are all paths that are there.
func tree(t testing.TB, x *layers.Index) (out []string) {
	t.Helper()
	for dirs := []string{"/"}; len(dirs) > 0; dirs = dirs[1:] {
		for _, e := range list(t, x, layers.Query{Dir: dirs[0], Page: models.Page{Limit: 3}}) {
			if e.Type == layers.Dir {
				dirs = append(dirs, e.Path)
			}
			out = append(out, paths([]layers.Entry{e})...)
		}
	}
	slices.Sort(out)
	return out
}

func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestALayerIsReadHoweverItIsPacked(t *testing.T) {
	t.Parallel()
	plain := archive(t, item{name: "usr/bin/"}, item{name: "usr/bin/su", content: "program", header: tar.Header{Mode: 0o4755, Uid: 7, Gid: 8, ModTime: time.Unix(1700000000, 0),
		PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "x"}}}, item{name: "dev/null", header: tar.Header{Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, item{name: "etc/l -> ../usr"}, item{name: "h => usr/bin/su"})
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(plain)
	z.Close()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for format, layer := range map[string][]byte{"tar": plain, "tar+gzip": zipped.Bytes(), "tar+zstd": e.EncodeAll(plain, nil), "tar+gzip ": append(zipped.Bytes(), "garbage behind the end"...)} {
		x := scan(t, layer, layers.Options{Digest: digest.FromBytes(layer).String()})
		want(t, "format", x.Report.Format, strings.TrimSpace(format))
		want(t, "notice", x.Report.Notice, "")
		su, err := x.Get(t.Context(), "/usr/bin/su")
		if err != nil {
			t.Fatal(err)
		}
		want(t, "permissions", su.Permissions(), "-rwsr-xr-x")
		want(t, "owner", su.UID*10+su.GID, 78)
		want(t, "size", su.Size, 7)
		want(t, "attributes", su.Xattrs, "security.capability")
		want(t, "digest", su.Digest, digest.FromString("program").String())
		want(t, "time", su.ModTime.Unix(), 1700000000)
		for path, link := range map[string]string{"/dev/null": "1:3", "/etc/l": "../usr", "/h": "/usr/bin/su"} {
			if e, err := x.Get(t.Context(), path); err != nil || e.Link != link {
				t.Errorf("%s: %v %v", path, e, err)
			}
		}
		if dev, err := x.Get(t.Context(), "/dev"); err != nil || !dev.Implied || dev.Files != 1 {
			t.Errorf("/dev: %+v %v", dev, err)
		}
		if _, err := x.Get(t.Context(), "/usr/bin/no"); !models.IsCode(err, models.NotFound) {
			t.Errorf("a file that is not there: %v", err)
		}
	}
}

func TestWhatIsNotTheLayerThatItSaysIsRefused(t *testing.T) {
	t.Parallel()
	layer := archive(t, file("a", "b"))
	_, err := layers.Scan(t.Context(), bytes.NewReader(layer), io.Discard, layers.Options{Digest: digest.FromString("other").String()})
	if err == nil || !strings.Contains(err.Error(), "has the content of") {
		t.Errorf("another content: %v", err)
	}
	broken := io.MultiReader(bytes.NewReader(layer[:300]), &failing{})
	if _, err := layers.Scan(t.Context(), broken, io.Discard, layers.Options{}); err == nil || !strings.Contains(err.Error(), "the line is cut") {
		t.Errorf("a line that is cut: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, fmt.Errorf("the line is cut") }

func TestPathsStayInsideOfTheImage(t *testing.T) {
	t.Parallel()
	x := image(t, []item{
		file("../../etc/passwd", "x"), file("/absolute", "x"), file("./plain", "x"), file(`c:\windows`, "x"), file("bad\xff\xfename", "x"), file("line\nbreak\u202e", "x"),
		{name: "out -> /etc"}, file("out/inside", "x"), {name: "far -> ../../../.."}, file("far/home", "x"), {name: "a -> b"}, {name: "b -> a"}, file("a/loop", "x"),
		file("twice", "1"), file("twice", "22"), file("was", "x"), file("was/now", "y"), {name: "gone/"}, file("gone/child", "x"), file("gone", "file"), {name: "hard => ../../etc/shadow"}, file("..", "x"), file(".wh..", "x"),
	})
	got := tree(t, x)
	wanted := []string{
		"/a/", "/a/loop", "/absolute", "/b", `/bad\xff\xfename`, `/c:\windows`, "/etc/", "/etc/inside", "/etc/passwd", "/far", "/gone", "/hard", "/home",
		`/line\x0abreak\u202e`, "/out", "/plain", "/twice", "/was/", "/was/now",
	}
	if !slices.Equal(got, wanted) {
		t.Errorf("got  %q\nwant %q", got, wanted)
	}
	if e, err := x.Get(t.Context(), "/hard"); err != nil || e.Link != "/etc/shadow" || !e.Odd {
		t.Errorf("%+v %v", e, err)
	}
	if e, err := x.Get(t.Context(), "/twice"); err != nil || e.Size != 2 {
		t.Errorf("%+v %v", e, err)
	}
	if x.Report.Odd < 8 {
		t.Errorf("only %d odd paths", x.Report.Odd)
	}
}

func TestLayersHideWhatIsBelowThem(t *testing.T) {
	t.Parallel()
	base := []item{{name: "a/"}, file("a/x", "1"), file("a/y", "22"), {name: "b/"}, file("b/z", "333"), file("c", "4444"), {name: "l -> a"}, {name: "d/"}, file("d/e", "1")}
	for _, c := range []struct {
		name string
		top  []item
		want string
	}{
		{"a file", names("a/.wh.x"), "/a/ /a/y /b/ /b/z /c /d/ /d/e /l"},
		{"a directory", names(".wh.a"), "/b/ /b/z /c /d/ /d/e /l"},
		{"what is in a directory", names("a/.wh..wh..opq"), "/a/ /b/ /b/z /c /d/ /d/e /l"},
		{"all", names(".wh..wh..opq"), ""},
		{"what is not there", names("no/.wh.x", ".wh.none", "c/.wh.x"), "/a/ /a/x /a/y /b/ /b/z /c/ /d/ /d/e /l /no/"},
		{"but not what the layer has itself, before it", []item{file("a/new", "n"), {name: "a/.wh..wh..opq"}}, "/a/ /a/new /b/ /b/z /c /d/ /d/e /l"},
		{"nor after it", []item{{name: "a/.wh..wh..opq"}, file("a/x", "n")}, "/a/ /a/x /b/ /b/z /c /d/ /d/e /l"},
		{"a directory that is made anew", []item{{name: ".wh.a"}, {name: "a/"}, file("a/new", "n")}, "/a/ /a/new /b/ /b/z /c /d/ /d/e /l"},
		{"a directory by a file", []item{file("a", "n")}, "/a /b/ /b/z /c /d/ /d/e /l"},
		{"a file by a directory", []item{file("c/new", "n")}, "/a/ /a/x /a/y /b/ /b/z /c/ /c/new /d/ /d/e /l"},
		{"a link by a directory", []item{file("l/new", "n")}, "/a/ /a/x /a/y /b/ /b/z /c /d/ /d/e /l/ /l/new"},
		{"and never what is above them", names(".wh...", ".wh..", "a/.wh...wh..opq", ".wh."), "/a/ /a/x /a/y /b/ /b/z /c /d/ /d/e /l"},
	} {
		if got := strings.Join(tree(t, image(t, base, c.top)), " "); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestAnImageKnowsWhatEachLayerDid(t *testing.T) {
	t.Parallel()
	x := image(t,
		[]item{{name: "usr/"}, file("usr/lib", strings.Repeat("x", 1000)), file("usr/keep", "12345"), file("old", "123")},
		[]item{file("usr/lib", strings.Repeat("y", 2000)), file("new", "1234567"), {name: ".wh.old"}},
		[]item{{name: "usr/.wh.lib"}, item{name: "usr/keep", content: "12345", header: tar.Header{Mode: 0o600, Uid: 9}}},
	)
	want(t, "bytes", x.Bytes, 12)
	want(t, "files", x.Files, 2)
	want(t, "wasted", x.Wasted(), 1000+2000+3+5)
	for layer, w := range map[int]layers.Tally{
		1: {Layer: 1, Added: 3, Dirs: 1, Bytes: 1008, Wasted: 1008},
		2: {Layer: 2, Added: 1, Changed: 1, Removed: 1, Bytes: 2007, Before: 1003, Wasted: 2000},
		3: {Layer: 3, Changed: 1, Removed: 1, Bytes: 5, Before: 2005},
	} {
		want(t, fmt.Sprintf("layer %d", layer), x.Tally(layer), w)
	}
	for _, c := range []struct {
		q    layers.Query
		want string
	}{
		{layers.Query{}, "/usr/ /new"},
		{layers.Query{Deep: true}, "/new /usr/keep"},
		{layers.Query{BySize: true}, "/new /usr/"},
		{layers.Query{Layer: 1}, "/usr/ /old"},
		{layers.Query{Layer: 1, Deep: true}, "/old /usr/keep /usr/lib"},
		{layers.Query{Layer: 2}, "/usr/ /new /old"},
		{layers.Query{Layer: 2, Change: layers.Added}, "/new"},
		{layers.Query{Layer: 2, Change: layers.Removed}, "/old"},
		{layers.Query{Layer: 2, Change: layers.Changed}, "/usr/"},
		{layers.Query{Layer: 2, BySize: true}, "/usr/ /new /old"},
		{layers.Query{Layer: 3, Dir: "/usr"}, "/usr/keep /usr/lib"},
		{layers.Query{Change: layers.Removed, Deep: true}, "/old /usr/lib"},
		{layers.Query{Search: "KEE"}, "/usr/keep"},
		{layers.Query{Search: "sr/k"}, "/usr/keep"},
		{layers.Query{Search: "e", Dir: "/usr"}, "/usr/keep"},
		{layers.Query{Search: "lib", Layer: 1}, "/usr/lib"},
	} {
		c.q.Page.Limit = 1
		if got := strings.Join(paths(list(t, x, c.q)), " "); got != c.want {
			t.Errorf("%+v: got %s, want %s", c.q, got, c.want)
		}
	}
	lib, err := x.Get(t.Context(), "/usr/lib")
	if err != nil || !lib.Gone || lib.Layer != 3 || len(lib.Versions) != 3 {
		t.Fatalf("%+v %v", lib, err)
	}
	if before, ok := lib.Before(2); !ok || before.Size != 1000 {
		t.Errorf("before layer 2: %+v", before)
	}
}

func TestTwoImagesAreCompared(t *testing.T) {
	t.Parallel()
	a := image(t, []item{{name: "usr/"}, file("usr/same", "s"), file("usr/text", "one"), file("usr/gone", "12"), {name: "dir/"}, file("dir/a", "1"), {name: "mode"}, {name: "link -> a"}})
	b := image(t, []item{{name: "usr/"}, item{name: "usr/same", content: "s", header: tar.Header{ModTime: time.Unix(5, 0)}}, file("usr/text", "two"), {name: "mode", header: tar.Header{Mode: 0o600, Uid: 3}}},
		[]item{file("usr/text", "three"), file("usr/new/deep", "4444"), {name: "link -> b"}})
	d := compare(t, a, b)
	want(t, "changes", d.Tally(2), layers.Tally{Layer: 2, Added: 1, Changed: 3, Removed: 2, Dirs: 2, Bytes: 9, Before: 6})
	for change, w := range map[layers.Op]string{layers.Added: "/usr/new/deep", layers.Changed: "/link /mode /usr/text", layers.Removed: "/dir/a /usr/gone"} {
		if got := strings.Join(paths(list(t, d, layers.Query{Layer: 2, Change: change, Deep: true})), " "); got != w {
			t.Errorf("%s: got %s, want %s", change, got, w)
		}
	}
	if same := compare(t, a, a); same.Tally(2) != (layers.Tally{Layer: 2}) {
		t.Errorf("an image and itself differ: %+v", same.Tally(2))
	}
}

func TestAFileIsReadOutOfItsLayer(t *testing.T) {
	t.Parallel()
	layer := archive(t, file("a", "first"), item{name: "d/"}, file("d/b", "second"))
	x := scan(t, layer, layers.Options{})
	e, err := x.Get(t.Context(), "/d/b")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	use := func(size int64, content io.Reader) error {
		b, err := io.ReadAll(content)
		got = string(b)
		return err
	}
	if err := layers.Content(t.Context(), bytes.NewReader(layer), e.Seq, layers.Limits{}, use); err != nil || got != "second" {
		t.Errorf("%q %v", got, err)
	}
	for _, seq := range []int{1, 3, 1000} { // a directory, and what is not there
		if err := layers.Content(t.Context(), bytes.NewReader(layer), seq, layers.Limits{}, use); !models.IsCode(err, models.NotFound) {
			t.Errorf("entry %d: %v", seq, err)
		}
	}
	if err := layers.Content(t.Context(), strings.NewReader("no archive"), 0, layers.Limits{}, use); !models.IsCode(err, models.Conflict) {
		t.Errorf("no archive: %v", err)
	}
}
