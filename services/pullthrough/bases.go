package pullthrough

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"slipway.dev/models"
	"slipway.dev/services/distribution"
	"slipway.dev/services/registries"
)

// Hosts returns, for each registry that is turned on, its host and what stands for it below the embedded registry's
// host: cache/docker.io for docker.io.
func (s *Service) Hosts(ctx context.Context) (map[string]string, error) {
	var all []models.CacheUpstream
	if err := s.DB.WithContext(ctx).Where("enabled").Find(&all).Error; err != nil {
		return nil, fmt.Errorf("reading the cache's upstreams: %w", err)
	}
	out := make(map[string]string, len(all))
	for _, u := range all {
		out[u.Host] = models.CachePrefix + u.Prefix
	}
	return out, nil
}

const checkWithin = 45 * time.Second

// Check asks the embedded registry, as an engine would, for an image of the cache by its full name, and fails in words where it can't be had.
func (s *Service) Check(ctx context.Context, image string) error {
	ctx, cancel := context.WithTimeout(models.WithPrincipal(ctx, models.System("cache")), checkWithin)
	defer cancel()
	ref, err := name.ParseReference(image)
	if err != nil {
		return models.Errorf(models.Invalid, "%s is no image's name.", image)
	}
	remote, err := s.Registries.Open(ctx, "", ref.Context().RepositoryStr(), registries.Pull)
	if err != nil {
		return err
	}
	there, err := distribution.Open(ctx, remote.Repository, remote, remote.Transport(), false)
	if err != nil {
		return models.Errorf(models.Unavailable, "The cache does not answer.")
	}
	_, err = there.Manifest(ctx, ref.Identifier())
	switch status := distribution.Status(err); {
	case err == nil:
		return nil
	case status == http.StatusNotFound:
		return models.Errorf(models.NotFound, "Its registry has no such image, or does not let the cache read it.")
	case status != 0:
		return models.Errorf(models.Unavailable, "The cache could not fetch it (HTTP %d).", status)
	}
	return models.Errorf(models.Unavailable, "The cache does not answer.")
}
