package models

import (
	"fmt"
	"slices"
	"time"
)

// BuildState is where a build stands.
type BuildState string

// The states of a build.
const (
	BuildWaiting   BuildState = "waiting" // for somebody to approve its commit
	BuildQueued    BuildState = "queued"
	BuildRunning   BuildState = "running"
	BuildSucceeded BuildState = "succeeded"
	BuildFailed    BuildState = "failed"
	BuildCanceled  BuildState = "canceled"
)

var buildMoves = map[BuildState][]BuildState{
	BuildWaiting: {BuildQueued, BuildCanceled},
	BuildQueued:  {BuildRunning, BuildCanceled, BuildFailed},
	BuildRunning: {BuildSucceeded, BuildFailed, BuildCanceled, BuildQueued}, // back to the queue when its worker died
}

// Ended tells whether the build will not change any more.
func (s BuildState) Ended() bool { return len(buildMoves[s]) == 0 }

// CanBecome tells whether a build may move from s to next.
func (s BuildState) CanBecome(next BuildState) bool { return slices.Contains(buildMoves[s], next) }

// RefPullRequest is the kind of a build's ref that names a pull request, such as refs/pull/7/head.
const RefPullRequest = "pull_request"

// BuildTrigger says what asked for a build.
type BuildTrigger string

// The triggers of builds.
const (
	TriggerManual      BuildTrigger = "manual"       // a click, or a call of the API
	TriggerPush        BuildTrigger = "push"         // a webhook about a push
	TriggerPullRequest BuildTrigger = "pull_request" // a webhook about a pull or merge request
	TriggerSchedule    BuildTrigger = "schedule"
	TriggerForge       BuildTrigger = "forge" // a run that began at the forge by itself
)

// Lease says which worker process carries a build or a deployment. It holds as
// long as that worker says that it lives; afterwards another may take over.
// Every write of the work is conditional on the worker still holding the lease.
type Lease struct {
	Worker  string // the worker's id; empty: nobody's
	Attempt int    // how many workers have begun it
}

// BuildError says why a build failed: first for people, then with evidence.
type BuildError struct {
	Class      string   `json:"class"`          // user, infrastructure, timeout, canceled
	Message    string   `json:"message"`        // one or two sentences
	Step       string   `json:"step,omitempty"` // the step's id
	Dockerfile string   `json:"dockerfile,omitempty"`
	Line       int      `json:"line,omitempty"` // 1-based
	EndLine    int      `json:"end_line,omitempty"`
	Source     []string `json:"source,omitempty"` // the Dockerfile's lines from Line to EndLine
	Output     []string `json:"output,omitempty"` // the command's last lines
	ExitCode   int      `json:"exit_code,omitempty"`
}

// Build is one run that turns an app at a commit into an image.
type Build struct {
	ID                string `gorm:"primaryKey"`
	TeamID            string
	AppID             string
	Number            int64
	State             BuildState
	Ref               string // as asked: a branch, a tag or a commit
	RefKind           string // branch, tag, commit or pull_request
	Commit            string
	CommitSubject     string
	CommitAuthor      string
	NoCache           bool
	Builder           BuilderKind `gorm:"default:buildkit"` // this and what follows: the app's settings, frozen when the build was queued
	Dockerfile        string
	Context           string
	TimeoutSeconds    int
	Settings          BuildSettings `gorm:"serializer:json"` // the same
	Engine            string        // where it runs or ran: a build engine's id, or the address of one of the configuration
	EngineName        string        // for people
	RetryOf           *string
	Trigger           BuildTrigger
	DeliveryID        string      // the webhook that asked for it
	PullRequest       PullRequest `gorm:"embedded;embeddedPrefix:pull_request_"`
	Untrusted         bool        // code of strangers: it gets no secret and moves no tag but its own
	ApprovedBy        string      // user id of who let the commit of a stranger be built
	ApprovedByName    string
	ApprovedAt        *time.Time
	CreatedBy         string // user id, empty for tokens of a team
	CreatedByName     string
	QueuedAt          time.Time
	FrontAt           *time.Time // when an admin moved it to the front of the queue
	StartedAt         *time.Time
	FinishedAt        *time.Time
	CancelRequestedAt *time.Time
	CanceledBy        string // the name of the person who asked for it
	Lease             `gorm:"embedded"`
	ImageRepository   string // such as localhost:8080/payments/checkout-api
	ImageDigest       string
	ImageTags         []string    `gorm:"serializer:json"`
	ImageSize         int64       // compressed bytes
	Error             *BuildError `gorm:"serializer:json"`
	Warnings          []string    `gorm:"serializer:json"`
	CreatedAt         time.Time
	App               *App         `gorm:"foreignKey:AppID"`
	Steps             []BuildStep  `gorm:"foreignKey:BuildID"`
	WorkflowRun       *WorkflowRun `gorm:"foreignKey:BuildID"` // where GitHub Actions carries it
}

// Move changes the state, or says why it can't.
func (b *Build) Move(next BuildState) error {
	if !b.State.CanBecome(next) {
		return Errorf(Conflict, "Build #%d is %s and can't become %s.", b.Number, b.State, next)
	}
	b.State = next
	return nil
}

// Title is what people call the build.
func (b *Build) Title() string { return fmt.Sprintf("#%d", b.Number) }

// StepState is where a step of a build stands.
type StepState string

// The states of a step.
const (
	StepPending   StepState = "pending"
	StepRunning   StepState = "running"
	StepSucceeded StepState = "succeeded"
	StepCached    StepState = "cached"
	StepFailed    StepState = "failed"
	StepCanceled  StepState = "canceled"
)

// BuildStep is one step of a build's timeline: Slipway's own (queue, check out,
// push) and each vertex of the build engine.
type BuildStep struct {
	BuildID    string `gorm:"primaryKey"`
	ID         string `gorm:"primaryKey"` // stable within the build: "checkout", or the vertex digest
	Seq        int    // order of first appearance
	Name       string
	Stage      string // the Dockerfile stage, where known
	State      StepState
	Cached     bool
	Line       int // the Dockerfile line, where known
	StartedAt  *time.Time
	FinishedAt *time.Time
	DurationMS int64 // the sum of its intervals
	Error      string
	Inputs     []string `gorm:"serializer:json"` // the ids of the steps that this one waits for
}
