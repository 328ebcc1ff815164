// Package observe watches what deployments run: it measures their instances,
// keeps what they print after they have gone, and lets both be read. A place is
// an app in an environment; what is kept is kept by place, over all of its
// deployments.
//
// Any number of workers may run it: a measurement of a target is taken by the
// worker that gets its row, and a place's instances are listened to by the one
// that holds its lease.
package observe

import (
	"context"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
)

// Service observes what runs.
type Service struct {
	DB     *models.Database
	Queue  *jobs.Queue
	Logs   *logs.Service
	Deploy *deploy.Service

	KeepSize int64         // bytes of text that are kept of a place; 50 MiB where zero
	KeepAge  time.Duration // how long they are kept; 7 days where zero
	Segment  int64         // bytes of text in one segment of a place's log; 4 MiB where zero
	Scan     int64         // bytes of text that one search looks through; 16 MiB where zero
}

// Place names an app in an environment.
type Place struct {
	EnvironmentID string
	AppID         string
}

// find returns the place's environment and app for those who may see them.
func (s *Service) find(ctx context.Context, p Place) (*models.Environment, *models.App, error) {
	e, err := s.Deploy.Environment(ctx, p.EnvironmentID)
	if err != nil {
		return nil, nil, err
	}
	var app models.App
	if err := s.DB.WithContext(ctx).Where("id = ? AND team_id = ?", p.AppID, e.TeamID).Take(&app).Error; err != nil {
		return nil, nil, models.FromDB(err, "app")
	}
	return e, &app, nil
}

func (s *Service) now() time.Time { return s.DB.NowFunc() }
