package deploy

import (
	"context"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/registries"
)

// mirror is where the target wants the image: a repository in the registry of its own. Without a host the image is
// pulled from where it is, because the target has no such registry or the image is in it.
func (s *Service) mirror(ctx context.Context, t *models.Target, at *place, image Image) (models.ImagePlaceName, error) {
	none := models.ImagePlaceName{}
	kind, err := s.KindOf(t.Kind)
	id := t.Settings[models.TargetRegistry]
	if err != nil || !kind.Mirrors || id == "" || s.Copies == nil {
		return none, err
	}
	to := models.ImagePlaceName{Registry: id, Repository: at.Team.Slug + "/" + at.App.Name}
	if id == models.EmbeddedRegistry {
		to.Registry = ""
	} else if path := t.Settings[models.TargetRegistryPath]; path != "" {
		to.Repository = path + "/" + to.Repository
	}
	name, err := s.Registries.FullName(ctx, to.Registry, to.Repository)
	if models.IsCode(err, models.NotFound) {
		return none, Failf(StageImage, err, "The registry that the target %s pulls from is not connected any more. An admin chooses another one in the target's settings.", t.Name)
	}
	to.Host = strings.TrimSuffix(name, "/"+to.Repository)
	if host, _, _ := strings.Cut(image.Repository, "/"); host == to.Host {
		return none, err
	}
	return to, err
}

// openCopy opens the place of a copy, for Slipway itself: that the admin chose the registry for the target is the right to it.
func (s *Service) openCopy(ctx context.Context, at models.ImagePlaceName) (source, error) {
	who := models.PrincipalFrom(ctx)
	if who == nil || who.Kind != models.PrincipalSystem {
		ctx = models.WithPrincipal(ctx, models.System("deploy"))
	}
	external, err := s.Registries.Open(ctx, at.Registry, at.Repository, registries.Pull)
	return source{repository: at.Name(), external: external}, err
}

// copySource is where a target gets a copy in its own registry; own makes a context act for whoever needs it.
func (s *Service) copySource(own func(context.Context) context.Context, at models.ImagePlaceName, digest string) Source {
	return sourceOf(digest, func(ctx context.Context) (source, error) { return s.openCopy(own(ctx), at) })
}

// pulledAs is the image where its target gets it: the copy in the target's own registry, or where it was chosen.
func pulledAs(d *models.Deployment) Image {
	if d.Copied.Host != "" {
		return Image{Repository: d.Copied.Name(), Digest: d.ImageDigest}
	}
	return imageOf(d)
}
