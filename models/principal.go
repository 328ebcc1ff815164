package models

import (
	"context"
	"slices"
)

// Role is what a member may do in a team. Each role includes those before it.
type Role string

// The roles of a team, lowest first.
const (
	RoleViewer     Role = "viewer"     // reads everything of the team but secrets
	RoleDeveloper  Role = "developer"  // builds, deploys, changes apps and variables
	RoleMaintainer Role = "maintainer" // members, repositories, environments, tokens of the team
)

var roleOrder = []Role{RoleViewer, RoleDeveloper, RoleMaintainer}

// Valid tells whether the role is one of the three.
func (r Role) Valid() bool { return slices.Contains(roleOrder, r) }

// AtLeast tells whether r includes what other may do.
func (r Role) AtLeast(other Role) bool {
	return r.Valid() && slices.Index(roleOrder, r) >= slices.Index(roleOrder, other)
}

// PrincipalKind says how a principal proved who it is.
type PrincipalKind string

// The kinds of principals.
const (
	PrincipalSession PrincipalKind = "session" // a person in a browser
	PrincipalToken   PrincipalKind = "token"   // a personal, team or bootstrap token
	PrincipalSystem  PrincipalKind = "system"  // Slipway itself, in a worker

	// PrincipalWorkload is a run of a CI system that exchanged its own token.
	// It belongs to no team: it may push and pull one repository of images and
	// say what it made.
	PrincipalWorkload PrincipalKind = "workload"

	// PrincipalAnonymous is somebody without a login. The registry alone knows
	// it: it may pull what a team has opened to everybody.
	PrincipalAnonymous PrincipalKind = "anonymous"
)

// Scope limits what a token may do, over and above the roles of whom it stands for.
type Scope string

// The scopes of tokens. A session has all of them.
const (
	ScopeRead          Scope = "read"
	ScopeWrite         Scope = "write"
	ScopeAdmin         Scope = "admin"
	ScopeRegistryRead  Scope = "registry:read"
	ScopeRegistryWrite Scope = "registry:write"
)

// Principal is who a request or a job acts for. It is read anew for every
// request, so a changed role or a disabled user takes effect at once.
type Principal struct {
	Kind   PrincipalKind
	ID     string // the session's or token's id; of the system, what it works on, such as build:ID
	UserID string // empty for team tokens and the system
	Name   string // shown in the audit log
	Admin  bool
	Teams  map[string]Role // by team id
	Scopes []Scope         // nil: all

	Repository string // of a workload: the one repository of images that it may push to, such as payments/checkout
}

// System is the principal of background work. It may do everything.
func System(name string) *Principal {
	return &Principal{Kind: PrincipalSystem, Name: name, Admin: true}
}

// SystemFor is Slipway at work on one thing, such as build:ID or deployment:ID,
// or release:ID, which is the deployment until it serves no more.
// What it is given ends with that thing.
func SystemFor(subject, name string) *Principal {
	return &Principal{Kind: PrincipalSystem, ID: subject, Name: name, Admin: true}
}

// HasScope tells whether the principal's credential carries the scope.
func (p *Principal) HasScope(s Scope) bool { return p.Scopes == nil || slices.Contains(p.Scopes, s) }

// RoleIn returns the principal's role in the team: maintainer everywhere for an admin, empty for a stranger.
func (p *Principal) RoleIn(teamID string) Role {
	if p.Admin {
		return RoleMaintainer
	}
	return p.Teams[teamID]
}

// TeamIDs returns the teams that the principal belongs to, and whether it sees all teams.
func (p *Principal) TeamIDs() (ids []string, all bool) {
	for id := range p.Teams {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, p.Admin
}

type principalKey struct{}

// WithPrincipal returns a context that acts for p.
func WithPrincipal(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalFrom returns who the context acts for, or nil for a stranger.
func PrincipalFrom(ctx context.Context) *Principal {
	p, _ := ctx.Value(principalKey{}).(*Principal)
	return p
}

// Authorize tells whether the context's principal has at least the role in the
// team. Strangers to the team get NotFound about the noun, so that nobody can
// learn what exists; members with too low a role, and tokens without the scope
// that the role needs, get Denied.
func Authorize(ctx context.Context, teamID string, role Role, noun string) error {
	p := PrincipalFrom(ctx)
	if p == nil {
		return Errorf(Unauthorized, "Sign in first.")
	}
	has := p.RoleIn(teamID)
	if has == "" {
		return Errorf(NotFound, "No such %s.", noun)
	}
	if err := p.needScope(role); err != nil {
		return err
	}
	if !has.AtLeast(role) {
		return Errorf(Denied, "You are a %s of this team; this needs a %s. A maintainer of the team can change your role.", has, role)
	}
	return nil
}

func (p *Principal) needScope(role Role) error {
	need := ScopeRead
	if role != RoleViewer {
		need = ScopeWrite
	}
	if !p.HasScope(need) {
		return Errorf(Denied, "This token lacks the scope %q. Make a token that has it.", need)
	}
	return nil
}

// AuthorizeAdmin tells whether the context's principal is a site admin whose credential may administer.
func AuthorizeAdmin(ctx context.Context) error {
	p := PrincipalFrom(ctx)
	switch {
	case p == nil:
		return Errorf(Unauthorized, "Sign in first.")
	case !p.Admin:
		return Errorf(Denied, "Only a site admin can do this.")
	case !p.HasScope(ScopeAdmin):
		return Errorf(Denied, "This token lacks the scope %q. Make a token that has it.", ScopeAdmin)
	}
	return nil
}

// Request is what the audit log says of the HTTP request that did something.
type Request struct {
	ID string
	IP string
}

type requestKey struct{}

// WithRequest returns a context that belongs to the request.
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// RequestFrom returns the request that the context belongs to; zero in background work.
func RequestFrom(ctx context.Context) Request {
	r, _ := ctx.Value(requestKey{}).(Request)
	return r
}
