package identity_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/identity"
)

// verify believes the token as a relying party does, by what the issuer serves.
func (w *world) verify(raw, audience string) (*oidc.IDToken, map[string]any) {
	w.t.Helper()
	issuer, err := oidc.NewProvider(w.t.Context(), w.Issuer())
	if err != nil {
		w.t.Fatal(err)
	}
	token, err := issuer.Verifier(&oidc.Config{ClientID: audience}).Verify(w.t.Context(), raw)
	if err != nil {
		w.t.Fatal(err)
	}
	said := map[string]any{}
	if err := token.Claims(&said); err != nil {
		w.t.Fatal(err)
	}
	return token, said
}

func kid(t *testing.T, raw string) string {
	t.Helper()
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Headers[0].KeyID
}

func TestATokenIsBelievedByWhatTheIssuerServes(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		whole, err := w.For("prod")(t.Context(), "sts.amazonaws.com", deploy.Subject{})
		if err != nil {
			t.Fatal(err)
		}
		token, said := w.verify(whole, "sts.amazonaws.com")
		if token.Issuer != w.ExternalURL+"/identity" || token.Subject != "target:prod" || said["target"] != "prod" || len(token.Audience) != 1 {
			t.Errorf("the token says %v", said)
		}
		for _, name := range []string{"team", "environment", "app"} {
			if _, ok := said[name]; ok {
				t.Errorf("a token for the whole target names a %s", name)
			}
		}
		if life := token.Expiry.Sub(token.IssuedAt); life > 10*time.Minute || life < time.Minute {
			t.Errorf("it is good for %s", life)
		}
		if nbf, ok := said["nbf"].(float64); !ok || time.Unix(int64(nbf), 0).After(token.IssuedAt) {
			t.Errorf("it is good from %v", said["nbf"])
		}
		release, err := w.Token(t.Context(), "prod", "api://AzureADTokenExchange", deploy.Subject{Team: "payments", Environment: "live", App: "checkout"})
		if err != nil {
			t.Fatal(err)
		}
		other, more := w.verify(release, "api://AzureADTokenExchange")
		if other.Subject != "target:prod:team:payments:environment:live:app:checkout" || more["team"] != "payments" || more["environment"] != "live" || more["app"] != "checkout" {
			t.Errorf("the release's token says %v", more)
		}
		if said["jti"] == more["jti"] || said["jti"] == "" {
			t.Errorf("two tokens have the ids %v and %v", said["jti"], more["jti"])
		}
		issuer, err := oidc.NewProvider(t.Context(), w.Issuer())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := issuer.Verifier(&oidc.Config{ClientID: "sts.amazonaws.com"}).Verify(t.Context(), release); err == nil {
			t.Error("a token for one audience is good for another")
		}
	})
}

func TestNamesThatCouldReadAsOtherSubjectsGetNoToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	whole := deploy.Subject{Team: "payments", Environment: "live", App: "checkout"}
	for _, of := range []struct {
		target, audience string
		subject          deploy.Subject
	}{
		{"prod:team:payments", "a", deploy.Subject{}},
		{"prod*", "a", deploy.Subject{}},
		{"", "a", deploy.Subject{}},
		{"prod", "", deploy.Subject{}},
		{"prod", strings.Repeat("a", 501), deploy.Subject{}},
		{"prod", "a", deploy.Subject{Team: "payments", Environment: "live"}},
		{"prod", "a", deploy.Subject{Team: "payments:environment:live", Environment: "live", App: "checkout"}},
		{"prod", "a", deploy.Subject{Team: whole.Team, Environment: whole.Environment, App: "check*"}},
	} {
		if token, err := w.Token(t.Context(), of.target, of.audience, of.subject); err == nil {
			t.Errorf("%+v gets %s", of, token)
		}
	}
}

func TestKeysAreFollowedWithoutATokenThatIsNotBelieved(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		ask := func(s *identity.Service) string {
			t.Helper()
			raw, err := s.Token(t.Context(), "prod", "aud", deploy.Subject{})
			if err != nil {
				t.Fatal(err)
			}
			w.Service = w.replica() // what is served comes from any replica
			w.verify(raw, "aud")
			return kid(t, raw)
		}
		published := func() (ids []string) {
			t.Helper()
			set, err := w.replica().Keys(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range set.Keys {
				if k.Algorithm != "RS256" || k.Use != "sig" || !k.IsPublic() {
					t.Fatalf("published is %+v", k)
				}
				ids = append(ids, k.KeyID)
			}
			return ids
		}
		first := ask(w.Service)
		if again := ask(w.replica()); again != first {
			t.Fatalf("a second replica signs with %s, the first with %s", again, first)
		}
		w.age(91 * 24 * time.Hour)
		w.rotate()
		if ids := published(); len(ids) != 2 || ask(w.replica()) != first || !slices.Contains(ids, first) {
			t.Fatalf("the next key is not published before it signs: %v", ids)
		}
		w.age(15 * 24 * time.Hour)
		old, err := w.replica().Token(t.Context(), "prod", "aud", deploy.Subject{})
		if err != nil {
			t.Fatal(err)
		}
		w.rotate()
		second := ask(w.replica())
		if ids := published(); second == first || len(ids) != 2 || !slices.Contains(ids, first) || !slices.Contains(ids, second) {
			t.Fatalf("after %s %s signs, published are %v", first, second, ids)
		}
		w.verify(old, "aud")
		w.age(2 * 24 * time.Hour)
		w.rotate()
		if ids := published(); len(ids) != 1 || ids[0] != second {
			t.Errorf("published stay %v", ids)
		}
	})
}

func (w *world) rotate() {
	w.t.Helper()
	if err := w.replica().RotateOld(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// age makes all keys older.
func (w *world) age(by time.Duration) {
	w.t.Helper()
	var rows []models.SigningKey
	if err := w.db.Where("use = ?", "identity").Find(&rows).Error; err != nil {
		w.t.Fatal(err)
	}
	for _, row := range rows {
		row.CreatedAt = row.CreatedAt.Add(-by)
		if row.RetiredAt != nil {
			at := row.RetiredAt.Add(-by)
			row.RetiredAt = &at
		}
		if err := w.db.Save(&row).Error; err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestALeakedKeyIsPublishedNoMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	admin := modelstest.As(t, w.db, w.Admin)
	before, err := w.KeyList(admin)
	if err != nil || len(before) != 1 || before[0].SignsFrom != nil || before[0].RetiredAt != nil {
		t.Fatalf("the keys are %+v, %v", before, err)
	}
	if err := w.Rotate(admin, false); err != nil {
		t.Fatal(err)
	}
	if keys, err := w.KeyList(admin); err != nil || len(keys) != 2 || keys[0].SignsFrom == nil || keys[0].SignsFrom.Before(time.Now().Add(13*24*time.Hour)) {
		t.Errorf("after a rotation the keys are %+v, %v", keys, err)
	}
	if err := w.Rotate(admin, true); err != nil {
		t.Fatal(err)
	}
	if keys, err := w.KeyList(admin); err != nil || len(keys) != 1 || keys[0].ID == before[0].ID || keys[0].SignsFrom != nil {
		t.Errorf("after a leak the keys are %+v, %v", keys, err)
	}
	for _, ctx := range []context.Context{modelstest.As(t, w.db, w.Maintainer), t.Context()} {
		if err := w.Rotate(ctx, true); err == nil {
			t.Error("somebody who is no admin rotates the keys")
		}
		if _, err := w.KeyList(ctx); err == nil {
			t.Error("somebody who is no admin reads the list of keys")
		}
	}
}

// TestTargetsAreOpenedWithTokensInTheirOwnName looks at what a kind is given, when a target is stored and when it is used.
func TestTargetsAreOpenedWithTokensInTheirOwnName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	var given []deploy.Config
	for i := range w.Deploy.Kinds {
		w.Deploy.Kinds[i].Open = func(c deploy.Config) (deploy.Target, error) {
			given = append(given, c)
			return still{}, nil
		}
	}
	id, admin := w.target("azure", "prod", nil), modelstest.As(t, w.db, w.Admin)
	if _, err := w.Deploy.CheckTarget(admin, id); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Deploy.UpdateTarget(admin, id, deploy.TargetInput{Name: "live"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Deploy.CheckTarget(admin, id); err != nil {
		t.Fatal(err)
	}
	var subjects []string
	for _, c := range given {
		raw, err := c.Identity(t.Context(), "aud", deploy.Subject{})
		if err != nil {
			t.Fatal(err)
		}
		token, _ := w.verify(raw, "aud")
		subjects = append(subjects, token.Subject)
	}
	if !slices.Equal(subjects, []string{"target:prod", "target:prod", "target:live", "target:live"}) {
		t.Errorf("the tokens are of %v", subjects)
	}
}
