package forges_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/forges"
	"slipway.dev/services/forges/forgetest"
	"slipway.dev/services/outbound"
)

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

func TestAForgeThatDoesNotAnswerIsTriedLater(t *testing.T) {
	t.Parallel()
	everyForge(t, func(t *testing.T, w *world, f forge) {
		clock := newClock(w)
		impatient := (&outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}).Transport()
		impatient.ResponseHeaderTimeout = 100 * time.Millisecond
		w.forges.Client = &http.Client{Transport: impatient}
		asked := make(chan struct{})
		f.Fail(func(w http.ResponseWriter, r *http.Request) {
			close(asked)
			forgetest.Hang(w, r)
		})
		w.becomes(t, w.Build, models.BuildSucceeded)
		w.send(t)
		if r := w.report(t, w.Build); !strings.Contains(r.Error, "did not answer in time") || r.NextAt == nil {
			t.Errorf("it does not answer: %+v", r)
		}
		<-asked // else the next call may be the one that hangs
		impatient.ResponseHeaderTimeout = time.Minute
		clock.pass(time.Minute)
		w.send(t)
		if r := w.report(t, w.Build); r.Sent != "success" || r.Error != "" {
			t.Errorf("it answers again: %+v", r)
		}
	})
}
