package handlers

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"slipway.dev/models"
	"slipway.dev/services/explorer"
)

// hostileName is a name that tries to be something else wherever it is shown.
const hostileName = `"><script>alert(1)</script>` + "\r\nSet-Cookie: a=b"

// pushFiles pushes an image of one layer with the files, and lists them.
func (f *full) pushFiles(as string, files map[string]string) (digest string) {
	f.t.Helper()
	var b bytes.Buffer
	a := tar.NewWriter(&b)
	for name, content := range files {
		f.must(a.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o4755, Format: tar.FormatPAX}))
		_, err := a.Write([]byte(content))
		f.must(err)
	}
	f.must(a.Close())
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: static.NewLayer(b.Bytes(), types.OCIUncompressedLayer), History: v1.History{CreatedBy: "COPY " + hostileName}})
	f.must(err)
	ctx := models.WithPrincipal(f.t.Context(), models.System("test"))
	repository, _, _ := strings.Cut(as, ":")
	user, password, err := f.s.Registry.Credential(ctx, repository, []string{"pull", "push"}, time.Minute)
	f.must(err)
	ref, err := name.ParseReference(f.host+"/"+as, name.Insecure)
	f.must(err)
	f.must(remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: user, Password: password})))
	d, err := img.Digest()
	f.must(err)
	at := explorer.Reference{Repository: repository, Name: d.String()}
	listed, err := f.s.Explorer.Files(ctx, explorer.Query{At: at})
	f.must(err)
	f.must(f.s.Explorer.Make(ctx, explorer.Args{ID: listed.Making.ID, Images: []explorer.Reference{at}, Team: f.Team.ID}))
	return d.String()
}

func TestTheFilesOfAnImageAreShownAndHandedOut(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	digest := f.pushFiles("payments/checkout:files", map[string]string{"etc/motd": "welcome\n", "bin/tool": "\x7fELF\x00\x01", "root/.npmrc": "token"})
	at := "repository=payments/checkout&digest=" + digest
	cookie, token := f.cookie(f.Viewer), f.token(f.Viewer, models.ScopeRead)
	for path, texts := range map[string][]string{
		"/images/files?" + at:                             {"/images/files?digest=", "etc", "root", "The whole image", "3 files", "/api/v1/images/" + digest + "/files"},
		"/images/files?" + at + "&path=bin":               {"tool", "setuid", "-rwsr-xr-x", `data-up`},
		"/images/files?" + at + "&path=/etc/motd":         {"welcome", "Download", "/files/content?path=etc%2Fmotd"},
		"/images/files?" + at + "&path=bin/tool":          {"ELF program", "no text", "SHA-256"},
		"/images/files?" + at + "&path=root/.npmrc":       {"usually hold a secret"},
		"/images/files?" + at + "&q=MOT":                  {"etc/motd", "1 entry whose name holds"},
		"/images/files?" + at + "&layer=1&change=added":   {"What layer 1 did", "1 added"},
		"/images/files?" + at + "&layer=1&change=removed": {"Nothing here was removed"},
		"/images/payments/checkout@" + digest:             {"/images/files?digest=", "/images/compare?a=", "With the one before"},
		"/images/compare":                                 {"Two images"},
	} {
		w := f.send(ask{path: path, cookie: cookie})
		for _, text := range texts {
			if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s: %d, without %q", path, w.Code, text)
			}
		}
	}
	for _, a := range []ask{{path: "/images/file?" + at + "&path=bin/tool", cookie: cookie}, {path: "/api/v1/images/" + digest + "/files/content?path=/bin/tool", token: token}} {
		w := f.send(a)
		h := w.Header()
		if w.Code != http.StatusOK || w.Body.String() != "\x7fELF\x00\x01" || h.Get("Content-Type") != "application/octet-stream" || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("Content-Disposition") != "attachment; filename=tool" || h.Get("Content-Length") != "6" {
			t.Errorf("%s: %d %v %q", a.path, w.Code, h, w.Body)
		}
	}
	for path, code := range map[string]int{
		"/images/files?" + at + "&path=none": 404, "/images/files?" + at + "&layer=7": 422, "/images/files?" + at + "&cursor=x": 422, "/images/files": 404,
		"/images/file?" + at + "&path=etc": 409, "/images/file?" + at + "&path=none": 404, "/images/compare?a=x&b=y": 422, "/images/compare?a=" + digest + "&b=sha256:none": 422,
	} {
		if w := f.send(ask{path: path, cookie: cookie}); w.Code != code {
			t.Errorf("%s: %d, want %d", path, w.Code, code)
		}
	}
}

func TestTheAPIListsAndComparesFiles(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	a := f.pushFiles("payments/checkout:a", map[string]string{"etc/motd": "one", "old": "12345"})
	b := f.pushFiles("payments/checkout:b", map[string]string{"etc/motd": "three", "new": "1"})
	token := f.token(f.Viewer, models.ScopeRead)
	var files struct {
		State   string
		Items   []struct{ Path, Type, Mode, Digest string }
		Matches int
		Bytes   int64
		Layers  []struct{ Added int }
	}
	w := f.send(ask{path: "/api/v1/images/" + a + "/files?flat=true&sort=size", token: token})
	f.must(json.Unmarshal(w.Body.Bytes(), &files))
	if files.State != "ready" || files.Matches != 2 || files.Items[0].Path != "/old" || files.Items[0].Mode != "4755" || files.Bytes != 8 || files.Layers[0].Added != 2 {
		t.Errorf("%s", w.Body)
	}
	compare := "/api/v1/images/compare?a=payments/checkout:a&b=payments/checkout:b&flat=true"
	var compared struct {
		State, Summary string
		Items          []struct{ Path string }
		Files          struct{ Added, Changed, Removed int }
	}
	w = f.send(ask{path: compare, token: token})
	if w.Code != http.StatusAccepted {
		t.Errorf("before it is made: %d %s", w.Code, w.Body)
	}
	x, y := explorer.Reference{Repository: "payments/checkout", Name: a}, explorer.Reference{Repository: "payments/checkout", Name: b}
	ctx := models.WithPrincipal(t.Context(), models.System("test"))
	made, err := f.s.Explorer.Compare(ctx, explorer.CompareQuery{A: x, B: y})
	f.must(err)
	f.must(f.s.Explorer.Make(ctx, explorer.Args{ID: made.Making.ID, Images: []explorer.Reference{x, y}, Team: f.Team.ID}))
	w = f.send(ask{path: compare, token: token})
	f.must(json.Unmarshal(w.Body.Bytes(), &compared))
	if w.Code != 200 || compared.State != "ready" || compared.Files.Added != 1 || compared.Files.Changed != 1 || compared.Files.Removed != 1 || len(compared.Items) != 3 || !strings.Contains(compared.Summary, "1 file added, 1 changed, 1 removed") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	page := f.send(ask{path: "/images/compare?a=payments/checkout:a&b=payments/checkout:b", cookie: f.cookie(f.Viewer)})
	for _, text := range []string{compared.Summary, "/etc", "Swap", "share no layer", "did not build both"} {
		if page.Code != 200 || !strings.Contains(page.Body.String(), text) {
			t.Errorf("the comparison: %d, without %q", page.Code, text)
		}
	}
}

func TestWhatAFileIsCalledAndHoldsStaysText(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	digest := f.pushFiles("payments/checkout:evil", map[string]string{hostileName: hostileName, "dir " + hostileName + "/x.html": "<script>alert(1)</script>"})
	at := "repository=payments/checkout&digest=" + digest
	ctx := models.WithPrincipal(t.Context(), models.System("test"))
	listed, err := f.s.Explorer.Files(ctx, explorer.Query{At: explorer.Reference{Name: digest}, Flat: true})
	f.must(err)
	paths := []string{"/images/files?" + at, "/images/files?" + at + "&flat=1", "/images/files?" + at + "&q=%3Cscript%3E", "/images/compare?a=%22%3E%3Cscript%3Ealert(1)&b=x"}
	for _, e := range listed.Items {
		place := "&path=" + url.QueryEscape(e.Path)
		paths = append(paths, "/images/files?"+at+place)
		w := f.send(ask{path: "/images/file?" + at + place, cookie: f.cookie(f.Viewer)})
		h := w.Header()
		if w.Code != 200 || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") || h.Get("Content-Type") != "application/octet-stream" || h.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %v", e.Path, w.Code, h)
		}
	}
	for _, path := range paths {
		w := f.send(ask{path: path, cookie: f.cookie(f.Viewer)})
		if page := w.Body.String(); w.Code != 200 && w.Code != 422 || strings.Contains(page, "<script>alert") || !strings.Contains(page, "&lt;script&gt;") {
			t.Errorf("%s: %d, or a script", path, w.Code)
		}
	}
}
