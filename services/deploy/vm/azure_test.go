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

// subscription is a subscription of Azure, and how a target of it is opened.
type subscription struct {
	*vmtest.ARM
	kind deploy.Kind
}

func newSubscription(t *testing.T, patience time.Duration) subscription {
	t.Helper()
	a := vmtest.NewARM(t)
	return subscription{a, vm.Azure(vm.Options{Client: a.Client, SSHPort: a.Port(), Every: 20 * time.Millisecond, Patience: patience})}
}

func (s subscription) config(t *testing.T) deploy.Config {
	t.Helper()
	c := deploy.Config{ID: models.NewID(), Name: "vm-1", Secrets: map[string]string{"client_secret": vmtest.ClientSecret}, Settings: map[string]string{
		"subscription_id": vmtest.Subscription, "resource_group": "apps", "tenant_id": vmtest.Tenant, "client_id": vmtest.ClientID,
		"ssh_from": "203.0.113.7/32", "user": s.User(), "endpoint": s.URL, "authority": s.URL}}
	if err := s.kind.Prepare(c.Settings, c.Secrets); err != nil {
		t.Fatal(err)
	}
	dockertest.Sweep(t, "slipway.target", c.ID)
	return c
}

func (s subscription) open(t *testing.T, c deploy.Config) deploy.Target {
	t.Helper()
	target, err := s.kind.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

func TestAMachineOfAzureDoesWhatEveryTargetMust(t *testing.T) {
	t.Parallel()
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	gone := image
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	s := newSubscription(t, time.Minute)
	deploytest.Run(t, deploytest.Suite{
		Title: "Virtual machine (Azure)",
		Open:  func(t *testing.T) deploy.Target { return made(t, s.open(t, s.config(t)), image) },
		Image: image, From: vmtest.Anyone(image), Gone: gone,
	})
}

func TestATargetOfAzureHasOneMachineFromItsFirstRolloutToItsEnd(t *testing.T) {
	t.Parallel()
	s := newSubscription(t, time.Minute)
	s.Foreign(models.NewID())
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	c := s.config(t)
	targets := []deploy.Target{s.open(t, c), s.open(t, c), s.open(t, c)} // as three processes have it open
	if info, err := targets[0].Check(t.Context()); err != nil || !strings.Contains(info.Version, "no machine yet") {
		t.Errorf("before its first rollout it says %+v, %v", info, err)
	}
	if bad := inspect(t, targets[0]); len(bad) > 0 || len(s.Resources()) > 1 {
		t.Errorf("looking finds %q and makes %q", bad, s.Resources())
	}
	s.Fail(vmtest.On("virtualMachines.put", vmtest.Fault{Done: true})) // it is made, and the answer gets lost, each time
	err := targets[0].Fetch(t.Context(), image, vmtest.Anyone(image), nothing)
	if f := new(deploy.Failure); err != nil && (!errors.As(err, &f) || f.Stage != deploy.StageTarget) {
		t.Errorf("an API that goes away gives %v", err)
	}
	s.Fail(nil)
	s.Power("PowerState/running")
	var all sync.WaitGroup
	for _, target := range targets {
		all.Go(func() {
			if err := target.Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	own := slices.DeleteFunc(s.Resources(), func(path string) bool { return !strings.HasSuffix(path, "/slipway-"+c.ID) })
	if len(own) != 5 || len(s.Resources()) != 6 {
		t.Errorf("there are %q", s.Resources())
	}
	changed := c
	changed.Settings = maps.Clone(c.Settings)
	changed.Settings["ssh_from"] = "198.51.100.0/24"
	if err := s.open(t, changed).Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err != nil {
		t.Fatal(err)
	}
	if kept, err := targets[0].(deploy.Destroyer).Keeps(t.Context()); err != nil || len(kept) != 5 {
		t.Errorf("it keeps %+v, %v", kept, err)
	}
	for range 2 { // the second time it is gone already
		if err := targets[0].(deploy.Destroyer).Destroy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Resources(); len(got) != 1 || strings.HasSuffix(got[0], c.ID) {
		t.Errorf("left are %q", got)
	}
	if all, err := targets[0].List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("without a machine there are %+v, %v", all, err)
	}
}

func TestTheFirewallAtAzureFollowsTheSettings(t *testing.T) {
	t.Parallel()
	s := newSubscription(t, time.Minute)
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	c := s.config(t)
	for _, from := range []string{"203.0.113.7/32", "198.51.100.0/24"} {
		c.Settings = maps.Clone(c.Settings)
		c.Settings["ssh_from"] = from
		if err := s.open(t, c).Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err != nil {
			t.Fatal(err)
		}
		if got := s.LetIn(); got != "["+from+"]" {
			t.Errorf("SSH is let in from %s", got)
		}
	}
}

func TestWhatIsNotTheTargetsIsNotTouchedAtAzure(t *testing.T) {
	t.Parallel()
	s := newSubscription(t, time.Minute)
	c := s.config(t)
	s.Foreign(c.ID)
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	target := s.open(t, c)
	for what, err := range map[string]error{"a rollout": target.Fetch(t.Context(), image, vmtest.Anyone(image), nothing), "the end": target.(deploy.Destroyer).Destroy(t.Context())} {
		if f := new(deploy.Failure); !errors.As(err, &f) || !strings.Contains(f.Message, "so it is not touched") {
			t.Errorf("%s gives %v", what, err)
		}
	}
	if got := s.Resources(); len(got) != 1 {
		t.Errorf("there are %q", got)
	}
}

func TestWhatAzureRefusesIsSaidInWords(t *testing.T) {
	t.Parallel()
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	for name, c := range map[string]struct {
		script vmtest.Script
		change func(*deploy.Config)
		want   string
	}{
		"a permission that is missing": {script: vmtest.On("networkSecurityGroups.put", vmtest.Fault{Status: 403, Code: "AuthorizationFailed", Message: "The client 'x' with object id 'y' does not have authorization to perform action 'Microsoft.Network/networkSecurityGroups/write' over scope '/subscriptions/z'."}), want: "lacks the permission Microsoft.Network/networkSecurityGroups/write"},
		"a quota":                      {script: vmtest.On("virtualMachines.put", vmtest.Fault{Status: 409, Code: "OperationNotAllowed", Message: "Operation could not be completed as it results in exceeding approved Total Regional Cores quota."}), want: "quota does not allow another Standard_B2als_v2"},
		"no capacity":                  {script: vmtest.On("virtualMachines.put.work", vmtest.Fault{Code: "AllocationFailed", Message: "We do not have sufficient capacity"}), want: "no Standard_B2als_v2 free in the location now (AllocationFailed)"},
		"throttling without end":       {script: vmtest.On("virtualMachines.get", vmtest.Fault{Status: 429, Code: "TooManyRequests"}), want: "takes no more requests of this account now"},
		"an API that is not there":     {script: vmtest.On("virtualMachines.get", vmtest.Fault{}), want: "Resource Manager does not answer"},
		"a provider not registered":    {script: vmtest.On("networkSecurityGroups.put", vmtest.Fault{Status: 409, Code: "MissingSubscriptionRegistration"}), want: "az provider register --namespace Microsoft.Compute"},
		"a size that is not":           {change: func(c *deploy.Config) { c.Settings["size"] = "Standard_Huge" }, want: "The value Standard_Huge provided for the VM size is not valid."},
		"a group that is not":          {change: func(c *deploy.Config) { c.Settings["resource_group"] = "other" }, want: "no such subscription or resource group"},
		"a wrong secret":               {change: func(c *deploy.Config) { c.Secrets["client_secret"] = "another" }, want: "refuses the client secret"},
		"no secret and no issuer":      {change: func(c *deploy.Config) { delete(c.Secrets, "client_secret") }, want: "the portal is no issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSubscription(t, time.Minute)
			s.Fail(c.script)
			config := s.config(t)
			if c.change != nil {
				c.change(&config)
			}
			err := s.open(t, config).Fetch(t.Context(), image, vmtest.Anyone(image), nothing)
			f := new(deploy.Failure)
			if !errors.As(err, &f) || f.Stage != deploy.StageTarget || !strings.Contains(f.Message, c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), vmtest.ClientSecret) || strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Error("the failure tells a secret")
			}
		})
	}
}

func TestAMachineThatAzureFailedToMakeIsMadeAnew(t *testing.T) {
	t.Parallel()
	s := newSubscription(t, time.Minute)
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	target := s.open(t, s.config(t))
	s.Fail(func(call string, n int) *vmtest.Fault {
		if call == "virtualMachines.put.work" && n == 1 {
			return &vmtest.Fault{Code: "AllocationFailed", Message: "We do not have sufficient capacity"}
		}
		return nil
	})
	if err := target.Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err == nil {
		t.Fatal("it was made")
	}
	if err := target.Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err != nil {
		t.Fatal(err)
	}
	if got := s.Resources(); len(got) != 5 {
		t.Errorf("there are %q", got)
	}
}

func TestWhatAMachineOfAzureTakesIsLookedForBefore(t *testing.T) {
	t.Parallel()
	s := newSubscription(t, time.Minute)
	s.UseUp()
	target := s.open(t, s.config(t))
	if bad := inspect(t, target); len(bad) != 1 || !strings.Contains(bad[0], "quota cores of testeurope is used up: 10 of 10") {
		t.Errorf("it says %q", bad)
	}
	s.Allow("Microsoft.Compute/*", "*/read", "Microsoft.Network/networkInterfaces/*", "Microsoft.Network/networkSecurityGroups/*", "Microsoft.Network/virtualNetworks/*")
	if bad := inspect(t, target); len(bad) != 1 || !strings.Contains(bad[0], "may not Microsoft.Network/publicIPAddresses/write, Microsoft.Network/publicIPAddresses/delete, Microsoft.Network/publicIPAddresses/join/action in the resource group") {
		t.Errorf("it says %q", bad)
	}
}

func TestAMachineOfAzureThatStoppedOrNeverAnswersIsSaid(t *testing.T) {
	t.Parallel()
	s := newSubscription(t, 3*time.Second)
	s.Silence()
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	target := s.open(t, s.config(t))
	err := target.Fetch(t.Context(), image, vmtest.Anyone(image), nothing)
	f := new(deploy.Failure)
	if !errors.As(err, &f) || !strings.Contains(f.Message, "nothing listens there") || !strings.Contains(f.Message, "/bootDiagnostics") {
		t.Errorf("it says %v", err)
	}
	s.Power("PowerState/deallocated")
	if _, err = target.Check(t.Context()); !errors.As(err, &f) || !strings.Contains(f.Message, "is stopped. Start it there") {
		t.Errorf("a stopped machine gives %v", err)
	}
}

func TestAzuresTokensComeOfThePortalsOwnAndAreRenewedOnce(t *testing.T) {
	t.Parallel()
	s := newSubscription(t, time.Minute)
	c := s.config(t)
	delete(c.Secrets, "client_secret")
	var asked []string
	c.Identity = func(_ context.Context, audience string, of deploy.Subject) (string, error) {
		asked = append(asked, audience+" "+of.Team)
		return vmtest.Token, nil
	}
	target := s.open(t, c)
	for range 2 {
		if _, err := target.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Expire()
	}
	if want := "api://AzureADTokenExchange "; !slices.Equal(asked, []string{want, want}) {
		t.Errorf("tokens were asked for as %q", asked)
	}
	s.Fail(vmtest.On("token", vmtest.Fault{}))
	_, err := target.Check(t.Context())
	if f := new(deploy.Failure); !errors.As(err, &f) || !strings.Contains(f.Message, "no federated credential of it has exactly") || strings.Contains(err.Error(), vmtest.Token) {
		t.Errorf("an application that trusts nobody gives %v", err)
	}
}

func TestSettingsOfAMachineAtAzureThatCanNotBeAreRefused(t *testing.T) {
	t.Parallel()
	s := newSubscription(t, time.Minute)
	for field, value := range map[string]string{"subscription_id": "mine", "resource_group": "a/b", "location": "West Europe", "subnet": "default", "image": "ubuntu", "tenant_id": "t", "client_id": "me", "disk": "20",
		"default_credentials": "true", "authority": "http://login.example.com"} {
		c := s.config(t)
		c.Settings[field] = value
		_, err := s.kind.Open(c)
		if wrong := new(models.Error); !errors.As(err, &wrong) || wrong.Fields[field] == "" {
			t.Errorf("%s %q gives %v", field, value, err)
		}
	}
}
