package auth_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/auth"
	"slipway.dev/services/idp"
)

var newAdmin = idp.NewAccount{UserName: "ada", Name: "Ada", Password: password, Again: password}

func TestTheSetUpTokenMakesOneAdmin(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPortal(t, db)
		old, err := p.SetupToken(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		token, err := p.SetupToken(t.Context())
		if err != nil || token == "" || p.count(&models.Setting{}, "value LIKE ?", "%"+token+"%") != 0 {
			t.Fatalf("the token is %q, %v", token, err)
		}
		for range 3 { // looking uses nothing up
			if err := p.CheckSetup(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		for _, wrong := range []string{"", old, token + "x", "nonsense"} {
			if err := p.Setup(t.Context(), wrong, newAdmin); !models.IsCode(err, models.NotFound) {
				t.Errorf("%q: %v", wrong, err)
			}
		}
		weak := newAdmin
		weak.Password, weak.Again = "short", "short"
		if err := p.Setup(t.Context(), token, weak); !models.IsCode(err, models.Invalid) {
			t.Errorf("a weak password: %v", err)
		}
		var wait sync.WaitGroup
		done := make([]error, 4)
		for i := range done {
			wait.Add(1)
			go func() {
				defer wait.Done()
				in := newAdmin
				in.UserName += strings.Repeat("x", i)
				done[i] = p.Setup(t.Context(), token, in)
			}()
		}
		wait.Wait()
		made := 0
		for _, err := range done {
			if err == nil {
				made++
			} else if !models.IsCode(err, models.NotFound) {
				t.Errorf("a second click: %v", err)
			}
		}
		if made != 1 || p.count(&models.User{}, "admin") != 1 || p.count(&models.Account{}) != 1 {
			t.Errorf("%d set-ups worked; %d admins, %d accounts", made, p.count(&models.User{}, "admin"), p.count(&models.Account{}))
		}
		if again, err := p.SetupToken(t.Context()); err != nil || again != "" {
			t.Errorf("with an admin there is a token %q, %v", again, err)
		}
	})
}

func TestTheFirstAdminCanComeFromAnotherIssuer(t *testing.T) {
	t.Parallel()
	f := newFakeIssuer(t)
	p := newPortal(t, modelstest.DB(t), f.issuer("corp"))
	res, body := p.browser().get("/login/corp") // somebody else, before the set-up
	mustStatus(t, res, body, http.StatusOK)
	if p.user("Grace").Admin {
		t.Fatal("the first to sign in is an admin")
	}
	token, err := p.SetupToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	res, body = p.browser().get("/setup/nonsense/corp")
	mustStatus(t, res, body, http.StatusNotFound)

	claim, thief := p.browser().stopping(), p.browser().stopping()
	res, _ = claim.get("/setup/" + token + "/corp")
	res, _ = claim.get(res.Header.Get("Location"))
	callback := res.Header.Get("Location")
	res, body = thief.get(callback)
	mustStatus(t, res, body, http.StatusBadRequest)
	if err := p.CheckSetup(t.Context(), token); err != nil {
		t.Errorf("the token was used up by a thief: %v", err)
	}
	f.set(func(f *fakeIssuer) { f.says = map[string]any{"sub": "7", "name": "Root"} })
	late := p.browser().stopping() // begins now, comes back too late
	res, _ = late.get("/setup/" + token + "/corp")
	res, _ = late.get(res.Header.Get("Location"))
	lateCallback := res.Header.Get("Location")

	res, body = claim.get(callback)
	mustStatus(t, res, body, http.StatusSeeOther)
	if !p.user("Root").Admin || p.count(&models.User{}, "admin") != 1 {
		t.Error("the one who came with the link is no admin")
	}
	f.set(func(f *fakeIssuer) { f.says = map[string]any{"sub": "8", "name": "Late"} })
	res, body = late.get(lateCallback)
	mustStatus(t, res, body, http.StatusNotFound)
	if p.count(&models.User{}, "admin") != 1 {
		t.Error("the link made two admins")
	}
}

func TestGuessingSetUpTokensIsSlowedDown(t *testing.T) {
	t.Parallel()
	p := newPortal(t, modelstest.DB(t))
	if _, err := p.SetupToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx := models.WithRequest(t.Context(), models.Request{IP: "192.0.2.1"})
	var err error
	for range 50 {
		if err = p.CheckSetup(ctx, "guess"); models.IsCode(err, models.TooMany) {
			break
		}
	}
	if !models.IsCode(err, models.TooMany) {
		t.Errorf("fifty guesses, and still %v", err)
	}
}

func TestTwoInstallationsShareNoSecret(t *testing.T) {
	t.Parallel()
	one, two := newPortal(t, modelstest.DB(t)), newPortal(t, modelstest.DB(t))
	if one.Accounts.ClientSecret() == two.Accounts.ClientSecret() || len(one.Accounts.ClientSecret()) < 43 {
		t.Error("they share the client secret")
	}
	first, err1 := one.SetupToken(t.Context())
	second, err2 := two.SetupToken(t.Context())
	if err := errors.Join(err1, err2); err != nil || first == second {
		t.Errorf("they share the set-up token, or %v", err)
	}
	if one.count(&models.User{}) != 0 || one.count(&models.Account{}) != 0 {
		t.Error("a fresh installation has an account")
	}
	b := one.browser()
	res, _ := b.stopping().get("/login/slipway")
	u := strings.Replace(res.Header.Get("Location"), one.url, two.url, 2)
	res, body := two.browser().get(u)
	mustStatus(t, res, body, http.StatusBadRequest)
}

func TestAnInvitedPersonSetsAPasswordOnce(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPortal(t, db)
		admin := p.firstAdmin()
		ctx := modelstest.As(t, db, admin)
		in := idp.NewAccount{UserName: "Bob", Name: "Bob", Email: "bob@example.test"}
		made, err := p.Invite(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Invite(ctx, in); !models.IsCode(err, models.Invalid) {
			t.Errorf("the same name twice: %v", err)
		}
		token := strings.TrimPrefix(made.Path, "/invites/")
		if p.count(&models.Invite{}, "hash = ?", token) != 0 {
			t.Error("the token itself is stored")
		}
		for range 3 {
			if a, err := p.CheckInvite(t.Context(), token); err != nil || a.UserName != "bob" {
				t.Fatalf("%+v, %v", a, err)
			}
		}
		bob := password + " bobby"
		if err := p.AcceptInvite(t.Context(), token, bob, bob); !models.IsCode(err, models.Invalid) {
			t.Errorf("a password with the user name in it: %v", err)
		}
		const chosen = "nine quiet submarines"
		if err := p.AcceptInvite(t.Context(), token, chosen, "else"); !models.IsCode(err, models.Invalid) {
			t.Errorf("two passwords that differ: %v", err)
		}
		if err := p.AcceptInvite(t.Context(), token, chosen, chosen); err != nil {
			t.Fatal(err)
		}
		if err := p.AcceptInvite(t.Context(), token, "another six umbrellas", "another six umbrellas"); !models.IsCode(err, models.NotFound) {
			t.Errorf("the link worked twice: %v", err)
		}
		b := p.browser()
		res, body := b.signIn("/login/slipway", "bob", chosen)
		mustStatus(t, res, body, http.StatusOK)
		if !strings.Contains(body, made.User.ID) || p.user("Bob").Admin {
			t.Errorf("Bob is %s", body)
		}

		first, err := p.InviteAgain(ctx, made.User.ID)
		if err != nil {
			t.Fatal(err)
		}
		second, err := p.InviteAgain(ctx, made.User.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.CheckInvite(t.Context(), strings.TrimPrefix(first.Path, "/invites/")); !models.IsCode(err, models.NotFound) {
			t.Errorf("an older link still works: %v", err)
		}
		const reset = "four paper lanterns"
		if err := p.AcceptInvite(t.Context(), strings.TrimPrefix(second.Path, "/invites/"), reset, reset); err != nil {
			t.Fatal(err)
		}
		res, body = b.get("/")
		mustStatus(t, res, body, http.StatusUnauthorized)
	})
}

func TestOnlyAdminsSeeAndChangePeople(t *testing.T) {
	t.Parallel()
	p := newPortal(t, modelstest.DB(t))
	w := modelstest.Seed(t, p.db)
	ctx := modelstest.As(t, p.db, w.Maintainer)
	_, invite := p.Invite(ctx, idp.NewAccount{UserName: "x"})
	_, again := p.InviteAgain(ctx, w.Viewer.ID)
	_, users := p.Users(ctx, auth.UserFilter{})
	for name, err := range map[string]error{
		"invite": invite, "invite again": again, "list": users, "promote": p.SetAdmin(ctx, w.Maintainer.ID, true), "disable": p.SetDisabled(ctx, w.Viewer.ID, true),
	} {
		if !models.IsCode(err, models.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := p.User(ctx, w.Viewer.ID); !models.IsCode(err, models.NotFound) {
		t.Errorf("read another: %v", err)
	}
	if u, err := p.User(ctx, w.Maintainer.ID); err != nil || u.Name != "maintainer" {
		t.Errorf("read oneself: %v", err)
	}
}

func TestTheLastAdminStays(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPortal(t, db)
		w := modelstest.Seed(t, db)
		ctx := modelstest.As(t, db, w.Admin)
		for name, err := range map[string]error{"demote": p.SetAdmin(ctx, w.Admin.ID, false), "disable": p.SetDisabled(ctx, w.Admin.ID, true)} {
			if !models.IsCode(err, models.Conflict) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := p.SetAdmin(ctx, w.Maintainer.ID, true); err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		for _, u := range []*models.User{w.Admin, w.Maintainer} {
			wait.Add(1)
			go func() {
				defer wait.Done()
				_ = p.SetAdmin(ctx, u.ID, false) // one of the two is refused
			}()
		}
		wait.Wait()
		if n := p.count(&models.User{}, "admin"); n != 1 {
			t.Errorf("%d admins are left", n)
		}
	})
}

func TestPeopleAreFoundByTheBeginningOfANameAndNoPatternOfTheirs(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPortal(t, db)
		w := modelstest.Seed(t, db)
		for query, want := range map[string]int{"": 5, "DEV": 1, "viewer@example": 1, "%": 0, "_": 0, `\`: 0, "'": 0, "nobody": 0} {
			list, err := p.Users(modelstest.As(t, db, w.Admin), auth.UserFilter{Query: query})
			if err != nil || len(list.Items) != want {
				t.Errorf("%q finds %d, %v; want %d", query, len(list.Items), err, want)
			}
		}
	})
}

func TestAChangedPasswordEndsTheOtherSessions(t *testing.T) {
	t.Parallel()
	p := newPortal(t, modelstest.DB(t))
	p.firstAdmin()
	here, elsewhere := p.browser(), p.browser()
	here.signIn("/login/slipway", "ada", password)
	elsewhere.signIn("/login/slipway", "ada", password)
	who, err := p.Authenticate(t.Context(), here.sessionCookie())
	if err != nil {
		t.Fatal(err)
	}
	ctx := models.WithPrincipal(t.Context(), who)
	const fresh = "eleven copper kettles"
	if err := p.ChangePassword(ctx, auth.ChangePassword{Current: "wrong", Password: fresh, Again: fresh}); !models.IsCode(err, models.Invalid) {
		t.Errorf("without the current one: %v", err)
	}
	if err := p.ChangePassword(ctx, auth.ChangePassword{Current: password, Password: fresh, Again: fresh}); err != nil {
		t.Fatal(err)
	}
	res, body := elsewhere.get("/")
	mustStatus(t, res, body, http.StatusUnauthorized)
	res, body = here.get("/")
	mustStatus(t, res, body, http.StatusOK)
	res, body = p.browser().signIn("/login/slipway", "ada", password)
	mustStatus(t, res, body, http.StatusUnauthorized)
	res, body = p.browser().signIn("/login/slipway", "ada", fresh)
	mustStatus(t, res, body, http.StatusOK)
}
