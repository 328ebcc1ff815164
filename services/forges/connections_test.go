package forges_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/forges"
)

func TestAConnectionIsOpenedForSlipwaysOwnWorkAlone(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		key := appKey(t)
		made, _ := w.connect(t, forges.NewConnection{Kind: models.ForgeGitHub, Credential: models.ConnectionApp,
			Settings: map[string]string{"app_id": "12", "installation_id": "34", "private_key": strings.ReplaceAll(key, "\n", "\r\n")}})
		if made.Name != "github.com" || made.BaseURL != "https://github.com" || made.CreatedBy != w.Maintainer.ID || made.Settings["app_id"] != "12" {
			t.Errorf("got %+v", made)
		}
		opened, err := w.forges.Open(w.as["system"], made.ID)
		if err != nil || opened.AppID != "12" || opened.InstallationID != "34" || opened.PrivateKey != strings.TrimSpace(key) || opened.Token != "" || opened.Team.Slug != "payments" {
			t.Errorf("got %+v, %v", opened, err)
		}
		if len(opened.Secrets)+len(opened.WebhookSecret) != 0 {
			t.Error("the sealed secrets came along")
		}
		for _, who := range []string{"nobody", "stranger", "maintainer", "admin"} {
			if _, err := w.forges.Open(w.as[who], made.ID); !models.IsCode(err, models.Denied) {
				t.Errorf("%s: %v", who, err)
			}
		}
		_, err = w.forges.Open(w.as["system"], models.NewID())
		wantCode(t, "no such connection", err, models.NotFound)
	})
}

func TestARepositorysConnectionIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	_, err := w.forges.Connection(w.as["system"], w.Repository)
	wantCode(t, "without one", err, models.NotFound)
	made, _ := w.connect(t, forges.NewConnection{Kind: models.ForgeGitLab, BaseURL: "https://GIT.example.test:8443/gitlab/", Credential: models.ConnectionToken, Settings: map[string]string{"token": "glpat-1"}})
	if made.BaseURL != "https://GIT.example.test:8443/gitlab" {
		t.Errorf("got %s", made.BaseURL)
	}
	id, _ := w.connectionOf(t, w.Repository.ID)
	if id != made.ID {
		t.Errorf("the team's repository on the host got %q", id)
	}
	w.Repository.ConnectionID = &id
	opened, err := w.forges.Connection(w.as["system"], w.Repository)
	if err != nil || opened.Token != "glpat-1" || opened.Kind != models.ForgeGitLab {
		t.Errorf("got %+v, %v", opened, err)
	}
}

func TestANewConnectionTakesOnlyItsTeamsRepositoriesThatHaveNone(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		add := func(team, name, url string, connection *string) string {
			r := &models.Repository{ID: models.NewID(), TeamID: team, Name: name, CloneURL: url, CredentialKind: models.CredentialNone, State: models.RepositoryReady, ConnectionID: connection}
			if err := db.Create(r).Error; err != nil {
				t.Fatal(err)
			}
			return r.ID
		}
		want := map[string]bool{
			w.Repository.ID: true,
			add(w.Team.ID, "ssh", "git@git.example.test:a/b.git", nil):                         true,
			add(w.Team.ID, "port", "ssh://git@Git.Example.Test:2222/a/c.git", nil):             true,
			add(w.Team.ID, "elsewhere", "https://git.example.test.evil.test/a/b.git", nil):     false,
			add(w.Team.ID, "has one", "https://git.example.test/a/d.git", ptr(models.NewID())): false,
			add(w.OtherTeam.ID, "of others", "https://git.example.test/a/b.git", nil):          false,
		}
		made, _ := w.connect(t, forges.NewConnection{Kind: models.ForgeGitea, BaseURL: "https://git.example.test"})
		for id, taken := range want {
			if got, _ := w.connectionOf(t, id); (got == made.ID) != taken {
				t.Errorf("%s has %q", id, got)
			}
		}
		list, err := w.forges.Repositories(w.as["maintainer"], made.ID)
		if err != nil || len(list) != 3 || list[0].CredentialSecret != nil {
			t.Errorf("got %d, %v", len(list), err)
		}
		if err := w.forges.Delete(w.as["maintainer"], made.ID); err != nil {
			t.Fatal(err)
		}
		if got, _ := w.connectionOf(t, w.Repository.ID); got != "" {
			t.Errorf("after its connection was deleted: %q", got)
		}
	})
}

func TestOnlyMaintainersSeeAndChangeConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	made, _ := w.connect(t, forges.NewConnection{Kind: models.ForgeGeneric})
	for who, code := range map[string]models.Code{"stranger": models.NotFound, "viewer": models.Denied, "developer": models.Denied, "nobody": models.Unauthorized, "maintainer": "", "admin": ""} {
		ctx := w.as[who]
		_, err := w.forges.Get(ctx, made.ID)
		wantCode(t, who+" reads", err, code)
		_, err = w.forges.List(ctx, forges.ConnectionFilter{Team: "payments"})
		wantCode(t, who+" lists", err, code)
		_, err = w.forges.Update(ctx, made.ID, forges.UpdateConnection{Name: ptr("by " + who)})
		wantCode(t, who+" changes", err, code)
		_, _, err = w.forges.RotateSecret(ctx, made.ID)
		wantCode(t, who+" rotates", err, code)
		_, err = w.forges.Repositories(ctx, made.ID)
		wantCode(t, who+" lists repositories", err, code)
		_, _, err = w.forges.Create(ctx, forges.NewConnection{Team: "payments", Kind: models.ForgeGeneric, Name: "of " + who})
		wantCode(t, who+" makes", err, code)
		all, err := w.forges.List(ctx, forges.ConnectionFilter{})
		if sees := len(all.Items) > 0; sees != (code == "") || err != nil && who != "nobody" {
			t.Errorf("%s lists all: %d, %v", who, len(all.Items), err)
		}
	}
	wantCode(t, "a developer deletes", w.forges.Delete(w.as["developer"], made.ID), models.Denied)
	wantCode(t, "a stranger deletes", w.forges.Delete(w.as["stranger"], made.ID), models.NotFound)
}

func TestWhatIsWrongWithAConnectionIsSaidAtTheField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(t, forges.NewConnection{Kind: models.ForgeGeneric, Name: "taken"})
	token := func(value string) forges.NewConnection {
		return forges.NewConnection{Kind: models.ForgeGitHub, Credential: models.ConnectionToken, Settings: map[string]string{"token": value}}
	}
	app := func(name, value string) forges.NewConnection {
		settings := map[string]string{"app_id": "1", "installation_id": "2", "private_key": appKey(t)}
		settings[name] = value
		return forges.NewConnection{Kind: models.ForgeGitHub, Credential: models.ConnectionApp, Settings: settings}
	}
	gitea := func(url string) forges.NewConnection {
		return forges.NewConnection{Kind: models.ForgeGitea, Name: "x", BaseURL: url}
	}
	other, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	for i, test := range []struct {
		in          forges.NewConnection
		field, part string
	}{
		{forges.NewConnection{Kind: "bitbucket"}, "kind", "Choose"}, {forges.NewConnection{}, "kind", "Choose"},
		{gitea(""), "base_url", "Enter the address"}, {gitea("git.example.test"), "base_url", "like https"}, {gitea("ftp://git.example.test"), "base_url", "like https"},
		{gitea("https://ada:pw@git.example.test"), "base_url", "Leave user name"}, {gitea("https://git.example.test?x=1"), "base_url", "no ?"}, {gitea("https://git.example.test#x"), "base_url", "no #"},
		{gitea("https://2130706433"), "base_url", "can't be used"}, {gitea("https://"), "base_url", "can't be used"}, {gitea("javascript:alert(1)"), "base_url", "like https"},
		{forges.NewConnection{Kind: models.ForgeGeneric, BaseURL: "https://git.example.test"}, "base_url", "Leave this empty"},
		{forges.NewConnection{Kind: models.ForgeGeneric, Name: "taken"}, "name", "already"}, {forges.NewConnection{Kind: models.ForgeGeneric, Name: "a\nb"}, "name", "one line"},
		{forges.NewConnection{Kind: models.ForgeGeneric, Name: strings.Repeat("x", 81)}, "name", "1 to 80"},
		{forges.NewConnection{Kind: models.ForgeGitLab, Credential: models.ConnectionApp}, "credential", "GitLab can't"}, {forges.NewConnection{Kind: models.ForgeGitLab, Credential: "basic"}, "credential", "GitLab can't"},
		{token(""), "token", "needed"}, {token("a b"), "token", "without spaces"}, {token("a\nb"), "token", "without spaces"}, {token(strings.Repeat("x", 5000)), "token", "one line"},
		{app("app_id", "x"), "app_id", "number"}, {app("installation_id", ""), "installation_id", "Installation ID is needed"}, {app("private_key", "hello"), "private_key", "PEM"},
		{app("private_key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: other}))), "private_key", "RSA"},
		{app("token", "x"), "token", "no such setting"},
	} {
		in := test.in
		in.Team = "payments"
		if in.Name == "" {
			in.Name = fmt.Sprint("c", i)
		}
		_, _, err := w.forges.Create(w.as["maintainer"], in)
		wantField(t, err, test.field, test.part)
	}
}

func TestACredentialDoesNotFollowAnAddressToAnotherHost(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		ctx := w.as["maintainer"]
		made, _ := w.connect(t, forges.NewConnection{Kind: models.ForgeGitHub, Credential: models.ConnectionToken, Settings: map[string]string{"token": "ghp_1"}})
		var err error
		for _, elsewhere := range []string{"https://evil.example.test", "https://github.com:8443", "http://github.com"} {
			_, err = w.forges.Update(ctx, made.ID, forges.UpdateConnection{BaseURL: ptr(elsewhere)})
			wantField(t, err, "token", "another host")
		}
		if _, err = w.forges.Update(ctx, made.ID, forges.UpdateConnection{BaseURL: ptr("https://GitHub.com:443")}); err != nil {
			t.Errorf("the same origin in other words: %v", err)
		}
		if _, err = w.forges.Update(ctx, made.ID, forges.UpdateConnection{BaseURL: ptr("https://github.com")}); err != nil {
			t.Error(err)
		}
		if opened, err := w.forges.Open(w.as["system"], made.ID); err != nil || opened.Token != "ghp_1" || opened.BaseURL != "https://github.com" {
			t.Errorf("after it was refused: %+v, %v", opened, err)
		}
		_, err = w.forges.Update(ctx, made.ID, forges.UpdateConnection{BaseURL: ptr("https://github.example.test"), Name: ptr("ours"), Settings: map[string]string{"token": "ghp_2"}})
		if opened, openErr := w.forges.Open(w.as["system"], made.ID); err != nil || openErr != nil || opened.Token != "ghp_2" || opened.Name != "ours" {
			t.Errorf("with its own token: %+v, %v, %v", opened, err, openErr)
		}
		_, err = w.forges.Update(ctx, made.ID, forges.UpdateConnection{Name: ptr("renamed"), Credential: ptr(models.ConnectionToken), Settings: map[string]string{"token": ""}})
		if opened, openErr := w.forges.Open(w.as["system"], made.ID); err != nil || openErr != nil || opened.Token != "ghp_2" {
			t.Errorf("what is left empty stays: %+v, %v, %v", opened, err, openErr)
		}
		if _, err = w.forges.Update(ctx, made.ID, forges.UpdateConnection{Credential: ptr(models.ConnectionNone)}); err != nil {
			t.Fatal(err)
		}
		if opened, err := w.forges.Open(w.as["system"], made.ID); err != nil || opened.Token != "" || opened.Credential != models.ConnectionNone {
			t.Errorf("the token was taken away: %+v, %v", opened, err)
		}
	})
}

func TestSecretsOfConnectionsAreShownOnceAndStoredSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	made, secret := w.connect(t, forges.NewConnection{Kind: models.ForgeGitea, BaseURL: "https://gitea.example.test", Credential: models.ConnectionToken, Settings: map[string]string{"token": "CANARY-1"}})
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(raw) != 32 {
		t.Errorf("the secret %q is not one of Standard Webhooks: %v", secret, err)
	}
	rotated, other, err := w.forges.RotateSecret(w.as["maintainer"], made.ID)
	if err != nil || other == secret || rotated.ID != made.ID {
		t.Errorf("rotated to %q, %v", other, err)
	}
	var row models.Connection
	if err := w.db.Take(&row, "id = ?", made.ID).Error; err != nil {
		t.Fatal(err)
	}
	for _, stored := range [][]byte{row.Secrets, row.WebhookSecret} {
		if len(stored) == 0 || strings.Contains(string(stored), "CANARY") || strings.Contains(string(stored), "whsec_") {
			t.Error("a secret is not sealed")
		}
	}
	var told int64
	for _, table := range []string{"audit_entries", "events"} {
		column := map[string]string{"audit_entries": "detail", "events": "data"}[table]
		if err := w.db.Table(table).Where(column+" LIKE ? OR "+column+" LIKE ?", "%CANARY%", "%whsec_%").Count(&told).Error; err != nil || told != 0 {
			t.Errorf("%s holds a secret: %d, %v", table, told, err)
		}
	}
	if w.forges.HookURL(made) != "https://slipway.example.test/hooks/"+made.ID {
		t.Errorf("got %s", w.forges.HookURL(made))
	}
}

func appKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}
