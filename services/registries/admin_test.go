package registries_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/registries"
	"slipway.dev/services/registries/registriestest"
)

// field is what an error says of a field.
func field(err error, name string) string {
	if told, ok := errors.AsType[*models.Error](err); ok {
		return told.Fields[name]
	}
	return ""
}

func TestACredentialStaysWithItsHostAndIsNeverShown(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		r := w.connect(t, registriestest.StartWithLogin(t), models.RegistryNone)
		shown, err := w.Get(admin(t), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := json.Marshal(shown); strings.Contains(string(text), registriestest.Password) || len(shown.Secrets) > 0 {
			t.Errorf("the registry shows %s", text)
		}
		in := registries.Input{Name: r.Name, Host: r.Host, PlainHTTP: true, Settings: r.Settings, CheckRepository: r.CheckRepository}
		if r, err = w.Update(admin(t), r.ID, in); err != nil || !strings.Contains(results(r), "login passed") {
			t.Fatalf("the credential did not stay: %s, error %v", results(r), err)
		}
		in.Host = "registry.test"
		if _, err := w.Update(admin(t), r.ID, in); !strings.Contains(field(err, "password"), "anew") {
			t.Errorf("another host got the credential: %v", err)
		}
		var raw models.Registry
		if err := db.First(&raw, "id = ?", r.ID).Error; err != nil || raw.Host != r.Host || strings.Contains(string(raw.Secrets), registriestest.Password) {
			t.Errorf("the row is %+v, error %v", raw, err)
		}
		if err := db.Model(&raw).Update("host", "registry.test").Error; err != nil { // by somebody who can write to the database
			t.Fatal(err)
		}
		if at, err := w.Open(admin(t), r.ID, "acme/shop", registries.Pull); err == nil {
			if _, _, err := at.Credential(t.Context()); err == nil {
				t.Error("the sealed credential opens for another host")
			}
		}
	})
}

func TestWhatIsWrongWithARegistryIsSaidByField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	for _, test := range []struct {
		in    registries.Input
		field string
	}{
		{registries.Input{Name: "x", Kind: "none"}, "kind"},
		{registries.Input{Name: "", Kind: "ghcr", Slug: "x"}, "name"},
		{registries.Input{Name: "x", Kind: "ghcr", Host: "evil.test"}, "host"},
		{registries.Input{Name: "x", Kind: "generic", Host: "https://user@registry.test/path"}, "host"},
		{registries.Input{Name: "x", Kind: "generic", Host: "registry"}, "host"},
		{registries.Input{Name: "x", Kind: "generic", Host: "2130706433"}, "host"},
		{registries.Input{Name: "x", Kind: "generic", Host: "registry.test:99999"}, "host"},
		{registries.Input{Name: "x", Kind: "ecr", Host: "registry.test"}, "host"},
		{registries.Input{Name: "x", Kind: "ecr", Host: "123456789012.dkr.ecr.eu-central-1.amazonaws.com"}, "access_key_id"},
		{registries.Input{Name: "x", Kind: "gar", Host: "europe-west3-docker.pkg.dev.evil.test"}, "host"},
		{registries.Input{Name: "x", Kind: "gar", Host: "europe-west3-docker.pkg.dev", Settings: map[string]string{"key": `{"type":"external_account"}`}}, "key"},
		{registries.Input{Name: "x", Kind: "acr", Host: "acme.azurecr.io.evil.test"}, "host"},
		{registries.Input{Name: "x", Kind: "ghcr", Settings: map[string]string{"username": "octocat"}}, "password"},
		{registries.Input{Name: "x", Kind: "ghcr", Settings: map[string]string{"password": "p"}}, "username"},
		{registries.Input{Name: "x", Kind: "generic", Host: "registry.test", Settings: map[string]string{"ca": "no"}}, "ca"},
		{registries.Input{Name: "x", Kind: "ghcr", CheckRepository: "Not A Name"}, "check_repository"},
		{registries.Input{Name: "x", Kind: "ghcr", AllTeams: "admin"}, "all_teams"},
	} {
		if _, err := w.Create(admin(t), test.in); field(err, test.field) == "" {
			t.Errorf("%+v: the error is %v", test.in, err)
		}
	}
}

func TestOnlyAdminsManageRegistriesAndUsedOnesStay(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		r := w.connect(t, registriestest.Start(t), models.RegistryPush)
		maintainer := member(t, w.acme, models.RoleMaintainer)
		for name, do := range map[string]func() error{
			"list":   func() error { _, err := w.List(maintainer); return err },
			"get":    func() error { _, err := w.Get(maintainer, r.ID); return err },
			"create": func() error { _, err := w.Create(maintainer, registries.Input{Name: "x", Kind: "ghcr"}); return err },
			"update": func() error { _, err := w.Update(maintainer, r.ID, registries.Input{}); return err },
			"check":  func() error { _, err := w.Check(maintainer, r.ID); return err },
			"grant": func() error {
				return w.Grant(maintainer, r.ID, registries.GrantInput{TeamID: w.acme.ID, Access: "push"})
			},
			"delete": func() error { return w.Delete(maintainer, r.ID) },
		} {
			if err := do(); !models.IsCode(err, models.Denied) {
				t.Errorf("a maintainer may %s: %v", name, err)
			}
		}
		app := w.app(t, r.ID, "acme/shop")
		if err := w.Delete(admin(t), r.ID); !models.IsCode(err, models.Conflict) || !strings.Contains(err.Error(), app.Name) {
			t.Errorf("a registry that is used could be removed: %v", err)
		}
		if uses, err := w.UsedBy(admin(t), r.ID); err != nil || len(uses) != 1 || uses[0].Repository != "acme/shop" {
			t.Errorf("it is used by %v, error %v", uses, err)
		}
		db.Model(app).Update("registry_id", "")
		if err := w.Delete(admin(t), r.ID); err != nil {
			t.Error(err)
		}
		var actions []string
		db.Model(&models.AuditEntry{}).Where("subject = ?", "registry:"+r.ID).Order("id").Pluck("action", &actions)
		if got := strings.Join(actions, " "); got != "registry.create registry.check registry.delete" {
			t.Errorf("the audit log has %s", got)
		}
	})
}

func TestGrantsSayWhoMayDoWhatWhere(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		r := w.connect(t, registriestest.Start(t), models.RegistryNone)
		grant := func(team models.Team, prefix string, access models.RegistryAccess) {
			t.Helper()
			if err := w.Grant(admin(t), r.ID, registries.GrantInput{TeamID: team.Slug, Prefix: prefix, Access: access}); err != nil {
				t.Fatal(err)
			}
		}
		developer, viewer := models.RoleDeveloper, models.RoleViewer
		can := func(team models.Team, role models.Role, repository string, actions ...string) models.Code {
			_, err := w.Open(member(t, team, role), r.ID, repository, actions...)
			if told, ok := errors.AsType[*models.Error](err); ok {
				return told.Code
			}
			if err != nil {
				t.Fatal(err)
			}
			return ""
		}
		expect := func(what string, got, want models.Code) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %q, not %q", what, got, want)
			}
		}
		expect("without a grant", can(w.acme, developer, "acme/shop", "pull"), models.NotFound)
		grant(w.acme, "acme/*", models.RegistryPush)
		expect("a developer pushes below the prefix", can(w.acme, developer, "acme/shop", "pull", "push"), "")
		expect("a viewer pulls", can(w.acme, viewer, "acme/shop", "pull"), "")
		expect("a viewer does not push", can(w.acme, viewer, "acme/shop", "push"), models.Denied)
		expect("beside the prefix", can(w.acme, developer, "acme-secret/shop", "pull"), models.Denied)
		expect("another team", can(w.other, developer, "acme/shop", "pull"), models.NotFound)
		grant(w.other, "", models.RegistryPull)
		expect("another team pulls", can(w.other, developer, "acme/shop", "pull"), "")
		expect("and does not push", can(w.other, developer, "acme/shop", "push"), models.Denied)
		grant(w.other, "", models.RegistryNone)
		expect("taken back", can(w.other, developer, "acme/shop", "pull"), models.NotFound)
		reader := models.WithPrincipal(t.Context(), &models.Principal{Kind: models.PrincipalToken, ID: "t", Teams: map[string]models.Role{w.acme.ID: developer}, Scopes: []models.Scope{models.ScopeRead}})
		if _, err := w.Open(reader, r.ID, "acme/shop", "push"); !models.IsCode(err, models.Denied) {
			t.Errorf("a token that only reads may push: %v", err)
		}
		if _, err := w.Open(t.Context(), r.ID, "acme/shop", "pull"); !models.IsCode(err, models.Unauthorized) {
			t.Errorf("a stranger: %v", err)
		}
		if _, err := w.Open(admin(t), r.ID, "../etc", "pull"); field(err, "repository") == "" {
			t.Errorf("a name with tricks: %v", err)
		}
		granted, err := w.Granted(member(t, w.acme, viewer), w.acme.ID)
		if err != nil || len(granted) != 1 || len(granted[0].Access) != 1 || granted[0].Access[0].Prefix != "acme" || granted[0].Settings != nil || granted[0].Secrets != nil {
			t.Errorf("the team sees %+v, error %v", granted, err)
		}
		if id, path, err := w.Locate(t.Context(), w.acme.ID, r.Host+"/acme/shop", "push"); err != nil || id != r.ID || path != "acme/shop" {
			t.Errorf("located %s %s, error %v", id, path, err)
		}
		if _, _, err := w.Locate(t.Context(), w.other.ID, r.Host+"/acme/shop", "pull"); !models.IsCode(err, models.NotFound) {
			t.Errorf("another team located it: %v", err)
		}
	})
}
