// Package vm runs deployments on a virtual machine that Slipway makes for the
// target: at the first rollout it asks the provider for one, with a cloud-init
// that installs Docker and lets Slipway in, and from then on the machine is a
// host of Docker over SSH.
//
// A target has one machine. It is found by the target's id, which all that is
// made carries; nothing else of the account is touched.
package vm

import (
	"context"
	"errors"
	"net/http"
	"time"

	"slipway.dev/services/deploy"
)

// Options are the same for all targets of a kind.
type Options struct {
	// Client calls the provider. Nil: one that follows no redirects.
	Client *http.Client
	// SSHPort is where machines listen. Empty: 22.
	SSHPort string
	// Every is the time between two looks at a machine that is being made. 0: 5 seconds.
	Every time.Duration
	// Patience is how long it may take until Docker answers on a new machine. 0: 10 minutes.
	Patience time.Duration
}

const (
	callTime  = 30 * time.Second // for one call to a provider
	answerMax = 4 << 20          // bytes of an answer
)

func (o Options) orDefaults() Options {
	if o.Client == nil {
		o.Client = &http.Client{Timeout: callTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if o.SSHPort == "" {
		o.SSHPort = "22"
	}
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Minute
	}
	return o
}

// errNoMachine says that the provider has no machine of the target.
var errNoMachine = errors.New("the target has no machine")

// States of a machine.
const (
	stateStarting = "starting"
	stateRunning  = "running"
	stateStopped  = "stopped"
)

// machine is a virtual machine as its provider describes it.
type machine struct {
	Name    string // as the provider's console shows it
	State   string
	Address string // at which SSH is to answer; empty while there is none
	Link    string // into the provider's console
	Output  string // where a person finds what the machine printed while it started
}

// provider makes and finds the machine of one target. Errors that a person can do something about are *deploy.Failure.
type provider interface {
	// String is the provider's name for people.
	String() string
	// Find returns the target's machine, or errNoMachine.
	Find(ctx context.Context) (machine, error)
	// Make asks for the target's machine with the user data, and makes what it needs beside. It returns once the
	// provider has taken the order. Called again, from another process too, it goes on, and never makes a second one.
	Make(ctx context.Context, userData string, say func(string)) error
	// Adjust makes what may change around a machine that there is, such as its firewall, as the settings say.
	Adjust(ctx context.Context) error
	// Inspect looks whether a machine could be made, without making anything.
	Inspect(ctx context.Context) ([]deploy.Check, error)
	// Keeps lists all that there is of the target.
	Keeps(ctx context.Context) ([]deploy.Resource, error)
	// Destroy removes all that there is of the target, and waits until it is gone.
	Destroy(ctx context.Context) error
}

// silence is an API that did not answer.
type silence struct{ err error }

func (s *silence) Error() string { return "no answer: " + s.err.Error() }
func (s *silence) Unwrap() error { return s.err }

// unanswered tells whether the error is that an API did not answer.
func unanswered(err error) bool {
	s := new(silence)
	return errors.As(err, &s)
}

// noIssuer stands in for the portal's tokens where it makes none: what needs one fails with the words.
func noIssuer(words string) deploy.Identity {
	return func(context.Context, string, deploy.Subject) (string, error) {
		return "", deploy.Failf(deploy.StageTarget, nil, "%s", words)
	}
}
