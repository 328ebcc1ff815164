package kubernetes

import (
	"context"

	"slipway.dev/services/deploy"
)

// Renew puts a fresh credential into the release's pull secret.
func (t *target) Renew(ctx context.Context, r deploy.Release) error {
	return t.lendCredential(ctx, deploy.StageTarget, r)
}
