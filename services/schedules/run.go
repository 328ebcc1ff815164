package schedules

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

const (
	// turnTime bounds one turn: a look at the repository and a transaction.
	turnTime = 45 * time.Second
	// lease keeps other workers from looking at the same repository for the same turn. It is longer than a turn, and
	// nothing but work is lost when it is not.
	lease   = time.Minute
	atOnce  = 4   // turns that a worker takes side by side
	ofALook = 100 // turns that one look takes
)

// Why a turn queued no build, besides what people are told.
var (
	errTaken      = errors.New("another worker took this turn, or the schedule was changed")
	errNothingNew = errors.New("the ref is at the commit of its last build")
)

// RunDue takes the turn of every schedule that is due. Every worker runs it regularly.
func (s *Service) RunDue(ctx context.Context) error {
	now := s.now()
	var due []models.Schedule
	err := s.DB.WithContext(ctx).Where("next_at <= ? AND enabled AND (leased_until IS NULL OR leased_until <= ?)", now, now).
		Order("next_at").Limit(ofALook).Find(&due).Error
	if err != nil {
		return fmt.Errorf("looking for schedules that are due: %w", err)
	}
	failed := make([]error, len(due))
	slots := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for i := range due {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			failed[i] = s.take(ctx, &due[i])
		})
	}
	running.Wait()
	return errors.Join(failed...)
}

// take takes one turn: reserve it, find the commit, queue the build; or write down why there is none.
func (s *Service) take(ctx context.Context, row *models.Schedule) error {
	ctx, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	if mine, err := s.reserve(ctx, row); err != nil || !mine {
		return err
	}
	err := s.queue(ctx, row)
	told, forPeople := errors.AsType[*models.Error](err)
	switch {
	case err == nil, errors.Is(err, errTaken):
		return nil
	case errors.Is(err, errNothingNew):
		return s.settle(ctx, row, models.ScheduleNothingNew, "")
	case forPeople && ctx.Err() == nil:
		return s.settle(ctx, row, models.ScheduleFailed, sentence(told))
	}
	return fmt.Errorf("the turn of schedule %s: %w", row.ID, err) // taken again once the lease is over
}

// sentence is an error's message for people, or what it says about its one field.
func sentence(e *models.Error) string {
	if len(e.Fields) == 1 {
		for _, message := range e.Fields {
			return message
		}
	}
	return e.Message
}

// reserve keeps other workers away for as long as a turn takes. mine is false where one was quicker.
func (s *Service) reserve(ctx context.Context, row *models.Schedule) (mine bool, err error) {
	now := s.now()
	until := now.Add(lease)
	r := s.DB.WithContext(ctx).Model(&models.Schedule{}).
		Where("id = ? AND turn = ? AND enabled AND (leased_until IS NULL OR leased_until <= ?)", row.ID, row.Turn, now).UpdateColumn("leased_until", until)
	if r.Error != nil {
		return false, fmt.Errorf("reserving the turn of schedule %s: %w", row.ID, r.Error)
	}
	return r.RowsAffected == 1, nil
}

// queue moves the schedule to its next turn and queues the build, in one transaction.
func (s *Service) queue(ctx context.Context, row *models.Schedule) error {
	ctx = models.WithPrincipal(ctx, models.System("schedule"))
	in := builds.QueueInput{AppID: row.AppID, Ref: row.Ref, NoCache: row.NoCache, Trigger: models.TriggerSchedule}
	in.Within = func(tx *gorm.DB, b *models.Build) error {
		if row.OnlyNew {
			known, err := built(tx, b)
			if err != nil {
				return err
			}
			if known {
				return errNothingNew
			}
		}
		return s.move(tx, row, models.ScheduleQueued, b.ID, "")
	}
	_, err := s.Builds.Queue(ctx, in)
	return err
}

// built tells whether the last build of the app from the same ref was about the same commit. Canceled builds don't count.
func built(tx *gorm.DB, b *models.Build) (bool, error) {
	var last []string
	err := tx.Model(&models.Build{}).Where("app_id = ? AND ref = ? AND ref_kind = ? AND state <> ?", b.AppID, b.Ref, b.RefKind, models.BuildCanceled).
		Order("id DESC").Limit(1).Pluck("commit", &last).Error
	if err != nil {
		return false, fmt.Errorf("looking for the last build of %s: %w", b.Ref, err)
	}
	return len(last) == 1 && last[0] == b.Commit, nil
}

// settle moves the schedule to its next turn where no build was queued.
func (s *Service) settle(ctx context.Context, row *models.Schedule, outcome models.ScheduleOutcome, failure string) error {
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return s.move(tx, row, outcome, row.LastBuildID, failure) })
	if errors.Is(err, errTaken) {
		return nil
	}
	return err
}

// move writes down in tx what came of the turn, and when the next one is: after now, however many were missed.
func (s *Service) move(tx *gorm.DB, row *models.Schedule, outcome models.ScheduleOutcome, buildID, failure string) error {
	now := s.now()
	var next *time.Time
	table, err := newTimetable(row.Cron, row.TimeZone)
	if err == nil {
		next = after(table, now)
	}
	r := tx.Model(&models.Schedule{}).Where("id = ? AND turn = ? AND enabled", row.ID, row.Turn).UpdateColumns(map[string]any{
		"next_at": next, "turn": row.Turn + 1, "leased_until": nil, "last_at": now, "last_outcome": outcome, "last_build_id": buildID, "error": failure,
	})
	if r.Error != nil {
		return fmt.Errorf("moving schedule %s to its next turn: %w", row.ID, r.Error)
	}
	if r.RowsAffected == 0 {
		return errTaken
	}
	return publish(tx, row, "schedule."+string(outcome))
}
