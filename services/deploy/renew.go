package deploy

import (
	"context"
	"errors"
	"fmt"

	"slipway.dev/models"
)

// RenewEvery is how often RenewCredentials is meant to run: well within what a
// credential lasts (pullTTL).
const RenewEvery = pullTTL / 3

// Renewer is a Target whose machines pull the image whenever an instance moves
// to one that lacks it, and so need a credential for as long as the release serves.
type Renewer interface {
	// Renew gives them a fresh one. Of the release it takes what names the image
	// and the objects that belong to it, and From.
	Renew(ctx context.Context, r Release) error
}

// RenewCredentials renews what the machines of such targets pull with. A target
// that does not answer keeps none of the others waiting.
func (s *Service) RenewCredentials(ctx context.Context) error {
	var targets []string
	serves := s.DB.Model(&models.Deployment{}).Select("environment_id").Where("active AND NOT stopped AND NOT paused")
	if err := s.DB.WithContext(ctx).Model(&models.Environment{}).Where("id IN (?)", serves).Distinct().Pluck("target_id", &targets).Error; err != nil {
		return err
	}
	var errs []error
	for _, id := range targets {
		target, err := s.target(ctx, id)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if renewer, ok := target.(Renewer); ok {
			errs = append(errs, s.renew(ctx, id, renewer))
		}
	}
	return errors.Join(errs...)
}

func (s *Service) renew(ctx context.Context, targetID string, target Renewer) error {
	var all []models.Deployment
	on := s.DB.Model(&models.Environment{}).Select("id").Where("target_id = ?", targetID)
	err := s.DB.WithContext(ctx).Preload("App").Preload("Environment").Preload("Environment.Team").
		Where("active AND NOT stopped AND NOT paused AND environment_id IN (?)", on).Find(&all).Error
	if err != nil {
		return err
	}
	var errs []error
	for i := range all {
		release, err := s.release(&all[i])
		if err == nil {
			err = target.Renew(ctx, release)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("renewing the credential of deployment %s: %w", all[i].ID, err))
		}
	}
	return errors.Join(errs...)
}
