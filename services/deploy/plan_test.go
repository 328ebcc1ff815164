package deploy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/dockertest"
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

func TestWhatAnImageSaysOfItselfIsCheckedBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.worker()
	if err := s.db.Model(s.App).Select("health", "port").Updates(&models.App{Health: models.HealthImage}).Error; err != nil {
		t.Fatal(err)
	}
	s.built(2, "VERSION=1")
	without := s.ended(s.deploy(deploy.Input{}).ID)
	if without.State != models.DeploymentFailed || len(without.Phases) != 1 || !strings.Contains(without.Error.Message, "the image has none") {
		t.Errorf("without a HEALTHCHECK it is %s: %+v, phases %+v", without.State, without.Error, without.Phases)
	}

	img := dockertest.App(t, "VERSION=2")
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config := file.Config
	config.ExposedPorts = map[string]struct{}{"9090/tcp": {}, "8081/tcp": {}, "53/udp": {}}
	config.Healthcheck = &v1.HealthConfig{Test: []string{"CMD", "/app", "say", "PORT"}, Interval: time.Second}
	if img, err = mutate.Config(img, config); err != nil {
		t.Fatal(err)
	}
	s.builtOf(3, img)
	p, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
	if err != nil {
		t.Fatal(err)
	}
	for name, words := range map[string]string{"Port": "EXPOSE for 8081, 9090; the lowest counts", "Health": "own HEALTHCHECK has to say healthy"} {
		if !slices.ContainsFunc(p.Checks, func(c deploy.Check) bool { return c.Name == name && c.OK && strings.Contains(c.Message, words) }) {
			t.Errorf("the plan says %+v, want %q", p.Checks, words)
		}
	}
	with := s.succeeded(s.deploy(deploy.Input{}).ID)
	if with.Config.Port != 8081 || !slices.Contains(phaseOf(with, "check").Detail, "Health: The image has a HEALTHCHECK.") {
		t.Errorf("it listens on %d, the phase says %q", with.Config.Port, phaseOf(with, "check").Detail)
	}
}
