package vm_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/deploytest"
	"slipway.dev/services/deploy/vm"
	"slipway.dev/services/deploy/vm/vmtest"
	"slipway.dev/services/dockertest"
)

// project is a project of Google Cloud, and how a target of it is opened.
type project struct {
	*vmtest.Compute
	kind deploy.Kind
}

func newProject(t *testing.T, patience time.Duration) project {
	t.Helper()
	c := vmtest.NewCompute(t)
	return project{c, vm.Google(vm.Options{SSHPort: c.Port(), Every: 20 * time.Millisecond, Patience: patience})}
}

func (p project) config(t *testing.T) deploy.Config {
	t.Helper()
	c := deploy.Config{ID: models.NewID(), Name: "vm-1", Secrets: map[string]string{"key": p.Key()}, Settings: map[string]string{
		"project": vmtest.Project, "zone": vmtest.Zone, "ssh_from": "203.0.113.7/32", "user": p.User(), "endpoint": p.URL}}
	if err := p.kind.Prepare(c.Settings, c.Secrets); err != nil {
		t.Fatal(err)
	}
	dockertest.Sweep(t, "slipway.target", c.ID)
	return c
}

func (p project) open(t *testing.T, c deploy.Config) deploy.Target {
	t.Helper()
	target, err := p.kind.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

func TestAMachineOfComputeEngineDoesWhatEveryTargetMust(t *testing.T) {
	t.Parallel()
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	gone := image
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	p := newProject(t, time.Minute)
	deploytest.Run(t, deploytest.Suite{
		Title: "Virtual machine (Google Compute Engine)",
		Open:  func(t *testing.T) deploy.Target { return made(t, p.open(t, p.config(t)), image) },
		Image: image, From: vmtest.Anyone(image), Gone: gone,
	})
}

func TestATargetOfComputeEngineHasOneMachineFromItsFirstRolloutToItsEnd(t *testing.T) {
	t.Parallel()
	p := newProject(t, time.Minute)
	p.Foreign("")
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	c := p.config(t)
	targets := []deploy.Target{p.open(t, c), p.open(t, c), p.open(t, c)} // as three processes have it open
	if info, err := targets[0].Check(t.Context()); err != nil || !strings.Contains(info.Version, "no machine yet") {
		t.Errorf("before its first rollout it says %+v, %v", info, err)
	}
	if bad := inspect(t, targets[0]); len(bad) > 0 || len(p.Instances()) > 1 {
		t.Errorf("looking finds %q and makes %q", bad, p.Instances())
	}
	p.Fail(vmtest.On("instances.insert", vmtest.Fault{Done: true})) // it is made, and the answer gets lost, each time
	err := targets[0].Fetch(t.Context(), image, vmtest.Anyone(image), nothing)
	if f := new(deploy.Failure); err != nil && (!errors.As(err, &f) || !strings.Contains(f.Message, "What was made is kept")) {
		t.Errorf("an API that goes away gives %v", err)
	}
	p.Fail(nil)
	var all sync.WaitGroup
	for _, target := range targets {
		all.Go(func() {
			if err := target.Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	own := "slipway-" + c.ID
	if got := p.Instances(); !slices.Equal(got, []string{"foreign", own}) {
		t.Errorf("the instances are %q", got)
	}
	changed := c
	changed.Settings = maps.Clone(c.Settings)
	changed.Settings["ssh_from"] = "198.51.100.0/24"
	if err := p.open(t, changed).Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err != nil {
		t.Fatal(err)
	}
	if got := p.Firewalls(); !slices.Equal(got, []string{"foreign ", own + " 198.51.100.0/24"}) {
		t.Errorf("the firewall rules are %q", got)
	}
	if kept, err := targets[0].(deploy.Destroyer).Keeps(t.Context()); err != nil || len(kept) != 2 {
		t.Errorf("it keeps %+v, %v", kept, err)
	}
	for range 2 { // the second time it is gone already
		if err := targets[0].(deploy.Destroyer).Destroy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := append(p.Instances(), p.Firewalls()...); !slices.Equal(got, []string{"foreign", "foreign "}) {
		t.Errorf("left are %q", got)
	}
	if all, err := targets[0].List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("without a machine there are %+v, %v", all, err)
	}
}

func TestWhatIsNotTheTargetsIsNotTouchedAtGoogle(t *testing.T) {
	t.Parallel()
	p := newProject(t, time.Minute)
	c := p.config(t)
	p.Foreign(c.ID)
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	target := p.open(t, c)
	for what, err := range map[string]error{"a rollout": target.Fetch(t.Context(), image, vmtest.Anyone(image), nothing), "the end": target.(deploy.Destroyer).Destroy(t.Context())} {
		if f := new(deploy.Failure); !errors.As(err, &f) || !strings.Contains(f.Message, "so it is not touched") {
			t.Errorf("%s gives %v", what, err)
		}
	}
	if got := append(p.Instances(), p.Firewalls()...); len(got) != 2 {
		t.Errorf("left are %q", got)
	}
}

func TestWhatGoogleRefusesIsSaidInWords(t *testing.T) {
	t.Parallel()
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	for name, c := range map[string]struct {
		script vmtest.Script
		change func(project, *deploy.Config)
		want   string
	}{
		"a permission that is missing": {script: vmtest.On("instances.insert", vmtest.Fault{Status: 403, Code: "forbidden", Message: "Required 'compute.instances.create' permission for 'projects/acme-apps/zones/europe-test1-b/instances/x'"}), want: "lacks the permission compute.instances.create"},
		"a quota":                      {script: vmtest.On("instances.insert.work", vmtest.Fault{Code: "QUOTA_EXCEEDED", Message: "Quota 'CPUS' exceeded.  Limit: 8.0 in region europe-test1."}), want: "does not allow another e2-small"},
		"no capacity":                  {script: vmtest.On("instances.insert.work", vmtest.Fault{Code: "ZONE_RESOURCE_POOL_EXHAUSTED", Message: "The zone does not have enough resources available"}), want: "no e2-small free in europe-test1-b"},
		"throttling without end":       {script: vmtest.On("instances.get", vmtest.Fault{Status: 403, Code: "rateLimitExceeded"}), want: "takes no more requests of this project now"},
		"an API that is not there":     {script: vmtest.On("instances.get", vmtest.Fault{}), want: "API does not answer"},
		"an API that is not enabled":   {script: vmtest.On("instances.get", vmtest.Fault{Status: 403, Code: "accessNotConfigured"}), want: "gcloud services enable compute.googleapis.com"},
		"a size that is not":           {change: func(_ project, c *deploy.Config) { c.Settings["size"] = "e0-huge" }, want: "machineTypes/e0-huge"},
		"a subnet that is not":         {change: func(_ project, c *deploy.Config) { c.Settings["subnet"] = "other" }, want: "There is no subnet other in europe-test1"},
		"a provider without an issuer": {change: func(_ project, c *deploy.Config) { c.Settings["workload_provider"] = vmtest.Provider }, want: "this portal is no issuer"},
		"another key":                  {change: func(_ project, c *deploy.Config) { c.Secrets["key"] = vmtest.NewCompute(t).Key() }, want: "refused the service account's key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, time.Minute)
			p.Fail(c.script)
			config := p.config(t)
			if c.change != nil {
				c.change(p, &config)
			}
			err := p.open(t, config).Fetch(t.Context(), image, vmtest.Anyone(image), nothing)
			f := new(deploy.Failure)
			if !errors.As(err, &f) || f.Stage != deploy.StageTarget || !strings.Contains(f.Message, c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Error("the failure tells a secret")
			}
			if got := p.Instances(); len(got) > 0 {
				t.Errorf("made were %q", got)
			}
		})
	}
}

func TestWhatAMachineOfGoogleTakesIsLookedForBefore(t *testing.T) {
	t.Parallel()
	p := newProject(t, time.Minute)
	p.UseUp()
	target := p.open(t, p.config(t))
	if bad := inspect(t, target); len(bad) != 1 || !strings.Contains(bad[0], "quota IN_USE_ADDRESSES of europe-test1 is used up: 8 of 8") {
		t.Errorf("it says %q", bad)
	}
	p.Lack("compute.firewalls.create", "compute.disks.create")
	if bad := inspect(t, target); len(bad) != 1 || !strings.Contains(bad[0], "lacks compute.disks.create, compute.firewalls.create in the project acme-apps") {
		t.Errorf("it says %q", bad)
	}
}

func TestAMachineOfGoogleThatStoppedOrNeverAnswersIsSaid(t *testing.T) {
	t.Parallel()
	p := newProject(t, 3*time.Second)
	p.Silence()
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	target := p.open(t, p.config(t))
	err := target.Fetch(t.Context(), image, vmtest.Anyone(image), nothing)
	f := new(deploy.Failure)
	if !errors.As(err, &f) || !strings.Contains(f.Message, "nothing listens there") || !strings.Contains(f.Message, "gcloud compute instances get-serial-port-output slipway-") {
		t.Errorf("it says %v", err)
	}
	p.Set("TERMINATED")
	if _, err = target.Check(t.Context()); !errors.As(err, &f) || !strings.Contains(f.Message, "is stopped. Start it there") {
		t.Errorf("a stopped machine gives %v", err)
	}
}

func TestGooglesTokensComeOfThePortalsOwnAndAreRenewedOnce(t *testing.T) {
	t.Parallel()
	for _, account := range []string{"", vmtest.Account} {
		p := newProject(t, time.Minute)
		c := p.config(t)
		delete(c.Secrets, "key")
		c.Settings["workload_provider"], c.Settings["service_account"] = vmtest.Provider, account
		var asked []string
		c.Identity = func(_ context.Context, audience string, of deploy.Subject) (string, error) {
			asked = append(asked, audience+" "+of.Team)
			return vmtest.Token, nil
		}
		target := p.open(t, c)
		for range 2 {
			if _, err := target.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.Expire()
		}
		if want := "https://iam.googleapis.com/" + vmtest.Provider + " "; !slices.Equal(asked, []string{want, want}) {
			t.Errorf("tokens were asked for as %q", asked)
		}
		p.Fail(vmtest.On("token", vmtest.Fault{}))
		_, err := target.Check(t.Context())
		if f := new(deploy.Failure); !errors.As(err, &f) || !strings.Contains(f.Message, "does not accept Slipway's token") || strings.Contains(err.Error(), vmtest.Token) {
			t.Errorf("a provider that trusts nobody gives %v", err)
		}
	}
}

func TestSettingsOfAMachineAtGoogleThatCanNotBeAreRefused(t *testing.T) {
	t.Parallel()
	p := newProject(t, time.Minute)
	for field, value := range map[string]string{"project": "X", "zone": "here", "subnet": "Sub", "image": "ubuntu", "workload_provider": "portal", "service_account": "me"} {
		c := p.config(t)
		c.Settings[field] = value
		_, err := p.kind.Open(c)
		if wrong := new(models.Error); !errors.As(err, &wrong) || wrong.Fields[field] == "" {
			t.Errorf("%s %q gives %v", field, value, err)
		}
	}
	c := p.config(t)
	c.Secrets["key"] = "{}"
	if _, err := p.kind.Open(c); !models.IsCode(err, models.Invalid) {
		t.Errorf("a key that is none gives %v", err)
	}
}
