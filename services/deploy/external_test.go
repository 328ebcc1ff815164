package deploy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/registries"
	"slipway.dev/services/registries/registriestest"
)

// connect connects a registry with a login and grants it to nobody.
func (s *stage) connect() *models.Registry {
	s.t.Helper()
	server := registriestest.StartWithLogin(s.t)
	r, err := s.service.Registries.Create(modelstest.As(s.t, s.db, s.Admin), registries.Input{Name: "House", Kind: registries.KindGeneric, Host: server.Host, PlainHTTP: true,
		Settings: map[string]string{"username": registriestest.User, "password": registriestest.Password}})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// pushed puts an image of the test server into the registry and returns its digest.
func (s *stage) pushed(r *models.Registry, repository, tag string, env ...string) string {
	s.t.Helper()
	at, err := s.service.Registries.Open(modelstest.As(s.t, s.db, s.Admin), r.ID, repository, registries.Pull, registries.Push)
	if err != nil {
		s.t.Fatal(err)
	}
	image := dockertest.App(s.t, env...)
	if err := remote.Write(at.Repository.Tag(tag), image, at.Options()...); err != nil {
		s.t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		s.t.Fatal(err)
	}
	s.images = append(s.images, at.Name()+"@"+digest.String())
	return digest.String()
}

// refused is what Deploy says against the image.
func (s *stage) refused(in deploy.Input, field string) string {
	s.t.Helper()
	in.EnvironmentID, in.AppID = s.Environment.ID, s.App.ID
	_, err := s.service.Deploy(s.ctx, in)
	told, ok := errors.AsType[*models.Error](err)
	if !ok || told.Code != models.Invalid {
		s.t.Errorf("%+v: the error is %v", in, err)
		return ""
	}
	return told.Fields[field]
}

func TestAnImageOfAnExternalRegistryIsDeployedByTheDigestThatItsTagNamed(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.worker()
	r := s.connect()
	first := s.pushed(r, "acme/shop", "v1", "VERSION=1")
	named := deploy.Input{Image: r.Host + "/acme/shop:v1"}
	if said := s.refused(named, "image"); !strings.Contains(said, "granted") {
		t.Errorf("without a grant it says %q", said)
	}
	grant := func(prefix string, access models.RegistryAccess) {
		t.Helper()
		if err := s.service.Registries.Grant(modelstest.As(t, s.db, s.Admin), r.ID, registries.GrantInput{TeamID: s.Team.ID, Prefix: prefix, Access: access}); err != nil {
			t.Fatal(err)
		}
	}
	grant("acme", models.RegistryPush)
	plan, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Image: named.Image})
	if err != nil || plan.Image.Digest != first || plan.Image.Tag != "v1" {
		t.Fatalf("the plan is %+v, error %v", plan, err)
	}
	d := s.succeeded(s.deploy(named).ID)
	if d.ImageRepository != r.Host+"/acme/shop" || d.ImageDigest != first || d.ImageTag != "v1" {
		t.Errorf("the deployment is %+v", d)
	}
	if got := s.answer("/version"); got != "1" {
		t.Fatalf("the app answers %q", got)
	}

	// The app's own images go there too: its tags and digests need no name.
	if err := s.db.Model(s.App).Updates(map[string]any{"registry_id": r.ID, "image_repository": "acme/shop"}).Error; err != nil {
		t.Fatal(err)
	}
	second := s.pushed(r, "acme/shop", "v1", "VERSION=2") // the tag moves
	if d := s.succeeded(s.deploy(deploy.Input{Image: first}).ID); d.ImageDigest != first || s.answer("/version") != "1" {
		t.Errorf("the digest deployed %s", d.ImageDigest)
	}
	if d := s.succeeded(s.deploy(deploy.Input{Tag: "v1"}).ID); d.ImageDigest != second || s.answer("/version") != "2" {
		t.Errorf("the tag deployed %s", d.ImageDigest)
	}

	s.pushed(r, "private/other", "v1", "VERSION=3")
	for image, says := range map[string]string{
		r.Host + "/private/other:v1":                            "may not pull",
		r.Host + "/acme/shop:none":                              "no image",
		"ghcr.io/acme/shop:v1":                                  "No registry at ghcr.io",
		s.service.Registry.Host() + "/payments/other:v1":        "of this app",
		r.Host + "/acme/shop":                                   "of this app",
		r.Host + "/acme/shop@sha256:" + strings.Repeat("0", 64): "no image",
		r.Host + "/acme/../private/other:v1":                    "names no repository",
	} {
		if said := s.refused(deploy.Input{Image: image}, "image"); !strings.Contains(said, says) {
			t.Errorf("%s: it says %q", image, said)
		}
	}
}

func TestAnImageThatCanNoLongerBePulledFailsWithWords(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	r := s.connect()
	s.pushed(r, "acme/shop", "v1", "VERSION=4", "UNIQUE="+models.NewID())
	admin := modelstest.As(t, s.db, s.Admin)
	if err := s.service.Registries.Grant(admin, r.ID, registries.GrantInput{TeamID: s.Team.ID, Access: models.RegistryPull}); err != nil {
		t.Fatal(err)
	}
	d := s.deploy(deploy.Input{Image: r.Host + "/acme/shop:v1"})
	if err := s.service.Registries.Grant(admin, r.ID, registries.GrantInput{TeamID: s.Team.ID}); err != nil { // before a worker comes to it
		t.Fatal(err)
	}
	s.worker()
	d = s.ended(d.ID)
	if d.State != models.DeploymentFailed || d.Error == nil || d.Error.Stage != deploy.StageImage || !strings.Contains(d.Error.Message, "granted") {
		t.Errorf("the deployment is %s: %+v", d.State, d.Error)
	}
}
