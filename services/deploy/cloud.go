package deploy

import (
	"context"
	"time"
)

// Identity gives a short-lived token by which a cloud knows this portal: a JWT of the portal as an OpenID Connect issuer
// for the audience. Its subject is target:NAME, for a release target:NAME:team:TEAM:environment:ENVIRONMENT:app:APP.
type Identity func(ctx context.Context, audience string, of Subject) (token string, err error)

// Subject is whom a token speaks for beside its target. The zero Subject is the target as a whole.
type Subject struct {
	Team        string // slug
	Environment string // name
	App         string // name
}

// Subject is whom calls for the release speak for.
func (r Release) Subject() Subject {
	return Subject{Team: r.Team, Environment: r.Environment, App: r.App}
}

// Inspector is a Target that can look for more than Check before anything is touched: the permissions that a rollout
// needs, quotas, the network, the registry that it pulls from.
type Inspector interface {
	// Inspect looks whether the release could be rolled out, and changes nothing. The release has no id and no
	// variables. What is wrong is a Check that is not OK and says what to do, such as the name of the permission that
	// is missing; an error is a fault of the connection.
	Inspect(ctx context.Context, r Release) ([]Check, error)
}

// Splitter is a Target that can send a part of an app's visitors to a new release while the release that served before
// has the others.
type Splitter interface {
	// Split sends about percent of a hundred visitors to the release, and the others to the release of its app in its
	// environment to which Route was called last. It is called once Wait has returned, with a percent that grows and
	// may come again; 0 takes all visitors away from the release, as before its first call. Where nothing served
	// before, it does nothing. Route ends the split: all visitors go to the release then.
	Split(ctx context.Context, r Release, percent int) error
}

// Resource is one thing that a target made for a release, its app or its environment.
type Resource struct {
	Kind string // as its provider calls it, such as Task definition
	Name string
	Link string // into the provider's console; empty where it has no page
}

// Ledger is a Target that tells what it made, in the place where it made it.
type Ledger interface {
	// Resources lists what was made for the release and what its app and environment keep beside it.
	Resources(ctx context.Context, release string) ([]Resource, error)
}

// Event is something that a provider says happened to a release.
type Event struct {
	At      time.Time
	Object  string // what it happened to, such as Service checkout
	Text    string
	Warning bool
}

// Reporter is a Target whose provider tells what happens to a release.
type Reporter interface {
	// Events returns what happened to the release lately, the newest first, at most 100.
	Events(ctx context.Context, release string) ([]Event, error)
}

// Destroyer is a Target that keeps something for itself beside its releases and environments, such as a cluster or a
// virtual machine.
type Destroyer interface {
	// Keeps lists what Destroy would remove now, for the admin who is about to delete the target.
	Keeps(ctx context.Context) ([]Resource, error)
	// Destroy removes everything that carries the target's id. It is called once the target was deleted, which no
	// environment used any more, and again until it succeeds; what is gone already is no error.
	Destroy(ctx context.Context) error
}
