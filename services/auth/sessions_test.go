package auth_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/auth"
)

func TestASignInRotatesTheSession(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPortal(t, db)
		p.firstAdmin()
		b := p.browser()
		b.signIn("/login/slipway", "ada", password)
		first := b.sessionCookie()
		b.signIn("/login/slipway", "ada", password)
		second := b.sessionCookie()
		if first == "" || first == second {
			t.Errorf("the cookie went from %q to %q", first, second)
		}
		if _, err := p.Authenticate(t.Context(), first); !models.IsCode(err, models.Unauthorized) {
			t.Errorf("the session of before the sign-in still works: %v", err)
		}
		if _, err := p.Authenticate(t.Context(), second); err != nil {
			t.Error(err)
		}
		var row models.Session
		if err := db.Take(&row).Error; err != nil || strings.Contains(row.ID, second) || len(row.ID) != 64 {
			t.Errorf("the session is stored as %q: %v", row.ID, err)
		}
	})
}

func TestGuessesOfASessionAreNobodys(t *testing.T) {
	t.Parallel()
	p := newPortal(t, modelstest.DB(t))
	p.firstAdmin()
	b := p.browser()
	b.signIn("/login/slipway", "ada", password)
	var row models.Session
	if err := p.db.Take(&row).Error; err != nil {
		t.Fatal(err)
	}
	for _, guess := range []string{"", "x", row.ID, strings.Repeat("a", 10_000), "a\x00b", "' OR 1=1 --"} {
		if who, err := p.Authenticate(t.Context(), guess); !models.IsCode(err, models.Unauthorized) {
			t.Errorf("%.20q is %v, %v", guess, who, err)
		}
	}
}

func TestASessionEndsByAgeAndByIdleness(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPortal(t, db)
		p.firstAdmin()
		for column, age := range map[string]time.Duration{"expires_at": time.Second, "last_seen_at": auth.DefaultSessionIdle + time.Second} {
			b := p.browser()
			b.signIn("/login/slipway", "ada", password)
			if err := db.Model(&models.Session{}).Where("1 = 1").UpdateColumn(column, db.NowFunc().Add(-age)).Error; err != nil {
				t.Fatal(err)
			}
			if _, err := p.Authenticate(t.Context(), b.sessionCookie()); !models.IsCode(err, models.Unauthorized) {
				t.Errorf("%s: %v", column, err)
			}
			if err := p.Prune(t.Context()); err != nil || p.count(&models.Session{}) != 0 {
				t.Errorf("%s: %d rows stay, %v", column, p.count(&models.Session{}), err)
			}
		}
	})
}

func TestTheLastUseIsWrittenDownAtMostOnceAMinute(t *testing.T) {
	t.Parallel()
	p := newPortal(t, modelstest.DB(t))
	p.firstAdmin()
	b := p.browser()
	b.signIn("/login/slipway", "ada", password)
	seen := func() time.Time {
		var row models.Session
		if err := p.db.Take(&row).Error; err != nil {
			t.Fatal(err)
		}
		return row.LastSeenAt
	}
	before := seen()
	b.get("/")
	if !seen().Equal(before) {
		t.Error("every request writes")
	}
	p.db.Model(&models.Session{}).Where("1 = 1").UpdateColumn("last_seen_at", p.db.NowFunc().Add(-2*time.Minute))
	for end := time.Now().Add(time.Minute); time.Since(seen()) > time.Minute; b.get("/") { // a request does not wait for a database that is busy
		if time.Now().After(end) {
			t.Fatal("the use was not written down")
		}
	}
}

func TestARoleChangeTakesEffectAtOnce(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPortal(t, db)
		admin := p.firstAdmin()
		w := modelstest.Seed(t, db)
		ctx := modelstest.As(t, db, admin)
		b := p.browser()
		b.signIn("/login/slipway", "ada", password)
		_, secret, err := p.CreateToken(ctx, auth.NewToken{Name: "t", Scopes: []models.Scope{models.ScopeRead, models.ScopeAdmin}})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.SetAdmin(modelstest.As(t, db, w.Admin), admin.ID, false); err != nil {
			t.Fatal(err)
		}
		session, err := p.Authenticate(t.Context(), b.sessionCookie())
		if err != nil || session.Admin || len(session.Teams) != 0 {
			t.Errorf("the session is %+v, %v", session, err)
		}
		token, err := p.AuthenticateToken(t.Context(), secret)
		if err != nil || token.Admin {
			t.Errorf("the token is %+v, %v", token, err)
		}
		member := models.Member{TeamID: w.Team.ID, UserID: admin.ID, Role: models.RoleDeveloper, CreatedAt: db.NowFunc()}
		if err := db.Create(&member).Error; err != nil {
			t.Fatal(err)
		}
		if again, err := p.Reload(t.Context(), session); err != nil || again.RoleIn(w.Team.ID) != models.RoleDeveloper {
			t.Errorf("reloaded as %+v, %v", again, err)
		}
		if err := db.Delete(&member).Error; err != nil {
			t.Fatal(err)
		}
		for _, who := range []*models.Principal{session, token} {
			if again, err := p.Reload(t.Context(), who); err != nil || again.RoleIn(w.Team.ID) != "" {
				t.Errorf("after the removal: %+v, %v", again, err)
			}
		}
	})
}

func TestSigningOutEverywhereEndsEverySessionOfThatPersonAlone(t *testing.T) {
	t.Parallel()
	f := newFakeIssuer(t)
	p := newPortal(t, modelstest.DB(t), f.issuer("corp"))
	admin := p.firstAdmin()
	var adas []*browser
	for range 2 {
		b := p.browser()
		b.signIn("/login/slipway", "ada", password)
		adas = append(adas, b)
	}
	grace := p.browser()
	grace.get("/login/corp")
	if err := p.EndAll(modelstest.As(t, p.db, p.user("Grace")), admin.ID); !models.IsCode(err, models.NotFound) {
		t.Errorf("a stranger ended somebody's sessions: %v", err)
	}
	if err := p.EndAll(modelstest.As(t, p.db, admin), admin.ID); err != nil {
		t.Fatal(err)
	}
	for _, b := range adas {
		res, body := b.get("/")
		mustStatus(t, res, body, http.StatusUnauthorized)
	}
	res, body := grace.get("/")
	mustStatus(t, res, body, http.StatusOK)
	if err := p.EndAll(modelstest.As(t, p.db, admin), p.user("Grace").ID); err != nil {
		t.Fatal(err)
	}
	res, body = grace.get("/")
	mustStatus(t, res, body, http.StatusUnauthorized)
	if p.count(&models.AuditEntry{}, "action = ?", "session.end_all") != 2 {
		t.Error("the audit log misses it")
	}
}

func TestOneSessionCanBeEndedByItsPersonAndByNobodyElse(t *testing.T) {
	t.Parallel()
	f := newFakeIssuer(t)
	p := newPortal(t, modelstest.DB(t), f.issuer("corp"))
	p.firstAdmin()
	b := p.browser()
	b.get("/login/corp")
	grace := p.user("Grace")
	ctx := modelstest.As(t, p.db, grace)
	sessions, err := p.Sessions(ctx, grace.ID)
	if err != nil || len(sessions) != 1 {
		t.Fatalf("%d sessions, %v", len(sessions), err)
	}
	f.set(func(f *fakeIssuer) { f.says = map[string]any{"sub": "9", "name": "Mallory"} })
	p.browser().get("/login/corp")
	mallory := modelstest.As(t, p.db, p.user("Mallory"))
	for name, err := range map[string]error{
		"as somebody else": p.EndSession(mallory, grace.ID, sessions[0].ID),
		"as one's own":     p.EndSession(mallory, p.user("Mallory").ID, sessions[0].ID),
		"as nobody":        p.EndSession(t.Context(), grace.ID, sessions[0].ID),
	} {
		if err == nil {
			t.Errorf("%s: ended", name)
		}
	}
	if _, err := p.Sessions(mallory, grace.ID); !models.IsCode(err, models.NotFound) {
		t.Errorf("a stranger reads sessions: %v", err)
	}
	if err := p.EndSession(ctx, grace.ID, sessions[0].ID); err != nil {
		t.Fatal(err)
	}
	res, body := b.get("/")
	mustStatus(t, res, body, http.StatusUnauthorized)
}

func TestSigningOutOffersTheIssuersOwnLogout(t *testing.T) {
	t.Parallel()
	f := newFakeIssuer(t)
	p := newPortal(t, modelstest.DB(t), f.issuer("corp"))
	b := p.browser()
	b.get("/login/corp")
	_, body := b.do(http.MethodPost, "/logout", nil)
	if !strings.HasPrefix(body, f.URL+"/end?client_id=portal-corp&post_logout_redirect_uri=") {
		t.Errorf("the issuer's logout is at %q", body)
	}
	for _, odd := range []string{"javascript:alert(1)", "//evil.test", "/end", ""} {
		f := newFakeIssuer(t)
		f.meta = func(m map[string]any) { m["end_session_endpoint"] = odd }
		p := newPortal(t, modelstest.DB(t), f.issuer("corp"))
		p.browser().get("/login/corp")
		if got := p.LogoutURL("corp"); got != "" {
			t.Errorf("%q leads to %q", odd, got)
		}
	}
}
