package auth_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/auth"
)

func TestATokenActsForItsPersonWithinItsScopes(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPortal(t, db)
		w := modelstest.Seed(t, db)
		token, secret, err := p.CreateToken(modelstest.As(t, db, w.Developer), auth.NewToken{Name: "ci", Scopes: []models.Scope{models.ScopeRead, models.ScopeRead}, Days: 7})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(secret, "slp_") || !strings.HasPrefix(secret, token.Hint) || len(token.Hint) > 8 || strings.Contains(token.Hash, secret) || len(token.Scopes) != 1 {
			t.Errorf("the token is %+v", token)
		}
		who, err := p.AuthenticateToken(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		ctx := models.WithPrincipal(t.Context(), who)
		if err := models.Authorize(ctx, w.Team.ID, models.RoleViewer, "team"); err != nil {
			t.Errorf("reading: %v", err)
		}
		if err := models.Authorize(ctx, w.Team.ID, models.RoleDeveloper, "team"); !models.IsCode(err, models.Denied) {
			t.Errorf("writing with a token that reads: %v", err)
		}
		if err := models.Authorize(ctx, w.OtherTeam.ID, models.RoleViewer, "team"); !models.IsCode(err, models.NotFound) {
			t.Errorf("another team: %v", err)
		}
		for end := time.Now().Add(time.Minute); ; { // a request does not wait for a database that is busy
			var row models.Token
			if err := db.Where("id = ?", token.ID).Take(&row).Error; err != nil || time.Now().After(end) {
				t.Fatalf("its use was not written down: %v", err)
			}
			if row.LastUsedAt != nil {
				break
			}
			if _, err := p.AuthenticateToken(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestWrongTokensAreNobodys(t *testing.T) {
	t.Parallel()
	p := newPortal(t, modelstest.DB(t))
	w := modelstest.Seed(t, p.db)
	ctx := modelstest.As(t, p.db, w.Developer)
	make := func() (*models.Token, string) {
		token, secret, err := p.CreateToken(ctx, auth.NewToken{Name: "t", Scopes: []models.Scope{models.ScopeRead}})
		if err != nil {
			t.Fatal(err)
		}
		return token, secret
	}
	good, secret := make()
	revoked, revokedSecret := make()
	expired, expiredSecret := make()
	if err := p.RevokeToken(ctx, revoked.ID); err != nil {
		t.Fatal(err)
	}
	p.db.Model(expired).UpdateColumn("expires_at", p.db.NowFunc().Add(-time.Second))
	for name, s := range map[string]string{
		"none": "", "the hash": good.Hash, "the id": good.ID, "the hint": good.Hint, "another case": strings.ToUpper(secret), "cut off": secret[:len(secret)-1],
		"longer": secret + "0", "a changed digit": secret[:10] + "0" + secret[11:], "revoked": revokedSecret, "expired": expiredSecret, "a zero byte": "slp_\x00",
	} {
		if name == "a changed digit" && secret[10] == '0' {
			continue
		}
		if who, err := p.AuthenticateToken(t.Context(), s); !models.IsCode(err, models.Unauthorized) {
			t.Errorf("%s: %v, %v", name, who, err)
		}
	}
	p.db.Model(w.Developer).UpdateColumn("disabled_at", p.db.NowFunc())
	if _, err := p.AuthenticateToken(t.Context(), secret); !models.IsCode(err, models.Unauthorized) {
		t.Errorf("the token of a disabled person: %v", err)
	}
}

func TestNobodyMakesATokenThatMayDoMoreThanThey(t *testing.T) {
	t.Parallel()
	p := newPortal(t, modelstest.DB(t))
	w := modelstest.Seed(t, p.db)
	as := func(u *models.User, scopes ...models.Scope) context.Context {
		ctx := modelstest.As(t, p.db, u)
		if scopes == nil {
			return ctx
		}
		_, secret, err := p.CreateToken(ctx, auth.NewToken{Name: "parent", Scopes: scopes, Days: 2})
		if err != nil {
			t.Fatal(err)
		}
		who, err := p.AuthenticateToken(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		return models.WithPrincipal(t.Context(), who)
	}
	read, write, admin := models.ScopeRead, models.ScopeWrite, models.ScopeAdmin
	team := func(role models.Role, scopes ...models.Scope) auth.NewToken {
		return auth.NewToken{Name: "t", TeamID: w.Team.ID, Role: role, Scopes: scopes}
	}
	own := func(scopes ...models.Scope) auth.NewToken { return auth.NewToken{Name: "t", Scopes: scopes} }
	for name, c := range map[string]struct {
		ctx  context.Context
		in   auth.NewToken
		want models.Code
	}{
		"nobody":                                  {t.Context(), own(read), models.Unauthorized},
		"a developer an admin's":                  {as(w.Developer), own(admin), models.Invalid},
		"an unknown scope":                        {as(w.Developer), own("everything"), models.Invalid},
		"no scope":                                {as(w.Developer), own(), models.Invalid},
		"no name":                                 {as(w.Developer), auth.NewToken{Scopes: []models.Scope{read}}, models.Invalid},
		"for ever":                                {as(w.Developer), auth.NewToken{Name: "t", Scopes: []models.Scope{read}, Days: 4000}, models.Invalid},
		"a developer a team's":                    {as(w.Developer), team(models.RoleViewer, read), models.Denied},
		"a stranger a team's":                     {as(w.Stranger), team(models.RoleViewer, read), models.NotFound},
		"a team's with the site's rights":         {as(w.Admin), team(models.RoleMaintainer, admin), models.Invalid},
		"a team's without a role":                 {as(w.Maintainer), team("", read), models.Invalid},
		"a reading token another":                 {as(w.Developer, read), own(read), models.Denied},
		"a writing token one that pushes":         {as(w.Developer, read, write), own(models.ScopeRegistryWrite), models.Invalid},
		"an admin's lesser token an admin's":      {as(w.Admin, read, write), own(admin), models.Invalid},
		"an admin's lesser token a foreign teams": {as(w.Admin, read, write), team(models.RoleViewer, read), models.NotFound},
	} {
		if _, _, err := p.CreateToken(c.ctx, c.in); !models.IsCode(err, c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	child, _, err := p.CreateToken(as(w.Developer, read, write), auth.NewToken{Name: "child", Scopes: []models.Scope{read}, Days: 300})
	if err != nil || child.ExpiresAt.After(time.Now().Add(49*time.Hour)) {
		t.Errorf("a token's token outlives it: %+v, %v", child, err)
	}
}

func TestATeamsTokenActsForTheTeamAlone(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPortal(t, db)
		w := modelstest.Seed(t, db)
		maintainer := modelstest.As(t, db, w.Maintainer)
		in := auth.NewToken{Name: "ci", TeamID: w.Team.ID, Role: models.RoleDeveloper, Scopes: []models.Scope{models.ScopeRead, models.ScopeWrite}}
		token, secret, err := p.CreateToken(maintainer, in)
		if err != nil {
			t.Fatal(err)
		}
		who, err := p.AuthenticateToken(t.Context(), secret)
		if err != nil || who.UserID != "" || who.Admin || who.RoleIn(w.Team.ID) != models.RoleDeveloper || len(who.Teams) != 1 {
			t.Fatalf("it stands for %+v, %v", who, err)
		}
		if _, _, err := p.CreateToken(models.WithPrincipal(t.Context(), who), auth.NewToken{Name: "x", Scopes: in.Scopes}); !models.IsCode(err, models.Denied) {
			t.Errorf("it made a personal token: %v", err)
		}
		if _, err := p.Tokens(modelstest.As(t, db, w.Developer), auth.TokenFilter{TeamID: w.Team.ID}); !models.IsCode(err, models.Denied) {
			t.Errorf("a developer lists the team's tokens: %v", err)
		}
		if list, err := p.Tokens(maintainer, auth.TokenFilter{TeamID: w.Team.ID}); err != nil || len(list.Items) != 1 {
			t.Errorf("the maintainer sees %d, %v", len(list.Items), err)
		}
		for u, want := range map[*models.User]models.Code{w.Stranger: models.NotFound, w.Developer: models.Denied} {
			if err := p.RevokeToken(modelstest.As(t, db, u), token.ID); !models.IsCode(err, want) {
				t.Errorf("%s revokes it: %v", u.Name, err)
			}
		}
		if err := p.RevokeToken(maintainer, token.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Reload(t.Context(), who); !models.IsCode(err, models.Unauthorized) {
			t.Errorf("an open stream lives on after the revocation: %v", err)
		}
	})
}

func TestATokenOfSomebodyElseIsNotFound(t *testing.T) {
	t.Parallel()
	p := newPortal(t, modelstest.DB(t))
	w := modelstest.Seed(t, p.db)
	token, _, err := p.CreateToken(modelstest.As(t, p.db, w.Developer), auth.NewToken{Name: "mine", Scopes: []models.Scope{models.ScopeRead}})
	if err != nil {
		t.Fatal(err)
	}
	other, absent := p.RevokeToken(modelstest.As(t, p.db, w.Maintainer), token.ID), p.RevokeToken(modelstest.As(t, p.db, w.Maintainer), models.NewID())
	if !models.IsCode(other, models.NotFound) || other.Error() != absent.Error() {
		t.Errorf("somebody else's: %v; absent: %v", other, absent)
	}
	if list, err := p.Tokens(modelstest.As(t, p.db, w.Maintainer), auth.TokenFilter{}); err != nil || len(list.Items) != 0 {
		t.Errorf("the list shows %d, %v", len(list.Items), err)
	}
}

func TestTheBootstrapTokenIsMadeOnceAndOnlyItsOwnerReadsIt(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPortal(t, db)
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte("of another installation"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := p.EnsureBootstrap(t.Context(), file); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file's mode is %v, %v", info.Mode(), err)
		}
		who, err := p.AuthenticateToken(t.Context(), strings.TrimSpace(string(text)))
		if err != nil || !who.Admin || models.AuthorizeAdmin(models.WithPrincipal(t.Context(), who)) != nil {
			t.Fatalf("it stands for %+v, %v", who, err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := p.EnsureBootstrap(t.Context(), file); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Error("a second start made another")
		}
	})
}

func TestABootstrapTokenThatCannotBeWrittenIsNotMade(t *testing.T) {
	t.Parallel()
	p := newPortal(t, modelstest.DB(t))
	if err := p.EnsureBootstrap(t.Context(), filepath.Join(t.TempDir(), "missing", "token")); err == nil {
		t.Fatal("no error")
	}
	if p.count(&models.Token{}) != 0 || p.count(&models.Setting{}) != 0 {
		t.Error("half of it was made")
	}
}
