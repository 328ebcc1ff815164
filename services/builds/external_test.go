package builds_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/outbound"
	"slipway.dev/services/registries"
	"slipway.dev/services/registries/registriestest"
	"slipway.dev/services/registry"
	"slipway.dev/services/registry/registrytest"
)

// sendTo has the app's images go to a repository of an external registry, which the team is granted below the prefix.
func (w *world) sendTo(t *testing.T, in registries.Input, prefix, repository string) *models.Registry {
	t.Helper()
	w.builds.Registries = &registries.Service{DB: w.db, Box: w.builds.Box, Embedded: w.images,
		Guard: &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	t.Cleanup(func() { w.builds.Registries.Close() })
	admin := w.as(t, w.Admin)
	in.Name, in.PlainHTTP = "Outside", true
	r, err := w.builds.Registries.Create(admin, in)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.builds.Registries.Grant(admin, r.ID, registries.GrantInput{TeamID: w.Team.ID, Prefix: prefix, Access: models.RegistryPush}); err != nil {
		t.Fatal(err)
	}
	if err := w.db.Model(w.App).Select("registry_id", "image_repository").Updates(&models.App{RegistryID: r.ID, ImageRepository: repository}).Error; err != nil {
		t.Fatal(err)
	}
	return r
}

// there is the digest that the registry has under the tag.
func there(t *testing.T, image, user, password string) string {
	t.Helper()
	ref, err := name.ParseReference(image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	found, err := remote.Get(ref, remote.WithAuth(&authn.Basic{Username: user, Password: password}))
	if err != nil {
		t.Fatal(err)
	}
	return found.Digest.String()
}

func TestAnEnginePushesToAnExternalRegistryWithALogin(t *testing.T) {
	t.Parallel()
	w := real(t)
	server := registriestest.StartWithLogin(t)
	r := w.sendTo(t, registries.Input{Kind: registries.KindGeneric, Host: server.Host, Settings: map[string]string{"username": registriestest.User, "password": registriestest.Password}}, "acme", "acme/shop")
	w.settings(t, models.BuildSettings{Cache: models.CacheRegistry})
	w.commit(t, "FROM "+dockertest.BaseImage(t)+"\nRUN echo "+models.NewID()+"\n", nil)
	b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildSucceeded)
	if b.ImageRepository != server.Host+"/acme/shop" {
		t.Errorf("the image is in %s", b.ImageRepository)
	}
	for _, tag := range append(b.ImageTags, "buildcache") {
		if got := there(t, b.ImageRepository+":"+tag, registriestest.User, registriestest.Password); got != b.ImageDigest {
			t.Errorf("%s is %s, not %s", tag, got, b.ImageDigest)
		}
	}
	if text := w.ended(t, b.ID); strings.Contains(text, registriestest.Password) || !strings.Contains(text, b.ImageDigest) {
		t.Errorf("the log is %q", text)
	}

	if err := w.builds.Registries.Grant(w.as(t, w.Admin), r.ID, registries.GrantInput{TeamID: w.Team.ID, Prefix: "acme"}); err != nil {
		t.Fatal(err)
	}
	b = w.wait(t, w.queueBuild(t, "main").ID, models.BuildFailed)
	if b.Error == nil || !strings.Contains(b.Error.Message, "may not") || !strings.Contains(b.Error.Message, "acme/shop") {
		t.Errorf("without the grant the error is %+v", b.Error)
	}
}

// otherPortal is the registry of another Slipway, which gives tokens; its robot may do everything there.
func otherPortal(t *testing.T) (store *registry.Service, db *models.Database) {
	t.Helper()
	db = modelstest.DB(t)
	modelstest.Seed(t, db)
	robot := &models.Principal{Kind: models.PrincipalToken, ID: "robot", Name: "robot", Admin: true}
	store = &registry.Service{DB: db, Box: worldBox(t),
		Authenticate: func(_ context.Context, _, password string) (*models.Principal, error) {
			if password != robotPassword {
				return nil, models.Errorf(models.Unauthorized, "no")
			}
			return robot, nil
		},
		Reload: func(context.Context, *models.Principal) (*models.Principal, error) { return robot, nil }}
	registrytest.Serve(t, store)
	return store, db
}

const robotPassword = "canary-of-the-robot"

func TestABuildkitdGetsTokensOfAnExternalRegistryAndNeverTheCredential(t *testing.T) {
	t.Parallel()
	w, d := onDaemon(t)
	store, _ := otherPortal(t)
	w.sendTo(t, registries.Input{Kind: registries.KindHarbor, Host: store.Host(), Settings: map[string]string{"username": "robot$x", "password": robotPassword}}, "payments/shop", "payments/shop")
	w.settings(t, models.BuildSettings{Cache: models.CacheRegistry, Platforms: []string{"linux/amd64", "linux/arm64"}})
	w.commit(t, "FROM --platform=$BUILDPLATFORM "+d.Base+" AS build\nRUN echo "+models.NewID()+" > /out\nFROM scratch\nCOPY --from=build /out /out\n", nil)
	b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildSucceeded)
	for _, tag := range b.ImageTags {
		if got := there(t, b.ImageRepository+":"+tag, "x", robotPassword); got != b.ImageDigest {
			t.Errorf("%s is %s, not %s", tag, got, b.ImageDigest)
		}
	}
	there(t, b.ImageRepository+":buildcache", "x", robotPassword)
	if where := d.Find(t, robotPassword); where != "" {
		t.Errorf("the engine keeps the credential in %s", where)
	}
	if text := w.ended(t, b.ID); strings.Contains(text, robotPassword) || strings.Contains(d.Output(), robotPassword) {
		t.Errorf("a log holds the credential: %q", text)
	}

	foreign, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(store.Host()+"/payments/private:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, foreign, remote.WithAuth(&authn.Basic{Username: "x", Password: robotPassword})); err != nil {
		t.Fatal(err)
	}
	w.settings(t, models.BuildSettings{})
	w.commit(t, "FROM "+ref.Name()+"\n", nil)
	b = w.wait(t, w.queueBuild(t, "main").ID, models.BuildFailed)
	if b.Error == nil || b.Error.Class != builds.ClassUser && b.Error.Class != builds.ClassInfrastructure {
		t.Errorf("an image that the team is not granted is built on: %+v", b.Error)
	}
}
