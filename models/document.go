package models

import "time"

// DocumentKind says what a document about an image is.
type DocumentKind string

// The kinds of documents that are shown in words. Any other is shown as it is.
const (
	DocumentProvenance DocumentKind = "provenance" // SLSA, in an in-toto statement
	DocumentSBOM       DocumentKind = "sbom"       // SPDX or CycloneDX, with or without a statement around it
	DocumentSignature  DocumentKind = "signature"  // cosign's or Notary's
	DocumentStatement  DocumentKind = "statement"  // in-toto, of a type that is not known here
	DocumentConfig     DocumentKind = "config"     // of an image or an artifact
	DocumentOther      DocumentKind = "other"
)

// ImageDocument is a small file of an image or an artifact, opened and read.
type ImageDocument struct {
	Image      Image
	Digest     string // of the file
	MediaType  string
	Title      string // in words, such as "SBOM (SPDX)"
	Kind       DocumentKind
	Size       int64
	Content    []byte // as it is stored; nothing where it is too large or no text
	TooLarge   bool   // it is not shown because of its size
	Binary     bool   // it is not shown because it is no text
	Signed     bool   // it came with signatures, which nobody here has verified
	Statement  *Statement
	Provenance *Provenance
	Signature  map[string]string // the signature's annotations
	Packages   List[Package]     // the page of the packages that was asked for
	Total      int               // how many packages there are, or match
}

// Statement is the frame of in-toto around an attestation.
type Statement struct {
	PredicateType string
	Subjects      []Material // what it is about
}

// Provenance is how something was built, as SLSA has it. Texts are clipped and lists end after a few hundred.
type Provenance struct {
	Builder    string
	BuildType  string
	Source     string // URI of the source
	Commit     string
	EntryPoint string
	Run        string // the builder's own name of the run
	StartedAt  *time.Time
	FinishedAt *time.Time
	Parameters []Parameter
	Materials  []Material
}

// Parameter is one of what a build was told.
type Parameter struct{ Name, Value string }

// Material is something that went in, or that a statement is about.
type Material struct{ URI, Digest string }

// Package is a line of a bill of materials.
type Package struct {
	Name    string
	Version string
	License string // an SPDX expression, or what the document says
	PURL    string // package URL
}

// RegistryDocument is a manifest or a config of an external registry, kept so
// that it need not be read again: what has a digest never changes.
type RegistryDocument struct {
	RegistryID string `gorm:"primaryKey"`
	Repository string `gorm:"primaryKey"`
	Digest     string `gorm:"primaryKey"`
	MediaType  string
	Content    []byte
	Size       int64
	ReadAt     time.Time
}

// RegistryName is a repository of an external registry that somebody opened by
// its name, so that it is found again where the registry lists none.
type RegistryName struct {
	RegistryID  string `gorm:"primaryKey"`
	Repository  string `gorm:"primaryKey"`
	NamedBy     string // a user's or token's id
	NamedByName string
	NamedAt     time.Time
}
