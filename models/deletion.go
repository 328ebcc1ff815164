package models

import "time"

// DeletionKind says what a deletion took.
type DeletionKind string

// The kinds of deletions.
const (
	DeletionTag        DeletionKind = "tag"        // a name; its image stays
	DeletionImage      DeletionKind = "image"      // a manifest with its tags and what is about it
	DeletionRepository DeletionKind = "repository" // all images and tags
)

// RegistryDeletion is something that was deleted from the embedded registry and
// can be restored until ExpiresAt. Clients are told that it is not there.
type RegistryDeletion struct {
	ID            string `gorm:"primaryKey"` // sorts by time
	TeamID        string
	Repository    string // such as payments/checkout
	Kind          DeletionKind
	Name          string // what people call it: a tag, a digest, the repository
	Digest        string // of the image that was deleted or that the tag named
	Manifests     int64  // how many it took, with platforms and signatures
	Tags          int64
	Size          int64  // bytes that nothing but this deletion held when it was made
	RunID         string // the clean-up that did it
	DeletedBy     string // a user's or token's id; empty: Slipway
	DeletedByName string
	DeletedAt     time.Time
	ExpiresAt     time.Time
}

// RegistryDeletedManifest is a manifest that a deletion took, exactly as it was.
type RegistryDeletedManifest struct {
	DeletionID   string `gorm:"primaryKey"`
	Repository   string
	Digest       string `gorm:"primaryKey"`
	PushID       string
	MediaType    string
	ArtifactType string
	Subject      string
	Annotations  map[string]string `gorm:"serializer:json"`
	Content      []byte
	ConfigDigest string
	Platforms    []string `gorm:"serializer:json"`
	ImageSize    int64
	PushedBy     string
	PushedByName string
	PushedAt     time.Time
}

// RegistryDeletedReference says that a deleted manifest needs a blob or another
// manifest: the collector leaves the blob until the deletion has ended.
type RegistryDeletedReference struct {
	DeletionID string `gorm:"primaryKey"`
	Manifest   string `gorm:"primaryKey"`
	Child      string `gorm:"primaryKey"`
	Repository string
}

// RegistryDeletedTag is a tag that a deletion took.
type RegistryDeletedTag struct {
	DeletionID  string `gorm:"primaryKey"`
	Name        string `gorm:"primaryKey"`
	Repository  string
	Digest      string
	MovedBy     string
	MovedByName string
	MovedAt     time.Time
}

// Restored is what came back of a deletion.
type Restored struct {
	Deletion RegistryDeletion
	Tags     []string // that are there again
	LeftOut  []string // a sentence for each thing that did not come back
}

// Title is what people call what was deleted, with its repository.
func (d *RegistryDeletion) Title() string {
	switch d.Kind {
	case DeletionTag:
		return d.Repository + ":" + d.Name
	case DeletionRepository:
		return d.Repository
	}
	return d.Repository + "@" + d.Digest
}

// DeletionForecast is what a deletion would take.
type DeletionForecast struct {
	Repository string
	Kind       DeletionKind
	Digest     string
	Tags       []string // some of them
	TagCount   int64
	Manifests  int64         // with platforms and what is about them
	Forbidden  string        // what forbids it, for people; empty: nothing
	Undo       time.Duration // how long it can be restored; 0: not at all
}
