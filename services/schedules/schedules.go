// Package schedules has apps built at the times of cron expressions. Every worker looks for schedules that are due; one
// transaction moves a schedule to its next turn and queues the build, so that each turn is taken once however many
// workers there are. A turn that was missed while no worker ran is made up for once.
package schedules

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/builds"
	"slipway.dev/services/events"
	"slipway.dev/services/jobs"
)

const (
	lookEvery = 3 * time.Second
	// maxOfApp is how many schedules an app may have.
	maxOfApp = 50
	// shown is how many of the next turns people are told.
	shown = 3
)

// Service keeps schedules and takes their turns.
type Service struct {
	DB     *models.Database
	Builds *builds.Service
	Now    func() time.Time // nil: the database's clock
}

// Register has the workers of the queue look for schedules that are due.
func (s *Service) Register(q *jobs.Queue) {
	q.Every(lookEvery, "looking for schedules that are due", s.RunDue)
}

func (s *Service) now() time.Time {
	if s.Now != nil {
		return s.Now().UTC().Truncate(time.Microsecond)
	}
	return s.DB.NowFunc()
}

// Listed is a schedule with its next turns, in its own time zone; none while it is off.
type Listed struct {
	models.Schedule
	Coming []time.Time
}

// List returns the schedules of an app, newest first; the team's viewers may read them.
func (s *Service) List(ctx context.Context, appID string, page models.Page) (models.List[Listed], error) {
	if _, err := s.app(ctx, appID, models.RoleViewer); err != nil {
		return models.List[Listed]{}, err
	}
	rows, err := models.Newest(s.DB.WithContext(ctx).Where("app_id = ?", appID), page, "schedules.id", func(r models.Schedule) string { return r.ID })
	if err != nil {
		return models.List[Listed]{}, fmt.Errorf("listing schedules: %w", err)
	}
	list := models.List[Listed]{Next: rows.Next, Items: make([]Listed, 0, len(rows.Items))}
	for _, row := range rows.Items {
		list.Items = append(list.Items, s.listed(row))
	}
	return list, nil
}

// Get returns a schedule with its app; the team's viewers may read it.
func (s *Service) Get(ctx context.Context, id string) (*Listed, error) {
	row, err := s.schedule(ctx, id, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	l := s.listed(*row)
	return &l, nil
}

func (s *Service) listed(row models.Schedule) Listed {
	l := Listed{Schedule: row}
	table, err := newTimetable(row.Cron, row.TimeZone)
	if err != nil || row.NextAt == nil {
		return l
	}
	next := row.NextAt.In(table.zone)
	l.Coming = append([]time.Time{next}, table.coming(next, shown-1)...)
	return l
}

func (s *Service) schedule(ctx context.Context, id string, role models.Role) (*models.Schedule, error) {
	var row models.Schedule
	if err := s.DB.WithContext(ctx).Preload("App.Repository").Preload("App.Team").Where("id = ?", id).Take(&row).Error; err != nil {
		return nil, models.FromDB(err, "schedule")
	}
	return &row, models.Authorize(ctx, row.TeamID, role, "schedule")
}

func (s *Service) app(ctx context.Context, id string, role models.Role) (*models.App, error) {
	var app models.App
	if err := s.DB.WithContext(ctx).Where("id = ?", id).Take(&app).Error; err != nil {
		return nil, models.FromDB(err, "app")
	}
	return &app, models.Authorize(ctx, app.TeamID, role, "app")
}

// publish says in tx that the schedule changed.
func publish(tx *gorm.DB, row *models.Schedule, kind string) error {
	return events.Publish(tx, models.Event{TeamID: row.TeamID, Kind: kind, Topic: "schedule:" + row.ID, Parent: "app:" + row.AppID})
}

// record writes the audit entry of what a person did to the schedule, and the event, in tx.
func record(ctx context.Context, tx *gorm.DB, row *models.Schedule, action string) error {
	err := audit.Record(ctx, tx, audit.Entry{
		TeamID: row.TeamID, Action: action, Subject: "schedule:" + row.ID, Name: row.Cron + " " + row.TimeZone,
		Detail: map[string]string{"app": row.AppID, "cron": row.Cron, "time_zone": row.TimeZone, "ref": row.Ref, "enabled": fmt.Sprint(row.Enabled)},
	})
	if err != nil {
		return err
	}
	return publish(tx, row, action)
}
