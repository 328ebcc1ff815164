package deploy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/visitors"
)

// balancer is where visitors of a target come in that sends them on by itself.
type balancer struct {
	mu    sync.Mutex
	down  bool
	asked int
	to    string // the release that visitors come to

	moved    string // what the ids of instances begin with since they were replaced
	password string // what machines pull with since it was renewed
	restored string // the release that was put back
	left     string // the environment that was removed
	sites    string // the teams' own hosts, as they were told last, and their release
	refuses  bool   // any host
}

// kind is the Docker Engine's kind behind the balancer.
func (b *balancer) kind() deploy.Kind {
	kind := docker.Kind("")
	open := kind.Open
	kind.Routes, kind.Heals, kind.Domains = true, true, true
	kind.Open = func(c deploy.Config) (deploy.Target, error) {
		engine, err := open(c)
		return balanced{engine, b}, err
	}
	return kind
}

type balanced struct {
	deploy.Target
	at *balancer
}

func (t balanced) Route(_ context.Context, r deploy.Release) (string, error) {
	t.at.mu.Lock()
	defer t.at.mu.Unlock()
	t.at.asked++
	if t.at.down {
		return "", deploy.Failf(deploy.StageTarget, nil, "The balancer does not answer.")
	}
	t.at.to = r.ID
	return "https://checkout.example.com", nil
}

func (t balanced) KeepDomains(_ context.Context, r deploy.Release, sites []deploy.Site) error {
	t.at.mu.Lock()
	defer t.at.mu.Unlock()
	t.at.sites = r.ID
	for _, s := range sites {
		t.at.sites += " " + s.Host + s.Path + string(s.Key)
	}
	if t.at.refuses {
		return deploy.Failf(deploy.StageTarget, nil, "The balancer takes no such host.")
	}
	return nil
}

func (t balanced) DomainDrift(_ context.Context, r deploy.Release, sites []deploy.Site) ([]deploy.Drift, error) {
	var out []deploy.Drift
	for _, s := range sites {
		out = append(out, deploy.Drift{Object: "Door " + s.Host + s.Path, Want: r.ID, Have: "gone"})
	}
	return out, nil
}

func (t balanced) List(ctx context.Context) ([]deploy.Instance, error) {
	all, err := t.Target.List(ctx)
	t.at.mu.Lock()
	defer t.at.mu.Unlock()
	for i := range all {
		all[i].ID = t.at.moved + all[i].ID
	}
	return all, err
}

func (t balanced) Renew(ctx context.Context, r deploy.Release) error {
	_, password, err := r.From.Credential(ctx)
	t.at.mu.Lock()
	defer t.at.mu.Unlock()
	t.at.password = password
	return err
}

func (t balanced) Drift(context.Context, deploy.Release) ([]deploy.Drift, error) {
	return []deploy.Drift{{Object: "Balancer", Field: "password", Want: "hunter2-of-the-test", Have: "theirs"}}, nil
}

func (t balanced) Restore(_ context.Context, r deploy.Release) error {
	t.at.mu.Lock()
	defer t.at.mu.Unlock()
	t.at.restored = r.ID
	return nil
}

func (t balanced) RemoveEnvironment(_ context.Context, id string) error {
	t.at.mu.Lock()
	defer t.at.mu.Unlock()
	t.at.left = id
	return nil
}

func (b *balancer) set(down bool) (asked int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
	return b.asked
}

func (b *balancer) now() (to string, asked int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.to, b.asked
}

func TestATargetThatSendsVisitorsItselfNeedsNoProxyAndNoHostName(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	b := &balancer{}
	s.service.Kinds = []deploy.Kind{b.kind()}
	s.worker()
	s.built(2, "VERSION=1")
	living := models.Proxy{ID: models.NewID(), SeenAt: time.Now().Add(time.Hour)} // it would be waited for
	if err := s.db.Create(&living).Error; err != nil {
		t.Fatal(err)
	}
	asked := s.deploy(deploy.Input{})
	if asked.URL != "" {
		t.Errorf("before the target gave an address it is %q", asked.URL)
	}
	first := s.succeeded(asked.ID)
	if to, _ := b.now(); to != first.ID || first.URL != "https://checkout.example.com" {
		t.Errorf("visitors come to %s at %s", to, first.URL)
	}
	var rows int64
	if err := s.db.Model(&models.Route{}).Count(&rows).Error; err != nil || rows != 0 {
		t.Errorf("%d host names are kept: %v", rows, err)
	}
	plan, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
	if err != nil || plan.URL != first.URL {
		t.Errorf("the plan says %+v: %v", plan, err)
	}
}

func TestWhatServedBeforeStaysUntilTheTargetSendsItsVisitorsElsewhere(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	b := &balancer{}
	s.service.Kinds, s.service.Drain = []deploy.Kind{b.kind()}, time.Millisecond
	s.worker()
	s.built(2, "VERSION=1")
	first := s.succeeded(s.deploy(deploy.Input{}).ID)
	before := b.set(true)
	second := s.deploy(deploy.Input{})
	s.until(second.ID, "switched", func(d *models.Deployment) bool { _, asked := b.now(); return d.Active && asked > before })
	long := time.Now().Add(-time.Hour).UTC() // so long ago that a dead worker would have left it
	if err := s.db.Model(&models.Deployment{}).Where("id = ?", first.ID).Updates(map[string]any{"drain_until": long, "finished_at": long}).Error; err != nil {
		t.Fatal(err)
	}
	if err := s.service.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.get(first.ID); got.RetiredAt != nil || s.live() != 2 {
		t.Errorf("what visitors come to was removed: %d containers run", s.live())
	}
	b.set(false)
	s.succeeded(second.ID)
	s.until(first.ID, "removed", func(d *models.Deployment) bool { return d.RetiredAt != nil })
	if to, _ := b.now(); to != second.ID || s.live() != 1 {
		t.Errorf("visitors come to %s, %d containers run", to, s.live())
	}
}

func TestInstancesThatTheirTargetReplacesAreFollowed(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	b := &balancer{}
	s.service.Kinds = []deploy.Kind{b.kind()}
	s.worker()
	s.built(2, "VERSION=1")
	d := s.succeeded(s.deploy(deploy.Input{}).ID)
	b.mu.Lock()
	b.moved = "moved-"
	b.mu.Unlock()
	d = s.until(d.ID, "followed", func(d *models.Deployment) bool {
		return len(d.Instances) == 1 && strings.HasPrefix(d.Instances[0].RuntimeID, "moved-")
	})
	if d.Instances[0].State != models.InstanceHealthy {
		t.Errorf("the instance is %+v", d.Instances[0])
	}
}

func TestMachinesCanPullForAsLongAsTheReleaseServes(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	b := &balancer{}
	s.service.Kinds, s.service.Drain = []deploy.Kind{b.kind()}, time.Millisecond
	s.worker()
	s.built(2, "VERSION=1")
	d := s.succeeded(s.deploy(deploy.Input{}).ID)
	if err := s.service.RenewCredentials(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	password := b.password
	b.mu.Unlock()
	ref, err := name.NewDigest(d.ImageRepository + "@" + d.ImageDigest)
	if err != nil {
		t.Fatal(err)
	}
	user, _, err := s.service.Registry.Credential(models.WithPrincipal(t.Context(), models.System("test")), d.ImageRepository, []string{"pull"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	login := remote.WithAuth(&authn.Basic{Username: user, Password: password})
	if _, err := remote.Head(ref, login); err != nil {
		t.Errorf("while it serves: %v", err)
	}
	if _, err := s.service.Stop(s.ctx, d.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Head(ref, login); err == nil {
		t.Error("what a release was lent outlives it")
	}
}

func TestATargetThatDoesNotAutoscaleSaysSoBeforehand(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.built(2, "VERSION=1")
	in := deploy.ScaleInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Scale: models.Scale{Replicas: 2, Max: 4}}
	for field, change := range map[string]func(*models.Scale){
		"cpu":        func(*models.Scale) {},
		"max":        func(c *models.Scale) { c.Max, c.CPU = 1, 500 },
		"cpu_target": func(c *models.Scale) { c.CPU, c.CPUTarget = 500, 101 },
	} {
		bad := in
		change(&bad.Scale)
		_, err := s.service.SetScale(s.ctx, bad)
		if wrong, ok := errors.AsType[*models.Error](err); !ok || wrong.Fields[field] == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
	in.CPU = 500
	row, err := s.service.SetScale(s.ctx, in)
	if err != nil || row.CPUTarget != 80 {
		t.Fatalf("%+v, %v", row, err)
	}
	plan, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
	if err != nil || plan.Ready() || !slices.ContainsFunc(plan.Checks, func(c deploy.Check) bool { return c.Name == "Autoscaler" && !c.OK }) {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
	in.Max = 2
	if row, err = s.service.SetScale(s.ctx, in); err != nil || row.Max != 0 || row.CPUTarget != 0 {
		t.Errorf("a maximum that changes nothing is kept: %+v, %v", row, err)
	}
}

func TestWhatOthersChangedIsPutBackWhileItServes(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	b := &balancer{}
	s.service.Kinds, s.service.Drain = []deploy.Kind{b.kind()}, time.Millisecond
	s.worker()
	s.built(2, "VERSION=1")
	secret := deploy.VariableInput{EnvironmentID: s.Environment.ID, Name: "PASSWORD", Value: "hunter2-of-the-test", Secret: true}
	if _, err := s.service.SetVariable(s.ctx, secret); err != nil {
		t.Fatal(err)
	}
	d := s.succeeded(s.deploy(deploy.Input{}).ID)
	found, err := s.service.Drift(s.ctx, d.ID)
	if err != nil || len(found) != 1 || strings.Contains(found[0].Want, "hunter2") {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := s.service.ApplyAgain(modelstest.As(t, s.db, s.Viewer), d.ID); !models.IsCode(err, models.Denied) {
		t.Errorf("a viewer: %v", err)
	}
	if _, err := s.service.ApplyAgain(s.ctx, d.ID); err != nil {
		t.Fatal(err)
	}
	s.until(d.ID, "put back", func(d *models.Deployment) bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.restored == d.ID
	})
	if _, err := s.service.Stop(s.ctx, d.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.service.Drift(s.ctx, d.ID); !models.IsCode(err, models.Conflict) {
		t.Errorf("of what is stopped: %v", err)
	}
}

func TestVisitorsComeBackToTheVersionThatHadToStopWhereTheTargetSendsThem(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	b := &balancer{}
	s.service.Kinds, s.service.Drain = []deploy.Kind{b.kind()}, time.Millisecond
	stop := s.worker()
	s.oneAtATime()
	s.built(2, "VERSION=1")
	first := s.succeeded(s.deploy(deploy.Input{}).ID)
	_, asked := b.now()
	s.built(3, "VERSION=2", "CRASH=1")
	if d := s.ended(s.deploy(deploy.Input{}).ID); d.State != models.DeploymentFailed || strings.Contains(d.Error.Message, "could not be started again") {
		t.Errorf("the bad one is %s: %+v", d.State, d.Error)
	}
	to, again := b.now()
	back := s.get(first.ID)
	if to != first.ID || again == asked || back.Paused || back.URL != first.URL {
		t.Errorf("visitors come to %s, %d times asked for; the first is %+v", to, again, back)
	}
	stop() // it would bring back what is paused for nobody
	if err := s.db.Model(back).Update("paused", true).Error; err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.password = ""
	b.mu.Unlock()
	if err := s.service.RenewCredentials(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.password != "" {
		t.Error("what has made room gets a credential to pull with")
	}
}

func TestATargetForgetsAnEnvironmentThatIsDeleted(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	b := &balancer{}
	s.service.Kinds = []deploy.Kind{b.kind()}
	s.worker()
	if err := s.service.DeleteEnvironment(modelstest.As(t, s.db, s.Maintainer), s.Environment.ID); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		b.mu.Lock()
		left := b.left
		b.mu.Unlock()
		if left == s.Environment.ID {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the target was told of %q", left)
		}
	}
}

// told waits until the balancer has heard of the release with the sites and of nothing else.
func (b *balancer) told(t *testing.T, want string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		b.mu.Lock()
		got := b.sites
		b.mu.Unlock()
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the balancer was told %q, want %q", got, want)
		}
	}
}

func TestATargetThatSendsVisitorsItselfLearnsOfDomainsAtOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	b := &balancer{}
	s.service.Kinds, s.service.Drain = []deploy.Kind{b.kind()}, time.Millisecond
	s.service.Certificate = func(_ context.Context, _, host string) (chain, key []byte, err error) {
		return nil, []byte(" by " + host[:4]), nil
	}
	s.worker()
	s.built(2, "VERSION=1")
	named := &visitors.Service{DB: s.db, Portal: "portal.test", Apps: "apps.test", Front: s.service.Front, Changed: s.service.DomainsChanged}
	admin, maintainer := modelstest.As(t, s.db, s.Admin), modelstest.As(t, s.db, s.Maintainer)
	add := func(host, path string) *models.Address {
		t.Helper()
		a, err := named.AddAddress(maintainer, visitors.AddressInput{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Host: host, Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	add("shop.example.org", "/cart")
	first := s.succeeded(s.deploy(deploy.Input{}).ID)
	b.told(t, first.ID)
	var d models.Domain
	if err := s.db.Take(&d, "host = ?", "shop.example.org").Error; err != nil {
		t.Fatal(err)
	}
	if _, err := named.ConfirmDomain(admin, d.ID); err != nil {
		t.Fatal(err)
	}
	b.told(t, first.ID+" shop.example.org/cart by shop")
	api := add("shop.example.org", "/api")
	b.told(t, first.ID+" shop.example.org/api by shop shop.example.org/cart by shop")
	second := s.succeeded(s.deploy(deploy.Input{}).ID)
	b.told(t, second.ID+" shop.example.org/api by shop shop.example.org/cart by shop")
	found, err := s.service.Drift(s.ctx, second.ID)
	if err != nil || !slices.Contains(found, deploy.Drift{Object: "Door shop.example.org/cart", Want: second.ID, Have: "gone"}) {
		t.Errorf("what others did to it is %+v, %v", found, err)
	}
	b.mu.Lock()
	b.sites = "removed by somebody else"
	b.mu.Unlock()
	if _, err := s.service.ApplyAgain(s.ctx, second.ID); err != nil {
		t.Fatal(err)
	}
	b.told(t, second.ID+" shop.example.org/api by shop shop.example.org/cart by shop")
	if err := named.RemoveAddress(maintainer, api.ID); err != nil {
		t.Fatal(err)
	}
	b.told(t, second.ID+" shop.example.org/cart by shop")
	b.mu.Lock()
	b.refuses = true
	b.mu.Unlock()
	third := s.succeeded(s.deploy(deploy.Input{}).ID) // what one host is refused keeps nobody from the new version
	s.until(third.ID, "told what was refused", func(d *models.Deployment) bool {
		return strings.Contains(strings.Join(phaseOf(d, "switch").Detail, "\n"), "takes no such host")
	})
	b.mu.Lock()
	b.refuses = false
	b.mu.Unlock()
	if err := named.DeleteDomain(maintainer, d.ID); err != nil {
		t.Fatal(err)
	}
	b.told(t, third.ID)
}
