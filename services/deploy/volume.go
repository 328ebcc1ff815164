package deploy

import (
	"context"
	"time"
)

// Volume is named data that a target keeps for an app in an environment.
type Volume struct {
	ID            string // in the target
	EnvironmentID string
	AppID         string
	Name          string   // as the app's settings name it
	Size          int64    // bytes; -1: not known
	UsedBy        []string // the releases whose instances have it, whether they run or not
	CreatedAt     *time.Time
}

// VolumeKeeper is a Target that keeps the volumes of releases: Start makes those
// that are missing, and Remove leaves them where they are.
type VolumeKeeper interface {
	// Volumes lists all that the target keeps.
	Volumes(ctx context.Context) ([]Volume, error)
	// RemoveVolume removes a volume with its data; a Conflict while an instance
	// has it. What is gone already is no error.
	RemoveVolume(ctx context.Context, id string) error
}
