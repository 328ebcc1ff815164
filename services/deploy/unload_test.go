package deploy_test

import (
	"testing"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
)

func TestWhatRunsOfADeletedAppIsStopped(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		s.worker()
		s.built(2, "VERSION=1")
		s.succeeded(s.deploy(deploy.Input{}).ID)
		if n := s.live(); n != 1 {
			t.Fatalf("%d containers run", n)
		}
		err := db.Transaction(func(tx *gorm.DB) error {
			if err := s.service.Unload(t.Context(), tx, s.App); err != nil {
				return err
			}
			return tx.Delete(&models.App{}, "id = ?", s.App.ID).Error
		})
		if err != nil {
			t.Fatal(err)
		}
		var routes int64
		if err := db.Model(&models.Route{}).Count(&routes).Error; err != nil || routes != 0 {
			t.Errorf("%d routes are left, %v", routes, err)
		}
		s.untilLive(0)
	})
}
