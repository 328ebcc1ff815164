package forges_test

import (
	"bytes"
	"fmt"
	"log/slog"
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
	"slipway.dev/services/outbound"
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

func TestAForgeThatIsDownIsToldTheNewestStateLater(t *testing.T) {
	t.Parallel()
	everyForge(t, func(t *testing.T, w *world, f forge) {
		clock := newClock(w)
		for name, fault := range map[string]http.HandlerFunc{
			"500": forgetest.Answer(500, "oops"), "502": forgetest.Answer(502, ""), "a cut connection": forgetest.Cut,
		} {
			b := w.another(t)
			w.Build.Number++
			before := len(f.Statuses())
			f.Break(fault)
			w.becomes(t, b, models.BuildQueued)
			w.send(t)
			w.becomes(t, b, models.BuildRunning)
			w.send(t)
			w.becomes(t, b, models.BuildSucceeded)
			clock.pass(2 * time.Minute)
			w.send(t)
			r := w.report(t, b)
			if r.Error == "" || r.NextAt == nil || r.Sent != "" {
				t.Errorf("%s: %+v", name, r)
			}
			asked := len(f.Requests())
			w.send(t)
			if len(f.Requests()) != asked {
				t.Errorf("%s: it was asked again at once", name)
			}
			f.Repair()
			clock.pass(20 * time.Minute)
			w.send(t)
			told := f.Statuses()
			if len(told) != before+1 || told[before].State != "success" {
				t.Errorf("%s: afterwards the forge was told %+v", name, told[before:])
			}
			if r := w.report(t, b); r.Error != "" || r.Attempts != 0 {
				t.Errorf("%s: afterwards the report is %+v", name, r)
			}
		}
	})
}

func TestAForgeThatStaysDownIsGivenUpAfterADay(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, modelstest.DB(t)), forgetest.NewGitea(t, "acme/shop")
	w.host(t, g.URL, w.token(t, models.ForgeGitea, g.URL, g.Token))
	clock := newClock(w)
	g.Break(forgetest.Answer(503, ""))
	w.becomes(t, w.Build, models.BuildSucceeded)
	for range 200 {
		w.send(t)
		r := w.report(t, w.Build)
		if r.NextAt == nil {
			break
		}
		clock.pass(r.NextAt.Sub(clock.now()) + time.Second)
	}
	r := w.report(t, w.Build)
	if tries := len(g.Requests()); !r.GivenUp() || tries < 40 || tries > 100 || !strings.Contains(r.Error, "503") {
		t.Errorf("after %d tries: %+v", tries, r)
	}
}

func TestAForgeThatAsksForAPauseGetsIt(t *testing.T) {
	t.Parallel()
	everyForge(t, func(t *testing.T, w *world, f forge) {
		clock := newClock(w)
		reset := fmt.Sprint(clock.now().Add(10 * time.Minute).Unix())
		for name, fault := range map[string]http.HandlerFunc{
			"429 with Retry-After":    forgetest.Answer(429, "slow down", "Retry-After", "600"),
			"403 at the limit":        forgetest.Answer(403, "API rate limit exceeded", "X-RateLimit-Remaining", "0", "X-RateLimit-Limit", "5000", "X-RateLimit-Reset", reset),
			"403 with Retry-After":    forgetest.Answer(403, "You have exceeded a secondary rate limit", "Retry-After", "600"),
			"503 with a date to come": forgetest.Answer(503, "", "Retry-After", clock.now().Add(10*time.Minute).UTC().Format(http.TimeFormat)),
		} {
			begin := clock.now()
			b := w.another(t)
			w.Build.Number++
			f.Fail(fault)
			w.becomes(t, b, models.BuildRunning)
			w.send(t)
			r := w.report(t, b)
			if r.HeldUntil == nil || r.HeldUntil.Sub(begin) < 9*time.Minute || r.HeldUntil.Sub(begin) > 11*time.Minute {
				t.Fatalf("%s: held until %v: %+v", name, r.HeldUntil, r)
			}
			asked := len(f.Requests())
			w.becomes(t, b, models.BuildSucceeded) // due at once, but for the pause
			clock.pass(8 * time.Minute)
			w.send(t)
			if len(f.Requests()) != asked {
				t.Errorf("%s: it was called within the pause", name)
			}
			clock.pass(4 * time.Minute)
			w.send(t)
			if r := w.report(t, b); r.Sent != "success" {
				t.Errorf("%s: after the pause: %+v", name, r)
			}
			clock.mu.Lock()
			clock.at = begin
			clock.mu.Unlock()
			w.must(t, w.db.Model(&models.ForgeReport{}).Where("1 = 1").Update("held_until", nil).Error)
		}
	})
}

func TestARevokedCredentialIsTriedAFewTimesAndSaidInWords(t *testing.T) {
	t.Parallel()
	everyForge(t, func(t *testing.T, w *world, f forge) {
		clock := newClock(w)
		f.revoke()
		w.becomes(t, w.Build, models.BuildSucceeded)
		for range 10 {
			w.send(t)
			clock.pass(time.Hour)
		}
		r := w.report(t, w.Build)
		if n := len(f.Requests()); n != 3 || !r.GivenUp() || !strings.Contains(r.Error, "revoked") || !strings.Contains(r.Error, "settings") {
			t.Errorf("after %d tries: %+v", n, r)
		}
		if trouble, ok, err := w.forges.Trouble(w.as["maintainer"], r.ConnectionID); err != nil || !ok || trouble.Error != r.Error {
			t.Errorf("the connection's page says %+v, %v", trouble, err)
		}
		clock.pass(-10 * time.Hour)
		fresh := "fresh-token"
		f.renew(fresh)
		_, err := w.forges.Update(w.as["maintainer"], r.ConnectionID, forges.UpdateConnection{Settings: map[string]string{"token": fresh}})
		w.must(t, err)
		w.send(t)
		if r := w.report(t, w.Build); r.Sent != "success" || r.Error != "" {
			t.Errorf("with a new credential: %+v", r)
		}
	})
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

func TestWhatNeedsAPersonSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*world, *forgetest.GitHub)
		want  string
	}{
		"no permission":       {func(_ *world, g *forgetest.GitHub) { g.Permit("statuses", "read") }, "Commit statuses: Read and write"},
		"another repository":  {func(w *world, g *forgetest.GitHub) { w.move(g.URL + "/acme/other.git") }, "may not see it"},
		"another host":        {func(w *world, _ *forgetest.GitHub) { w.move("https://git.example.test/acme/shop.git") }, "is at git.example.test"},
		"no repository there": {func(w *world, g *forgetest.GitHub) { w.move(g.URL + "/acme/group/shop.git") }, "can't be a repository"},
		"a redirect":          {func(_ *world, g *forgetest.GitHub) { g.Break(forgetest.Redirect("https://elsewhere.example.test/")) }, "elsewhere.example.test"},
		"the inside":          {func(w *world, _ *forgetest.GitHub) { w.forges.Client = (&outbound.Guard{}).HTTPClient() }, outbound.AllowSetting},
		"an unknown commit":   {func(w *world, _ *forgetest.GitHub) { w.Build.Commit = strings.Repeat("0", 40) }, "No commit found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, g := newWorld(t, modelstest.DB(t)), forgetest.NewGitHub(t, "acme/shop")
			w.host(t, g.URL, w.token(t, models.ForgeGitHub, g.URL, g.Token))
			c.spoil(w, g)
			clock := newClock(w)
			w.becomes(t, w.Build, models.BuildSucceeded)
			for range 5 {
				w.send(t)
				clock.pass(time.Hour)
			}
			if r := w.report(t, w.Build); !r.GivenUp() || !strings.Contains(r.Error, c.want) || len(g.Requests()) > 3 {
				t.Errorf("after %d requests: %+v", len(g.Requests()), r)
			}
		})
	}
}

// move gives the repository another address.
func (w *world) move(url string) {
	if err := w.db.Model(w.Repository).Update("clone_url", url).Error; err != nil {
		panic(err)
	}
}

func TestCredentialsOfForgesAppearNowhere(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer slog.SetDefault(before)
	everything := func(w *world, t *testing.T) string {
		var all strings.Builder
		for _, table := range []string{"forge_reports", "connections", "events", "audit_entries", "builds"} {
			var rows []map[string]any
			w.must(t, w.db.Table(table).Find(&rows).Error)
			fmt.Fprintf(&all, "%s\n", rows)
		}
		return all.String()
	}
	for name, fault := range map[string]func(secret string) http.HandlerFunc{
		"in a message": func(secret string) http.HandlerFunc { return forgetest.Answer(403, "your token "+secret+" may not") },
		"in a redirect": func(secret string) http.HandlerFunc {
			return forgetest.Redirect("https://" + strings.ToLower(secret) + ".example.test/" + secret)
		},
		"in a broken answer": func(secret string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "HTTP %s", secret) }
		},
	} {
		w, g := newWorld(t, modelstest.DB(t)), forgetest.NewGitHub(t, "acme/shop")
		for kind, c := range map[string]*models.Connection{"token": w.token(t, models.ForgeGitHub, g.URL, g.Token), "app": w.app(t, g)} {
			w.host(t, g.URL, c)
			b := w.another(t)
			w.Build.Number++
			w.becomes(t, b, models.BuildSucceeded)
			g.Echo(fault)
			w.send(t)
			g.Repair()
			if r := w.report(t, b); r.Error == "" {
				t.Errorf("%s with a %s: nothing went wrong", name, kind)
			}
		}
		if all := everything(w, t); strings.Contains(strings.ToUpper(all), "CANARY") || strings.Contains(all, "BEGIN RSA") {
			t.Errorf("%s: the database tells a credential: %s", name, all)
		}
	}
	if strings.Contains(strings.ToUpper(log.String()), "CANARY") || strings.Contains(log.String(), "BEGIN RSA") {
		t.Errorf("the log tells a credential: %s", log.String())
	}
	if !strings.Contains(log.String(), "could not be told") {
		t.Error("the log says nothing at all")
	}
}
