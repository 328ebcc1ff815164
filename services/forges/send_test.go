package forges_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/forges"
	"slipway.dev/services/forges/forgetest"
)

// clock is a time that the test turns.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock(w *world) *clock {
	c := &clock{at: time.Now()}
	w.forges.Now = c.now
	return c
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// host puts the repository at the forge, at acme/shop.
func (w *world) host(t *testing.T, url string, c *models.Connection) {
	t.Helper()
	w.must(t, w.db.Model(w.Repository).Updates(map[string]any{"clone_url": url + "/acme/shop.git", "connection_id": c.ID}).Error)
}

func (w *world) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// becomes moves the build to the state, as the service of builds would.
func (w *world) becomes(t *testing.T, b *models.Build, state models.BuildState) {
	t.Helper()
	b.State = state
	if state == models.BuildFailed {
		b.Error = &models.BuildError{Message: "RUN make ended with\nexit code 2. " + strings.Repeat("x", 200)}
	}
	w.must(t, w.db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Model(b).Select("state").Updates(b).Error; err != nil {
			return err
		}
		return w.forges.BuildChanged(tx, b)
	}))
}

// another is a build after the seeded one, of the same commit.
func (w *world) another(t *testing.T) *models.Build {
	t.Helper()
	b := *w.Build
	b.ID, b.Number, b.Error = models.NewID(), w.Build.Number+1, nil
	w.must(t, w.db.Create(&b).Error)
	return &b
}

func (w *world) send(t *testing.T) {
	t.Helper()
	w.must(t, w.forges.SendDue(t.Context()))
}

func (w *world) report(t *testing.T, b *models.Build) forges.Told {
	t.Helper()
	r, ok, err := w.forges.Report(w.as["viewer"], b)
	if err != nil || !ok {
		t.Fatalf("the build's report: %v, %v", ok, err)
	}
	return r
}

// forge is a fake with what the tests of all three need.
type forge struct {
	*forgetest.Forge
	kind   models.ForgeKind
	token  string
	revoke func()
	renew  func(token string)
	words  map[models.BuildState]string
}

func everyForge(t *testing.T, test func(t *testing.T, w *world, f forge)) {
	plain := map[models.BuildState]string{models.BuildQueued: "pending", models.BuildRunning: "pending", models.BuildSucceeded: "success", models.BuildFailed: "failure", models.BuildCanceled: "error"}
	gitlab := map[models.BuildState]string{models.BuildQueued: "pending", models.BuildRunning: "running", models.BuildSucceeded: "success", models.BuildFailed: "failed", models.BuildCanceled: "canceled"}
	for _, kind := range []models.ForgeKind{models.ForgeGitHub, models.ForgeGitLab, models.ForgeGitea} {
		t.Run(string(kind), func(t *testing.T) {
			modelstest.Each(t, func(t *testing.T, db *models.Database) {
				w := newWorld(t, db)
				f := forge{kind: kind, words: plain}
				switch kind {
				case models.ForgeGitHub:
					g := forgetest.NewGitHub(t, "acme/shop")
					f.Forge, f.token, f.revoke, f.renew = g.Forge, g.Token, g.Revoke, g.Renew
				case models.ForgeGitLab:
					g := forgetest.NewGitLab(t, "acme/shop")
					f.Forge, f.token, f.revoke, f.renew, f.words = g.Forge, g.Token, g.Revoke, g.Renew, gitlab
				case models.ForgeGitea:
					g := forgetest.NewGitea(t, "acme/shop")
					f.Forge, f.token, f.revoke, f.renew = g.Forge, g.Token, g.Revoke, g.Renew
				}
				w.host(t, f.URL, w.token(t, kind, f.URL, f.token))
				test(t, w, f)
			})
		})
	}
}

func TestAForgeIsToldOfEachStateOfABuild(t *testing.T) {
	t.Parallel()
	everyForge(t, func(t *testing.T, w *world, f forge) {
		for _, last := range []models.BuildState{models.BuildSucceeded, models.BuildFailed, models.BuildCanceled} {
			b := w.another(t)
			w.Build.Number++
			for _, state := range []models.BuildState{models.BuildQueued, models.BuildRunning, last} {
				w.becomes(t, b, state)
				w.send(t)
				told := f.Statuses()
				if len(told) == 0 {
					t.Fatalf("%s: nothing was told; %+v", state, w.report(t, b))
				}
				s := told[len(told)-1]
				if s.Repository != "acme/shop" || s.Commit != b.Commit || s.State != f.words[state] || s.Context != "slipway/checkout" || s.TargetURL != "https://slipway.example.test/builds/"+b.ID {
					t.Errorf("%s: the forge was told %+v", state, s)
				}
				if !strings.HasPrefix(s.Description, fmt.Sprintf("Build #%d ", b.Number)) || len([]rune(s.Description)) > 140 || strings.ContainsAny(s.Description, "\n") {
					t.Errorf("%s: %q", state, s.Description)
				}
				if f.kind == models.ForgeGitLab && s.Ref != "main" {
					t.Errorf("GitLab was told of the ref %q", s.Ref)
				}
				if r := w.report(t, b); r.Sent != f.words[state] || r.Error != "" || r.NextAt != nil {
					t.Errorf("%s: the report afterwards: %+v", state, r)
				}
			}
		}
		told := len(f.Statuses())
		w.send(t)
		if len(f.Statuses()) != told {
			t.Error("the forge was told again what it knows")
		}
	})
}

func TestAGitHubAppTellsToo(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, modelstest.DB(t)), forgetest.NewGitHub(t, "acme/shop")
	w.host(t, g.URL, w.app(t, g))
	w.becomes(t, w.Build, models.BuildRunning)
	w.send(t)
	w.becomes(t, w.Build, models.BuildSucceeded)
	w.send(t)
	if told := g.Statuses(); len(told) != 2 || told[1].State != "success" || g.Issued() != 1 {
		t.Errorf("the app told %+v with %d tokens; %+v", told, g.Issued(), w.report(t, w.Build))
	}
	g.Revoke()
	w.becomes(t, w.another(t), models.BuildRunning)
	w.send(t) // with a token that GitHub has forgotten
	clock := newClock(w)
	clock.pass(time.Minute)
	w.send(t)
	if told := g.Statuses(); len(told) != 3 || g.Issued() != 2 {
		t.Errorf("after the token was revoked the app told %+v with %d tokens", told, g.Issued())
	}
}

func TestALatePendingNeverOverwritesSuccess(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w, g := newWorld(t, db), forgetest.NewGitea(t, "acme/shop")
		w.host(t, g.URL, w.token(t, models.ForgeGitea, g.URL, g.Token))
		entered, leave := make(chan struct{}), make(chan struct{})
		g.Fail(func(rw http.ResponseWriter, r *http.Request) {
			close(entered)
			<-leave
			forgetest.JSON(rw, http.StatusCreated, map[string]any{})
		})
		w.becomes(t, w.Build, models.BuildRunning)
		var sending sync.WaitGroup
		sending.Go(func() { w.send(t) })
		<-entered // a worker is telling of the running build
		w.becomes(t, w.Build, models.BuildSucceeded)
		w.send(t) // another worker leaves the report alone meanwhile
		if told := g.Statuses(); len(told) != 0 {
			t.Errorf("two calls about one build crossed: %+v", told)
		}
		close(leave)
		sending.Wait()
		w.send(t)
		if told := g.Statuses(); len(told) != 1 || told[0].State != "success" || w.report(t, w.Build).Sent != "success" {
			t.Errorf("the forge was told %+v", told)
		}

		// A build that ended before a newer one of its commit began says nothing any more.
		newer := w.another(t)
		w.becomes(t, newer, models.BuildRunning)
		w.becomes(t, w.Build, models.BuildFailed)
		w.send(t)
		if told := g.Statuses(); len(told) != 2 || told[1].State != "pending" {
			t.Errorf("the older build spoke after the newer one: %+v", told)
		}
		if _, ok, err := w.forges.Report(w.as["viewer"], w.Build); ok || err != nil {
			t.Errorf("the older build has a report: %v, %v", ok, err)
		}
	})
}

func TestWhatGitLabKnowsAlreadyIsTold(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, modelstest.DB(t)), forgetest.NewGitLab(t, "acme/shop")
	w.host(t, g.URL, w.token(t, models.ForgeGitLab, g.URL, g.Token))
	w.becomes(t, w.Build, models.BuildRunning)
	w.send(t)
	w.becomes(t, w.Build, models.BuildQueued) // its worker died; GitLab knows no way back
	w.send(t)
	if r := w.report(t, w.Build); r.Sent != "pending" || r.Error != "" {
		t.Errorf("back in the queue: %+v", r)
	}
	g.Fail(forgetest.Answer(http.StatusBadRequest, "Cannot transition status via :succeed from :canceled"))
	w.becomes(t, w.Build, models.BuildSucceeded)
	w.send(t)
	if r := w.report(t, w.Build); r.Sent == "success" || !strings.Contains(r.Error, "from :canceled") {
		t.Errorf("canceled at GitLab: %+v", r)
	}
}

func TestTwoWorkersTellEachStateOnce(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w, g := newWorld(t, db), forgetest.NewGitea(t, "acme/shop")
		w.host(t, g.URL, w.token(t, models.ForgeGitea, g.URL, g.Token))
		for i := range 20 {
			b := w.another(t)
			w.Build.Number++
			w.must(t, db.Model(b).Update("commit", fmt.Sprintf("%040x", i+1)).Error)
			w.becomes(t, b, models.BuildSucceeded)
		}
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { w.send(t) })
		}
		both.Wait()
		if told := g.Statuses(); len(told) != 20 {
			t.Errorf("%d statuses of 20 builds", len(told))
		}
	})
}

// move gives the repository another address.
