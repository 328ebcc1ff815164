package pullthrough

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"slipway.dev/models"
)

// Blob returns a blob that is not here while it is fetched and stored, and its
// size. All who ask for it meanwhile share one download. A blob that no image of
// the repository names is not fetched.
func (s *Service) Blob(ctx context.Context, repository string, d digest.Digest) (io.ReadCloser, int64, error) {
	from, err := s.find(ctx, repository)
	if errors.Is(err, errNone) {
		return nil, 0, models.Errorf(models.NotFound, "The cache has no such blob.")
	}
	if err != nil {
		return nil, 0, err
	}
	size, err := s.sizeOf(ctx, repository, d)
	if err != nil {
		return nil, 0, err
	}
	f := s.flying(from, d)
	if f == nil {
		// It may be here by now, for the download that was under way has ended or another repository has it.
		here, err := s.has(ctx, from, d)
		if err == nil && !here {
			err = quiet(from, s.DB.NowFunc())
		}
		if err != nil {
			return nil, 0, err
		}
		f = s.fly(from, d, size)
	}
	return &landing{Reader: f.reader(ctx), flight: f}, size, nil
}

// landing is one reader's place at a download.
type landing struct {
	io.Reader
	*flight
}

// Close leaves the download, which goes on for the others and for the store.
func (l *landing) Close() error {
	l.leave()
	return nil
}

// sizeOf returns the size that an image of the repository says the blob has.
func (s *Service) sizeOf(ctx context.Context, repository string, d digest.Digest) (int64, error) {
	var contents [][]byte
	err := s.DB.WithContext(ctx).Model(&models.RegistryManifest{}).
		Joins("JOIN registry_references ON registry_references.repository = registry_manifests.repository AND registry_references.manifest = registry_manifests.digest").
		Where("registry_references.repository = ? AND registry_references.child = ?", repository, d.String()).Limit(1).Pluck("content", &contents).Error
	if err != nil {
		return 0, fmt.Errorf("looking for the image of a blob: %w", err)
	}
	if len(contents) == 1 {
		var doc struct {
			Config *v1.Descriptor  `json:"config"`
			Layers []v1.Descriptor `json:"layers"`
		}
		if err := json.Unmarshal(contents[0], &doc); err != nil {
			return 0, err
		}
		if doc.Config != nil {
			doc.Layers = append(doc.Layers, *doc.Config)
		}
		if k := slices.IndexFunc(doc.Layers, func(x v1.Descriptor) bool { return x.Digest == d }); k >= 0 {
			return doc.Layers[k].Size, nil
		}
	}
	return 0, models.Errorf(models.NotFound, "No image of %s has this blob.", repository)
}

// has tells whether the blob is here, or takes it over from another repository of the cache.
func (s *Service) has(ctx context.Context, from *source, d digest.Digest) (bool, error) {
	var here int64
	err := s.DB.WithContext(ctx).Model(&models.RegistryLink{}).Where("repository = ? AND digest = ?", from.repository, d.String()).Count(&here).Error
	if err != nil || here > 0 {
		return here > 0, err
	}
	return s.Registry.ShareBlob(ctx, from.repository, d)
}
