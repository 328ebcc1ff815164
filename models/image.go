package models

import "time"

// ImageRepository is a line of the list of repositories: a name that images are pushed to.
type ImageRepository struct {
	Name    string // such as payments/checkout
	TeamID  string
	PushID  string // sorts by the last push
	App     *App   // the app whose builds go here; nil for images that come from outside
	Latest  *Image // the image pushed last
	Tags    int64  // how many there are
	Size    int64  // bytes that its blobs take
	Running []ImageDeployment
	Public  bool       // anybody may pull, without a login
	Pulls   ImagePulls // known of one repository, not in lists
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

// Image is a manifest of a repository as lists show it.
type Image struct {
	Repository   string // such as payments/checkout
	Digest       string
	TeamID       string
	PushID       string // sorts by the last push
	MediaType    string
	Tags         []ImageTag // those that point at it now
	Platforms    []string
	Size         int64 // compressed bytes
	PushedAt     time.Time
	PushedByName string
	App          *App              // the app that the repository belongs to
	Build        *Build            // the newest build that made it; nil for images from outside
	Running      []ImageDeployment // where it serves now
}

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
	Others      []string // other repositories with the same digest that the reader may see
	Content     []byte   // the manifest as it was pushed
	Annotations map[string]string
	Images      []ImagePlatform    // for an index: the image of each platform
	Indexes     []string           // digests of the indexes that hold it
	Referrers   []ImageReferrer    // signatures, bills of materials and the like
	Config      *ImageConfig       // of the image, for an index of its first platform; nil for artifacts
	Layers      []ImageLayer       // likewise
	Builds      []Build            // every build that made it, newest first
	Deployments []ImageDeployment  // where it serves and served, newest first
	Moves       []RegistryTagEvent // tags that came to it, newest first
	Pulls       ImagePulls
}

// ImagePlatform is one image of an index.
type ImagePlatform struct {
	Platform string
	Digest   string
	Size     int64
}

// ImageReferrer is an artifact about an image.
type ImageReferrer struct {
	Digest       string
	ArtifactType string
	Size         int64
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
	Size        int64 // compressed bytes
}
