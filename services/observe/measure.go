package observe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

const (
	// MeasureEvery is how often each target is measured.
	MeasureEvery = 15 * time.Second
	// KeepUsage is how far back what instances took is known.
	KeepUsage = time.Hour

	measureTime = 25 * time.Second // for one target
	targetsMost = 8                // targets that are asked at the same time
	rowsAtOnce  = 500              // of one transaction
)

// Measure asks each target on which something runs what its instances take, and
// stores it. Every worker may run it: a target is measured by one of them at a time.
func (s *Service) Measure(ctx context.Context) error {
	var targets []string
	used := s.DB.Model(&models.Deployment{}).Select("environment_id").Where("retired_at IS NULL AND started_at IS NOT NULL AND ((active AND NOT stopped) OR state = ?)", models.DeploymentRunning)
	err := s.DB.WithContext(ctx).Model(&models.Environment{}).Where("id IN (?)", used).Distinct().Order("target_id").Pluck("target_id", &targets).Error
	if err != nil {
		return fmt.Errorf("looking for targets to measure: %w", err)
	}
	var measuring sync.WaitGroup
	room := make(chan struct{}, targetsMost)
	faults := make([]error, len(targets))
	for n, id := range targets {
		room <- struct{}{}
		measuring.Go(func() {
			defer func() { <-room }()
			faults[n] = s.measure(ctx, id)
		})
	}
	measuring.Wait()
	return errors.Join(faults...)
}

func (s *Service) measure(ctx context.Context, targetID string) error {
	ctx, cancel := context.WithTimeout(ctx, measureTime)
	defer cancel()
	mine, err := s.take(ctx, targetID)
	if err != nil || !mine {
		return err
	}
	target, err := s.Deploy.OpenTarget(ctx, targetID)
	if err != nil {
		return err
	}
	used, err := target.Usage(ctx)
	if f := new(deploy.Failure); errors.As(err, &f) {
		return nil // Reconcile tells people that the target is away
	}
	if err != nil {
		return fmt.Errorf("measuring the target %s: %w", targetID, err)
	}
	return s.record(ctx, targetID, s.now(), used)
}

// take tells whether it is time to measure the target, and this worker's turn.
func (s *Service) take(ctx context.Context, targetID string) (bool, error) {
	now := s.now()
	db := s.DB.WithContext(ctx)
	due := now.Add(-MeasureEvery + time.Second) // ticks come a little early or late
	r := db.Model(&models.TargetReading{}).Where("target_id = ? AND taken_at <= ?", targetID, due).Update("taken_at", now)
	if r.Error != nil || r.RowsAffected == 1 {
		return r.Error == nil, r.Error
	}
	r = db.Clauses(clause.OnConflict{DoNothing: true}).Create(&models.TargetReading{TargetID: targetID, TakenAt: now})
	return r.Error == nil && r.RowsAffected == 1, r.Error
}

// record stores what the target's instances take.
func (s *Service) record(ctx context.Context, targetID string, at time.Time, used []deploy.Usage) error {
	var rows []struct{ ID, RuntimeID string }
	on := s.DB.Model(&models.Environment{}).Select("id").Where("target_id = ?", targetID)
	err := s.DB.WithContext(ctx).Model(&models.Instance{}).Select("instances.id, instances.runtime_id").
		Joins("JOIN deployments ON deployments.id = instances.deployment_id").
		Where("deployments.environment_id IN (?) AND deployments.retired_at IS NULL", on).Scan(&rows).Error
	if err != nil {
		return fmt.Errorf("looking for the instances of a target: %w", err)
	}
	byRuntime := make(map[string]string, len(rows))
	for _, r := range rows {
		byRuntime[r.RuntimeID] = r.ID
	}
	samples := make(map[string]Sample, len(used))
	for _, u := range used {
		if id := byRuntime[u.Instance]; id != "" {
			samples[id] = Sample{At: at, CPU: u.CPU, Memory: u.Memory}
		}
	}
	ids := make([]string, 0, len(samples))
	for id := range samples {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for some := range slices.Chunk(ids, rowsAtOnce) {
		if err := s.store(ctx, some, at, samples); err != nil {
			return fmt.Errorf("storing what instances take: %w", err)
		}
	}
	return nil
}

// store appends the samples to the buckets of their time.
func (s *Service) store(ctx context.Context, ids []string, at time.Time, samples map[string]Sample) error {
	starts := bucketOf(at)
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var have []models.UsageBucket
		if err := tx.Where("starts_at = ? AND instance_id IN ?", starts, ids).Find(&have).Error; err != nil {
			return err
		}
		packed := make(map[string][]byte, len(have))
		for _, b := range have {
			packed[b.InstanceID] = b.Samples
		}
		rows := make([]models.UsageBucket, 0, len(ids))
		for _, id := range ids {
			rows = append(rows, models.UsageBucket{InstanceID: id, StartsAt: starts, Samples: appendSample(packed[id], starts, samples[id])})
		}
		return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&rows).Error
	})
}

// PruneUsage forgets what instances took before the last hour, one bucket's time after the other.
func (s *Service) PruneUsage(ctx context.Context) error {
	before := bucketOf(s.now().Add(-KeepUsage)) // whole buckets before it
	for ctx.Err() == nil {
		oldest := s.DB.Model(&models.UsageBucket{}).Select("MIN(starts_at)").Where("starts_at < ?", before)
		r := s.DB.WithContext(ctx).Where("starts_at = (?)", oldest).Delete(&models.UsageBucket{})
		if r.Error != nil {
			return fmt.Errorf("forgetting what instances took: %w", r.Error)
		}
		if r.RowsAffected == 0 {
			return nil
		}
	}
	return ctx.Err()
}
