package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
	"slipway.dev/services/jobs"
)

const (
	destroyTime  = 30 * time.Minute // for a provider to remove what a target kept
	longestPause = 10 * time.Minute // between two tries
	// SweepTargetsEvery is how often SweepTargets is meant to run.
	SweepTargetsEvery = time.Minute
)

// Destruction is the job that removes what a deleted target kept for itself at its provider.
type Destruction struct {
	TargetID string `json:"target_id"`
}

// Kind names the job.
func (Destruction) Kind() string { return "target.destroy" }

// Kept lists what goes at the provider together with the target, for admins. It is empty where the target keeps nothing
// for itself.
func (s *Service) Kept(ctx context.Context, id string) ([]Resource, error) {
	t, _, err := s.Target(ctx, id)
	if err != nil {
		return nil, err
	}
	target, err := s.target(ctx, id)
	if err != nil {
		return nil, err
	}
	destroyer, ok := target.(Destroyer)
	if !ok {
		return []Resource{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	found, err := destroyer.Keeps(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, &models.Error{Code: models.Unavailable, Message: "The provider of " + t.Name + " did not answer within " + tellTime.String() + ". Try again later.", Err: err}
	}
	return tidyResources(found), forPeople(err)
}

// KeepsThings tells whether the target may have something for itself at its provider, for admins.
func (s *Service) KeepsThings(ctx context.Context, id string) bool {
	if models.AuthorizeAdmin(ctx) != nil {
		return false
	}
	target, err := s.target(ctx, id)
	_, ok := target.(Destroyer)
	return err == nil && ok
}

// TargetRemovals lists the deleted targets that still have something at their providers, for admins.
func (s *Service) TargetRemovals(ctx context.Context) ([]models.TargetRemoval, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	var all []models.TargetRemoval
	return all, s.DB.WithContext(ctx).Omit("secrets").Order("name, id").Find(&all).Error
}

// ForgetRemoval gives up removing what a deleted target kept, such as when its credential is no more: what is left
// stays at the provider, and is a person's to remove.
func (s *Service) ForgetRemoval(ctx context.Context, id string) error {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var left models.TargetRemoval
		if err := tx.Omit("secrets").First(&left, "id = ?", id).Error; err != nil {
			return models.FromDB(err, "removal of a target")
		}
		return endRemoval(ctx, tx, &left, "target.forget")
	})
}

// removeLater has what the target keeps removed once tx, which deletes the target, has ended.
func (s *Service) removeLater(ctx context.Context, tx *gorm.DB, t *models.Target) error {
	now := s.now()
	left := models.TargetRemoval{ID: t.ID, Name: t.Name, Kind: t.Kind, Settings: t.Settings, Secrets: t.Secrets, CreatedAt: now, UpdatedAt: now}
	if err := tx.Create(&left).Error; err != nil {
		return fmt.Errorf("recording the removal of a target: %w", err)
	}
	return s.Queue.Insert(ctx, tx, jobs.QueueDeployments, Destruction{TargetID: t.ID})
}

// DestroyTarget does what a Destruction asks for, and has it tried again for as long as it fails.
func (s *Service) DestroyTarget(ctx context.Context, job Destruction) error {
	var left models.TargetRemoval
	if err := s.DB.WithContext(ctx).Limit(1).Find(&left, "id = ?", job.TargetID).Error; err != nil {
		return err
	}
	if left.ID == "" {
		return nil
	}
	failed := s.destroy(ctx, &left)
	if ctx.Err() != nil {
		return errors.Join(failed, ctx.Err())
	}
	if failed == nil {
		return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return endRemoval(ctx, tx, &left, "target.destroy") })
	}
	pause := min(time.Second<<min(left.Tries, 20), longestPause)
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		row := models.TargetRemoval{Error: s.whyLeft(ctx, &left, failed), Tries: left.Tries + 1, UpdatedAt: s.now()}
		if err := tx.Model(&models.TargetRemoval{}).Where("id = ?", left.ID).Select("error", "tries", "updated_at").Updates(&row).Error; err != nil {
			return err
		}
		return events.Publish(tx, models.Event{Kind: "target.left", Topic: "target:" + left.ID, Parent: "targets"})
	})
	if err != nil {
		return err
	}
	return jobs.Later(pause)
}

// destroy removes what the target kept.
func (s *Service) destroy(ctx context.Context, left *models.TargetRemoval) error {
	target, err := s.connect(&models.Target{ID: left.ID, Name: left.Name, Kind: left.Kind, Settings: left.Settings, Secrets: left.Secrets})
	if err != nil {
		return err
	}
	defer target.Close()
	destroyer, ok := target.(Destroyer)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, destroyTime)
	defer cancel()
	return destroyer.Destroy(ctx)
}

// whyLeft says why something is left at the provider, for people.
func (s *Service) whyLeft(ctx context.Context, left *models.TargetRemoval, err error) string {
	if told, ok := errors.AsType[*models.Error](forPeople(err)); ok {
		return told.Message
	}
	slog.ErrorContext(ctx, "what a deleted target kept could not be removed", "target", left.ID, "error", err)
	return "The provider answered in a way that Slipway does not understand; the server's log says more."
}

// endRemoval forgets a deleted target.
func endRemoval(ctx context.Context, tx *gorm.DB, left *models.TargetRemoval, action string) error {
	if err := tx.Delete(&models.TargetRemoval{}, "id = ?", left.ID).Error; err != nil {
		return err
	}
	if err := audit.Record(ctx, tx, audit.Entry{Action: action, Subject: "target:" + left.ID, Name: left.Name}); err != nil {
		return err
	}
	return events.Publish(tx, models.Event{Kind: action, Topic: "target:" + left.ID, Parent: "targets"})
}

// SweepTargets gives each removal a job again that has lost its own. Every worker may run it.
func (s *Service) SweepTargets(ctx context.Context) error {
	var left []string
	if err := s.DB.WithContext(ctx).Model(&models.TargetRemoval{}).Order("id").Limit(1000).Pluck("id", &left).Error; err != nil {
		return err
	}
	return s.Queue.Refill(ctx, jobs.QueueDeployments, left, func(id string) jobs.Args { return Destruction{TargetID: id} })
}
