package builds

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/logs"
)

// Triggered is a build that something outside asks for: a push or a pull request.
type Triggered struct {
	App           *models.App // with Team and Repository
	Trigger       models.BuildTrigger
	DeliveryID    string // sorts by the time it arrived
	Again         bool   // a person had an old payload worked anew: it takes nobody's place
	By            string // who pushed, as the forge calls them
	Ref           string
	RefKind       string
	Commit        string
	CommitSubject string
	CommitAuthor  string
	PullRequest   models.PullRequest
}

// QueueTriggered queues the build in tx and, in the same transaction, cancels the builds of the app, the ref and the
// trigger that an older delivery has asked for and nobody has begun. Where a newer one was quicker it queues nothing and
// returns that build with superseded. A pull request from a fork waits for approval. Slipway's own work alone may call it.
func (s *Service) QueueTriggered(ctx context.Context, tx *gorm.DB, in Triggered) (b *models.Build, superseded bool, err error) {
	if p := models.PrincipalFrom(ctx); p == nil || p.Kind != models.PrincipalSystem {
		return nil, false, models.Errorf(models.Denied, "Only Slipway itself queues builds so.")
	}
	b = newBuild(ctx, in.App)
	b.Trigger, b.DeliveryID, b.CreatedBy, b.CreatedByName = in.Trigger, in.DeliveryID, "", in.By
	b.Ref, b.RefKind, b.PullRequest = in.Ref, in.RefKind, in.PullRequest
	b.Commit, b.CommitSubject, b.CommitAuthor = in.Commit, in.CommitSubject, in.CommitAuthor
	if in.PullRequest.Fork {
		b.Untrusted, b.State = true, models.BuildWaiting
	}
	if err := holdApp(tx, in.App.ID); err != nil {
		return nil, false, err
	}
	if !in.Again {
		newer, quicker, err := s.newer(tx, b)
		if quicker || err != nil {
			return newer, quicker, err
		}
	}
	if err := s.insertIn(ctx, tx, b, in.App, "build.queue"); err != nil {
		return nil, false, err
	}
	if in.Again {
		return b, false, nil
	}
	return b, false, s.supersede(ctx, tx, b)
}

// holdApp keeps other transactions that queue builds of the app waiting until this one ends, so that each sees what
// the one before has queued.
func holdApp(tx *gorm.DB, appID string) error {
	r := tx.Model(&models.App{}).Where("id = ?", appID).UpdateColumn("build_count", gorm.Expr("build_count"))
	if r.Error == nil && r.RowsAffected == 0 {
		return models.Errorf(models.NotFound, "No such app.")
	}
	return r.Error
}

// kin are the builds of the same app, ref and trigger.
func kin(tx *gorm.DB, b *models.Build) *gorm.DB {
	return tx.Model(&models.Build{}).Where("app_id = ? AND ref = ? AND ref_kind = ?", b.AppID, b.Ref, b.RefKind).Where(`"trigger" = ?`, b.Trigger)
}

// newer finds the build that a delivery which arrived later has asked for already.
func (s *Service) newer(tx *gorm.DB, b *models.Build) (*models.Build, bool, error) {
	var found []models.Build
	err := kin(tx, b).Where("delivery_id > ?", b.DeliveryID).Order("id DESC").Limit(1).Find(&found).Error
	if err != nil || len(found) == 0 {
		return b, false, err
	}
	return &found[0], true, nil
}

// supersede cancels what nobody has begun of the builds whose place b takes.
func (s *Service) supersede(ctx context.Context, tx *gorm.DB, b *models.Build) error {
	why := fmt.Sprintf("Superseded by build %s.", b.Title())
	if _, err := s.drop(ctx, tx, kin(tx, b).Where("id <> ?", b.ID), why); err != nil {
		return err
	}
	if b.RefKind != models.RefPullRequest {
		return nil
	}
	// What waits for approval is of an older commit, whoever asked for it.
	waits := tx.Model(&models.Build{}).Where("app_id = ? AND ref = ? AND ref_kind = ? AND state = ? AND id <> ?", b.AppID, b.Ref, b.RefKind, models.BuildWaiting, b.ID)
	_, err := s.drop(ctx, tx, waits, why)
	return err
}

// CancelPullRequest cancels in tx the builds of an app's pull request that nobody has begun, because it was closed, and
// returns how many. Slipway's own work alone may call it.
func (s *Service) CancelPullRequest(ctx context.Context, tx *gorm.DB, appID, ref, why string) (int, error) {
	if p := models.PrincipalFrom(ctx); p == nil || p.Kind != models.PrincipalSystem {
		return 0, models.Errorf(models.Denied, "Only Slipway itself cancels builds so.")
	}
	found := kin(tx, &models.Build{AppID: appID, Ref: ref, RefKind: models.RefPullRequest, Trigger: models.TriggerPullRequest})
	return s.drop(ctx, tx, found, why)
}

// idle are the states of builds that nobody has begun.
var idle = []models.BuildState{models.BuildWaiting, models.BuildQueued}

// drop cancels those of the builds that nobody has begun. One that a worker takes at this moment stays as it is.
func (s *Service) drop(ctx context.Context, tx, found *gorm.DB, why string) (int, error) {
	var list []models.Build
	if err := found.Where("state IN ?", idle).Order("id").Find(&list).Error; err != nil {
		return 0, err
	}
	dropped := 0
	for i := range list {
		done, err := s.dropOne(ctx, tx, &list[i], why)
		if err != nil {
			return 0, err
		}
		if done {
			dropped++
		}
	}
	return dropped, nil
}

func (s *Service) dropOne(ctx context.Context, tx *gorm.DB, b *models.Build, why string) (bool, error) {
	now := s.DB.NowFunc()
	failure := &models.BuildError{Class: ClassCanceled, Message: why}
	r := tx.Model(&models.Build{}).Where("id = ? AND state IN ?", b.ID, idle).Select("State", "FinishedAt", "Error").
		Updates(models.Build{State: models.BuildCanceled, FinishedAt: &now, Error: failure})
	if r.Error != nil || r.RowsAffected == 0 {
		return false, r.Error
	}
	b.State, b.FinishedAt, b.Error = models.BuildCanceled, &now, failure
	if err := logs.End(tx, b.ID); err != nil {
		return false, err
	}
	return true, s.publish(tx, b, "build.canceled")
}
