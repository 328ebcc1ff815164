package retention_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/retention"
)

func TestAPreviewNamesTheRuleOrTheReferenceThatKeepsEachTag(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		r := w.repository("payments/checkout")
		shared, own := w.blob(r, "shared", 1000), w.blob(r, "own", 300)
		old := w.push(r, image{age: 90, tags: []string{"v1", "stable"}, children: []string{shared, own}})
		ran := w.push(r, image{age: 80, tags: []string{"v2"}, children: []string{shared}})
		runs := w.push(r, image{age: 70, children: []string{shared}})
		index := w.push(r, image{age: 70, tags: []string{"v3"}, children: []string{runs}})
		signature := w.push(r, image{age: 60, subject: index, children: []string{w.blob(r, "signature", 10)}})
		orphan := w.push(r, image{age: 60, subject: old, children: []string{w.blob(r, "other signature", 20)}})
		w.push(r, image{age: 50, tags: []string{"v4"}, children: []string{shared}})
		w.push(r, image{age: 40, tags: []string{"v5"}, children: []string{shared}})
		w.push(r, image{age: 0, tags: []string{"pr-7"}, children: []string{shared}})
		loose := w.push(r, image{age: 30, children: []string{shared}})
		w.deploy(w.App, w.Environment, 1, ran, models.DeploymentSucceeded, false)
		w.deploy(w.App, w.Environment, 2, runs, models.DeploymentSucceeded, true)
		w.policy(r, 1, 2, models.RetentionRule{Tags: []string{"v*"}, Last: 1}, models.RetentionRule{Tags: []string{"v4"}, Days: 60})

		p := w.preview(r)
		for name, want := range map[string]struct {
			kind   models.RetentionKind
			reason string
		}{
			"v1":      {"", ""},
			"stable":  {"", ""},
			"v2":      {models.KeptRollback, "checkout ran it in dev"},
			runs:      {models.KeptRuns, "runs it in dev"},
			"v3":      {models.KeptPart, "its image"},
			signature: {models.KeptAbout, "it is about"},
			orphan:    {"", ""},
			"v4":      {models.KeptRule, "rule 2: keep images tagged v4 pushed in the last 60 days"},
			"v5":      {models.KeptRule, "rule 1: keep the newest 1 image tagged v*"},
			"pr-7":    {models.KeptYoung, "younger than 1 day"},
			loose:     {"", ""},
		} {
			e := entry(p, name)
			if e.Kind != want.kind || !strings.Contains(e.Reason, want.reason) || e.Goes != (want.kind == "") {
				t.Errorf("%s: %+v", name, e)
			}
		}
		if p.Goes != 3 || p.GoesTags != 2 || p.Bytes != 320 || entry(p, "v1").Frees != 300 {
			t.Errorf("in numbers: %d manifests, %d tags, %d bytes, v1 frees %d", p.Goes, p.GoesTags, p.Bytes, entry(p, "v1").Frees)
		}
	})
}

func TestAPreviewIsPagedAndFiltered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	r := w.repository("payments/checkout")
	for n := range 25 {
		w.push(r, image{age: 100 - n, tags: []string{fmt.Sprintf("v%d", n), fmt.Sprintf("w%d", n)}})
	}
	w.policy(r, 1, 1, models.RetentionRule{Last: 5})
	seen := map[string]bool{}
	for only, want := range map[string]int{"": 50, "goes": 40, "stays": 10} {
		clear(seen)
		f := retention.PreviewFilter{Only: only, Page: models.Page{Limit: 7}}
		for {
			p, err := w.service.Preview(modelstest.As(t, w.db, w.Viewer), r, f)
			w.must(err)
			for _, e := range p.Entries.Items {
				seen[e.Tag] = true
			}
			if f.Cursor = p.Entries.Next; f.Cursor == "" {
				break
			}
		}
		if len(seen) != want {
			t.Errorf("%q lists %d tags, want %d", only, len(seen), want)
		}
	}
}

func TestARunDeletesOnlyWhatItsPlanNamedAndNothingKeepsByThen(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		r := w.repository("payments/checkout")
		first := w.push(r, image{age: 90, tags: []string{"v1"}})
		second := w.push(r, image{age: 80, tags: []string{"v2"}})
		w.push(r, image{age: 70, tags: []string{"v3"}})
		w.policy(r, 1, 1, models.RetentionRule{Last: 1})
		ctx := modelstest.As(t, db, w.Maintainer)
		shown := w.preview(r)
		late := w.push(r, image{age: 60, tags: []string{"v4"}})
		if _, err := w.service.Start(ctx, r, shown.Fingerprint); !models.IsCode(err, models.Conflict) {
			t.Fatalf("another plan than the one that was shown: %v", err)
		}
		if _, err := w.service.Start(modelstest.As(t, db, w.Developer), r, shown.Fingerprint); !models.IsCode(err, models.Denied) {
			t.Errorf("a developer: %v", err)
		}
		run, err := w.service.Start(ctx, r, w.preview(r).Fingerprint)
		w.must(err)
		if _, err := w.service.Start(ctx, r, w.preview(r).Fingerprint); !models.IsCode(err, models.Conflict) {
			t.Errorf("two at once: %v", err)
		}
		w.deploy(w.App, w.Environment, 1, first, models.DeploymentSucceeded, true)
		w.push(r, image{age: 50, tags: []string{"v5"}}) // now v4 is kept by no rule, and not named
		w.must(w.service.Clean(models.WithPrincipal(t.Context(), models.System("worker")), retention.CleanUp{RunID: run.ID}))
		there := w.there(r)
		if !there[first] || there[second] || !there[late] {
			t.Errorf("runs: %t, named: %t, not named: %t", there[first], there[second], there[late])
		}
		run, err = w.service.Run(ctx, run.ID)
		w.must(err)
		if run.State != models.RetentionSucceeded || run.Planned != 3 || run.Deleted != 2 || run.Spared != 1 || run.StartedByName != w.Maintainer.Name {
			t.Errorf("the run is %+v", run)
		}
		items, err := w.service.Items(ctx, run.ID, models.Page{})
		w.must(err)
		for _, i := range items.Items {
			if i.Digest == first && (i.Outcome != models.OutcomeSpared || !strings.Contains(i.Reason, "runs it")) {
				t.Errorf("what runs: %+v", i)
			}
		}
	})
}

func TestADeploymentAndACleanUpOfTheSameImageDoNotCross(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		won := 0
		for n := range 12 {
			r := w.repository(fmt.Sprintf("payments/app%d", n))
			app := w.app(fmt.Sprintf("app%d", n))
			d := w.push(r, image{age: 90, tags: []string{"v1"}})
			w.push(r, image{age: 80, tags: []string{"v2"}})
			w.policy(r, 1, 1, models.RetentionRule{Last: 1})
			run, err := w.service.Start(modelstest.As(t, db, w.Maintainer), r, w.preview(r).Fingerprint)
			w.must(err)
			var deployed error
			var wg sync.WaitGroup
			wg.Go(func() {
				deployed = db.WithContext(t.Context()).Transaction(func(tx *gorm.DB) error {
					if err := w.registry.Hold(t.Context(), tx, "localhost:8080/"+r, d); err != nil {
						return err
					}
					return tx.Create(&models.Deployment{ID: models.NewID(), TeamID: w.Team.ID, AppID: app.ID, EnvironmentID: w.Environment.ID, Number: 1,
						State: models.DeploymentPending, ImageRepository: "localhost:8080/" + r, ImageDigest: d, Action: models.ActionDeploy, CreatedAt: db.NowFunc()}).Error
				})
			})
			wg.Go(func() {
				if err := w.service.Clean(models.WithPrincipal(t.Context(), models.System("worker")), retention.CleanUp{RunID: run.ID}); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			there := w.there(r)[d]
			switch {
			case deployed == nil && !there:
				t.Error("an image was deployed and deleted")
			case deployed != nil && (!models.IsCode(deployed, models.Invalid) || there):
				t.Errorf("refused with %v, the image is there: %t", deployed, there)
			case deployed == nil:
				won++
			}
		}
		t.Logf("the deployment came first %d times of 12", won)
	})
}

func TestTheDailyCleanUpBeginsADayAfterItsPolicyAndComesOnceADay(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		r := w.repository("payments/checkout")
		own := w.repository("payments/own")
		w.push(r, image{age: 90, tags: []string{"v1"}})
		_, err := w.service.SetTeamPolicy(modelstest.As(t, db, w.Maintainer), w.Team.Slug, retention.PolicyInput{Enabled: true, Rules: []models.RetentionRule{{Last: 1}}})
		w.must(err)
		_, err = w.service.SetPolicy(modelstest.As(t, db, w.Maintainer), own, retention.PolicyInput{})
		w.must(err)
		runs := func() (n int64) {
			w.must(w.service.RunDue(models.WithPrincipal(t.Context(), models.System("worker"))))
			w.must(db.Model(&models.RetentionRun{}).Count(&n).Error)
			return n
		}
		if n := runs(); n != 0 {
			t.Errorf("%d runs at once", n)
		}
		w.must(db.Exec("UPDATE retention_policies SET updated_at = ?", db.NowFunc().Add(-25*time.Hour)).Error)
		if n := runs(); n != 1 {
			t.Errorf("%d runs after a day", n)
		}
		w.must(db.Exec("UPDATE retention_runs SET state = 'succeeded'").Error)
		if n := runs(); n != 1 {
			t.Errorf("%d runs on the same day", n)
		}
		if p, err := w.service.Policy(modelstest.As(t, db, w.Viewer), r); err != nil || !p.Inherited || !p.Enabled {
			t.Errorf("the policy is %+v, %v", p, err)
		}
		if p, err := w.service.Policy(modelstest.As(t, db, w.Viewer), own); err != nil || p.Inherited || p.Enabled {
			t.Errorf("the own policy is %+v, %v", p, err)
		}
	})
}

func TestACleanUpThatNeverEndsIsGivenUpAndHoldsNoOtherUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	r := w.repository("payments/checkout")
	w.push(r, image{age: 90, tags: []string{"v1"}})
	w.policy(r, 1, 1, models.RetentionRule{Last: 1})
	ctx := modelstest.As(t, w.db, w.Maintainer)
	run, err := w.service.Start(ctx, r, w.preview(r).Fingerprint)
	w.must(err)
	w.must(w.db.Model(run).UpdateColumn("created_at", w.db.NowFunc().Add(-25*time.Hour)).Error)
	w.must(w.service.Prune(t.Context()))
	if run, err = w.service.Run(ctx, run.ID); err != nil || run.State != models.RetentionFailed || run.Error == "" {
		t.Errorf("the run is %+v, %v", run, err)
	}
	w.clean(r)
}

func TestAPolicyThatCouldSurpriseIsRefusedByField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	r := w.repository("payments/checkout")
	many := make([]models.RetentionRule, 21)
	minus := -1
	for field, in := range map[string]retention.PolicyInput{
		"rules":         {Enabled: true},
		"rules.0.tags":  {Rules: []models.RetentionRule{{Tags: []string{"[a"}}}},
		"rules.1.tags":  {Rules: []models.RetentionRule{{}, {Tags: []string{strings.Repeat("{a,b}", 4)}}}},
		"rules.0.last":  {Rules: []models.RetentionRule{{Last: -1}}},
		"rules.0.days":  {Rules: []models.RetentionRule{{Days: 40_000}}},
		"min_age_days":  {MinAgeDays: &minus},
		"rollbacks":     {Rollbacks: &minus},
		"rules ":        {Rules: many},
		"rules.0.tags ": {Rules: []models.RetentionRule{{Untagged: true, Tags: []string{"v*"}}}},
	} {
		_, err := w.service.SetPolicy(modelstest.As(t, w.db, w.Maintainer), r, in)
		var e *models.Error
		if !models.IsCode(err, models.Invalid) || !errors.As(err, &e) || e.Fields[strings.TrimSpace(field)] == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := w.service.SetPolicy(modelstest.As(t, w.db, w.Developer), r, retention.PolicyInput{}); !models.IsCode(err, models.Denied) {
		t.Errorf("a developer: %v", err)
	}
	if _, err := w.service.Preview(modelstest.As(t, w.db, w.Stranger), r, retention.PreviewFilter{}); !models.IsCode(err, models.NotFound) {
		t.Errorf("a stranger: %v", err)
	}
}
