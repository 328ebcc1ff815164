package registries_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/services/registries"
	"slipway.dev/services/registries/registriestest"
)

func TestAnImageIsPushedToAndPulledFromARegistryWithALogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	r := w.connect(t, registriestest.StartWithLogin(t), models.RegistryPush)
	repository, err := w.Open(member(t, w.acme, models.RoleDeveloper), r.ID, "acme/shop", registries.Pull, registries.Push)
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(repository.Repository.Tag("1"), image, repository.Options()...); err != nil {
		t.Fatal(err)
	}
	found, err := remote.Get(repository.Repository.Tag("1"), repository.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := image.Digest(); found.Digest != want {
		t.Errorf("the registry has %s", found.Digest)
	}
	if repository.Name() != r.Host+"/acme/shop" {
		t.Errorf("the name is %s", repository.Name())
	}
}

func TestATokenForAnEngineIsGoodForWhatTheTeamIsGranted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	host := portal(t, w)
	r, err := w.Create(admin(t), registries.Input{Name: "Portal", Kind: registries.KindHarbor, Host: host, PlainHTTP: true, Settings: map[string]string{"username": "robot", "password": "may-push"}})
	if err != nil {
		t.Fatal(err)
	}
	for prefix, access := range map[string]models.RegistryAccess{"acme/shop": models.RegistryPush, "acme/base": models.RegistryPull} {
		if err := w.Grant(admin(t), r.ID, registries.GrantInput{TeamID: w.acme.ID, Prefix: prefix, Access: access}); err != nil {
			t.Fatal(err)
		}
	}
	at, err := w.OpenForTeam(t.Context(), w.acme.ID, r.ID, "acme/shop", registries.Pull, registries.Push)
	if err != nil {
		t.Fatal(err)
	}
	if gives, err := at.GivesTokens(t.Context()); err != nil || !gives {
		t.Errorf("it gives tokens: %t, error %v", gives, err)
	}
	realm := "http://" + host + "/registry/token"
	for scope, want := range map[string]string{
		"repository:acme/shop:pull,push":  `"actions":["pull","push"],"name":"acme/shop"`,
		"repository:acme/base:pull,push":  `"actions":["pull"],"name":"acme/base"`,
		"repository:acme/other:pull,push": "",
		"registry:catalog:*":              "",
	} {
		token, _, err := at.Token(t.Context(), realm, host, []string{scope})
		if want == "" {
			if err == nil {
				t.Errorf("%s gives a token", scope)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", scope, err)
			continue
		}
		if claims, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1]); !strings.Contains(string(claims), want) {
			t.Errorf("%s gives %s", scope, claims)
		}
	}
	if _, _, err := at.Token(t.Context(), "https://evil.test/token", host, nil); err == nil {
		t.Error("a token was fetched elsewhere")
	}
}

func TestDockerHubIsNamedAsPeopleDoAndReachedWhereItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	r, err := w.Create(admin(t), registries.Input{Name: "Hub", Kind: registries.KindDockerHub, Host: "https://index.docker.io/", AllTeams: models.RegistryPull})
	if err != nil {
		t.Fatal(err)
	}
	at, err := w.Open(member(t, w.acme, models.RoleViewer), r.ID, "library/alpine", registries.Pull)
	if err != nil {
		t.Fatal(err)
	}
	if r.Host != "docker.io" || at.Name() != "docker.io/library/alpine" || at.Repository.Name() != "index.docker.io/library/alpine" {
		t.Errorf("the host is %s, the image %s, for the client %s", r.Host, at.Name(), at.Repository.Name())
	}
	for _, named := range []string{"docker.io/library/alpine", "index.docker.io/library/alpine"} {
		if id, path, err := w.Locate(t.Context(), w.acme.ID, named, registries.Pull); err != nil || id != r.ID || path != "library/alpine" {
			t.Errorf("%s is %s in %s, error %v", named, path, id, err)
		}
	}
}
