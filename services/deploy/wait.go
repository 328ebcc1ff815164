package deploy

import (
	"context"
	"time"
)

// WaitFor waits for the time, or returns the cause for which ctx ended before.
func WaitFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
