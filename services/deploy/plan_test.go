package deploy_test

import (
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
)

// A build counts the manifest too, and the registry's layers do not.
func TestAPlanOfTheImageThatServesSaysThatItIsAsLarge(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.worker()
	b := s.built(2, "VERSION=2")
	if err := s.db.Model(&models.Build{}).Where("id = ?", b.ID).Update("image_size", 123_456).Error; err != nil {
		t.Fatal(err)
	}
	s.succeeded(s.deploy(deploy.Input{}).ID)
	p, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
	if err != nil {
		t.Fatal(err)
	}
	if p.Image.Size != 123_456 || p.SizeBefore != p.Image.Size {
		t.Errorf("it would take %d bytes instead of %d", p.Image.Size, p.SizeBefore)
	}
}
