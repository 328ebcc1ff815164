package aws

import (
	"context"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/services/deploy"
)

// Fetch leaves the image to ECS, which pulls it for each task. It looks whether
// there is something to pull, so that a lost image is no riddle.
func (t *target) Fetch(ctx context.Context, image deploy.Image, from deploy.Source, say func(string)) error {
	found, err := deploy.Look(ctx, image, from)
	switch {
	case err != nil:
		return err
	case found:
		say("The registry has the image; ECS pulls it for each task.")
	default:
		say("The registry could not be asked from here; ECS tries to pull the image.")
	}
	return nil
}

// Find looks for the image in its registry, and for what it is made.
func (t *target) Find(ctx context.Context, image deploy.Image, from deploy.Source) (deploy.Found, error) {
	described, err := look(ctx, image, from)
	if err == nil {
		var found deploy.Found
		found.Platforms, err = platforms(described)
		if err == nil {
			return found, nil
		}
	}
	if ctx.Err() != nil {
		return deploy.Found{}, context.Cause(ctx)
	}
	if told := deploy.Lost(image, err); told != nil {
		return deploy.Found{}, told
	}
	return deploy.Found{}, deploy.Failf(deploy.StageImage, err, "The registry of %s does not answer Slipway. Look whether it runs, and try again.", image.Repository)
}

func look(ctx context.Context, image deploy.Image, from deploy.Source) (*remote.Descriptor, error) {
	repository, options, err := from.Open(ctx)
	if err != nil {
		return nil, err
	}
	return remote.Get(repository.Digest(image.Digest), append(options, remote.WithContext(ctx))...)
}

// platforms are those that the image is made for.
func platforms(d *remote.Descriptor) (all []string, err error) {
	if !d.MediaType.IsIndex() {
		one, err := d.Image()
		if err != nil {
			return nil, err
		}
		made, err := one.ConfigFile()
		if err != nil {
			return nil, err
		}
		if made.OS == "" {
			return []string{}, nil
		}
		return []string{made.OS + "/" + made.Architecture}, nil
	}
	index, err := d.ImageIndex()
	if err != nil {
		return nil, err
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, m := range list.Manifests {
		if p := m.Platform; p != nil && p.OS != "" && p.OS != "unknown" { // attestations are of an unknown one
			all = append(all, p.OS+"/"+p.Architecture)
		}
	}
	return all, nil
}
