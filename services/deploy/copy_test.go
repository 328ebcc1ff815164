package deploy_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/registries"
	"slipway.dev/services/registries/registriestest"
)

// house connects a registry behind a valve, which no team is granted, and has the target pull from it.
func (s *stage) house() (*models.Registry, *registriestest.Valve) {
	s.t.Helper()
	valve := registriestest.StartWithLogin(s.t).Valve(s.t)
	admin := modelstest.As(s.t, s.db, s.Admin)
	r, err := s.service.Registries.Create(admin, registries.Input{Name: "House", Kind: registries.KindGeneric, Host: valve.Host, PlainHTTP: true,
		Settings: map[string]string{"username": registriestest.User, "password": registriestest.Password}})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.pullsFrom(r.ID, "acme/apps"); err != nil {
		s.t.Fatal(err)
	}
	return r, valve
}

// pullsFrom has the target pull from the registry.
func (s *stage) pullsFrom(registry, path string) error {
	_, err := s.service.UpdateTarget(modelstest.As(s.t, s.db, s.Admin), s.Target.ID, deploy.TargetInput{Name: s.Target.Name, AllTeams: true,
		Settings: map[string]string{models.TargetRegistry: registry, models.TargetRegistryPath: path}})
	return err
}

func phase(d *models.Deployment, name string) *models.DeploymentPhase {
	for i := range d.Phases {
		if d.Phases[i].Name == name {
			return &d.Phases[i]
		}
	}
	return &models.DeploymentPhase{}
}

func TestAnImageIsCopiedToTheRegistryOfItsTargetBeforeItRuns(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s, c := newCloudStage(t, db)
		r, valve := s.house()
		s.built(2, "VERSION=2", "UNIQUE="+models.NewID())
		place := r.Host + "/acme/apps/payments/checkout"
		in := deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID}
		look := func(ctxOf *models.User) string {
			t.Helper()
			plan, err := s.service.Plan(modelstest.As(t, db, ctxOf), in)
			if err != nil || !plan.Ready() {
				t.Fatalf("the plan has the checks %+v, error %v", plan.Checks, err)
			}
			return check(plan.Checks, "Image").Message
		}
		if said := look(s.Viewer); !strings.Contains(said, "copied from "+s.service.Registry.Host()+"/payments/checkout to "+place) {
			t.Errorf("before the copy the plan says %q", said)
		}
		s.worker()
		first := s.succeeded(s.deploy(deploy.Input{}).ID)
		s.images = append(s.images, place+"@"+first.ImageDigest)
		if p := phase(first, "copy"); p.State != models.StepSucceeded || !strings.Contains(p.Message, "were sent") || s.answer("/version") != "2" {
			t.Errorf("the step is %+v, the app answers %q", p, s.answer("/version"))
		}
		if first.Copied.Name() != place || first.Copied.Registry != r.ID || first.ImageRepository != s.service.Registry.Host()+"/payments/checkout" {
			t.Errorf("the deployment has its image from %+v and %s", first.Copied, first.ImageRepository)
		}
		if said := look(s.Viewer); !strings.Contains(said, "pulls from: "+place) {
			t.Errorf("after the copy the plan says %q", said)
		}
		c.set(func(c *cloud) {
			if at := c.inspected[len(c.inspected)-1].Image; at.Repository != place || at.Digest != first.ImageDigest {
				t.Errorf("the provider was asked about %+v", at)
			}
		})

		sent := valve.Sent()
		s.built(3, "VERSION=3", "UNIQUE="+models.NewID())
		s.images = append(s.images, place+"@"+s.succeeded(s.deploy(deploy.Input{}).ID).ImageDigest)
		back, err := s.service.Rollback(s.ctx, first.ID)
		if err != nil {
			t.Fatal(err)
		}
		d := s.succeeded(back.ID)
		if d.Copied != first.Copied || s.answer("/version") != "2" {
			t.Errorf("rolled back it has its image from %+v, the app answers %q", d.Copied, s.answer("/version"))
		}
		again, err := s.service.Restart(s.ctx, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d = s.succeeded(again.ID); d.Copied != first.Copied {
			t.Errorf("restarted it has its image from %+v", d.Copied)
		}
		var copies int64
		if err := db.Model(&models.Copy{}).Count(&copies).Error; err != nil || copies != 2 || valve.Sent() < sent {
			t.Errorf("%d copies were made, %v", copies, err)
		}
		admin := modelstest.As(t, db, s.Admin)
		if err := s.service.Registries.Delete(admin, r.ID); !models.IsCode(err, models.Conflict) || !strings.Contains(err.Error(), "The target local pulls from House") {
			t.Errorf("the registry was deleted: %v", err)
		}
		if err := s.pullsFrom("", ""); err != nil {
			t.Fatal(err)
		}
		if err := s.service.Registries.Delete(admin, r.ID); !models.IsCode(err, models.Conflict) || !strings.Contains(err.Error(), "What runs of checkout was copied to House") {
			t.Errorf("the registry of what runs was deleted: %v", err)
		}
		if d := s.succeeded(s.deploy(deploy.Input{}).ID); d.Copied.Host != "" || phase(d, "copy").Name != "" {
			t.Errorf("without a registry of the target's own it was copied to %+v", d.Copied)
		}
	})
}

func TestAnImageForAnotherPlatformIsRefusedBeforeItIsCopied(t *testing.T) {
	t.Parallel()
	s, c := newCloudStage(t, modelstest.DB(t))
	_, valve := s.house()
	s.built(2, "VERSION=2")
	c.set(func(c *cloud) { c.platform = "linux/s390x" })
	s.worker()
	for _, own := range []bool{true, false} {
		if !own {
			if err := s.pullsFrom("", ""); err != nil {
				t.Fatal(err)
			}
		}
		d := s.ended(s.deploy(deploy.Input{}).ID)
		if d.State != models.DeploymentFailed || d.Error.Stage != deploy.StageCheck || !strings.Contains(d.Error.Message, "the target is linux/s390x") || len(d.Phases) != 1 {
			t.Errorf("the deployment is %s: %+v, phases %+v", d.State, d.Error, d.Phases)
		}
	}
	if valve.Sent() != 0 || valve.Asked(http.MethodPost, "/uploads/") != 0 {
		t.Error("something was sent")
	}
	c.set(func(c *cloud) {
		if len(c.fetched) != 0 {
			t.Errorf("it fetched %+v", c.fetched)
		}
	})
}

func TestACopyThatFailsSaysWhatToDoAndWhatServesStays(t *testing.T) {
	t.Parallel()
	s, _ := newCloudStage(t, modelstest.DB(t))
	s.worker()
	s.built(2, "VERSION=2")
	s.succeeded(s.deploy(deploy.Input{}).ID)
	_, valve := s.house()
	s.built(3, "VERSION=3", "UNIQUE="+models.NewID())
	valve.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		if refused := r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/uploads/"); refused {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	d := s.ended(s.deploy(deploy.Input{}).ID)
	if d.State != models.DeploymentFailed || d.Error.Stage != deploy.StageImage || !strings.Contains(d.Error.Message, "was not copied to "+valve.Host) || strings.Contains(d.Error.Message, registriestest.Password) {
		t.Errorf("the deployment is %s: %+v", d.State, d.Error)
	}
	if s.answer("/version") != "2" || s.live() != 1 {
		t.Errorf("the app answers %q, %d containers run", s.answer("/version"), s.live())
	}
	valve.Break()
	plan, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
	if err != nil || check(plan.Checks, "Image").OK || !strings.Contains(check(plan.Checks, "Image").Message, "pulls from "+valve.Host) {
		t.Errorf("of a registry that is away the plan says %+v, error %v", plan.Checks, err)
	}
}

// hold keeps the valve from taking uploads; begun is closed once one was tried, and they go on once release is called.
func hold(valve *registriestest.Valve) (begun chan struct{}, release func()) {
	begun, free := make(chan struct{}, 100), make(chan struct{})
	valve.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch || r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/uploads/") {
			begun <- struct{}{}
			select {
			case <-free:
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
		}
		return false
	})
	return begun, func() { close(free) }
}

func TestACopyIsCanceledWithItsDeployment(t *testing.T) {
	t.Parallel()
	s, _ := newCloudStage(t, modelstest.DB(t))
	_, valve := s.house()
	s.built(2, "VERSION=2")
	begun, release := hold(valve)
	defer release()
	s.worker()
	d := s.deploy(deploy.Input{})
	<-begun
	if _, err := s.service.Cancel(s.ctx, d.ID); err != nil {
		t.Fatal(err)
	}
	d = s.ended(d.ID)
	if d.State != models.DeploymentCanceled || d.Copied.Host != "" || phase(d, "copy").State != models.StepCanceled {
		t.Errorf("the deployment is %s, phases %+v", d.State, d.Phases)
	}
	s.until(d.ID, "without its copy", func(*models.Deployment) bool {
		var c models.Copy
		if err := s.db.First(&c).Error; err != nil {
			t.Fatal(err)
		}
		return c.State == models.CopyCanceled && strings.HasPrefix(c.CanceledBy, "deployment #")
	})
}

func TestACopyGoesOnWhereItsWorkerWentAway(t *testing.T) {
	t.Parallel()
	s, _ := newCloudStage(t, modelstest.DB(t))
	_, valve := s.house()
	s.built(2, "VERSION=2")
	begun, release := hold(valve)
	stop := s.worker()
	d := s.deploy(deploy.Input{})
	<-begun
	stop()
	s.worker()
	release()
	d = s.succeeded(d.ID)
	s.images = append(s.images, d.Copied.Name()+"@"+d.ImageDigest)
	var all []models.Copy
	if err := s.db.Find(&all).Error; err != nil || len(all) != 1 || all[0].State != models.CopySucceeded || all[0].CreatedByName != "deployment #1 of checkout to dev" {
		t.Errorf("the copies are %+v, %v", all, err)
	}
}

func TestWhatRunsIsKeptWhereItWasCopiedToThePortalsOwnRegistry(t *testing.T) {
	t.Parallel()
	s, _ := newCloudStage(t, modelstest.DB(t))
	r := s.connect()
	admin := modelstest.As(t, s.db, s.Admin)
	if err := s.service.Registries.Grant(admin, r.ID, registries.GrantInput{TeamID: s.Team.ID, Access: models.RegistryPull}); err != nil {
		t.Fatal(err)
	}
	if err := s.pullsFrom(models.EmbeddedRegistry, ""); err != nil {
		t.Fatal(err)
	}
	digest := s.pushed(r, "acme/shop", "v1", "VERSION=1")
	s.worker()
	d := s.succeeded(s.deploy(deploy.Input{Image: r.Host + "/acme/shop:v1"}).ID)
	s.images = append(s.images, d.Copied.Name()+"@"+digest)
	if d.Copied.Name() != s.service.Registry.Host()+"/payments/checkout" || d.Copied.Registry != "" || d.ImageDigest != digest || s.answer("/version") != "1" {
		t.Errorf("the deployment has its image from %+v, the app answers %q", d.Copied, s.answer("/version"))
	}
	if _, err := s.service.Registry.DeleteImage(admin, "payments/checkout", digest); !models.IsCode(err, models.Conflict) || !strings.Contains(err.Error(), "The image runs in dev") {
		t.Errorf("what runs was deleted: %v", err)
	}
}

func TestATargetsRegistryHasToBeOneThatIsThere(t *testing.T) {
	t.Parallel()
	s, c := newCloudStage(t, modelstest.DB(t))
	for _, wrong := range []struct{ registry, path, field string }{
		{"none", "", models.TargetRegistry}, {models.EmbeddedRegistry, "apps", models.TargetRegistryPath}, {"", "apps", models.TargetRegistryPath}, {models.EmbeddedRegistry, "../x", models.TargetRegistryPath},
	} {
		if told, ok := errors.AsType[*models.Error](s.pullsFrom(wrong.registry, wrong.path)); !ok || told.Fields[wrong.field] == "" {
			t.Errorf("%+v was taken: %v", wrong, told)
		}
	}
	names := func(k deploy.Kind) (out []string) {
		for _, f := range k.AllFields() {
			out = append(out, f.Name)
		}
		return out
	}
	if all := names(c.kind()); !slices.Contains(all, "registry") || !slices.Contains(all, "registry_path") || !slices.Contains(all, "price_vcpu_hour") {
		t.Errorf("the kind has the fields %v", all)
	}
}

// index pushes an image of several platforms to the app's repository under the tag, and returns its parts' digests.
func (s *stage) index(tag string, architectures ...string) (digests []string) {
	s.t.Helper()
	var all v1.ImageIndex = empty.Index
	for _, architecture := range architectures {
		image := dockertest.App(s.t, "VERSION=7", "UNIQUE="+models.NewID())
		config, err := image.ConfigFile()
		if err != nil {
			s.t.Fatal(err)
		}
		config = config.DeepCopy()
		config.Architecture = architecture
		if image, err = mutate.ConfigFile(image, config); err != nil {
			s.t.Fatal(err)
		}
		digest, err := image.Digest()
		if err != nil {
			s.t.Fatal(err)
		}
		digests = append(digests, digest.String())
		all = mutate.AppendManifests(all, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}})
	}
	at, err := s.service.Registries.Open(models.WithPrincipal(s.t.Context(), models.System("test")), "", "payments/checkout", registries.Pull, registries.Push)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := remote.WriteIndex(at.Repository.Tag(tag), all, at.Options()...); err != nil {
		s.t.Fatal(err)
	}
	return digests
}

func TestAnIndexIsCopiedWholeWhereOneOfItsPlatformsFits(t *testing.T) {
	t.Parallel()
	s, _ := newCloudStage(t, modelstest.DB(t))
	house, valve := s.house()
	info, err := s.service.CheckTarget(modelstest.As(t, s.db, s.Admin), s.Target.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, here, _ := strings.Cut(info.Platform, "/")
	s.worker()
	s.index("strange", "s390x", "riscv64")
	d := s.ended(s.deploy(deploy.Input{Tag: "strange"}).ID)
	if d.State != models.DeploymentFailed || d.Error.Stage != deploy.StageCheck || !strings.Contains(d.Error.Message, "made for linux/s390x, linux/riscv64") || valve.Asked(http.MethodPost, "/uploads/") != 0 {
		t.Errorf("the deployment is %s: %+v", d.State, d.Error)
	}
	parts := s.index("both", "s390x", here)
	d = s.succeeded(s.deploy(deploy.Input{Tag: "both"}).ID)
	s.images = append(s.images, d.Copied.Name()+"@"+d.ImageDigest)
	if got := s.answer("/version"); got != "7" {
		t.Errorf("the app answers %q", got)
	}
	at, err := s.service.Registries.Open(modelstest.As(t, s.db, s.Admin), house.ID, d.Copied.Repository, registries.Pull)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range append(parts, d.ImageDigest) {
		if _, err := at.Find(t.Context(), part); err != nil {
			t.Errorf("the copy has no %s: %v", part, err)
		}
	}
}
