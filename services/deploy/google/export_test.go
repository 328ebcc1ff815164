package google

import (
	"time"

	"slipway.dev/services/deploy"
)

// Soon is the kind with the pace of tests.
func Soon() deploy.Kind {
	return kind(pace{look: 100 * time.Millisecond, follow: 50 * time.Millisecond, listen: 100 * time.Millisecond, settle: 2 * time.Second, backoff: 10 * time.Millisecond})
}
