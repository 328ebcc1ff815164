package deploy

import (
	"context"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/services/registries"
)

// source is a repository that images are read from.
type source struct {
	repository string
	external   *registries.Remote // nil: the embedded registry
	login      authn.Basic        // of the embedded registry
}

// openSource returns the repository where the team may pull from it, in the
// embedded registry with a credential that lasts for ttl. That one is Slipway's
// own: a token for the portal need not be one for the registry too.
func (s *Service) openSource(ctx context.Context, teamID, repository string, ttl time.Duration) (source, error) {
	at := source{repository: repository}
	host, _, _ := strings.Cut(repository, "/")
	if host != s.Registry.Host() && s.Registries != nil {
		var err error
		at.external, err = s.Registries.OpenNamed(ctx, teamID, repository, registries.Pull)
		return at, err
	}
	var err error
	if who := models.PrincipalFrom(ctx); who == nil || who.Kind != models.PrincipalSystem {
		ctx = models.WithPrincipal(ctx, models.System("deploy"))
	}
	at.login.Username, at.login.Password, err = s.Registry.Credential(ctx, repository, []string{"pull"}, ttl)
	return at, err
}

// reference is the image that a tag or digest names, and how to read it.
func (at source) reference(what string) (name.Reference, []remote.Option, error) {
	if at.external != nil {
		ref, err := at.external.Reference(what[1:])
		return ref, at.external.Options(), err
	}
	ref, err := name.ParseReference(at.repository+what, name.StrictValidation)
	return ref, []remote.Option{remote.WithAuth(&at.login)}, err
}

// credential is what an engine pulls with.
func (at source) credential(ctx context.Context) (username, password string, err error) {
	if at.external == nil {
		return at.login.Username, at.login.Password, nil
	}
	username, password, err = at.external.Lend(ctx)
	return username, password, at.external.Explain(err)
}

// source is where a target gets the image from; own makes a context act for whoever needs it, each time that it is
// needed. A credential lasts for ttl where its registry can limit it.
func (s *Service) source(own func(context.Context) context.Context, teamID string, image Image, ttl time.Duration) Source {
	return sourceOf(image.Digest, func(ctx context.Context) (source, error) {
		return s.openSource(own(ctx), teamID, image.Repository, ttl)
	})
}

// sourceOf is the source of the image that is in what open opens.
func sourceOf(digest string, open func(context.Context) (source, error)) Source {
	return Source{
		Credential: func(ctx context.Context) (string, string, error) {
			at, err := open(ctx)
			if err != nil {
				return "", "", err
			}
			return at.credential(ctx)
		},
		Open: func(ctx context.Context) (name.Repository, []remote.Option, error) {
			at, err := open(ctx)
			if err != nil {
				return name.Repository{}, nil, err
			}
			ref, options, err := at.reference("@" + digest)
			if err != nil {
				return name.Repository{}, nil, err
			}
			return ref.Context(), options, nil
		},
	}
}
