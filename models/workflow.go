package models

import "time"

// BuilderActions builds in GitHub Actions.
const BuilderActions BuilderKind = "github-actions"

// Title is what people call the builder.
func (k BuilderKind) Title() string {
	if k == BuilderActions {
		return "GitHub Actions"
	}
	return "BuildKit"
}

// Destination is where a workflow pushes the image.
type Destination string

// The destinations of images.
const (
	DestinationPortal Destination = "portal" // this portal's own registry
	DestinationGHCR   Destination = "ghcr"   // GitHub's registry
	DestinationECR    Destination = "ecr"    // Amazon Elastic Container Registry
	DestinationGAR    Destination = "gar"    // Google Artifact Registry
	DestinationACR    Destination = "acr"    // Azure Container Registry
)

// WorkflowCache is where a workflow keeps the layers that the next run may use again.
type WorkflowCache string

// The caches of workflows.
const (
	WorkflowCacheActions  WorkflowCache = "actions"  // GitHub's cache of the repository
	WorkflowCacheRegistry WorkflowCache = "registry" // beside the image, under the tag buildcache
	WorkflowCacheNone     WorkflowCache = "none"
)

// Workflow says how GitHub Actions builds an app and which of its runs the
// portal trusts: those of one repository, known by the number that GitHub
// never gives to another one, of one file, from certain refs.
type Workflow struct {
	AppID       string `gorm:"primaryKey"`
	TeamID      string
	Issuer      string   // of the runs' OpenID Connect tokens
	Repository  string   // owner/name, as GitHub spells it
	GitHubID    int64    `gorm:"column:github_id"` // the repository's number
	Path        string   // of the file: .github/workflows/slipway-checkout.yml
	Refs        []string `gorm:"serializer:json"` // globs of branches, or of refs/…; empty: the default branch
	Environment string   // of GitHub; where set, only jobs in it are trusted
	Destination Destination
	Image       string            // where Destination is not the portal: the image's name without a tag
	Settings    map[string]string `gorm:"serializer:json"` // what the destination's login asks for
	Cache       WorkflowCache
	OnPush      bool   // the workflow runs on pushes by itself
	PullURL     string // of the last pull request with the file
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Exchange is one attempt of a run to exchange its OpenID Connect token for a
// credential (RFC 8693).
type Exchange struct {
	ID          string `gorm:"primaryKey"` // also the id of the workload that it made
	TeamID      string
	AppID       string
	Granted     bool
	Reason      string // why not, for people
	Issuer      string
	Repository  string
	GitHubID    int64  `gorm:"column:github_id"`
	Ref         string // such as refs/heads/main
	Commit      string
	Event       string // such as push
	Workflow    string // job_workflow_ref
	Environment string
	Actor       string
	RunID       int64
	RunAttempt  int64
	ExpiresAt   *time.Time // of the credential
	CreatedAt   time.Time
}

// SpentToken is a token that was exchanged and may not be again. It is kept until the token has expired.
type SpentToken struct {
	Issuer    string `gorm:"primaryKey"`
	TokenID   string `gorm:"primaryKey"` // jti
	ExpiresAt time.Time
}

// WorkflowRun is the run in GitHub Actions that carries a build.
type WorkflowRun struct {
	BuildID         string `gorm:"primaryKey"`
	AppID           string
	Repository      string // owner/name
	GitHubID        int64  `gorm:"column:github_id"` // the repository's number
	Path            string // of the workflow's file
	RunID           int64  // 0 until GitHub has said which run it is
	RunAttempt      int64
	URL             string     // of the run's page
	DispatchedAt    *time.Time // set before GitHub is asked to start a run, which happens once
	NudgedAt        *time.Time // when a webhook or a report last said that something changed
	ReportedAt      *time.Time // when the run said what it pushed
	Logged          []int64    `gorm:"serializer:json"` // jobs whose logs are in the build's
	ImageRepository string
	ImageDigest     string
	ImageTags       []string   `gorm:"serializer:json"`
	VerifiedAt      *time.Time // when the digest was found in a connected registry
	Verification    string     // why it could not be verified, for people; empty: it was, or nobody has tried
	CreatedAt       time.Time
}
