package deploy

import (
	"context"
	"fmt"
	"iter"
	"net"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
)

// Field is one setting of a kind of target; the admin's form is drawn from it.
type Field struct {
	Name     string
	Label    string
	Help     string
	Example  string
	Group    string // heading that it and those after it stand below; empty: the one before
	Secret   bool   // encrypted at rest and never shown again
	Required bool
	Lines    int  // of a text that has several; 0: one
	Check    bool // a box to check: "true" or empty
	Made     bool // by the kind's Prepare, and shown for copying; nobody enters it
	Registry bool // the id of a registry of the portal's, chosen from a list
	Price    bool // what one of the kind's Prices is for this target
}

// Config is what a Kind opens a target with.
type Config struct {
	ID       string // the target's id: instances are labelled with it, so that two portals may share an engine
	Name     string // for people, and in the subject of Identity's tokens
	Settings map[string]string
	Secrets  map[string]string
	Identity Identity // nil where the portal is no issuer
}

// Kind is a way to run containers: its settings and how to open a target with
// them. The list of kinds stands in cmd.
type Kind struct {
	Name   string // such as docker
	Title  string
	Help   string
	Fields []Field
	// Volumes tells that its targets are VolumeKeepers.
	Volumes bool
	// Restarts tells that its targets start instances again as their Runtime says;
	// others always do.
	Restarts bool
	// Pulls says that targets of the kind get an image only when an instance
	// starts, so that Wait takes the time of Fetch too.
	Pulls bool
	// Routes says that targets of the kind send visitors to a release themselves
	// (Target.Route). Slipway then keeps no host name for it, and no proxy serves it.
	Routes bool
	// Domains says that targets of a kind that Routes are DomainKeepers. Where they are not, visitors come to an app at
	// no other host than the one that its target gives.
	Domains bool
	// Splits says that visitors can be moved to a new release in steps. Where the
	// kind Routes its targets are Splitters; elsewhere Slipway's own proxy does it.
	Splits bool
	// Means says that what Target.Usage tells of an instance is the mean of all
	// instances of its release, because the provider tells of none by itself.
	Means bool
	// Heals says that targets of the kind replace instances by themselves, so that
	// they come and go while a release serves.
	Heals bool
	// Mirrors says that targets of the kind pull from registries of their provider
	// best: each may have a registry of Slipway's to which a rollout copies the
	// image first, by digest. Release.Image is that copy then.
	Mirrors bool
	// Prices are the provider's list prices that Estimate counts with; none: what
	// an app costs is not known.
	Prices []Price
	// PricesOf says which of the provider's lists Prices are of, such as its region:
	// US East (N. Virginia).
	PricesOf string
	// Estimate tells what an app costs; nil where there are no Prices.
	Estimate Estimator
	// Federation names the cloud whose token service trusts Config.Identity's
	// tokens, so that a target of the kind needs no stored key: aws, google or
	// azure. Empty: the kind knows no such trust.
	Federation string
	// Machines says that targets of the kind are virtual machines of Federation's
	// cloud, which take other rights there than its container service.
	Machines bool
	// Prepare completes what an admin entered before it is stored, such as by
	// making a key pair. Nil: there is nothing to complete.
	Prepare func(settings, secrets map[string]string) error
	// CloudInit returns the user data that makes a new machine a host of the target
	// with the settings. Nil: that is not how places of the kind are made.
	CloudInit func(settings map[string]string) (string, error)
	// Open checks the settings and connects lazily: it must not fail because
	// the target does not answer now. A setting that is wrong is a *models.Error.
	Open func(Config) (Target, error)
}

// Target is an open place that runs containers.
//
// A rollout calls Fetch, Start and Wait, in this order, then Route, sends requests
// to the new instances, and calls Remove for the release that served before. Any
// of the calls may come again for the same release, from another process too,
// after a worker died in the middle: each finds what is there by the release's
// id and goes on from it, so that a release never has instances twice.
//
// All methods may be called at once for different releases. Each returns soon
// after its context ends; what is half done then is undone by Remove. A failure
// that a person can do something about is a *Failure; every other error is a
// fault of Slipway or its target's connection.
//
// A target touches nothing that does not carry its own labels.
type Target interface {
	// Check reaches the target and tells what it is.
	Check(ctx context.Context) (Info, error)
	// Fetch makes the image ready to start. It asks the source for a credential
	// only where the target lacks the image.
	Fetch(ctx context.Context, image Image, from Source, say func(string)) error
	// Start makes the release's instances run beside what runs already. No
	// request reaches them yet through Slipway. It does not wait for health.
	Start(ctx context.Context, r Release) error
	// Run runs the release's command in an instance of its own, beside what runs
	// already, and returns once it has ended well; a *Failure with its exit code
	// and last lines where it has not. Say takes what it prints. Called again
	// for the release it goes on with the run that there is or was.
	Run(ctx context.Context, r Release, say func(string)) error
	// Wait returns the release's instances once all are healthy, a *Failure as
	// soon as one ends or ctx's deadline passes. Say takes the transcript of
	// what was asked and answered.
	Wait(ctx context.Context, r Release, say func(string)) ([]Instance, error)
	// Route sends visitors to the release, and to no other one of its app in its
	// environment, where the target itself does so, and returns the address at
	// which they come. It is called once Wait has returned, and again until it
	// has succeeded, while the release before still runs. A target whose visitors
	// come through Slipway's proxy returns "" and does nothing.
	Route(ctx context.Context, r Release) (url string, err error)
	// List returns all instances of the target, of whatever release, as they are now.
	List(ctx context.Context) ([]Instance, error)
	// Logs yields the lines of the release's instances after the time, oldest
	// first, at most the last tail of them where tail is not 0; with follow it goes on until
	// ctx or the instances end.
	Logs(ctx context.Context, release string, o LogOptions) iter.Seq2[LogLine, error]
	// Usage returns what each running instance takes now, with no more load on
	// the target than one question for each. A target that can't tell returns an
	// empty list; an instance of which nothing is known yet is left out.
	Usage(ctx context.Context) ([]Usage, error)
	// Dial connects to an address at which an instance answers (Instance.Address),
	// in the way in which alone it can be reached from here.
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	// Remove stops the release's instances, giving each the time to end by
	// itself, and removes all that the release left. What is gone already is no error.
	Remove(ctx context.Context, release string, grace time.Duration) error
	// Close frees the connection.
	Close() error
}

// Info is what a target says of itself.
type Info struct {
	Version  string // such as Docker Engine 28.5
	Platform string // such as linux/amd64; empty where instances may run anywhere
	CPU      int64  // thousandths of a processor that one instance can get; 0: not known
	Memory   int64  // bytes that one instance can get; 0: not known
	Disk     int64  // free bytes for images and volumes; 0: not known
	// SingleMount says that a volume can be had on one of its machines at a time.
	SingleMount bool
	// HealthCheck says that the target runs an image's own HEALTHCHECK.
	HealthCheck bool
	// Autoscales says that the target changes the number of instances by their load (Scale.Max).
	Autoscales bool
}

// Image is what a release runs, always by digest.
type Image struct {
	Repository string // such as localhost:8080/payments/checkout
	Digest     string // sha256:…
}

// Ref is the image's full name.
func (i Image) Ref() string { return i.Repository + "@" + i.Digest }

// Source is the registry that an image comes from.
type Source struct {
	// Credential gives what an engine pulls with, short-lived where the registry
	// has such; both are empty where anybody may pull. It stays nowhere.
	Credential func(ctx context.Context) (username, password string, err error)
	// Open gives the image's repository to this process, with the options to
	// read it. It is the only way to it: the options keep the credential from other hosts.
	Open func(ctx context.Context) (name.Repository, []remote.Option, error)
}

// Release is a deployment as its target sees it.
type Release struct {
	ID            string // the deployment's id
	Name          string // a DNS label of at most 63 characters, unique in the target, readable; it ends in the id's last 12
	Team          string // slug
	App           string // name
	AppID         string // with EnvironmentID it says whose the volumes are
	Environment   string // name
	EnvironmentID string // instances of one environment reach each other, and nobody else's
	Image         Image
	From          Source            // for a target that pulls the image only when an instance starts
	Env           map[string]string // variables and opened secrets: never to be logged
	Plain         []string          // names in Env that are no secrets
	Port          int
	Health        models.HealthKind
	HealthPath    string
	Scale         models.Scale // at least one instance
	Command       []string     // what Run runs, in place of the image's own command
	// Patience is how long instances may take to get healthy once they have their
	// image. Only targets whose kind Pulls count it apart; ctx's deadline bounds all.
	Patience time.Duration
	// Runtime is what instances keep, what they get of the host, and when they are started again. That a target may
	// give it was looked at before; a target still looks where a host path leads.
	models.Runtime
}

// Instance is one running or ended thing of a release, as its target sees it.
type Instance struct {
	ID        string // in the target
	Release   string
	Replica   int // which of the release's instances, from 1
	Name      string
	Address   string // host:port that answers requests; empty while it does not run
	State     models.InstanceState
	Message   string // why it is not healthy, for people
	Restarts  int
	ExitCode  *int
	StartedAt *time.Time
}

// Usage is what a running instance takes now.
type Usage struct {
	Instance string // its ID in the target
	CPU      int64  // thousandths of a processor
	Memory   int64  // bytes, without what the system would give back at once
}

// LogOptions says which lines of a log are wanted.
type LogOptions struct {
	After time.Time // only lines after it; zero: all
	// AfterOf, where it has an instance's ID, goes before After for that instance. Targets that don't tell lines of one
	// instance from those of another may leave it.
	AfterOf map[string]time.Time
	Tail    int // at most the last so many; 0: all
	Follow  bool
	// Opened, where set, is called for each instance once its log is open: with
	// Follow, nothing that it writes from then on is missed.
	Opened func()
}

// LogLine is one line that an instance wrote.
type LogLine struct {
	At       time.Time
	Replica  int    // which of the release's instances wrote it, from 1; another one once an instance has gone
	Instance string // its ID in the target; empty where the target does not tell
	Stderr   bool
	Text     string
}

// Stages of a rollout that can fail.
const (
	StageCheck   = "check"
	StageImage   = "image"
	StageCommand = "command"
	StageStart   = "start"
	StageHealth  = "health"
	StageShift   = "shift"
	StageTarget  = "target"
	StageTimeout = "timeout"
)

// Failure is an end of a rollout that a person can understand, with evidence.
type Failure struct {
	models.DeploymentError
	Err error // the cause, for logs only
}

func (f *Failure) Error() string {
	if f.Err != nil {
		return fmt.Sprintf("%s: %s: %v", f.Stage, f.Message, f.Err)
	}
	return f.Stage + ": " + f.Message
}

func (f *Failure) Unwrap() error { return f.Err }

// Failf returns a *Failure of the stage with a message for people.
func Failf(stage string, err error, format string, args ...any) *Failure {
	return &Failure{DeploymentError: models.DeploymentError{Stage: stage, Message: fmt.Sprintf(format, args...)}, Err: err}
}
