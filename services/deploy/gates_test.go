package deploy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
)

// protect sets what has to hold before a deployment to the stage's environment.
func (s *stage) protect(rules models.Protection) {
	s.t.Helper()
	if _, err := s.service.Protect(modelstest.As(s.t, s.db, s.Maintainer), s.Environment.ID, rules); err != nil {
		s.t.Fatal(err)
	}
}

// kept asks for a deployment, which must be refused with the words.
func (s *stage) kept(ctx context.Context, in deploy.Input, words string) {
	s.t.Helper()
	in.EnvironmentID, in.AppID = s.Environment.ID, s.App.ID
	_, err := s.service.Deploy(ctx, in)
	if wrong := new(models.Error); !errors.As(err, &wrong) || wrong.Code != models.Conflict || !strings.Contains(wrong.Message, words) {
		s.t.Errorf("got %v, want a refusal with %q", err, words)
	}
	plan, err := s.service.Plan(ctx, in)
	if err != nil || plan.Open() || !slices.ContainsFunc(plan.Checks, func(c deploy.Check) bool { return c.Gate && !c.OK && strings.Contains(c.Message, words) }) {
		s.t.Errorf("the plan says %+v (%v), want %q", plan, err, words)
	}
}

func TestADeploymentWaitsForAnotherMaintainersWordOnExactlyIt(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		s.worker()
		s.built(2, "VERSION=1")
		later, end := db.NowFunc().Add(24*time.Hour), db.NowFunc().Add(48*time.Hour)
		s.protect(models.Protection{Approvals: 1, Freezes: []models.Freeze{{Name: "Holidays", Start: &later, End: &end}}})
		maintainer, admin := modelstest.As(t, db, s.Maintainer), modelstest.As(t, db, s.Admin)

		s.ctx = maintainer
		d := s.deploy(deploy.Input{})
		if d.State != models.DeploymentWaiting || d.App == nil || d.App.Name != "checkout" || d.Environment == nil || d.Environment.Name != "dev" {
			t.Fatalf("it is %+v", d)
		}
		if why, err := s.service.WhyWaiting(s.ctx, s.get(d.ID)); err != nil || !strings.Contains(why, "1 maintainer of") || !strings.Contains(why, "other than") {
			t.Errorf("it waits because %q (%v)", why, err)
		}
		for who, c := range map[string]struct {
			ctx  context.Context
			in   deploy.ApprovalInput
			code models.Code
		}{
			"its author":            {maintainer, deploy.ApprovalInput{}, models.Denied},
			"a developer":           {modelstest.As(t, db, s.Developer), deploy.ApprovalInput{}, models.Denied},
			"a stranger":            {modelstest.As(t, db, s.Stranger), deploy.ApprovalInput{}, models.NotFound},
			"no person":             {models.WithPrincipal(t.Context(), models.System("x")), deploy.ApprovalInput{}, models.Denied},
			"of another image":      {admin, deploy.ApprovalInput{Digest: "sha256:" + strings.Repeat("0", 64)}, models.Conflict},
			"of other settings":     {admin, deploy.ApprovalInput{ConfigHash: "x"}, models.Conflict},
			"who says far too much": {admin, deploy.ApprovalInput{Comment: strings.Repeat("x", 5000)}, models.Invalid},
		} {
			if _, err := s.service.Approve(c.ctx, d.ID, c.in); !models.IsCode(err, c.code) {
				t.Errorf("%s: got %v, want %s", who, err, c.code)
			}
		}
		if _, err := s.service.Approve(admin, d.ID, deploy.ApprovalInput{Digest: d.ImageDigest, ConfigHash: d.ConfigHash, Comment: "fine"}); err != nil {
			t.Fatal(err)
		}
		done := s.succeeded(d.ID)
		if told := phaseOf(done, "check").Detail; !slices.Contains(told, "Freeze: None is on now.") || !slices.ContainsFunc(told, func(line string) bool {
			return strings.HasPrefix(line, "Approval: ") && strings.HasSuffix(line, " approved it.")
		}) {
			t.Errorf("the first phase says %q", told)
		}
		if len(done.Approvals) != 1 || done.Approvals[0].Digest != d.ImageDigest || done.Approvals[0].ConfigHash != d.ConfigHash || done.Approvals[0].Comment != "fine" {
			t.Errorf("the approvals are %+v", done.Approvals)
		}
		if _, err := s.service.Approve(admin, d.ID, deploy.ApprovalInput{}); !models.IsCode(err, models.Conflict) {
			t.Errorf("approved again: %v", err)
		}

		s.built(3, "VERSION=2")
		second := s.deploy(deploy.Input{})
		if _, err := s.service.SetVariable(maintainer, deploy.VariableInput{EnvironmentID: s.Environment.ID, Name: "LEVEL", Value: "1"}); err != nil {
			t.Fatal(err)
		}
		third := s.deploy(deploy.Input{}) // other settings are another deployment, with a word of its own
		if old := s.get(second.ID); old.State != models.DeploymentCanceled || third.State != models.DeploymentWaiting || third.ConfigHash == second.ConfigHash {
			t.Errorf("the one before is %s, the new one %s", old.State, third.State)
		}
		if _, err := s.service.Approve(admin, second.ID, deploy.ApprovalInput{}); !models.IsCode(err, models.Conflict) {
			t.Errorf("approving what was superseded: %v", err)
		}
		rejected, err := s.service.Reject(admin, third.ID, deploy.ApprovalInput{Comment: "not today"})
		if err != nil || rejected.State != models.DeploymentCanceled || !strings.Contains(rejected.Error.Message, "not today") {
			t.Errorf("rejected it is %+v (%v)", rejected, err)
		}
		if got := s.answer("/version"); got != "1" {
			t.Errorf("the route answers %q", got)
		}
		back, err := s.service.Restart(maintainer, d.ID)
		if err != nil || back.State != models.DeploymentPending || back.App == nil || back.Environment == nil {
			t.Errorf("a restart of what was approved is %+v (%v)", back, err)
		}
	})
}

func TestTwoApprovalsComeFromTwoPeople(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.built(2, "VERSION=1")
	s.protect(models.Protection{Approvals: 2})
	d := s.deploy(deploy.Input{})
	admin := modelstest.As(t, s.db, s.Admin)
	if d, err := s.service.Approve(admin, d.ID, deploy.ApprovalInput{}); err != nil || d.State != models.DeploymentWaiting {
		t.Fatalf("after the first it is %+v (%v)", d, err)
	}
	if _, err := s.service.Approve(admin, d.ID, deploy.ApprovalInput{}); !models.IsCode(err, models.Conflict) {
		t.Errorf("the same person again: %v", err)
	}
	if d, err := s.service.Approve(modelstest.As(t, s.db, s.Maintainer), d.ID, deploy.ApprovalInput{}); err != nil || d.State != models.DeploymentPending {
		t.Errorf("after the second it is %+v (%v)", d, err)
	}
}

func TestOnlyWhatTheRulesLetInIsDeployed(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	b := s.built(2, "VERSION=1")
	other := &models.Environment{ID: models.NewID(), TeamID: s.Team.ID, TargetID: s.Target.ID, Name: "staging", Position: 1, CreatedAt: s.db.NowFunc()}
	if err := s.db.Create(other).Error; err != nil {
		t.Fatal(err)
	}
	maintainer := modelstest.As(t, s.db, s.Maintainer)

	s.protect(models.Protection{Branches: []string{"release/**", " "}})
	s.kept(s.ctx, deploy.Input{}, "Only builds of release/** may be deployed here")
	s.protect(models.Protection{Branches: []string{"main"}})
	if d := s.deploy(deploy.Input{}); d.State != models.DeploymentPending {
		t.Errorf("a build of main is %s", d.State)
	}
	if err := s.db.Model(b).Update("untrusted", true).Error; err != nil {
		t.Fatal(err)
	}
	s.kept(s.ctx, deploy.Input{}, "Only builds of main")

	s.protect(models.Protection{After: other.ID})
	s.kept(s.ctx, deploy.Input{}, "has to succeed in staging first")
	there := models.Deployment{ID: models.NewID(), TeamID: s.Team.ID, AppID: s.App.ID, EnvironmentID: other.ID, Number: 90, State: models.DeploymentSucceeded,
		ImageDigest: b.ImageDigest, Action: models.ActionDeploy, CreatedAt: s.db.NowFunc()}
	if err := s.db.Create(&there).Error; err != nil {
		t.Fatal(err)
	}
	ran := s.deploy(deploy.Input{})
	if err := s.db.Model(&models.Deployment{}).Where("id = ?", ran.ID).Update("state", models.DeploymentSucceeded).Error; err != nil {
		t.Fatal(err)
	}

	if _, err := s.service.MarkBad(s.ctx, s.Team.ID, b.ImageDigest, "Loses orders."); err != nil {
		t.Fatal(err)
	}
	s.kept(s.ctx, deploy.Input{}, "marked this image as bad: Loses orders.")
	if _, err := s.service.Rollback(s.ctx, ran.ID); !models.IsCode(err, models.Conflict) || !strings.Contains(err.Error(), "as bad") {
		t.Errorf("rolling back to a bad image: %v", err)
	}
	if err := s.service.UnmarkBad(s.ctx, s.Team.ID, b.ImageDigest); err != nil {
		t.Fatal(err)
	}

	now := s.db.NowFunc()
	end := now.Add(time.Hour)
	s.protect(models.Protection{Freezes: []models.Freeze{{Name: "Holidays", Start: &now, End: &end}}})
	s.kept(s.ctx, deploy.Input{}, "Holidays: nothing is deployed to dev until")
	s.kept(s.ctx, deploy.Input{Reason: "please"}, "A maintainer can")
	d, err := s.service.Deploy(maintainer, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Reason: "The shop is down"})
	if err != nil || d.Reason != "The shop is down" {
		t.Errorf("a maintainer with a reason: %+v (%v)", d, err)
	}
}

func TestRulesThatCanNotBeAreRefused(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	maintainer := modelstest.As(t, s.db, s.Maintainer)
	second := &models.Environment{ID: models.NewID(), TeamID: s.Team.ID, TargetID: s.Target.ID, Name: "staging", Position: 1, Protection: models.Protection{After: s.Environment.ID}, CreatedAt: s.db.NowFunc()}
	if err := s.db.Create(second).Error; err != nil {
		t.Fatal(err)
	}
	for field, rules := range map[string]models.Protection{
		"approvals": {Approvals: 99}, "branches": {Branches: []string{"[a"}}, "after": {After: second.ID}, "zone": {Freezes: []models.Freeze{{Name: "x"}}},
	} {
		_, err := s.service.Protect(maintainer, s.Environment.ID, rules)
		if wrong := new(models.Error); !errors.As(err, &wrong) || wrong.Fields[field] == "" {
			t.Errorf("%s: got %v", field, err)
		}
	}
	if _, err := s.service.Protect(maintainer, s.Environment.ID, models.Protection{After: "unknown"}); !models.IsCode(err, models.Invalid) {
		t.Errorf("an environment that is none: %v", err)
	}
	if _, err := s.service.Protect(s.ctx, s.Environment.ID, models.Protection{}); !models.IsCode(err, models.Denied) {
		t.Errorf("a developer: %v", err)
	}
}

func TestGoodBuildsOfTheBranchAreDeployedByThemselvesUntilARollback(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		s.worker()
		s.built(2, "VERSION=before")
		if _, err := s.service.SetAuto(s.ctx, deploy.AutoInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Branch: "main"}); err != nil {
			t.Fatal(err)
		}
		auto := func() []models.Deployment {
			t.Helper()
			for range 2 { // a second look finds nothing more to do
				if err := s.service.DeployGoodBuilds(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			list, err := s.service.List(s.ctx, deploy.Filter{EnvironmentID: s.Environment.ID})
			if err != nil {
				t.Fatal(err)
			}
			return list.Items
		}
		if got := auto(); len(got) != 0 {
			t.Fatalf("what was there before was deployed: %+v", got)
		}
		good := func(number int64, version string, change map[string]any) *models.Build {
			t.Helper()
			b := s.built(number, "VERSION="+version)
			values := map[string]any{"finished_at": db.NowFunc().Add(time.Duration(number) * time.Second), "created_by": s.Developer.ID, "created_by_name": "Dev"}
			for k, v := range change {
				values[k] = v
			}
			if err := db.Model(b).Updates(values).Error; err != nil {
				t.Fatal(err)
			}
			return b
		}
		good(3, "feature", map[string]any{"ref": "feature"})
		good(4, "fork", map[string]any{"untrusted": true})
		if got := auto(); len(got) != 0 {
			t.Fatalf("deployed were %+v", got)
		}
		good(5, "five", nil)
		got := auto()
		if len(got) != 1 || got[0].CreatedByName != "Dev" || !strings.Contains(got[0].Reason, "#5") {
			t.Fatalf("deployed were %+v", got)
		}
		first := s.succeeded(got[0].ID)
		good(6, "six", nil)
		if got = auto(); len(got) != 2 {
			t.Fatalf("deployed were %+v", got)
		}
		s.succeeded(got[0].ID)
		back, err := s.service.Rollback(s.ctx, first.ID)
		if err != nil {
			t.Fatal(err)
		}
		s.succeeded(back.ID)
		good(7, "seven", nil)
		if got = auto(); len(got) != 3 || s.answer("/version") != "five" {
			t.Fatalf("after the rollback deployed were %+v; the route answers %q", got, s.answer("/version"))
		}
		rows, err := s.service.AutoDeploys(s.ctx, s.Environment.ID)
		if err != nil || len(rows) != 1 || rows[0].HeldAt == nil || !strings.Contains(rows[0].HeldWhy, "went back to "+first.Title()) {
			t.Errorf("it is %+v (%v)", rows, err)
		}
		if err := s.service.LiftHold(s.ctx, s.Environment.ID, s.App.ID); err != nil {
			t.Fatal(err)
		}
		if got = auto(); len(got) != 4 {
			t.Fatalf("after the hold deployed were %+v", got)
		}
		s.succeeded(got[0].ID)
		if version := s.answer("/version"); version != "seven" {
			t.Errorf("the route answers %q", version)
		}

		bad := good(8, "eight", nil)
		if _, err := s.service.MarkBad(s.ctx, s.Team.ID, bad.ImageDigest, ""); err != nil {
			t.Fatal(err)
		}
		if got = auto(); len(got) != 4 {
			t.Errorf("a bad image was deployed")
		}
		if rows, _ := s.service.AutoDeploys(s.ctx, s.Environment.ID); !strings.Contains(rows[0].Note, "Build #8 was not deployed") {
			t.Errorf("the note is %q", rows[0].Note)
		}
		now := db.NowFunc()
		end := now.Add(time.Hour)
		s.protect(models.Protection{Freezes: []models.Freeze{{Name: "Holidays", Start: &now, End: &end}}})
		good(9, "nine", nil)
		if got = auto(); len(got) != 4 {
			t.Error("a build was deployed during a freeze")
		}
		s.protect(models.Protection{Approvals: 1})
		if got = auto(); len(got) != 5 || got[0].State != models.DeploymentWaiting || got[0].CreatedBy != s.Developer.ID {
			t.Errorf("after the freeze deployed were %+v", got)
		}
	})
}

func TestAFreezeIsDeletedByWhichOneItIsAndNotByWhereItStands(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		c, service := modelstest.Seed(t, db), &deploy.Service{DB: db}
		maintainer := modelstest.As(t, db, c.Maintainer)
		weekly := func(name string) models.Freeze {
			return models.Freeze{Name: name, Zone: "UTC", FromDay: 5, FromTime: "16:00", ToDay: 1, ToTime: "08:00"}
		}
		old := models.Protection{Approvals: 1, Freezes: []models.Freeze{weekly("Old"), weekly("Older")}} // of before freezes had ids
		if err := db.Model(&models.Environment{}).Where("id = ?", c.Environment.ID).Select("protection").Updates(&models.Environment{Protection: old}).Error; err != nil {
			t.Fatal(err)
		}
		added, err := service.AddFreeze(maintainer, c.Environment.ID, weekly("Fresh"))
		if err != nil || len(added.Protection.Freezes) != 3 || added.Protection.Freezes[0].ID != old.Freezes[0].Key() {
			t.Fatalf("added it is %+v (%v)", added, err)
		}
		fresh := added.Protection.Freezes[2].ID
		var group sync.WaitGroup
		for _, id := range []string{old.Freezes[0].Key(), fresh, old.Freezes[0].Key()} { // two people who mean the same, and one who does not
			group.Go(func() {
				if _, err := service.DeleteFreeze(maintainer, c.Environment.ID, id); err != nil && !models.IsCode(err, models.NotFound) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		e, err := service.Environment(maintainer, c.Environment.ID)
		if err != nil || len(e.Protection.Freezes) != 1 || e.Protection.Freezes[0].Name != "Older" || e.Protection.Approvals != 1 {
			t.Errorf("left is %+v (%v)", e.Protection, err)
		}
		if _, err := service.DeleteFreeze(modelstest.As(t, db, c.Developer), c.Environment.ID, old.Freezes[1].Key()); !models.IsCode(err, models.Denied) {
			t.Errorf("a developer deletes one: %v", err)
		}
		twice := models.Protection{Freezes: []models.Freeze{weekly("A"), weekly("A")}}
		if _, err := service.Protect(maintainer, c.Environment.ID, twice); !models.IsCode(err, models.Invalid) {
			t.Errorf("the same freeze twice: %v", err)
		}
	})
}
