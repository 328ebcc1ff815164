package api

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"slipway.dev/handlers/download"
	"slipway.dev/models"
	"slipway.dev/services/explorer"
	view "slipway.dev/views/images"
)

// ImagePath is a path of an image.
type ImagePath struct {
	Path       string            `json:"path" example:"/usr/bin/env"`
	Type       string            `json:"type" enum:"file,directory,symlink,hardlink,character device,block device,pipe,other,whiteout"`
	Mode       string            `json:"mode" doc:"Octal, with setuid, setgid and sticky." example:"0755"`
	UID        uint32            `json:"uid"`
	GID        uint32            `json:"gid"`
	Size       int64             `json:"size" doc:"Bytes of a file."`
	ModifiedAt time.Time         `json:"modified_at"`
	Link       string            `json:"link,omitempty" doc:"Where a link leads; the numbers of a device."`
	Xattrs     string            `json:"xattrs,omitempty" doc:"The names of extended attributes."`
	Digest     string            `json:"digest,omitempty" doc:"Of a file's content."`
	Layer      int               `json:"layer" doc:"The number of the layer that touched it last, from 1."`
	Removed    bool              `json:"removed,omitempty" doc:"A later layer removed it."`
	Bytes      int64             `json:"bytes,omitempty" doc:"Of a directory: of all files in it."`
	Files      int64             `json:"files,omitempty" doc:"Of a directory: how many files, links and devices are in it."`
	History    []ImageFileChange `json:"history,omitempty" doc:"What each layer did to it, where it was more than to add it."`
	Below      []ImageFileTally  `json:"below,omitempty" doc:"Of a directory: what each layer did in it."`
}

// ImageFileChange is what one layer did to a path.
type ImageFileChange struct {
	Layer  int    `json:"layer"`
	Change string `json:"change" enum:"added,changed,removed"`
	Mode   string `json:"mode"`
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Size   int64  `json:"size"`
}

// ImageFileTally is what one layer did below a directory, or in all.
type ImageFileTally struct {
	Layer   int   `json:"layer"`
	Added   int64 `json:"added"`
	Changed int64 `json:"changed"`
	Removed int64 `json:"removed"`
	Bytes   int64 `json:"bytes" doc:"Of the files that it wrote."`
	Wasted  int64 `json:"wasted" doc:"Of these: what a later layer replaced or removed."`
}

// ImageFileLayer is a layer and what it did to files.
type ImageFileLayer struct {
	ImageFileTally
	Digest      string `json:"digest"`
	MediaType   string `json:"media_type"`
	Size        int64  `json:"size" doc:"Compressed bytes."`
	Instruction string `json:"instruction,omitempty"`
}

// FileListProgress says how far a list is that is made by a job.
type FileListProgress struct {
	State string `json:"state" enum:"waiting,ready,failed" doc:"waiting: ask again in a moment."`
	Error string `json:"error,omitempty"`
	Done  int64  `json:"done,omitempty" doc:"Compressed bytes that have been read."`
	Total int64  `json:"total,omitempty"`
}

func listProgressOf(m *models.FileIndex) FileListProgress {
	if m == nil {
		return FileListProgress{State: string(models.IndexReady)}
	}
	return FileListProgress{string(m.State), m.Error, m.Done, m.Total}
}

// statusOf is 202 while a list is being made.
func statusOf(m *models.FileIndex) int {
	if m != nil {
		return http.StatusAccepted
	}
	return http.StatusOK
}

// ImageFiles are some of the files of an image.
type ImageFiles struct {
	FileListProgress
	List[ImagePath]
	Matches int64            `json:"matches" doc:"How many items there are on all pages."`
	Image   string           `json:"image" doc:"The digest of the image whose files these are: of an index, that of the platform."`
	Bytes   int64            `json:"bytes" doc:"Of all files of the image."`
	Files   int64            `json:"files"`
	Wasted  int64            `json:"wasted" doc:"Bytes that its layers hold and it does not show."`
	Layers  []ImageFileLayer `json:"layers" nullable:"false"`
	Notice  string           `json:"notice,omitempty" doc:"Why the list is not whole."`
}

// FilesIn are the choices of a list of files.
type FilesIn struct {
	PageIn
	Path   string `query:"path" maxLength:"4096" doc:"The directory, or a file, which is answered alone. Default: the root."`
	Change string `query:"change" enum:"added,changed,removed" doc:"Only what was added, changed or removed."`
	Q      string `query:"q" maxLength:"200" doc:"Only names that hold it, in the directory and all below it."`
	Flat   bool   `query:"flat" doc:"The files of all directories below it too, without the directories."`
	Sort   string `query:"sort" enum:"name,size" default:"name"`
}

// FilesOfImageIn names an image in a path.
type FilesOfImageIn struct {
	Digest     string `path:"digest" maxLength:"200" example:"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
	Repository string `query:"repository" maxLength:"300" doc:"Where several have the image; empty: the one pushed to last."`
	Registry   string `query:"registry" maxLength:"100" doc:"The slug of an external registry; empty: the embedded one."`
	Platform   string `query:"platform" maxLength:"64" doc:"Of an index: the platform, such as linux/arm64. Default: the first."`
	Layer      string `query:"layer" maxLength:"200" doc:"What this layer did: its number from 1, or its digest. Default: what is there in the end."`
}

func (in *FilesOfImageIn) reference() explorer.Reference {
	return explorer.Reference{Registry: in.Registry, Repository: in.Repository, Name: in.Digest}
}

func (a *API) imageFiles() {
	get(a, "/images/{digest}/files", "list-image-files", "Files of an image, or what a layer did", a.listImageFiles,
		about("A job reads the layers once. Until it has, the answer is 202 with the state `waiting`: ask again in a moment."))
	get(a, "/images/{digest}/files/content", "get-image-file", "Content of a file of an image", a.getImageFile, fileAnswer)
	get(a, "/images/compare", "compare-images", "What differs between two images", a.compareImages,
		about("Files are compared by a job. Until it has ended, the answer is 202 with the state `waiting` and without them."))
}

// fileAnswer describes the content of a file.
func fileAnswer(c *call) {
	c.op.Description = "The bytes as they are in the image, always as application/octet-stream. 409 while the files are being listed: list them first."
	c.op.Responses["200"] = &huma.Response{Description: "The content", Content: map[string]*huma.MediaType{
		"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
	}}
}

// accepted is an answer whose status says whether it is whole.
type accepted[T any] struct {
	Status int
	Body   T
}

func (a *API) listImageFiles(ctx context.Context, in *struct {
	FilesOfImageIn
	FilesIn
}) (*accepted[ImageFiles], error) {
	f, err := a.Explorer.Files(ctx, explorer.Query{At: in.reference(), Platform: in.Platform, Path: in.Path, Layer: in.Layer,
		Change: in.Change, Search: in.Q, Flat: in.Flat, BySize: in.Sort == "size", Page: in.page()})
	if err != nil {
		return nil, err
	}
	out := ImageFiles{FileListProgress: listProgressOf(f.Making), List: List[ImagePath]{Items: sliceOf(f.Items, imagePathOf), Next: f.Next}, Matches: f.Total,
		Image: f.Image.Digest, Bytes: f.Bytes, Files: f.Files, Wasted: f.Wasted, Layers: sliceOf(f.Layers, fileLayerOf), Notice: f.Notice}
	if f.Entry != nil && f.Entry.Type != models.FileDir {
		out.Items, out.Matches = []ImagePath{imagePathOf(f.Entry)}, 1
	}
	return &accepted[ImageFiles]{statusOf(f.Making), out}, nil
}

func (a *API) getImageFile(ctx context.Context, in *struct {
	FilesOfImageIn
	Path string `query:"path" required:"true" maxLength:"4096"`
}) (*huma.StreamResponse, error) {
	q := explorer.FileQuery{At: in.reference(), Platform: in.Platform, Path: in.Path, Layer: in.Layer}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		sent := false
		err := a.Explorer.Content(ctx, q, func(e models.FileEntry, content io.Reader) error {
			sent = true
			w := humaecho.Unwrap(hc).Response()
			download.Headers(w.Header(), e.Name(), e.Size)
			w.WriteHeader(http.StatusOK)
			_, err := io.Copy(w, content)
			return err
		})
		switch {
		case err != nil && sent: // what was sent can't be taken back: the client must see that it is not whole
			slog.WarnContext(ctx, "a file of an image could not be sent whole", "error", err)
			panic(http.ErrAbortHandler)
		case err != nil:
			a.refuse(hc, err)
		}
	}}, nil
}

// ImageComparison is what differs between two images.
type ImageComparison struct {
	FileListProgress
	List[ImagePath]
	Matches     int64                 `json:"matches" doc:"How many items there are on all pages. In items, layer 1 is A and layer 2 B."`
	Summary     string                `json:"summary" doc:"In one sentence."`
	A           Image                 `json:"a"`
	B           Image                 `json:"b"`
	Files       ImageFileDifference   `json:"files"`
	Layers      ImageLayerDifference  `json:"layers"`
	Config      []ImageSettingChange  `json:"config" nullable:"false"`
	Environment []ImageSettingChange  `json:"environment" nullable:"false"`
	Labels      []ImageSettingChange  `json:"labels" nullable:"false"`
	Platforms   []ImageSettingChange  `json:"platforms" nullable:"false" doc:"That only one of two indexes has."`
	Commits     []ImageComparedCommit `json:"commits" nullable:"false" doc:"That B has and A has not; with back those that A has and B has not."`
	Back        bool                  `json:"back,omitempty" doc:"B is older than A."`
	CommitsNote string                `json:"commits_note,omitempty" doc:"Why no commits are listed."`
	Notice      string                `json:"notice,omitempty" doc:"Why the comparison of files is not whole."`
}

// ImageFileDifference sums up what became of the files.
type ImageFileDifference struct {
	Added   int64  `json:"added"`
	Changed int64  `json:"changed"`
	Removed int64  `json:"removed"`
	BytesA  int64  `json:"bytes_a" doc:"Of all files of A."`
	BytesB  int64  `json:"bytes_b"`
	Below   string `json:"below,omitempty" doc:"The directory that holds most of what differs."`
}

// ImageLayerDifference are the layers that both have, or one alone.
type ImageLayerDifference struct {
	Shared []ImageComparedLayer `json:"shared" nullable:"false"`
	OnlyA  []ImageComparedLayer `json:"only_a" nullable:"false"`
	OnlyB  []ImageComparedLayer `json:"only_b" nullable:"false"`
}

// ImageComparedLayer is a layer of one of two images.
type ImageComparedLayer struct {
	Number      int    `json:"number" doc:"From 1, the lowest."`
	Digest      string `json:"digest"`
	Size        int64  `json:"size" doc:"Compressed bytes."`
	Instruction string `json:"instruction,omitempty"`
}

// ImageSettingChange is a setting that differs.
type ImageSettingChange struct {
	Name   string `json:"name"`
	Change string `json:"change" enum:"added,changed,removed"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// ImageComparedCommit is a commit between two images.
type ImageComparedCommit struct {
	ID      string    `json:"id"`
	Subject string    `json:"subject"`
	Author  string    `json:"author"`
	Time    time.Time `json:"time"`
}

func (a *API) compareImages(ctx context.Context, in *struct {
	FilesIn
	A        string `query:"a" required:"true" maxLength:"400" doc:"NAME:TAG, NAME@DIGEST or a digest." example:"payments/checkout:v1"`
	B        string `query:"b" required:"true" maxLength:"400" doc:"Likewise." example:"payments/checkout:v2"`
	Platform string `query:"platform" maxLength:"64" doc:"Of indexes: the platform. Default: the first."`
}) (*accepted[ImageComparison], error) {
	x, errA := explorer.Parse("a", in.A)
	y, errB := explorer.Parse("b", in.B)
	if err := cmp.Or(errA, errB); err != nil {
		return nil, err
	}
	c, err := a.Explorer.Compare(ctx, explorer.CompareQuery{A: x, B: y, Platform: in.Platform, Path: in.Path, Change: in.Change,
		Search: in.Q, Flat: in.Flat, BySize: in.Sort == "size", Page: in.page()})
	if err != nil {
		return nil, err
	}
	return &accepted[ImageComparison]{statusOf(c.Making), a.comparisonOf(c)}, nil
}

func (a *API) comparisonOf(c *models.ImageComparison) ImageComparison {
	return ImageComparison{
		FileListProgress: listProgressOf(c.Making), List: List[ImagePath]{Items: sliceOf(c.Items, imagePathOf), Next: c.Next}, Matches: c.Total,
		Summary: view.Summary(c), A: a.imageOf(&c.A.Image), B: a.imageOf(&c.B.Image),
		Files:  ImageFileDifference{c.Files.Added, c.Files.Changed, c.Files.Removed, c.BytesA, c.BytesB, c.Below},
		Layers: ImageLayerDifference{sliceOf(c.Shared, comparedLayerOf), sliceOf(c.OnlyA, comparedLayerOf), sliceOf(c.OnlyB, comparedLayerOf)},
		Config: sliceOf(c.Settings, settingOf), Environment: sliceOf(c.Environment, settingOf), Labels: sliceOf(c.Labels, settingOf), Platforms: sliceOf(c.Platforms, settingOf),
		Commits: sliceOf(c.Commits, func(m *models.ChangeCommit) ImageComparedCommit {
			return ImageComparedCommit{m.ID, m.Subject, m.Author, m.Time.UTC()}
		}),
		Back: c.Back, CommitsNote: c.CommitsNote, Notice: c.Notice,
	}
}

func comparedLayerOf(l *models.FileLayer) ImageComparedLayer {
	return ImageComparedLayer{l.Number, l.Digest, l.Size, l.Instruction}
}

func settingOf(s *models.SettingChange) ImageSettingChange {
	return ImageSettingChange{s.Name, s.Op.String(), s.Before, s.After}
}

func modeOf(m models.FileMeta) string { return fmt.Sprintf("%04o", m.Mode) }

func imagePathOf(e *models.FileEntry) ImagePath {
	return ImagePath{
		Path: e.Path, Type: e.Type.String(), Mode: modeOf(e.FileMeta), UID: e.UID, GID: e.GID, Size: e.Size, ModifiedAt: e.ModTime.UTC(),
		Link: e.Link, Xattrs: e.Xattrs, Digest: e.Digest, Layer: e.Layer, Removed: e.Gone, Bytes: e.Bytes, Files: e.Files,
		History: sliceOf(e.Versions, func(v *models.FileVersion) ImageFileChange {
			return ImageFileChange{v.Layer, v.Op.String(), modeOf(v.FileMeta), v.UID, v.GID, v.Size}
		}),
		Below: sliceOf(e.Tallies, fileTallyOf),
	}
}

func fileTallyOf(t *models.FileTally) ImageFileTally {
	return ImageFileTally{t.Layer, t.Added, t.Changed, t.Removed, t.Bytes, t.Wasted}
}

func fileLayerOf(l *models.FileLayer) ImageFileLayer {
	tally := fileTallyOf(&l.Tally)
	tally.Layer = l.Number
	return ImageFileLayer{tally, l.Digest, l.MediaType, l.Size, l.Instruction}
}
