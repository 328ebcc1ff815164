package builds_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
)

// tally counts what a script is asked to build.
type tally struct {
	mu      sync.Mutex
	order   []string       // the teams of the builds, as they began
	times   map[string]int // by build
	running map[string]int // by team
	most    map[string]int // at once, by team
}

func (y *tally) begin(team, build string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.order = append(y.order, team)
	y.times[build]++
	y.running[team]++
	y.most[team] = max(y.most[team], y.running[team])
}

func (y *tally) end(team string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.running[team]--
}

// counted is a script that keeps the tally.
func (w *world) counted(t *testing.T) *tally {
	y := &tally{times: map[string]int{}, running: map[string]int{}, most: map[string]int{}}
	w.direct(func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
		var b models.Build
		if err := w.db.WithContext(ctx).Preload("App.Team").Where("id = ?", r.BuildID).Take(&b).Error; err != nil {
			return nil, err
		}
		y.begin(b.App.Team.Slug, b.ID)
		defer y.end(b.App.Team.Slug)
		return pushSomething(ctx, r, emit)
	})
	return y
}

// team makes a team with an app of the world's repository.
func (w *world) team(t *testing.T, slug string, limit int) *models.App {
	t.Helper()
	now := w.db.NowFunc()
	team := &models.Team{ID: models.NewID(), Slug: slug, Name: slug, BuildLimit: limit, CreatedAt: now}
	app := *w.App
	app.ID, app.TeamID, app.Name, app.BuildCount, app.Team, app.Repository = models.NewID(), team.ID, slug+"-app", 0, nil, nil
	for _, row := range []any{team, &app} {
		if err := w.db.Create(row).Error; err != nil {
			t.Fatal(err)
		}
	}
	return &app
}

// queueFor queues so many builds of the app by the trigger.
func (w *world) queueFor(t *testing.T, app *models.App, trigger models.BuildTrigger, n int) (all []*models.Build) {
	t.Helper()
	commit := strings.TrimSpace(w.repo.Git(t, "rev-parse", "main"))
	for range n {
		b, err := w.builds.Queue(w.as(t, w.Admin), builds.QueueInput{AppID: app.ID, Ref: commit, Trigger: trigger})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// idle waits until no build is open, and no turn is left.
func (w *world) idle(t *testing.T, within time.Duration) {
	t.Helper()
	w.until(t, within, "all builds ended", func() bool {
		var open, turns int64
		if err := w.db.Model(&models.Build{}).Where("state IN ?", []string{"queued", "running"}).Count(&open).Error; err != nil {
			return false
		}
		err := w.db.Table("river_job").Where("kind = 'build' AND finalized_at IS NULL").Count(&turns).Error
		return err == nil && open == 0 && turns == 0
	})
}

// until waits until it is so.
func (w *world) until(t *testing.T, within time.Duration, what string, so func() bool) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-deadline:
			t.Fatalf("after %s it is not so that %s:\n%s", within, what, w.left(t))
		case <-tick.C:
		}
	}
}

// left says what is open, for those who look at a test that failed.
func (w *world) left(t *testing.T) string {
	var open []models.Build
	w.db.Where("state IN ?", []string{"queued", "running"}).Limit(20).Find(&open)
	var text string
	for _, b := range open {
		text += fmt.Sprintf("%s %s attempt %d of worker %q\n", b.ID, b.State, b.Attempt, b.Worker)
	}
	return text
}

func TestTwoHundredBuildsOfFiveTeamsAreEachBuiltOnceAndNoTeamStarves(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		y := w.counted(t)
		w.queueFor(t, w.team(t, "flood", 0), models.TriggerManual, 120)
		for _, slug := range []string{"one", "two", "three"} {
			w.queueFor(t, w.team(t, slug, 0), models.TriggerManual, 20)
		}
		w.queueFor(t, w.team(t, "limited", 1), models.TriggerManual, 20)
		second := w.queue(t)
		w.service(t, second)
		start(t, w.builds.Jobs)
		start(t, second)
		w.idle(t, 5*time.Minute)

		var rows []models.Build
		if err := db.Find(&rows).Error; err != nil || len(rows) != 200 {
			t.Fatalf("there are %d builds, error %v", len(rows), err)
		}
		for _, b := range rows {
			if b.State != models.BuildSucceeded || b.Attempt != 1 || b.ImageDigest == "" || y.times[b.ID] != 1 {
				t.Errorf("build %s is %s after %d attempts and was built %d times: %+v", b.ID, b.State, b.Attempt, y.times[b.ID], b.Error)
			}
		}
		var ends int64
		if err := db.Model(&models.Event{}).Where("kind = 'build.succeeded'").Count(&ends).Error; err != nil || ends != 200 {
			t.Errorf("%d ends were published, error %v", ends, err)
		}
		if y.most["limited"] != 1 {
			t.Errorf("the team that may run one build at once ran %d", y.most["limited"])
		}
		for _, slug := range []string{"one", "two", "three"} {
			if last := lastIndex(y.order, slug); last > 115 {
				t.Errorf("the last build of the team %s, which had 20, began as number %d", slug, last)
			}
		}
	})
}

func lastIndex(all []string, want string) int {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i] == want {
			return i
		}
	}
	return -1
}
