// Package static holds the portal's own style sheets, script and icons. They are embedded as readable sources and are
// concatenated, minified, hashed and compressed when the program starts, so that building it needs Go alone.
package static

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/tdewolff/minify/v2"
	"github.com/tdewolff/minify/v2/css"
	"github.com/tdewolff/minify/v2/js"
)

//go:embed css js icons.svg favicon*.svg all:fonts
var files embed.FS

// Prefix is the path under which the assets are served.
const Prefix = "/assets/"

// fonts are the families and their files; see fonts/README.md.
var fonts = []struct{ family, file string }{
	{"Geist", "fonts/geist.woff2"},
	{"Geist Mono", "fonts/geist-mono.woff2"},
}

var contentTypes = map[string]string{
	".css":   "text/css; charset=utf-8",
	".js":    "text/javascript; charset=utf-8",
	".svg":   "image/svg+xml",
	".woff2": "font/woff2",
}

// Assets are the files that pages link to. It is an http.Handler for everything under Prefix.
type Assets struct {
	urls   map[string]string // source name → URL
	served map[string]asset  // last part of the URL → content
	sprite string
	dev    string // read the sources from this folder again for every request
}

type asset struct {
	contentType   string
	raw, gzip, br []byte
}

// Load makes the assets from the embedded sources.
func Load() (*Assets, error) { return load(files) }

// LoadDev makes assets that are read from the folder again for every request, so that an edit shows at once.
func LoadDev(folder string) (*Assets, error) {
	a, err := load(os.DirFS(folder))
	if err != nil {
		return nil, err
	}
	a.dev = folder
	return a, nil
}

func load(src fs.FS) (*Assets, error) {
	a := &Assets{urls: map[string]string{}, served: map[string]asset{}}
	if err := a.addFiles(src); err != nil {
		return nil, err
	}
	sheet, err := concat(src, "css", a.fontFaces())
	if err != nil {
		return nil, err
	}
	script, err := concat(src, "js", "")
	if err != nil {
		return nil, err
	}
	m := minify.New()
	m.AddFunc("text/css", css.Minify)
	m.AddFunc("text/javascript", js.Minify)
	if sheet, err = m.Bytes("text/css", sheet); err != nil {
		return nil, fmt.Errorf("minifying the style sheets: %w", err)
	}
	if script, err = m.Bytes("text/javascript", script); err != nil {
		return nil, fmt.Errorf("minifying the script: %w", err)
	}
	a.add("app.css", sheet)
	a.add("app.js", script)
	return a, nil
}

// addFiles adds what is served as it is, and reads the icons.
func (a *Assets) addFiles(src fs.FS) error {
	names, err := fs.Glob(src, "favicon*.svg")
	if err != nil {
		return err
	}
	woff, err := fs.Glob(src, "fonts/*.woff2")
	if err != nil {
		return err
	}
	for _, name := range append(names, woff...) {
		b, err := fs.ReadFile(src, name)
		if err != nil {
			return err
		}
		a.add(name, b)
	}
	sprite, err := fs.ReadFile(src, "icons.svg")
	a.sprite = strings.ReplaceAll(string(sprite), "\n", "")
	return err
}

// fontFaces declares the fonts that are there; without them the system's are used.
func (a *Assets) fontFaces() string {
	var b strings.Builder
	for _, f := range fonts {
		if url := a.urls[f.file]; url != "" {
			fmt.Fprintf(&b, "@font-face{font-family:%q;src:url(%s) format(\"woff2\");font-weight:100 900;font-display:swap}\n", f.family, url)
		}
	}
	return b.String()
}

// concat joins the files of a folder in the order of their names.
func concat(src fs.FS, folder, head string) ([]byte, error) {
	entries, err := fs.ReadDir(src, folder)
	if err != nil {
		return nil, err
	}
	out := bytes.NewBufferString(head)
	for _, e := range entries {
		b, err := fs.ReadFile(src, path.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		out.Write(b)
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}

// add keeps the content under a name that changes with it.
func (a *Assets) add(name string, content []byte) {
	sum := sha256.Sum256(content)
	ext := path.Ext(name)
	id := strings.TrimSuffix(path.Base(name), ext) + "." + base64.RawURLEncoding.EncodeToString(sum[:6]) + ext
	served := asset{contentType: contentTypes[ext], raw: content}
	if ext != ".woff2" { // a compressed format already
		served.gzip, served.br = compress(content)
	}
	a.urls[name] = Prefix + id
	a.served[id] = served
}

func compress(content []byte) (gz, br []byte) {
	var g, b bytes.Buffer
	gw, _ := gzip.NewWriterLevel(&g, gzip.BestCompression) // fails only on an unknown level
	gw.Write(content)
	gw.Close()
	// Level 10 is 4 % smaller than 9 and takes 60 ms more for all of it; 11 would take 0.3 s for 2 % more. A window of
	// 64 KiB is as good for files of this size, and takes 1 MB for each while it is at it, not 32.
	bw := brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: 10, LGWin: 16})
	bw.Write(content)
	bw.Close()
	return g.Bytes(), b.Bytes()
}

// URL returns where the asset is served, such as "/assets/app.Zm9vYmFy.css" for "app.css"; empty where there is no
// such asset, as with fonts that were not fetched.
func (a *Assets) URL(name string) string {
	return a.current().urls[name]
}

// Sprite returns the icons as one SVG element whose symbols are called i-NAME.
func (a *Assets) Sprite() string { return a.current().sprite }

// Sizes returns the number of bytes of an asset: as it is, and compressed with gzip and brotli.
func (a *Assets) Sizes(name string) (raw, gz, br int) {
	s := a.served[path.Base(a.urls[name])]
	return len(s.raw), len(s.gzip), len(s.br)
}

// current returns the assets to answer with: a itself, or those of the folder as it is now.
func (a *Assets) current() *Assets {
	if a.dev == "" {
		return a
	}
	fresh, err := load(os.DirFS(a.dev))
	if err != nil { // an edit in the middle of being saved: the last good ones serve
		return a
	}
	return fresh
}

// ServeHTTP serves an asset under its hash, to be kept for ever.
func (a *Assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s, ok := a.current().served[strings.TrimPrefix(r.URL.Path, Prefix)]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", s.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Accept-Encoding")
	body, encoding := s.choose(r.Header.Get("Accept-Encoding"))
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// choose returns the smallest form that the client accepts.
func (s asset) choose(accepted string) (body []byte, encoding string) {
	switch {
	case s.br != nil && strings.Contains(accepted, "br"):
		return s.br, "br"
	case s.gzip != nil && strings.Contains(accepted, "gzip"):
		return s.gzip, "gzip"
	}
	return s.raw, ""
}
