package registries

import (
	"context"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"slipway.dev/models"
)

// Transport is what the requests of services/distribution go through: the same
// connections, bounds and rules about other hosts as those of Options. The
// Remote itself is the login.
func (r *Remote) Transport() http.RoundTripper { return r.gate }

// PullFrom has the login pull from another repository of the same registry too,
// so that blobs can be mounted from there, and returns that repository. The
// context's principal must be allowed it.
func (r *Remote) PullFrom(ctx context.Context, repository string) (name.Repository, error) {
	if r.Registry != nil {
		if err := may(models.PrincipalFrom(ctx), r.Registry, repository, Pull); err != nil {
			return name.Repository{}, err
		}
		return repositoryOf(r.Registry, repository)
	}
	other, err := r.service.openEmbedded(ctx, repository, []string{Pull})
	if err != nil {
		return name.Repository{}, err
	}
	r.embedded.Username, r.embedded.Password, err = r.service.Embedded.Mount(ctx, r.path, other.path, embeddedTTL)
	return other.Repository, err
}
