package aws

import (
	"context"

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
