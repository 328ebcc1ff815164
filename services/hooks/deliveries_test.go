package hooks_test

import (
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/hooks"
)

func TestARedeliveryIsWorkedOnAnewAndTakesNobodysPlace(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.connect(models.ForgeGitHub)
		main := w.repo.Git(t, "rev-parse", "main")
		old := w.work(w.send("push", w.hubPush("refs/heads/main", main, main, map[string]any{"n": 1})))
		if got := w.deliver("push", w.hubPush("refs/heads/main", main, main, map[string]any{"n": 2})); got != "checkout: queued build #2" {
			t.Fatalf("got %q", got)
		}
		for who, code := range map[string]models.Code{"stranger": models.NotFound, "viewer": models.Denied, "nobody": models.Unauthorized} {
			_, err := w.hooks.Redeliver(w.as[who], old.ID)
			wantCode(t, who, err, code)
		}
		made, err := w.hooks.Redeliver(w.as["developer"], old.ID)
		w.must(err)
		_, err = w.hooks.Redeliver(w.as["developer"], made.ID)
		wantCode(t, "before it was worked on", err, models.Conflict)
		d := w.work(made.ID)
		if told(d) != "checkout: queued build #3" || d.RedeliveryOf != old.ID || d.RedeliveredBy != "developer" || d.SHA256 != old.SHA256 {
			t.Errorf("got %+v %q", d, told(d))
		}
		if b := w.build(w.App.ID, 2); b.State != models.BuildQueued {
			t.Errorf("the newest push's build is %s", b.State)
		}
		again, err := w.hooks.Redeliver(w.as["developer"], made.ID)
		w.must(err)
		if got := w.work(again.ID); told(got) != "checkout: queued build #4" || got.RedeliveryOf != old.ID {
			t.Errorf("of a redelivery: %q of %s", told(got), got.RedeliveryOf)
		}
		if got := w.deliver("push", w.hubPush("refs/heads/main", main, main, map[string]any{"n": 3})); got != "checkout: queued build #5" {
			t.Errorf("a push after it: %q", got)
		}
		for number := range int64(4) {
			if b := w.build(w.App.ID, number+1); b.State != models.BuildCanceled {
				t.Errorf("build %d is %s", number+1, b.State)
			}
		}
	})
}

func TestDeliveriesAreListedNarrowedAndForgotten(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.connect(models.ForgeGitHub)
		main := w.repo.Git(t, "rev-parse", "main")
		built := w.work(w.send("push", w.hubPush("refs/heads/main", main, main, nil)))
		ignored := w.work(w.send("star", map[string]any{"a": 1}))
		for _, test := range []struct {
			who  string
			f    hooks.Filter
			want string
		}{
			{"viewer", hooks.Filter{}, ignored.ID + built.ID}, {"admin", hooks.Filter{}, ignored.ID + built.ID}, {"stranger", hooks.Filter{}, ""},
			{"viewer", hooks.Filter{State: models.DeliveryHandled}, built.ID}, {"viewer", hooks.Filter{RepositoryID: w.Repository.ID}, built.ID},
			{"viewer", hooks.Filter{ConnectionID: w.connection.ID, State: models.DeliveryIgnored}, ignored.ID}, {"viewer", hooks.Filter{ConnectionID: models.NewID()}, ""},
			{"viewer", hooks.Filter{Team: w.Team.Slug, Page: models.Page{Limit: 1}}, ignored.ID}, {"viewer", hooks.Filter{Team: w.OtherTeam.Slug}, ""}, {"viewer", hooks.Filter{RepositoryID: "' OR '1'='1"}, ""},
		} {
			list, err := w.hooks.List(w.as[test.who], test.f)
			got := ""
			for _, d := range list.Items {
				got += d.ID
				if len(d.Body) > 0 || d.Connection == nil || len(d.Connection.WebhookSecret) > 0 {
					t.Errorf("the list holds too much: %+v", d)
				}
			}
			if err != nil || got != test.want {
				t.Errorf("%s %+v: %s, %v", test.who, test.f, got, err)
			}
		}
		_, err := w.hooks.List(w.as["viewer"], hooks.Filter{State: "x"})
		wantCode(t, "no state", err, models.Invalid)
		_, _, err = w.hooks.Get(w.as["stranger"], built.ID)
		wantCode(t, "a stranger", err, models.NotFound)
		w.must(db.Model(&models.Delivery{}).Where("id = ?", built.ID).Update("created_at", db.NowFunc().AddDate(0, 0, -31)).Error)
		w.must(w.hooks.Prune(t.Context()))
		var left, outcomes int64
		w.must(db.Model(&models.Delivery{}).Count(&left).Error)
		w.must(db.Model(&models.DeliveryOutcome{}).Count(&outcomes).Error)
		if left != 1 || outcomes != 0 {
			t.Errorf("%d and %d are left", left, outcomes)
		}
	})
}
