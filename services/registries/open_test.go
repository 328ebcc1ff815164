package registries_test

import (
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
