// Package distribution moves content between registries over their API (OCI
// distribution specification 1.1): manifests and blobs by digest, in streams,
// with uploads that another process can go on with.
//
// It knows the protocol alone. Who may use a registry, and how it is reached
// safely, is the caller's: it brings the login and the connections.
package distribution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	_ "crypto/sha512" // so that digests may be SHA-512

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
)

const (
	// MaxManifest is the most bytes of a manifest that are read, as the specification advises.
	MaxManifest = 4 << 20

	maxRedirects = 5
	defaultChunk = 32 << 20 // bytes
)

// Repository is one repository of a registry, opened with a login.
type Repository struct {
	// Chunk is how many bytes of a large blob are sent at once; 32 MiB where zero. What was sent in whole chunks is not sent again.
	Chunk int64

	name   name.Repository
	client *http.Client
}

// Open signs in to the repository's registry, for pulling or also for pushing.
// from are further repositories of the same registry to pull from, for mounts.
// Logins go to the registry's own host, and to the one that it names for its
// tokens; holding that back where it is another's is up to through.
func Open(ctx context.Context, repository name.Repository, login authn.Authenticator, through http.RoundTripper, push bool, from ...name.Repository) (*Repository, error) {
	scopes := []string{repository.Scope(transport.PullScope)}
	if push {
		scopes[0] = repository.Scope(transport.PushScope)
	}
	for _, other := range from {
		scopes = append(scopes, other.Scope(transport.PullScope))
	}
	signed, err := transport.NewWithContext(ctx, repository.Registry, login, transport.NewUserAgent(through, "slipway"), scopes)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", repository.Name(), err)
	}
	return &Repository{name: repository, client: &http.Client{Transport: signed, CheckRedirect: fewRedirects}}, nil
}

func fewRedirects(_ *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	return nil
}

// Name is the repository with its host, such as ghcr.io/acme/shop.
func (r *Repository) Name() string { return r.name.Name() }

// Path is the repository without its host.
func (r *Repository) Path() string { return r.name.RepositoryStr() }

func (r *Repository) address(parts ...string) string {
	u := url.URL{Scheme: r.name.Scheme(), Host: r.name.RegistryStr(), Path: "/v2/" + r.name.RepositoryStr() + "/" + strings.Join(parts, "/")}
	return u.String()
}

// ask sends a request without a body. The answer has one of the statuses; its body must be closed.
func (r *Repository) ask(ctx context.Context, method, address string, header map[string]string, statuses ...int) (*http.Response, error) {
	return r.send(ctx, method, address, nil, 0, header, statuses...)
}

func (r *Repository) send(ctx context.Context, method, address string, body io.Reader, size int64, header map[string]string, statuses ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.ContentLength = size
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	answer, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(answer, statuses...); err != nil {
		answer.Body.Close()
		return nil, err
	}
	return answer, nil
}

// done reads the little that an answer says and closes it, so that its connection serves again.
func done(answer *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	answer.Body.Close()
}

// Status is the HTTP status with which the registry refused, 0 where it did not answer.
func Status(err error) int {
	var refused *transport.Error
	if errors.As(err, &refused) {
		return refused.StatusCode
	}
	return 0
}

// DigestError tells that what arrived is not what its digest says.
type DigestError struct {
	Want digest.Digest
	Got  digest.Digest // empty: too few or too many bytes
}

// Error names both digests.
func (e *DigestError) Error() string {
	if e.Got == "" {
		return fmt.Sprintf("what arrived for %s has another size than was announced", e.Want)
	}
	return fmt.Sprintf("what arrived for %s has the digest %s", e.Want, e.Got)
}

// SizeError tells that a registry sends more than is read of such a thing.
type SizeError struct {
	What  string // such as a manifest
	Limit int64  // bytes
}

// Error names the limit.
func (e *SizeError) Error() string { return fmt.Sprintf("%s has more than %d bytes", e.What, e.Limit) }
