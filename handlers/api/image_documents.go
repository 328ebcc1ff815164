package api

import (
	"context"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/images"
)

// maxContent is how many bytes of a file an answer carries; pull it for more.
const maxContent = 1 << 20

// ImageDocument is a file of an image, opened.
type ImageDocument struct {
	Image      string              `json:"image" doc:"The manifest that names it: repository@digest." example:"localhost:8080/payments/checkout@sha256:9f86…"`
	Digest     string              `json:"digest"`
	MediaType  string              `json:"media_type"`
	Kind       models.DocumentKind `json:"kind" enum:"provenance,sbom,signature,statement,config,other"`
	Title      string              `json:"title" doc:"In words." example:"SBOM (SPDX)"`
	Size       int64               `json:"size"`
	Signed     bool                `json:"signed" doc:"It came with signatures, which nobody has verified."`
	Predicate  string              `json:"predicate_type,omitempty" doc:"Of an in-toto statement."`
	Subjects   []ImageMaterial     `json:"subjects,omitempty" doc:"What the statement is about."`
	Provenance *ImageProvenance    `json:"provenance,omitempty"`
	Signature  map[string]string   `json:"signature,omitempty" doc:"The signature's annotations."`
	Packages   []ImagePackage      `json:"packages,omitempty" doc:"A page of the packages of a bill of materials."`
	Total      int                 `json:"total,omitempty" doc:"How many packages there are, or fit q."`
	Next       string              `json:"next" doc:"The cursor of the next page of packages."`
	Content    string              `json:"content,omitempty" doc:"The file as it is, where it is text of at most 1 MiB."`
}

// ImageProvenance is how something was built, as SLSA has it.
type ImageProvenance struct {
	Builder    string            `json:"builder"`
	BuildType  string            `json:"build_type"`
	Source     string            `json:"source"`
	Commit     string            `json:"commit"`
	EntryPoint string            `json:"entry_point"`
	Run        string            `json:"run"`
	StartedAt  *time.Time        `json:"started_at"`
	FinishedAt *time.Time        `json:"finished_at"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Materials  []ImageMaterial   `json:"materials" nullable:"false"`
}

// ImageMaterial is something that went in, or that a statement is about.
type ImageMaterial struct {
	URI    string `json:"uri"`
	Digest string `json:"digest"`
}

// ImagePackage is a line of a bill of materials.
type ImagePackage struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	License string `json:"license"`
	PURL    string `json:"purl"`
}

func (a *API) getImageDocument(ctx context.Context, in *struct {
	ImageIn
	PageIn
	File string `path:"file" maxLength:"200" doc:"The digest of a file that the manifest names, or of the manifest itself."`
	Text string `query:"q" maxLength:"200" doc:"Narrows the packages of a bill of materials."`
}) (*answer[ImageDocument], error) {
	d, err := a.Images.Document(ctx, images.DocumentQuery{Which: in.which(), File: in.File, Text: in.Text, Page: in.page()})
	return replyWith(d, documentOf, err)
}

func documentOf(d *models.ImageDocument) ImageDocument {
	out := ImageDocument{Image: d.Image.FullName() + "@" + d.Image.Digest, Digest: d.Digest, MediaType: d.MediaType, Kind: d.Kind, Title: d.Title, Size: d.Size,
		Signed: d.Signed, Signature: d.Signature, Total: d.Total, Next: d.Packages.Next,
		Packages: sliceOf(d.Packages.Items, func(p *models.Package) ImagePackage { return ImagePackage{p.Name, p.Version, p.License, p.PURL} })}
	if d.Statement != nil {
		out.Predicate, out.Subjects = d.Statement.PredicateType, sliceOf(d.Statement.Subjects, materialOf)
	}
	if p := d.Provenance; p != nil {
		out.Provenance = &ImageProvenance{p.Builder, p.BuildType, p.Source, p.Commit, p.EntryPoint, p.Run, utc(p.StartedAt), utc(p.FinishedAt), map[string]string{}, sliceOf(p.Materials, materialOf)}
		for _, t := range p.Parameters {
			out.Provenance.Parameters[t.Name] = t.Value
		}
	}
	if len(d.Content) <= maxContent {
		out.Content = string(d.Content)
	}
	return out
}

func materialOf(m *models.Material) ImageMaterial { return ImageMaterial{m.URI, m.Digest} }
