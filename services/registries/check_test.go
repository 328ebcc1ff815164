package registries_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/registries"
	"slipway.dev/services/registries/registriestest"
	"slipway.dev/services/registry"
	"slipway.dev/services/registry/registrytest"
)

func results(r *models.Registry) string {
	var out []string
	for _, c := range r.Checks {
		out = append(out, c.Step+" "+string(c.Result))
	}
	return strings.Join(out, ", ")
}

func messages(r *models.Registry) string {
	var out []string
	for _, c := range r.Checks {
		out = append(out, c.Message, c.Help)
	}
	return strings.Join(out, "\n")
}

func TestACheckSaysWhatWorksAndLeavesNoTrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	server := registriestest.StartWithLogin(t)
	r := w.connect(t, server, models.RegistryPush)
	if got := results(r); got != "reach passed, login passed, pull not_tried, push passed" { // there is no image yet
		t.Fatalf("the check says %s: %s", got, messages(r))
	}
	filepath.WalkDir(server.Folder, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !strings.Contains(path, "/hashstates/") { // which docker-registry 2.8 forgets itself
			t.Errorf("the check left %s", path)
		}
		return nil
	})
	at, err := w.Open(admin(t), r.ID, "acme/shop", registries.Push, registries.Pull)
	if err != nil {
		t.Fatal(err)
	}
	if err := push(at); err != nil {
		t.Fatal(err)
	}
	if r, err = w.Check(admin(t), r.ID); err != nil || results(r) != "reach passed, login passed, pull passed, push passed" {
		t.Errorf("the check says %s: %s, error %v", results(r), messages(r), err)
	}
	if r.CheckedAt == nil {
		t.Error("nobody knows when it was checked")
	}
}

func TestACheckTellsAWrongCredentialFromNoneAndFromNoRegistry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	server, open := registriestest.StartWithLogin(t), registriestest.Start(t)
	elsewhere := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(elsewhere.Close)
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(tls.Close)
	for name, test := range map[string]struct {
		in         registries.Input
		want, says string
	}{
		"a wrong password":        {registries.Input{Host: server.Host, PlainHTTP: true, Settings: map[string]string{"username": "robot", "password": "wrong"}}, "reach passed, login failed", "does not take the credential"},
		"no credential":           {registries.Input{Host: server.Host, PlainHTTP: true}, "reach passed, login failed", "asks for a login"},
		"none needed":             {registries.Input{Host: open.Host, PlainHTTP: true, CheckRepository: "acme/shop"}, "reach passed, login not_tried, pull not_tried, push passed", "as anybody may"},
		"no repository":           {registries.Input{Host: open.Host, PlainHTTP: true}, "reach passed, login not_tried, pull not_tried, push not_tried", "No repository was named"},
		"no TLS":                  {registries.Input{Host: open.Host}, "reach failed", "does not speak TLS"},
		"something else":          {registries.Input{Host: strings.TrimPrefix(elsewhere.URL, "http://"), PlainHTTP: true}, "reach failed", "not a registry"},
		"an unknown authority":    {registries.Input{Host: strings.TrimPrefix(tls.URL, "https://")}, "reach failed", "does not know"},
		"nobody":                  {registries.Input{Host: "127.0.0.1:1"}, "reach failed", "refused"},
		"an address that is kept": {registries.Input{Host: "169.254.169.254"}, "reach failed", "SLIPWAY_OUTBOUND_ALLOW"},
		"a name without address":  {registries.Input{Host: "registry.invalid"}, "reach failed", "no address"},
	} {
		test.in.Name, test.in.Kind = name, registries.KindGeneric
		r, err := w.Create(admin(t), test.in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := results(r); !strings.HasPrefix(got, test.want) || !strings.Contains(messages(r), test.says) {
			t.Errorf("%s: the check says %s: %s", name, got, messages(r))
		}
	}
}

// portal is the registry of another Slipway, which gives tokens; the password says what the login may do.
func portal(t *testing.T, w *world) string {
	t.Helper()
	store := &registry.Service{DB: w.DB, Box: w.Box,
		Authenticate: func(_ context.Context, _, password string) (*models.Principal, error) {
			role := map[string]models.Role{"may-push": models.RoleDeveloper, "may-pull": models.RoleViewer}[password]
			if role == "" {
				return nil, models.Errorf(models.Unauthorized, "no")
			}
			return &models.Principal{Kind: models.PrincipalToken, ID: password, Teams: map[string]models.Role{w.acme.ID: role}}, nil
		},
		Reload: func(_ context.Context, p *models.Principal) (*models.Principal, error) {
			p.Teams = map[string]models.Role{w.acme.ID: map[string]models.Role{"may-push": models.RoleDeveloper, "may-pull": models.RoleViewer}[p.ID]}
			return p, nil
		}}
	registrytest.Serve(t, store)
	return store.Host()
}

func TestPullAndPushAreCheckedApartWhereTokensAreGiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	host := portal(t, w)
	input := func(name, password string) registries.Input {
		return registries.Input{Name: name, Kind: registries.KindHarbor, Host: host, PlainHTTP: true, CheckRepository: "acme/shop", AllTeams: models.RegistryPush,
			Settings: map[string]string{"username": "robot$acme", "password": password}}
	}
	pusher, err := w.Create(admin(t), input("Pusher", "may-push"))
	if err != nil {
		t.Fatal(err)
	}
	at, err := w.Open(admin(t), pusher.ID, "acme/shop", registries.Pull, registries.Push)
	if err != nil {
		t.Fatal(err)
	}
	if err := push(at); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ password, want string }{
		{"may-push", "reach passed, login passed, pull passed, push passed"},
		{"may-pull", "reach passed, login passed, pull passed, push failed"},
		{"may-nothing", "reach passed, login failed, pull not_tried, push not_tried"},
	} {
		r, err := w.Create(admin(t), input(test.password, test.password))
		if err != nil {
			t.Fatal(err)
		}
		if got := results(r); got != test.want {
			t.Errorf("with %s the check says %s: %s", test.password, got, messages(r))
		}
	}
}

func TestATokenHostHasToBeConfirmedBeforeItGetsTheCredential(t *testing.T) {
	t.Parallel()
	a := attack(t, func(a *attacked) http.HandlerFunc {
		return bearer("https://" + a.evil.name + "/token")
	}, giveToken)
	in := registries.Input{Name: "Again", Kind: registries.KindGeneric, Host: a.home.name, Settings: map[string]string{"username": "robot", "password": secret, "ca": a.registry.Settings["ca"]}}
	_, err := a.Create(admin(t), in)
	if field(err, "realm") == "" || !strings.Contains(field(err, "realm"), a.evil.name) {
		t.Fatalf("the error is %v", err)
	}
	if r, err := a.Check(admin(t), a.registry.ID); err != nil || results(r) != "reach passed, login failed, pull not_tried, push not_tried" || !strings.Contains(messages(r), a.evil.name) {
		t.Errorf("the check says %s: %s, error %v", results(r), messages(r), err)
	}
	if got := a.evil.secrets(); got != "" {
		t.Fatalf("the other host got %q", got)
	}
	in.Realm = a.evil.name
	if _, err := a.Create(admin(t), in); err != nil {
		t.Fatal(err)
	}
	if a.evil.secrets() == "" {
		t.Error("the host that was confirmed was not asked for a token")
	}
}
