package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/schedules"
)

// Schedule has an app built again and again.
type Schedule struct {
	ID          string                 `json:"id"`
	AppID       string                 `json:"app_id"`
	Cron        string                 `json:"cron" example:"0 2 * * 1-5"`
	TimeZone    string                 `json:"time_zone" example:"Europe/Berlin"`
	Ref         string                 `json:"ref" doc:"A branch or a tag; empty: the default branch."`
	NoCache     bool                   `json:"no_cache"`
	OnlyNew     bool                   `json:"only_new" doc:"Builds only a commit that the ref's last build was not about."`
	Enabled     bool                   `json:"enabled"`
	NextAt      *time.Time             `json:"next_at" doc:"Null while it is off."`
	Coming      []time.Time            `json:"coming" nullable:"false" doc:"The next three turns."`
	LastAt      *time.Time             `json:"last_at"`
	LastOutcome models.ScheduleOutcome `json:"last_outcome" enum:",queued,nothing_new,failed"`
	LastBuildID string                 `json:"last_build_id"`
	Error       string                 `json:"error" doc:"Why the last turn queued no build."`
	CreatedBy   string                 `json:"created_by" doc:"A name, for people."`
	CreatedAt   time.Time              `json:"created_at"`
	UpdatedAt   time.Time              `json:"updated_at"`
}

func (a *API) schedules() {
	get(a, "/apps/{id}/schedules", "list-schedules", "Schedules of an app", a.listSchedules)
	post(a, "/apps/{id}/schedules", "create-schedule", "Have an app built at certain times", a.createSchedule, status(http.StatusCreated), repeatable,
		about("A time that the zone's clock skips counts at the moment of the jump; a time that comes twice counts the first time. A schedule for every hour goes on as time passes. What was missed while no worker ran is made up for once."))
	get(a, "/schedules/{id}", "get-schedule", "A schedule", a.getSchedule)
	patch(a, "/schedules/{id}", "update-schedule", "Change a schedule, or switch it on or off", a.updateSchedule)
	remove(a, "/schedules/{id}", "delete-schedule", "Delete a schedule", a.deleteSchedule)
}

func (a *API) listSchedules(ctx context.Context, in *struct {
	IDIn
	PageIn
}) (*answer[List[Schedule]], error) {
	l, err := a.Schedules.List(ctx, in.ID, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(l, scheduleOf), nil
}

func (a *API) createSchedule(ctx context.Context, in *struct {
	IDIn
	Body schedules.New
}) (*answer[Schedule], error) {
	s, err := a.Schedules.Create(ctx, in.ID, in.Body)
	return replyWith(s, scheduleOf, err)
}

func (a *API) getSchedule(ctx context.Context, in *IDIn) (*answer[Schedule], error) {
	s, err := a.Schedules.Get(ctx, in.ID)
	return replyWith(s, scheduleOf, err)
}

func (a *API) updateSchedule(ctx context.Context, in *struct {
	IDIn
	Body schedules.Change
}) (*answer[Schedule], error) {
	s, err := a.Schedules.Update(ctx, in.ID, in.Body)
	return replyWith(s, scheduleOf, err)
}

func (a *API) deleteSchedule(ctx context.Context, in *IDIn) error {
	return a.Schedules.Delete(ctx, in.ID)
}

func scheduleOf(s *schedules.Listed) Schedule {
	out := Schedule{
		ID: s.ID, AppID: s.AppID, Cron: s.Cron, TimeZone: s.TimeZone, Ref: s.Ref, NoCache: s.NoCache, OnlyNew: s.OnlyNew, Enabled: s.Enabled,
		NextAt: utc(s.NextAt), Coming: make([]time.Time, 0, len(s.Coming)), LastAt: utc(s.LastAt), LastOutcome: s.LastOutcome, LastBuildID: s.LastBuildID,
		Error: s.Error, CreatedBy: s.CreatedByName, CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC(),
	}
	for _, at := range s.Coming {
		out.Coming = append(out.Coming, at.UTC())
	}
	return out
}
