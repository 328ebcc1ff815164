package explorer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"slipway.dev/models"
	"slipway.dev/services/layers"
)

const (
	maxShown = 256 << 10 // bytes of a text that a page shows
	maxNames = 8         // hard links that are followed
)

func itoa(n int) string { return strconv.Itoa(n) }

// FileQuery asks for one file of an image.
type FileQuery struct {
	At       Reference
	Platform string
	Path     string
	Layer    string // as this layer wrote it; empty: as it is in the end
}

// found is a file and where its content is.
type found struct {
	image *image
	entry models.FileEntry
	layer models.FileLayer
	seq   int
}

// Content runs use with the file and its content, which is read from its layer
// meanwhile. It fails with Conflict where the image's files are not listed yet,
// and where the path is no file.
func (s *Service) Content(ctx context.Context, q FileQuery, use func(e models.FileEntry, content io.Reader) error) error {
	f, err := s.file(ctx, q)
	if err != nil {
		return err
	}
	return s.read(ctx, f, func(_ int64, content io.Reader) error { return use(f.entry, content) })
}

// File returns a file as a page can show it: text up to a limit, and what anything else looks like.
func (s *Service) File(ctx context.Context, q FileQuery) (*models.FileContent, error) {
	f, err := s.file(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &models.FileContent{Entry: f.entry, Layer: f.layer, Secret: Secret(f.entry.Path)}
	var head []byte
	err = s.read(ctx, f, func(_ int64, content io.Reader) (err error) {
		head, err = io.ReadAll(io.LimitReader(content, maxShown))
		return err
	})
	if told, ok := errors.AsType[*models.Error](err); ok && told.Code != models.NotFound {
		out.Unreadable = told.Message
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	out.Cut = int64(len(head)) < f.entry.Size
	out.Kind, out.Text = kindOf(head, out.Cut)
	return out, nil
}

// file finds the file, which has to be one: a hard link is followed to the file that it names.
func (s *Service) file(ctx context.Context, q FileQuery) (*found, error) {
	i, err := s.image(ctx, q.At, q.Platform)
	if err != nil {
		return nil, err
	}
	x, making, err := s.index(ctx, imageRow(i), Args{Images: []Reference{i.reference}, Team: audience(ctx, i.passport)})
	if err != nil {
		return nil, err
	}
	if x == nil && making.State == models.IndexFailed {
		return nil, models.Errorf(models.Conflict, "The files of this image could not be listed: %s", making.Error)
	}
	if x == nil {
		return nil, models.Errorf(models.Conflict, "The files of this image are being listed. Ask again in a moment.")
	}
	number := 0
	if q.Layer != "" {
		l, err := i.layer(q.Layer)
		if err != nil {
			return nil, err
		}
		number = l.Number
	}
	path := layers.Clean(q.Path)
	for range maxNames {
		e, err := x.Get(ctx, path)
		if err != nil {
			return nil, err
		}
		v, ok := versionOf(e, number)
		switch {
		case !ok:
			return nil, models.Errorf(models.NotFound, "No such file in this image.")
		case v.Type == models.FilePlain:
			e.FileMeta, e.Path = v.FileMeta, path
			if v.Layer != e.Layer || v.Seq != e.Seq {
				e.Digest = "" // that of a later version
			}
			return &found{i, *e, i.layers[v.Layer-1], v.Seq}, nil
		case v.Type != models.FileHardlink || e.Link == path:
			return nil, models.Errorf(models.Conflict, "%s is a %s: it has no content.", path, v.Type)
		}
		path = e.Link
	}
	return nil, models.Errorf(models.Conflict, "%s is a name of a name of a name: its content can't be found.", q.Path)
}

// versionOf is the path as the layer wrote it, or as it is in the end.
func versionOf(e *models.FileEntry, layer int) (v models.FileVersion, ok bool) {
	if layer > 0 {
		v, ok = e.In(layer)
		return v, ok && v.Op != models.FileRemoved
	}
	all := e.History()
	return all[len(all)-1], !e.Gone
}

// read opens the file's layer and runs use with the file's content.
func (s *Service) read(ctx context.Context, f *found, use func(size int64, content io.Reader) error) error {
	at := f.image.reference
	layer, _, err := s.OpenBlob(ctx, at.Registry, at.Repository, f.layer.Digest)
	if err != nil {
		return err
	}
	defer layer.Close()
	return layers.Content(ctx, layer, f.seq, s.Limits, use)
}

// kindOf says what content looks like, and returns it where it is text.
func kindOf(head []byte, cut bool) (kind, text string) {
	if len(head) == 0 {
		return "empty file", ""
	}
	if s, ok := textOf(head, cut); ok {
		return "text", s
	}
	for _, m := range []struct{ magic, kind string }{
		{"\x7fELF", "ELF program or library"}, {"MZ", "Windows program"}, {"\xca\xfe\xba\xbe", "Java class or Mach-O program"}, {"\xcf\xfa\xed\xfe", "Mach-O program"},
		{"!<arch>\n", "archive of objects"}, {"SQLite format 3\x00", "SQLite database"}, {"\x28\xb5\x2f\xfd", "zstd data"}, {"\xfd7zXZ\x00", "xz data"}, {"BZh", "bzip2 data"},
		{"\x00asm", "WebAssembly"}, {"\xde\x12\x04\x95", "message catalogue"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.kind, ""
		}
	}
	kind, _, _ = strings.Cut(http.DetectContentType(head), ";")
	if kind == "application/octet-stream" || strings.HasPrefix(kind, "text/") {
		kind = "binary data"
	}
	return kind, ""
}

// textOf tells whether the bytes are text in UTF-8; the last letter of a beginning may be cut.
func textOf(b []byte, cut bool) (string, bool) {
	if cut {
		for n := 0; n < utf8.UTFMax && len(b) > 0; n++ {
			if r, size := utf8.DecodeLastRune(b); r != utf8.RuneError || size > 1 {
				break
			}
			b = b[:len(b)-1]
		}
	}
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		return "", false
	}
	control := 0
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\t' && c != '\r' && c != '\f' && c != 0x1b {
			control++
		}
	}
	return string(b), control*20 <= len(b)
}
