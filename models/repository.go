package models

import "time"

// RepositoryState says whether a repository could be read.
type RepositoryState string

// The states of a repository.
const (
	RepositoryPending  RepositoryState = "pending"  // registered, the first fetch is queued
	RepositoryFetching RepositoryState = "fetching" // a worker reads it now
	RepositoryReady    RepositoryState = "ready"    // the mirror is there
	RepositoryFailed   RepositoryState = "failed"   // the last fetch failed; Error says why
)

// CredentialKind says how a repository is read.
type CredentialKind string

// The kinds of credentials.
const (
	CredentialNone  CredentialKind = "none"
	CredentialToken CredentialKind = "token" // user name and token over http(s)
	CredentialSSH   CredentialKind = "ssh"   // a deploy key
)

// Repository is a registered git repository.
type Repository struct {
	ID                  string `gorm:"primaryKey"`
	TeamID              string
	Name                string
	CloneURL            string
	DefaultBranch       string
	CredentialKind      CredentialKind
	CredentialUser      string
	CredentialSecret    []byte // encrypted token or private key
	CredentialPublic    string // the deploy key's public half
	HostKey             string // the ssh host key pinned at first contact
	ConnectionID        *string
	ExternalID          string // the repository's id at its connection's forge; empty: not known yet
	State               RepositoryState
	Error               string // why the last fetch failed, for people
	FetchedAt           *time.Time
	CreatedBy           string
	CreatedAt           time.Time
	UpdatedAt           time.Time
	Team                *Team                `gorm:"foreignKey:TeamID"`
	Connection          *Connection          `gorm:"foreignKey:ConnectionID"`
	Refs                []Ref                `gorm:"foreignKey:RepositoryID"`
	DetectedDockerfiles []DetectedDockerfile `gorm:"foreignKey:RepositoryID"`
}

// RefKind tells a branch from a tag.
type RefKind string

// The kinds of refs.
const (
	RefBranch RefKind = "branch"
	RefTag    RefKind = "tag"
)

// Ref is a branch or tag as the last fetch saw it.
type Ref struct {
	RepositoryID string  `gorm:"primaryKey"`
	Kind         RefKind `gorm:"primaryKey"`
	Name         string  `gorm:"primaryKey"`
	Commit       string
	Subject      string
	Author       string
	CommittedAt  time.Time
}

// DetectedDockerfile is a Dockerfile that the last fetch found on the default
// branch, with the app that Slipway proposes for it.
type DetectedDockerfile struct {
	RepositoryID string `gorm:"primaryKey"`
	Path         string `gorm:"primaryKey"`
	Name         string // the proposed app name
	Context      string
	Port         int
}

// BuilderKind names what runs builds.
type BuilderKind string

// BuilderBuildKit builds with a Docker Engine's BuildKit.
const BuilderBuildKit BuilderKind = "buildkit"

// HealthKind says how an instance proves that it is healthy.
type HealthKind string

// The kinds of health checks.
const (
	HealthHTTP  HealthKind = "http"  // GET HealthPath answers 2xx or 3xx
	HealthTCP   HealthKind = "tcp"   // Port accepts a connection
	HealthImage HealthKind = "image" // the image's HEALTHCHECK says healthy
)

// App is one Dockerfile in a repository: it builds to one image and deploys to environments.
type App struct {
	ID              string `gorm:"primaryKey"`
	TeamID          string // the repository's, kept here so that every query can be scoped by team
	RepositoryID    string
	Name            string
	Dockerfile      string
	Context         string
	Builder         BuilderKind
	RegistryID      string // where its images go; empty: the embedded registry
	ImageRepository string // in an external registry, such as acme/shop; empty in the embedded one, where it is TEAM/APP
	Port            int    // what the container listens on; 0: the image's EXPOSE, or 8080
	Health          HealthKind
	HealthPath      string
	Protocol        Protocol      // what it speaks on its port
	ReleaseCommand  string        // runs once before a new version takes over; empty: none
	BuildTimeout    int           // seconds
	WorkerLabels    Labels        // only workers that have all of them build it
	BuildSettings   BuildSettings `gorm:"serializer:json"`
	BuildCount      int64         // the number of the last build
	DeploymentCount int64         // the number of the last deployment
	Triggers        `gorm:"embedded;embeddedPrefix:trigger_"`
	CreatedBy       string
	CreatedAt       time.Time
	UpdatedAt       time.Time
	Team            *Team       `gorm:"foreignKey:TeamID"`
	Repository      *Repository `gorm:"foreignKey:RepositoryID"`
	Registry        *Registry   `gorm:"foreignKey:RegistryID"` // nil for the embedded one
}

// ImageName is where the app's images go, with the host: the embedded registry's for an app that names no other.
// The app needs its team, and its registry where it has one.
func (a *App) ImageName(embedded string) string {
	if a.RegistryID != "" && a.Registry != nil {
		return a.Registry.Host + "/" + a.ImageRepository
	}
	if a.Team == nil {
		return ""
	}
	return embedded + "/" + a.Team.Slug + "/" + a.Name
}
