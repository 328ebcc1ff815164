package images

import (
	"context"
	"io"

	"slipway.dev/models"
)

// source reads one repository of some registry. There are two: embedded, which
// reads the tables, and external, which speaks the distribution API. Whoever
// has one was let in by open.
//
// What is not there is a NotFound error; a registry that does not answer in
// time, or refuses, is an Unavailable one that says so to people. All reads are
// bounded in size and time.
type source interface {
	// manifest returns the manifest that the tag or digest names.
	manifest(ctx context.Context, reference string) (content, error)

	// manifests returns several at once, by their digests. Those that could not be read are left out.
	manifests(ctx context.Context, digests []string) (map[string]content, error)

	// children tells about the manifests that an index holds. Those that could
	// not be read are left out.
	children(ctx context.Context, digests []string) (map[string]child, error)

	// blob opens a layer, a config or any other file of the repository; the
	// caller closes it. The size is in bytes.
	blob(ctx context.Context, digest string) (io.ReadCloser, int64, error)

	// config returns the whole of a small blob that is read often.
	config(ctx context.Context, digest string) ([]byte, error)

	// tags lists the tags that match, one image for each.
	tags(ctx context.Context, q TagQuery) (models.List[models.Image], error)

	// referrers lists the artifacts about the manifest with the digest.
	referrers(ctx context.Context, digest string) ([]models.ImageReferrer, error)
}

// content is a manifest as it was pushed.
type content struct {
	mediaType string
	digest    string
	bytes     []byte
}

// child is what a page shows of a manifest in an index.
type child struct {
	platform string
	size     int64 // compressed bytes
}

// place is a repository that the reader may see, and the way to read it.
type place struct {
	source
	registry   *models.Registry // nil: the embedded one
	host       string
	repository string
	teamID     string // who owns it; empty in an external registry
}

// slug is the registry's name in addresses.
func (p place) slug() string {
	if p.registry == nil {
		return ""
	}
	return p.registry.Slug
}

// image is an image of the place, of which nothing but the digest is known yet.
func (p place) image(digest string) models.Image {
	return models.Image{Registry: p.slug(), Host: p.host, Repository: p.repository, Digest: digest, TeamID: p.teamID}
}

// open authorizes the reader and returns the repository. The registry is a
// slug or an id; empty means the embedded one.
func (s *Service) open(ctx context.Context, registry, repository string) (place, error) {
	if registry == "" || registry == EmbeddedRegistry {
		row, err := s.repository(ctx, repository)
		if err != nil {
			return place{}, err
		}
		return s.embeddedPlace(row.Name, row.TeamID), nil
	}
	return s.openExternal(ctx, registry, repository)
}

// EmbeddedRegistry is how the embedded registry is called where a name has to stand, as in the API's paths.
const EmbeddedRegistry = "embedded"

// OpenBlob opens a blob of an image's repository, such as a layer, for the
// context's principal, who must be allowed to see it; the caller closes it. The
// registry is a slug or an id, empty for the embedded one. The size is in bytes.
// What an external registry sends is checked against the digest as it is read:
// the last read fails where it differs.
func (s *Service) OpenBlob(ctx context.Context, registry, repository, digest string) (io.ReadCloser, int64, error) {
	if _, err := readerFrom(ctx); err != nil {
		return nil, 0, err
	}
	at, err := s.open(ctx, registry, repository)
	if err != nil {
		return nil, 0, err
	}
	return at.blob(ctx, digest)
}
