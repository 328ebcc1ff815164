package deploy_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/jobs"
)

// approvals are a team with two maintainers beside its admin, and deployments that wait; no target is asked.
type approvals struct {
	*pipeline
	ctx map[string]context.Context // by who
}

func newApprovals(t *testing.T, db *models.Database) *approvals {
	t.Helper()
	p := newPipeline(t, db)
	q, err := jobs.New(db, jobs.Config{Deployments: 1, Others: 1, DeadAfter: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	jobs.Register(q, p.service.Roll) // never started
	p.service.Queue = q
	a := &approvals{p, map[string]context.Context{"admin": modelstest.As(t, db, p.Admin), "maintainer": modelstest.As(t, db, p.Maintainer)}}
	other := &models.User{ID: models.NewID(), Issuer: p.Admin.Issuer, Subject: "other", Name: "Other", Email: "other@example.test", CreatedAt: db.NowFunc()}
	p.create(other, &models.Member{TeamID: p.Team.ID, UserID: other.ID, Role: models.RoleMaintainer, CreatedAt: db.NowFunc()})
	a.ctx["other"] = modelstest.As(t, db, other)
	return a
}

// waits records a deployment that waits for approval.
func (a *approvals) waits(commit string, change ...func(*models.Deployment)) *models.Deployment {
	a.t.Helper()
	return a.attempt(a.stages[0], a.App, a.build(a.App, commit), models.DeploymentWaiting, func(d *models.Deployment) {
		d.CreatedBy, d.StartedAt, d.ConfigHash = a.Developer.ID, nil, "c0ffee"
		for _, c := range change {
			c(d)
		}
	})
}

func (a *approvals) protect(rules models.Protection) {
	a.t.Helper()
	if _, err := a.service.Protect(a.ctx["maintainer"], a.stages[0].ID, rules); err != nil {
		a.t.Fatal(err)
	}
}

// approve is the named person's word, which must come to the code.
func (a *approvals) approve(who string, d *models.Deployment, comment string, want models.Code) {
	a.t.Helper()
	_, err := a.service.Approve(a.ctx[who], d.ID, deploy.ApprovalInput{Comment: comment})
	if want == "" && err != nil || want != "" && !models.IsCode(err, want) {
		a.t.Errorf("%s approves: got %v, want %q", who, err, want)
	}
}

func (a *approvals) is(d *models.Deployment, want models.DeploymentState) {
	a.t.Helper()
	now, err := a.service.Get(a.viewer, d.ID)
	if err != nil || now.State != want {
		a.t.Errorf("it is %+v (%v), want %s", now, err, want)
	}
}

func TestTwoApprovalsAtTheSameMomentAreTwo(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		a := newApprovals(t, db)
		a.protect(models.Protection{Approvals: 2})
		for range 5 {
			d := a.waits("aa")
			var both sync.WaitGroup
			for _, who := range []string{"maintainer", "other"} {
				both.Go(func() { a.approve(who, d, "", "") })
			}
			both.Wait()
			a.is(d, models.DeploymentPending)
		}
	})
}

func TestTheWordOfWhoIsNoMaintainerAnyMoreDoesNotCount(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		a := newApprovals(t, db)
		a.protect(models.Protection{Approvals: 2})
		d := a.waits("aa")
		a.approve("other", d, "", "")
		gone := models.PrincipalFrom(a.ctx["other"]).UserID
		if err := db.Delete(&models.Member{}, "user_id = ?", gone).Error; err != nil {
			t.Fatal(err)
		}
		a.approve("maintainer", d, "", "")
		a.is(d, models.DeploymentWaiting)
		a.approve("admin", d, "", "")
		a.is(d, models.DeploymentPending)
	})
}

func TestWhatWaitsBeginsWhenTheRulesAskForNoMore(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		a := newApprovals(t, db)
		a.protect(models.Protection{Approvals: 2})
		d := a.waits("aa")
		a.approve("other", d, "", "")
		now := db.NowFunc()
		end := now.Add(time.Hour)
		a.protect(models.Protection{Approvals: 1, Freezes: []models.Freeze{{Name: "Holidays", Start: &now, End: &end}}})
		a.is(d, models.DeploymentWaiting)
		a.protect(models.Protection{Approvals: 1})
		a.is(d, models.DeploymentPending)
		var n int64
		if err := db.Table("river_job").Count(&n).Error; err != nil || n != 1 {
			t.Errorf("there are %d jobs (%v)", n, err)
		}
	})
}

func TestAFreezeYieldsOnlyToWhatAMaintainerSaysWhileItLasts(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	a := newApprovals(t, db)
	now := db.NowFunc()
	start, end := now.Add(-time.Hour), now.Add(time.Hour)
	frozen := models.Protection{Approvals: 1, Freezes: []models.Freeze{{Name: "Holidays", Start: &start, End: &end}}}
	a.protect(frozen)
	by := func(user string, at time.Time) func(*models.Deployment) {
		return func(d *models.Deployment) { d.CreatedBy, d.CreatedAt, d.Reason = user, at, "build #5 of main was good" }
	}
	before := a.waits("aa", by(a.Maintainer.ID, start.Add(-time.Hour)))
	a.approve("other", before, "", models.Conflict) // nobody said why it can't wait
	a.approve("other", before, "The shop is down", "")
	a.is(before, models.DeploymentPending)
	developers := a.waits("aa", by(a.Developer.ID, now))
	a.approve("other", developers, " ", models.Conflict)
	urgent := a.waits("aa", by(a.Maintainer.ID, now))
	a.approve("other", urgent, "", "")
	a.is(urgent, models.DeploymentPending)
}

func TestNobodyApprovesTheirOwnPush(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	a := newApprovals(t, db)
	_, commits := a.history("One")
	commit, err := a.service.Git.Commit(t.Context(), a.Repository.ID, commits[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Model(&models.User{}).Where("id = ?", a.Maintainer.ID).Update("email", commit.Email).Error; err != nil {
		t.Fatal(err)
	}
	a.protect(models.Protection{Approvals: 1})
	push := func(d *models.Deployment) { d.CreatedBy = "" }
	d := a.waits(commits[0], push)
	a.approve("maintainer", d, "", models.Denied)
	a.approve("other", d, "", "")
	a.is(d, models.DeploymentPending)
	a.approve("maintainer", a.waits(commits[0]), "", "") // a developer asked for it: these are two people
	a.approve("maintainer", a.waits("f00"+commits[0][3:], push), "", "")
}
