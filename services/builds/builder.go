package builds

import (
	"context"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/logs"
)

// Builder runs builds of one kind. buildtest.Run is the suite that every kind passes.
//
// Build turns the files of a checkout into an image, pushes it under the one
// name that the request gives, and returns the digest under which the registry
// keeps it; annotations and the other tags are the service's. It says what
// happens through emit, never from two goroutines at once; emit does not block.
//
// Every step that begins ends before Build returns, with exactly one of the
// ended states; a step may begin again after it ended, and its times add up.
//
// When ctx ends, Build returns within two seconds and leaves nothing behind
// that runs. It may be called any number of times at once, and again for a
// build that an earlier process died in. Remote says what is different for
// kinds that build on machines of somebody else.
//
// Failures that a person can do something about are an *Error; any other error
// is Slipway's own fault.
type Builder interface {
	// Capabilities asks the engine what it can do. It fails with an *Error of
	// the class infrastructure where the engine does not answer.
	Capabilities(ctx context.Context) (Capabilities, error)
	Build(ctx context.Context, r Request, emit func(Event)) (*Result, error)
}

// Capabilities is what an engine can do. What it lacks is said before a build that needs it begins.
type Capabilities struct {
	Engine        string // such as "Docker 20.10.24"
	Heredoc       bool   // here-documents in Dockerfiles
	SourceErrors  bool   // names the failing line by itself
	MultiPlatform bool
	RegistryCache bool
	Provenance    bool
}

// Request is what to build and where the image goes.
type Request struct {
	BuildID    string
	Dir        string // the checkout; nothing outside of it may be read
	Scratch    string // an empty folder that is removed after the build
	Context    string // the build context, relative to Dir
	Dockerfile string // relative to Dir
	CacheKey   string // builds with the same key may share what was sent to the engine: the app's id
	NoCache    bool
	Labels     map[string]string
	Image      Destination
}

// Event is one thing that happened: a step's change, output, or a warning.
type Event struct {
	At      time.Time
	Step    string           // the step's id; empty for warnings about the whole build
	State   models.StepState // set where the step changed; the first event of a step says pending or running
	Name    string           // with State: what the step does
	Stage   string           // with State: the Dockerfile stage
	Line    int              // with State: the Dockerfile line, 0 where unknown
	Error   string           // with StepFailed
	Stream  logs.Source      // with Output
	Output  []byte           // as it came, not in whole lines
	Warning string           // a sentence for people
}

// Result is the image that was pushed.
type Result struct {
	Digest     string   // of the manifest as the registry keeps it
	Repository string   // of a Remote: where the image is, such as ghcr.io/acme/checkout
	Tags       []string // of a Remote: its names there
}

// The classes of failures.
const (
	ClassUser           = "user"           // the Dockerfile, the files or the settings
	ClassInfrastructure = "infrastructure" // the engine, the registry, the worker
	ClassTimeout        = "timeout"
	ClassCanceled       = "canceled"
)

// Error is a failed build, in words for people. The service adds the last lines of the failed step.
type Error struct {
	models.BuildError
	Err error // the cause, for logs only
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Class + ": " + e.Message + ": " + e.Err.Error()
	}
	return e.Class + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Failure returns an *Error of the class with a message for people and the cause.
func Failure(class, message string, cause error) *Error {
	return &Error{BuildError: models.BuildError{Class: class, Message: message}, Err: cause}
}
