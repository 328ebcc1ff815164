package models

import "time"

// ImageRepository is a line of the list of repositories: a name that images are pushed to.
type ImageRepository struct {
	Registry string // the slug of its registry; empty: the embedded one
	Host     string // the first part of its images' full names, such as ghcr.io
	Name     string // such as payments/checkout
	TeamID   string // who owns it; empty in an external registry
	PushID   string // sorts by the last push
	App      *App   // the app whose builds go here; nil for images that come from outside
	Latest   *Image // the image pushed last
	Tags     int64  // how many there are
	Size     int64  // bytes that its blobs take
	Running  []ImageDeployment
	Public   bool       // anybody may pull, without a login
	Pulls    ImagePulls // known of one repository, not in lists
}

// ImagePulls is how often something was pulled.
type ImagePulls struct {
	Times  int64
	LastAt time.Time // zero where Times is
	LastBy string
}

// TagHistory is which images a tag named.
type TagHistory struct {
	Repository string
	TeamID     string
	Tag        string
	Digest     string    // what it names now; empty: it was deleted
	Moves      []TagMove // newest first
	Next       string    // the cursor of the page after
}

// TagMove is one move of a tag, and what is known of the image that it came to.
type TagMove struct {
	RegistryTagEvent
	Kept   bool              // the image is still there
	Build  *Build            // the newest one that made it; nil for images from outside
	Places []ImageDeployment // where it serves and served
}

// FullName is the repository's name as people and machines elsewhere write it, such as ghcr.io/acme/shop.
func (r ImageRepository) FullName() string { return r.Host + "/" + r.Name }

// Image is a manifest of a repository as lists show it.
type Image struct {
	Registry     string // the slug of its registry; empty: the embedded one
	Host         string // the first part of its full name, such as ghcr.io
	Repository   string // such as payments/checkout
	Digest       string // empty where the registry did not tell it in time
	TeamID       string // who owns the repository; empty in an external registry
	PushID       string // sorts by the last push; empty in an external registry
	MediaType    string
	Tags         []ImageTag // those that point at it now
	Platforms    []string
	Size         int64      // compressed bytes
	PushedAt     time.Time  // zero where the registry does not tell it
	MadeAt       *time.Time // what its config says; set for images of external registries alone
	PushedByName string
	App          *App              // the app that the repository belongs to
	Build        *Build            // the newest build that made it; nil for images from outside
	Running      []ImageDeployment // where it serves now
}

// FullName is the name of the image's repository with its host.
func (i Image) FullName() string { return i.Host + "/" + i.Repository }

// ImageTag is a tag that points at an image.
type ImageTag struct {
	Name        string
	MovedAt     time.Time
	MovedByName string
}

// ImageDeployment is a place where an image serves or served.
type ImageDeployment struct {
	DeploymentID    string
	Number          int64
	AppID           string
	AppName         string
	EnvironmentID   string
	EnvironmentName string
	State           DeploymentState
	Active          bool
	Stopped         bool
	Repository      string // with the registry's host, as it was deployed
	Digest          string
	URL             string
	CreatedByName   string
	CreatedAt       time.Time
}

// ImagePassport is everything that is known about an image.
type ImagePassport struct {
	Image
	Others       []string // other repositories with the same digest that the reader may see
	Content      []byte   // the manifest as it was pushed
	Annotations  map[string]string
	ArtifactType string             // what it is, where it is no container image
	Kind         string             // the artifact's type in words
	Files        []ImageFile        // that the manifest names, the config first
	Subject      string             // the digest of what it is about; empty for most
	Images       []ImagePlatform    // for an index: what it holds, without attestations
	Platform     string             // for an index: the platform whose config and layers are shown
	Shown        string             // the digest of the image whose config and layers are shown
	Indexes      []string           // digests of the indexes that hold it
	Referrers    []ImageReferrer    // signatures, bills of materials and the like
	Config       *ImageConfig       // of the image, for an index of its first platform; nil for artifacts
	ConfigDigest string             // of the image that is shown
	Layers       []ImageLayer       // likewise
	Base         *ImageBase         // what it was built on, where it says so
	Unread       string             // why a part of it could not be read, for people; empty: all was
	Builds       []Build            // every build that made it, newest first
	Deployments  []ImageDeployment  // where it serves and served, newest first
	Moves        []RegistryTagEvent // tags that came to it, newest first
	Pulls        ImagePulls
}

// ImagePlatform is one image of an index.
type ImagePlatform struct {
	Platform  string // empty for what is no image of a platform, such as another index
	MediaType string
	Digest    string
	Size      int64 // compressed bytes; of an index that of its manifest
}

// ImageBase is the image that another one was built on.
type ImageBase struct {
	Name   string // such as docker.io/library/debian:12
	Digest string
}

// ImageReferrer is an artifact about an image.
type ImageReferrer struct {
	Digest       string // of its manifest
	ArtifactType string
	Kind         string // in words, such as "SBOM (SPDX)"
	About        string // the digest that it is about: the image, or one of an index
	Size         int64
	Via          string // how it was found: subject, index (BuildKit) or tag (cosign)
	PushedAt     time.Time
	PushedByName string
	Annotations  map[string]string
	Files        []ImageFile // what it holds, as far as it was looked at
}

// ImageFile is a file of an image or an artifact that may be opened.
type ImageFile struct {
	Digest    string
	MediaType string
	Kind      string // in words
	Title     string // the file's name, where it has one
	Size      int64
}

// ImageConfig is how an image runs.
type ImageConfig struct {
	Platform     string
	Created      *time.Time
	User         string
	WorkingDir   string
	Entrypoint   []string
	Cmd          []string
	Env          []string
	ExposedPorts []string
	Volumes      []string
	StopSignal   string
	Labels       map[string]string
	Healthcheck  []string
}

// ImageLayer is one step of an image's history. Instructions that changed no file have no digest.
type ImageLayer struct {
	Instruction string
	Comment     string
	CreatedAt   *time.Time
	Digest      string
	MediaType   string
	Title       string // the file's name, where an artifact gives it one
	Size        int64  // compressed bytes
	Shared      int    // how many other images that the reader may see have it too, at most MaxShared
}

// MaxShared is where the count of the images that share a layer ends.
const MaxShared = 100
