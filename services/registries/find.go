package registries

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"slipway.dev/models"
)

// Find asks the registry for what a tag or a digest names, by HEAD, or by GET
// where the registry does not answer that fully. A digest that comes back for
// a tag by GET is computed from the bytes. The error is one for people.
func (r *Remote) Find(ctx context.Context, reference string) (*v1.Descriptor, error) {
	ref, err := r.Reference(reference)
	if err != nil {
		return nil, err
	}
	options := append(r.Options(), remote.WithContext(ctx))
	found, err := remote.Head(ref, options...)
	if err == nil {
		return found, nil
	}
	if refusal := new(transport.Error); errors.As(err, &refusal) && refusal.StatusCode == http.StatusNotFound {
		return nil, r.Explain(err)
	}
	full, err := remote.Get(ref, options...)
	if err != nil {
		return nil, r.Explain(err)
	}
	return &full.Descriptor, nil
}

// Reference is the image of a tag, or of a digest such as sha256:….
func (r *Remote) Reference(text string) (name.Reference, error) {
	separator := ":"
	if _, err := v1.NewHash(text); err == nil {
		separator = "@"
	}
	ref, err := name.ParseReference(r.Repository.Name()+separator+text, name.StrictValidation)
	if err != nil {
		return nil, models.InvalidField("image", "%q is neither a tag nor a digest.", text)
	}
	if tag, ok := ref.(name.Tag); ok { // the repository knows whether TLS may be missing
		return r.Repository.Tag(tag.TagStr()), nil
	}
	return r.Repository.Digest(ref.Identifier()), nil
}
