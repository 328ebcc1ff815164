package deploy_test

import (
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
)

func TestAdminsGetTheCloudInitOfAHost(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	admin := modelstest.As(t, s.db, s.Admin)
	made, err := s.service.CreateTarget(admin, deploy.TargetInput{Name: "vm-1", Kind: "docker-ssh", AllTeams: true, Settings: map[string]string{"host": "slipway@203.0.113.7"}})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := s.service.CloudInit(admin, made.ID); err != nil || !strings.Contains(text, made.Settings["public_key"]) || strings.Contains(text, "PRIVATE") {
		t.Errorf("it is %q, %v", text, err)
	}
	if _, err := s.service.CloudInit(admin, s.Target.ID); !models.IsCode(err, models.Conflict) {
		t.Errorf("a target of another kind gives %v", err)
	}
	if _, err := s.service.CloudInit(modelstest.As(t, s.db, s.Maintainer), made.ID); !models.IsCode(err, models.Denied) {
		t.Errorf("a maintainer gets %v", err)
	}
}
