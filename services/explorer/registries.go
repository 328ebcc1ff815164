package explorer

import (
	"context"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/images"
)

// Registries finds images wherever they are, for Service.Find.
type Registries struct{ Images *images.Service }

// Find returns the image that the reference names. A repository's name may
// begin with the host of the embedded registry or of an external one.
func (r Registries) Find(ctx context.Context, at Reference) (*models.ImagePassport, error) {
	at, err := r.resolve(ctx, at)
	if err != nil {
		return nil, err
	}
	digest := at.Name
	if !at.IsDigest() {
		if digest, err = r.Images.Named(ctx, at.Registry, at.Repository, at.Name); err != nil {
			return nil, err
		}
	}
	return r.Images.Passport(ctx, images.Which{Registry: at.Registry, Repository: at.Repository, Digest: digest})
}

// resolve finds the registry by the host that the repository's name begins with.
func (r Registries) resolve(ctx context.Context, at Reference) (Reference, error) {
	host, rest, found := strings.Cut(at.Repository, "/")
	switch {
	case at.Registry != "" || !found || !strings.ContainsAny(host, ".:") && host != "localhost":
		return at, nil
	case host == r.Images.Registry.Host():
		at.Repository = rest
		return at, nil
	}
	others, err := r.Images.Elsewhere(ctx)
	if err != nil {
		return at, err
	}
	for _, o := range others {
		if o.Host == host {
			at.Registry, at.Repository = o.Slug, rest
			return at, nil
		}
	}
	return at, models.Errorf(models.NotFound, "No such image.")
}
