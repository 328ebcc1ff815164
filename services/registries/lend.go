package registries

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Lend returns the credential for an engine that logs in by itself. Engines
// show a credential to whichever host a registry names, so that the registry is
// asked first: where its logins come from a host that nobody confirmed, it is
// a *ForeignError. Both are empty where there is no credential.
func (r *Remote) Lend(ctx context.Context) (username, password string, err error) {
	if r.Registry == nil {
		return r.Credential(ctx)
	}
	if _, err := r.challenge(ctx); err != nil {
		return "", "", err
	}
	return r.Credential(ctx)
}

// GivesTokens tells whether the registry gives tokens, so that an engine can do
// with those of Token and need not see the credential. The embedded registry's
// credential is one for the repository alone and is lent.
func (r *Remote) GivesTokens(ctx context.Context) (bool, error) {
	if r.Registry == nil {
		return false, nil
	}
	c, err := r.challenge(ctx)
	return err == nil && realmOf(c) != "", err
}

// challenge asks the registry how to log in, and fails where its tokens come from a host that may not have the credential.
func (r *Remote) challenge(ctx context.Context) (*transport.Challenge, error) {
	c, err := r.service.ping(ctx, r.Registry, r.gate)
	if err != nil {
		return nil, err
	}
	if realm := realmOf(c); realm != "" && !r.gate.mayHave(realm) {
		return nil, &ForeignError{r.Registry.Host, realm, "its login"}
	}
	return c, nil
}

// Token exchanges the credential for a short-lived token, for an engine that
// was told by the registry to fetch one from the realm. The token is good for
// those of the scopes alone that may be used: on this repository what it was
// opened for, on others pulling, where a grant says so. Where none of them is,
// it is a stranger's token, with which public images can be pulled.
func (r *Remote) Token(ctx context.Context, realm, service string, scopes []string) (token string, life time.Duration, err error) {
	c := &transport.Challenge{Scheme: "bearer", Insecure: strings.HasPrefix(realm, "http://"), Parameters: map[string]string{"realm": realm, "service": service}}
	if at := realmOf(c); !r.gate.mayHave(at) {
		return "", 0, &ForeignError{r.gate.name, at, "its login"}
	}
	var login authn.Authenticator = r
	allowed := r.narrow(scopes)
	if len(allowed) == 0 { // what anybody may, such as pulling a public image to build on
		login, allowed = authn.Anonymous, scopes
	}
	got, err := transport.Exchange(ctx, r.Repository.Registry, login, r.gate, allowed, c)
	if err != nil {
		return "", 0, err
	}
	if got.Token == "" {
		got.Token = got.AccessToken
	}
	return got.Token, time.Duration(got.ExpiresIn) * time.Second, nil
}

// narrow keeps of the scopes what may be used.
func (r *Remote) narrow(scopes []string) (out []string) {
	for _, scope := range scopes {
		kind, rest, _ := strings.Cut(scope, ":")
		i := strings.LastIndex(rest, ":")
		if kind != "repository" || i < 0 {
			continue
		}
		var kept []string
		for _, action := range strings.Split(rest[i+1:], ",") {
			if r.uses(rest[:i], action) {
				kept = append(kept, action)
			}
		}
		if len(kept) > 0 {
			out = append(out, "repository:"+rest[:i]+":"+strings.Join(kept, ","))
		}
	}
	return out
}

func (r *Remote) uses(repository, action string) bool {
	if repository == r.Repository.RepositoryStr() {
		return slices.Contains(r.actions, action)
	}
	return action == Pull && r.allowed != nil && r.allowed(repository) == nil
}
