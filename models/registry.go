package models

import "time"

// RegistryRepository is a name in the embedded registry, such as payments/checkout.
// Its first part is the slug of the team that owns it.
type RegistryRepository struct {
	Name      string `gorm:"primaryKey"`
	TeamID    string
	PushID    string // of the image pushed last; empty while there is none
	CreatedAt time.Time

	AnonymousPull AnonymousPull // empty: as the team says
	ImmutableTags []string      `gorm:"serializer:json"` // globs of tags that never move; nil: as the team says
	CleanedAt     *time.Time    // when its daily clean-up was last queued
}

// AnonymousPull says whether anybody may pull from a repository, without a login.
type AnonymousPull string

// What a repository may say of it.
const (
	AnonymousAsTeam AnonymousPull = "" // as its team says
	AnonymousYes    AnonymousPull = "yes"
	AnonymousNo     AnonymousPull = "no"
)

// RegistryBlob is a layer or a config, known by its digest: a file of the registry, or one or more objects of its bucket.
type RegistryBlob struct {
	Digest     string `gorm:"primaryKey"`
	Size       int64
	TouchedAt  time.Time  // when somebody last wanted it to be there
	DeletingAt *time.Time // set once the collector has begun to delete it
}

// RegistryLink says that a repository has a blob. Two repositories may share one blob.
type RegistryLink struct {
	Repository string `gorm:"primaryKey"`
	Digest     string `gorm:"primaryKey"`
	TouchedAt  time.Time
	ReleasedAt *time.Time // when the last image that needed it went for good: it counts no more
}

// RegistryManifest is a manifest or an index, known by the digest of Content.
type RegistryManifest struct {
	Repository   string `gorm:"primaryKey"`
	Digest       string `gorm:"primaryKey"`
	PushID       string // sorts by the last push
	MediaType    string
	ArtifactType string
	Subject      string            // the digest of the manifest that this one is about
	Annotations  map[string]string `gorm:"serializer:json"`
	Content      []byte
	ConfigDigest string
	Platforms    []string `gorm:"serializer:json"` // such as linux/amd64
	ImageSize    int64    // compressed bytes of config and layers, for an index of all its images
	Nesting      int      // 0 of an image, 1 of an index of images, 2 of an index of those
	PushedBy     string   // a user's or token's id
	PushedByName string
	PushedAt     time.Time
}

// RegistryReference says that a manifest needs a blob or another manifest of the same repository.
type RegistryReference struct {
	Repository string `gorm:"primaryKey"`
	Manifest   string `gorm:"primaryKey"`
	Child      string `gorm:"primaryKey"`
}

// RegistryTag is a name that points at a manifest and may move.
type RegistryTag struct {
	Repository  string `gorm:"primaryKey"`
	Name        string `gorm:"primaryKey"`
	Digest      string
	MovedBy     string
	MovedByName string
	MovedAt     time.Time
}

// RegistryTagEvent is one move of a tag: to Digest, which is empty where it was deleted.
type RegistryTagEvent struct {
	ID         string `gorm:"primaryKey"`
	Repository string
	Tag        string
	Digest     string
	Previous   string // where the tag was before; empty for a new one
	ActorID    string
	ActorName  string
	CreatedAt  time.Time
}

// RegistryPulls is how often an image was pulled, and by whom last.
type RegistryPulls struct {
	Repository string `gorm:"primaryKey"`
	Digest     string `gorm:"primaryKey"`
	Pulls      int64
	LastAt     time.Time
	LastBy     string // a name, for people
}

// RegistryUpload is a blob that is being pushed.
type RegistryUpload struct {
	ID         string `gorm:"primaryKey"`
	Repository string
	Size       int64  // bytes that are kept
	State      []byte // of the SHA-256 over them
	TouchedAt  time.Time
	Holder     string     // the request that writes to it, where blobs are in a bucket; empty while none does
	HeldUntil  *time.Time // from when on another request may take it from its holder
}

// RegistryPart is an object of the registry's bucket: some bytes of an upload
// or of a blob. Its row is there before the object and goes after it.
type RegistryPart struct {
	Name       string `gorm:"primaryKey"` // the object's
	Owner      string // an upload's id or a blob's digest; empty while its bytes belong to nothing
	Start      int64  // where in the whole it begins
	Size       int64  // bytes; 0 until it has an owner
	TouchedAt  time.Time
	DeletingAt *time.Time // set once the object is to be deleted; from then on nothing can own it
}

// RegistryCollection is a run of the collector: what it deleted, and how many bytes that freed.
type RegistryCollection struct {
	ID         string `gorm:"primaryKey"`
	Running    bool   // at most one is
	StartedAt  time.Time
	AliveAt    time.Time // when its process last said that it goes on
	FinishedAt *time.Time
	Uploads    int64 // that nobody went on with
	Blobs      int64
	Bytes      int64
	Error      string // why it ended early, for people
}

// RegistryStorage is where the registry keeps its blobs and how much that is. Sizes are bytes.
type RegistryStorage struct {
	Bucket      bool   // or else a folder
	Place       string // the folder's path, or the bucket's URL without its settings
	Blobs       int64
	Bytes       int64
	Uploads     int64 // under way
	UploadBytes int64 // that those have brought
	Collecting  bool  // the collector is running
}
