package events_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/events"
)

func running(t *testing.T, db *models.Database) *events.Service {
	t.Helper()
	s := &events.Service{DB: db.DB}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

func next(t *testing.T, ch <-chan models.Event) models.Event {
	t.Helper()
	select {
	case e := <-ch:
		return e
	case <-time.After(time.Minute):
		t.Fatal("no event came")
		return models.Event{}
	}
}

func TestSubscribersOfEveryProcessGetWhatCommittedOnceAndNothingElse(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		here, elsewhere := running(t, db), running(t, db)
		a, b := here.Subscribe(t.Context()), elsewhere.Subscribe(t.Context())
		refused := errors.New("refused")
		err := db.Transaction(func(tx *gorm.DB) error {
			if err := events.Publish(tx, models.Event{Kind: "never"}); err != nil {
				return err
			}
			return refused
		})
		if !errors.Is(err, refused) {
			t.Fatal(err)
		}
		for _, kind := range []string{"one", "two"} {
			if err := events.Publish(db.DB, models.Event{Kind: kind, Topic: "build:1"}); err != nil {
				t.Fatal(err)
			}
		}
		for _, ch := range []<-chan models.Event{a, b} {
			for _, want := range []string{"one", "two"} {
				if got := next(t, ch); got.Kind != want {
					t.Fatalf("got %s, want %s", got.Kind, want)
				}
			}
		}
	})
}

func TestAnEventThatCommitsLateIsStillHandedOut(t *testing.T) {
	t.Parallel()
	db := modelstest.Postgres(t) // SQLite has one writer: nothing commits out of order there
	s := running(t, db)
	ch := s.Subscribe(t.Context())
	slow := db.Begin()
	defer slow.Rollback()
	if err := events.Publish(slow, models.Event{Kind: "began first"}); err != nil {
		t.Fatal(err)
	}
	if err := events.Publish(db.DB, models.Event{Kind: "committed first"}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, ch); got.Kind != "committed first" {
		t.Fatalf("got %s", got.Kind)
	}
	<-time.After(3 * time.Second) // which is further back than each poll looks
	if err := slow.Commit().Error; err != nil {
		t.Fatal(err)
	}
	if got := next(t, ch); got.Kind != "began first" {
		t.Fatalf("got %s", got.Kind)
	}
}

func TestAnEventIsVisibleToItsTeamAndAdminsOnly(t *testing.T) {
	t.Parallel()
	e, site := models.Event{TeamID: "a"}, models.Event{}
	member := &models.Principal{Teams: map[string]models.Role{"a": models.RoleViewer}}
	stranger := &models.Principal{Teams: map[string]models.Role{"b": models.RoleMaintainer}}
	noScope := &models.Principal{Teams: member.Teams, Scopes: []models.Scope{models.ScopeRegistryRead}}
	admin := &models.Principal{Admin: true}
	for _, tc := range []struct {
		name string
		p    *models.Principal
		e    models.Event
		want bool
	}{
		{"a member", member, e, true}, {"a stranger", stranger, e, false}, {"nobody", nil, e, false},
		{"a token without the scope", noScope, e, false}, {"an admin", admin, e, true},
		{"a member, of the site", member, site, false}, {"an admin, of the site", admin, site, true},
	} {
		if got := events.Visible(tc.p, tc.e); got != tc.want {
			t.Errorf("%s: got %v", tc.name, got)
		}
	}
}

func TestSinceResumesAfterAnEvent(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := &events.Service{DB: db.DB}
		for _, team := range []string{"a", "b", "a"} {
			if err := events.Publish(db.DB, models.Event{Kind: "k", TeamID: team}); err != nil {
				t.Fatal(err)
			}
		}
		ctx := models.WithPrincipal(t.Context(), &models.Principal{Teams: map[string]models.Role{"a": models.RoleViewer}})
		all, err := s.Since(ctx, "", 10)
		if err != nil || len(all) != 2 {
			t.Fatalf("got %d, %v", len(all), err)
		}
		rest, err := s.Since(ctx, all[0].ID, 10)
		if err != nil || len(rest) != 1 || rest[0].ID != all[1].ID {
			t.Fatalf("got %v, %v", rest, err)
		}
	})
}
