package deploy_test

import (
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
)

func TestAnImageThatIsMarkedBadWhileItWaitsIsNotDeployed(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	b := s.built(2, "VERSION=1")
	s.protect(models.Protection{Approvals: 1})
	waits := s.deploy(deploy.Input{})
	mark := func() {
		t.Helper()
		if _, err := s.service.MarkBad(s.ctx, s.Team.ID, b.ImageDigest, "Loses orders."); err != nil {
			t.Fatal(err)
		}
	}
	mark()
	if _, err := s.service.Approve(modelstest.As(t, s.db, s.Admin), waits.ID, deploy.ApprovalInput{}); !models.IsCode(err, models.Conflict) || !strings.Contains(err.Error(), "as bad: Loses orders.") {
		t.Errorf("approving it: %v", err)
	}
	if err := s.service.UnmarkBad(s.ctx, s.Team.ID, b.ImageDigest); err != nil {
		t.Fatal(err)
	}
	s.protect(models.Protection{})
	queued := s.deploy(deploy.Input{})
	mark()
	s.worker()
	if d := s.ended(queued.ID); d.State != models.DeploymentFailed || len(d.Phases) != 1 || !strings.Contains(d.Error.Message, "as bad: Loses orders.") {
		t.Errorf("one that waited for its turn is %s: %+v, phases %+v", d.State, d.Error, d.Phases)
	}
}

func TestAReasonFromBeforeAFreezeDoesNotOverruleIt(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.built(2, "VERSION=1")
	maintainer, admin := modelstest.As(t, s.db, s.Maintainer), modelstest.As(t, s.db, s.Admin)
	asked := func(approvals int, at time.Time) *models.Deployment {
		t.Helper()
		s.protect(models.Protection{Approvals: approvals})
		d, err := s.service.Deploy(maintainer, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Reason: "build #2 of main was good"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.db.Model(d).UpdateColumn("created_at", at).Error; err != nil {
			t.Fatal(err)
		}
		return d
	}
	now := s.db.NowFunc()
	start, end := now.Add(-time.Minute), now.Add(24*time.Hour)
	freeze := []models.Freeze{{Name: "Holidays", Start: &start, End: &end}}

	before := asked(1, now.Add(-time.Hour))
	s.protect(models.Protection{Approvals: 1, Freezes: freeze})
	if _, err := s.service.Approve(admin, before.ID, deploy.ApprovalInput{}); !models.IsCode(err, models.Conflict) || !strings.Contains(err.Error(), "Holidays: nothing is deployed") {
		t.Errorf("what was asked for before the freeze is approved in it: %v", err)
	}
	during := asked(1, now)
	s.protect(models.Protection{Approvals: 1, Freezes: freeze})
	if d, err := s.service.Approve(admin, during.ID, deploy.ApprovalInput{}); err != nil || d.State != models.DeploymentPending {
		t.Errorf("what was asked for in spite of it: %+v, %v", d, err)
	}
	if _, err := s.service.Cancel(s.ctx, during.ID); err != nil {
		t.Fatal(err)
	}

	queued := asked(0, now.Add(-time.Hour))
	s.protect(models.Protection{Freezes: freeze})
	s.worker()
	if d := s.ended(queued.ID); d.State != models.DeploymentFailed || !strings.Contains(d.Error.Message, "Holidays: nothing is deployed") {
		t.Errorf("what waited for its turn when the freeze began is %s: %+v", d.State, d.Error)
	}
}
