package registries

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
)

const (
	userAgent   = "slipway"
	embeddedTTL = time.Hour // of the credential that an open repository of the embedded registry has
)

// Remote is a repository of some registry, reached over the distribution API.
// It is meant for one piece of work: what it may read of lists is bounded.
type Remote struct {
	Repository name.Repository
	Registry   *models.Registry // nil: the embedded one

	path     string
	actions  []string                      // that it was opened for
	allowed  func(repository string) error // whether another repository may be pulled from
	service  *Service
	gate     *gate
	embedded authn.Basic // of the embedded registry
}

// Name is the repository as people write it, with its host: ghcr.io/acme/shop.
func (r *Remote) Name() string {
	if r.Registry == nil {
		return r.service.Embedded.Host() + "/" + r.path
	}
	return r.Registry.Host + "/" + r.path
}

// Path is the repository's name without its host.
func (r *Remote) Path() string { return r.path }

// Options are what the client library needs: credentials bound to their host,
// guarded connections, limits on time and size of what comes back, and the user
// agent. Add remote.WithContext.
func (r *Remote) Options() []remote.Option {
	return []remote.Option{
		remote.WithAuth(r),
		remote.WithTransport(r.gate),
		remote.WithUserAgent(userAgent),
		remote.WithRetryBackoff(remote.Backoff{Duration: 300 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}),
	}
}

// Client is for what a registry tells beside the distribution API. Its requests
// go through the same gate: a login reaches no other host than the registry's,
// and what comes back is bounded. It follows no redirects.
func (r *Remote) Client() *http.Client {
	return &http.Client{Transport: r.gate, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Authorization is the login for the client library (authn.Authenticator).
func (r *Remote) Authorization() (*authn.AuthConfig, error) {
	return r.AuthorizationContext(context.Background())
}

// AuthorizationContext is Authorization within a context (authn.ContextAuthenticator).
func (r *Remote) AuthorizationContext(ctx context.Context) (*authn.AuthConfig, error) {
	user, password, err := r.Credential(ctx)
	if err != nil {
		return nil, err
	}
	return &authn.AuthConfig{Username: user, Password: password}, nil
}

// Credential is the login at the registry: a short-lived one where its kind
// has such, else the stored one. Both are empty where the registry is used
// without a login. It must reach no log and no command line, and goes to
// engines by Lend or Token.
func (r *Remote) Credential(ctx context.Context) (username, password string, err error) {
	if r.Registry == nil {
		return r.embedded.Username, r.embedded.Password, nil
	}
	l, err := r.service.login(ctx, r.Registry)
	return l.user, l.password, err
}

// openEmbedded is Open for the embedded registry.
func (s *Service) openEmbedded(ctx context.Context, repository string, actions []string) (*Remote, error) {
	repository = strings.TrimPrefix(repository, s.Embedded.Host()+"/")
	r := &models.Registry{Host: s.Embedded.Host(), PlainHTTP: strings.HasPrefix(s.Embedded.External, "http://")}
	repo, err := repositoryOf(r, repository)
	if err != nil {
		return nil, err
	}
	out := &Remote{Repository: repo, path: repository, actions: actions, service: s, gate: s.newGate(s.ownWay(r))}
	out.embedded.Username, out.embedded.Password, err = s.Embedded.Credential(ctx, repository, actions, embeddedTTL)
	return out, err
}
