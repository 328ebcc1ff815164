package builds

import (
	"context"
	"fmt"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/logs"
)

// Builder runs builds of one kind. buildtest.Run is the suite that every kind passes.
//
// Build turns the files of a checkout into an image, pushes it to the repository
// that the request gives, under its digest or the request's tag, and returns the
// digest under which the registry keeps it; annotations and names that move are
// the service's. It says what happens through emit, never from two goroutines at
// once; emit does not block.
//
// What the request asks for and the engine lacks is a failure before anything is
// built, never left out silently; a cache that can't be kept is a warning.
//
// Secrets are given to the commands that mount them and are nowhere else: not in
// the image, its history and provenance, the events, or what the engine keeps.
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
	Engine        string   // such as "Docker 20.10.24"
	Platforms     []string // that it builds for, its own first; empty where it does not say
	Labels        map[string]string
	Heredoc       bool // here-documents in Dockerfiles
	SourceErrors  bool // names the failing line by itself
	MultiPlatform bool // several platforms in one image
	RegistryCache bool // keeps the cache of all steps in a registry; otherwise inside of the image, of its last stage
	Provenance    bool
	SBOM          bool
}

// Lacks says in one sentence what the request needs and the engine can't do, and what helps. It is empty where nothing
// is lacking, as far as that is known without the Dockerfile: which platforms its commands run on is the builder's to find out.
func (c Capabilities) Lacks(r Request) string {
	const help = "Build on a newer engine (Docker with the containerd image store, or a buildkitd, which an admin adds under Build engines), or change the app's build settings."
	switch {
	case len(r.Platforms) > 1 && !c.MultiPlatform:
		return fmt.Sprintf("The engine (%s) can't build several platforms (%s) into one image. %s", c.Engine, strings.Join(r.Platforms, ", "), help)
	case r.Provenance && !c.Provenance:
		return fmt.Sprintf("The engine (%s) can't attach provenance. %s", c.Engine, help)
	case r.SBOM && !c.SBOM:
		return fmt.Sprintf("The engine (%s) can't attach a bill of materials. %s", c.Engine, help)
	}
	return ""
}

// Request is what to build and where the image goes.
type Request struct {
	BuildID    string
	Dir        string // the checkout; nothing outside of it may be read
	Scratch    string // an empty folder that is removed after the build
	Context    string // the build context, relative to Dir
	Dockerfile string // relative to Dir
	CacheKey   string // builds with the same key may share what was sent to the engine, and cache mounts
	NoCache    bool
	Labels     map[string]string
	Image      Destination
	Bases      Bases // where base images come from instead of their own registries

	Arguments []models.BuildArgument
	Target    string   // a stage; the last where empty
	Platforms []string // the engine's own where empty
	Cache     Cache
	// Provenance and SBOM ask for attestations beside the image.
	Provenance, SBOM bool

	Secrets  []Secret
	Withheld map[string]string // by id: why this build does not get a secret that the app has
	// SecretsKey changes whenever the secrets do. Steps of a Dockerfile that mounts secrets are taken from the cache of
	// builds with the same key alone: engines leave secrets out of their cache keys.
	SecretsKey string
}

// Cache says where else than in the engine the results of steps are kept.
type Cache struct {
	Ref   string // an image name in the request's registry; empty: nowhere
	Write bool   // this build's steps are kept there too
}

// Secret is a value that commands of a build may ask for by its id.
type Secret struct {
	Kind  models.BuildSecretKind
	ID    string
	Value []byte // of an SSH key: its private half in PEM
}

// Event is one thing that happened: a step's change, output, or a warning.
type Event struct {
	At      time.Time
	Step    string                  // the step's id; empty for warnings about the whole build
	State   models.StepState        // set where the step changed; the first event of a step says pending or running
	Name    string                  // with State: what the step does
	Stage   string                  // with State: the Dockerfile stage
	Line    int                     // with State: the Dockerfile line, 0 where unknown
	Inputs  []string                // with State: the ids of the steps that this one waits for
	Error   string                  // with StepFailed
	Stream  logs.Source             // with Output
	Output  []byte                  // as it came, not in whole lines
	Warning string                  // a sentence for people
	File    *models.BuildDockerfile // the Dockerfile and what its checks say, once it was read
}

// Result is the image that was pushed.
type Result struct {
	// InlineCache says that the image holds the cache of its own steps, so that Cache.Ref is to name it.
	InlineCache bool

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
	Lost bool  // the engine went away; the build may be tried on another one
	Err  error // the cause, for logs only
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
