package aws

import (
	"context"

	"slipway.dev/services/deploy"
)

// Fetch leaves the image to ECS, which pulls it for each task. It looks whether
// there is something to pull, so that a lost image is no riddle.
func (t *target) Fetch(ctx context.Context, image deploy.Image, from deploy.Source, say func(string)) error {
	return deploy.LeaveImage(ctx, image, from, say, "ECS pulls it for each task", "ECS tries to pull the image")
}
