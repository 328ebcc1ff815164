package azure_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azure/azuretest"
)

// roll does what a rollout does with a target, to the end.
func roll(ctx context.Context, target deploy.Target, r deploy.Release, say func(string)) (url string, err error) {
	if err := target.Start(ctx, r); err != nil {
		return "", err
	}
	if _, err := target.Wait(ctx, r, say); err != nil {
		return "", err
	}
	return target.Route(ctx, r)
}

const (
	writes = `^PUT .*/containerApps/[^/]+$`
	looks  = `^GET .*/revisions/[^/]+$`
)

// refusal is Azure's answer to a call that has to become words.
type refusal struct {
	what  string
	fault azuretest.Fault
	stage string
	words []string
}

func TestWhatAzureRefusesIsSaidWithWhatToDo(t *testing.T) {
	s := azuretest.New(t)
	image := deploy.Image{Repository: "registry.azurecr.io/payments/checkout", Digest: "sha256:" + strings.Repeat("a", 64)}
	from := deploy.Source{Credential: func(context.Context) (string, string, error) { return user, password, nil }}
	const invalid = `The following field(s) are either invalid or missing. Field 'template.containers.app.image' is invalid with details: 'Invalid value: "x": `
	for _, c := range []refusal{
		{"a right that is missing", azuretest.Fault{Status: 403, Code: "AuthorizationFailed", Message: "The client 'a' with object id 'b' does not have authorization to perform action 'Microsoft.App/containerApps/write' over scope '/subscriptions/s/resourceGroups/apps' or the scope is invalid."},
			deploy.StageTarget, []string{"Microsoft.App/containerApps/write on /subscriptions/s/resourceGroups/apps", "role", "docs/azure.md"}},
		{"a right on something else", azuretest.Fault{Status: 403, Code: "LinkedAuthorizationFailed", Message: "The client has permission to perform action 'Microsoft.App/containerApps/write' on scope 'x'; however, it does not have permission to perform action(s) 'Microsoft.App/managedEnvironments/join/action' on the linked scope(s) '/envs/home' or the linked scope(s) are invalid."},
			deploy.StageTarget, []string{"Microsoft.App/managedEnvironments/join/action on /envs/home"}},
		{"a policy", azuretest.Fault{Status: 403, Code: "RequestDisallowedByPolicy", Message: "Resource 'x' was disallowed by policy 'only-tagged'"}, deploy.StageStart, []string{"policy", "only-tagged"}},
		{"a lock", azuretest.Fault{Status: 409, Code: "ScopeLocked", Message: "The scope is locked by 'keep'"}, deploy.StageStart, []string{"lock", "keep"}},
		{"too many calls", azuretest.Fault{Status: 429, Code: "SubscriptionRequestsThrottled", Message: "Number of requests exceeded the limit.", RetryAfter: "300"}, deploy.StageTarget, []string{"no more calls", "300 seconds", "again in a while"}},
		{"a quota", azuretest.Fault{Status: 400, Code: "ManagedEnvironmentCoresQuotaExceeded", Message: "The environment has 100 of 100 cores"}, deploy.StageStart, []string{"no more room", "100 of 100", "quota"}},
		{"a provider that is not registered", azuretest.Fault{Status: 409, Code: "MissingSubscriptionRegistration", Message: "The subscription is not registered to use namespace 'Microsoft.App'."}, deploy.StageTarget, []string{"az provider register --namespace Microsoft.App"}},
		{"a subscription that is disabled", azuretest.Fault{Status: 409, Code: "ReadOnlyDisabledSubscription", Message: "The subscription is disabled"}, deploy.StageTarget, []string{"disabled", "owner"}},
		{"an image that is gone", azuretest.Fault{Status: 400, Code: "InvalidParameterValueInContainerTemplate", Message: invalid + "GET https:: MANIFEST_UNKNOWN: manifest unknown'."}, deploy.StageImage, []string{"not in the registry any more", image.Ref()}},
		{"an image behind a login", azuretest.Fault{Status: 400, Code: "InvalidParameterValueInContainerTemplate", Message: invalid + "GET https:: UNAUTHORIZED: authentication required'."}, deploy.StageImage, []string{"refuses the login", "registry.azurecr.io"}},
		{"a registry out of reach", azuretest.Fault{Status: 400, Code: "InvalidParameterValueInContainerTemplate", Message: invalid + "Get https://x/v2/: dial tcp: lookup x: no such host'."}, deploy.StageImage, []string{"does not reach the registry"}},
		{"something inside of Azure", azuretest.Fault{Status: 500, Code: "InternalServerError", Message: "Internal server error occurred. correlation-id: 7"}, deploy.StageTarget, []string{"could not do it now", "correlation-id: 7", "Deploy again"}},
		{"an answer that is no error of Azure's", azuretest.Fault{Status: 400, Code: "Strange", Message: "Whatever"}, deploy.StageStart, []string{"Strange", "Whatever"}},
	} {
		c.fault.Call = writes
		c.fault.Times = 1
		if c.fault.Status == 500 {
			c.fault.Times = 5 // as often as it is tried
		}
		s.Fail(c.fault)
		f := failure(t, open(t, s).Start(t.Context(), release(image, from)))
		if f.Stage != c.stage {
			t.Errorf("%s: the stage is %s: %s", c.what, f.Stage, f.Message)
		}
		for _, want := range c.words {
			if !strings.Contains(f.Message, want) {
				t.Errorf("%s: there is no %q in: %s", c.what, want, f.Message)
			}
		}
	}
	if left := s.Apps(); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
}

func TestAPlaceThatIsNotThereIsNamed(t *testing.T) {
	s := azuretest.New(t)
	set := func(name, v string) func(*deploy.Config) {
		return func(c *deploy.Config) { c.Settings[name] = v }
	}
	const other = "11111111-2222-3333-4444-555555555555"
	for _, c := range []struct {
		what   string
		change func(*deploy.Config)
		want   string
	}{
		{"another subscription", set("subscription_id", other), "no subscription " + other},
		{"another resource group", set("resource_group", "nowhere"), "no resource group nowhere"},
		{"another environment", set("environment", "elsewhere"), "no Container Apps environment elsewhere"},
		{"another profile", set("workload_profile", "D4"), "has no workload profile D4, but Consumption"},
		{"another tenant", set("tenant_id", other), "AADSTS90002"},
		{"another application", set("client_id", other), "no application with this client id"},
		{"a wrong secret", func(c *deploy.Config) { c.Secrets["client_secret"] = "its id" }, "refuses the client secret"},
		{"no answer", func(c *deploy.Config) {
			c.Settings["endpoint"], c.Settings["authority"] = "https://127.0.0.1:1", s.URL()
		}, "does not answer"},
	} {
		_, err := open(t, s, c.change).Check(t.Context())
		if f := failure(t, err); f.Stage != deploy.StageTarget || !strings.Contains(f.Message, c.want) {
			t.Errorf("%s: %s: %s", c.what, f.Stage, f.Message)
		}
	}
}

func TestACallThatIsThrottledComesAgain(t *testing.T) {
	s := azuretest.New(t)
	s.Fail(azuretest.Fault{Call: `/managedEnvironments/`, Times: 2, Status: 429, Code: "TooManyRequests", Message: "Wait.", RetryAfter: "1"})
	began := time.Now()
	if _, err := open(t, s).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(s.Calls(`/managedEnvironments/`)); n != 3 || time.Since(began) < 2*time.Second {
		t.Errorf("it was asked %d times in %s", n, time.Since(began))
	}
}

func TestARolloutGoesOnWhereAzureIsAwayForAWhile(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	target := open(t, s)
	s.Fail(azuretest.Fault{Call: writes, Times: 1, Status: 409, Code: "ContainerAppOperationInProgress", Message: "There is an ongoing provisioning operation."})
	r := release(image, from, "VERSION=2")
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.Fail(azuretest.Fault{Call: looks, Times: 7, Drop: true})
	var said []string
	if _, err := target.Wait(t.Context(), r, func(line string) { said = append(said, line) }); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(said, "\n"), "does not answer") || !strings.Contains(strings.Join(said, "\n"), "goes on looking") {
		t.Errorf("it said %q", said)
	}
	s.Fail(azuretest.Fault{Call: `^GET .*/containerApps/[^/]+$`, Drop: true})
	_, err := target.Route(t.Context(), r)
	if f := failure(t, err); f.Stage != deploy.StageTarget || !strings.Contains(f.Message, "does not answer") {
		t.Errorf("a switch that Azure did not hear of: %v", f)
	}
	s.Heal()
	if url, err := target.Route(t.Context(), r); err != nil || !strings.HasPrefix(url, "https://") {
		t.Errorf("and once more: %s, %v", url, err)
	}
}

func TestAnotherWorkerGoesOnWithARollout(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	id := models.NewID()
	same := func(c *deploy.Config) { c.ID = id }
	r := release(image, from)
	dying, die := context.WithCancel(t.Context())
	s.Fail(azuretest.Fault{Call: `containerappOperationStatuses`, Times: 1, Status: 500, Code: "Internal", Message: "x", Then: die})
	if err := open(t, s, same).Start(dying, r); err == nil {
		die() // the revision was there before the operation was asked for
	}
	other := open(t, s, same)
	if _, err := roll(t.Context(), other, r, nothing); err != nil {
		t.Fatal(err)
	}
	if n := len(s.Calls(writes)); n != 1 {
		t.Errorf("the app was written %d times", n)
	}
	third := open(t, s, same)
	if _, err := roll(t.Context(), third, r, nothing); err != nil {
		t.Fatal(err)
	}
	if all, err := third.List(t.Context()); err != nil || len(all) != 1 || len(s.Calls(writes)) != 1 {
		t.Errorf("there are %+v, %v", all, err)
	}
}

func TestARevisionThatAzureGivesUpLeavesVisitorsWhereTheyAre(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	target := open(t, s)
	old := release(image, from, "VERSION=1")
	if _, err := roll(t.Context(), target, old, nothing); err != nil {
		t.Fatal(err)
	}
	for broken, want := range map[string]struct{ stage, words string }{
		"Container 'app' was terminated with exit code '9' and reason 'ProcessExited'": {deploy.StageStart, "exit code 9"},
		"ImagePullBackOff: manifest unknown":                                           {deploy.StageImage, "not in the registry any more"},
		"The cores quota of the environment is exhausted":                              {deploy.StageStart, "no more room"},
		"Deployment Progress Deadline Exceeded. 0/1 replicas ready":                    {deploy.StageStart, "0/1 replicas ready"},
	} {
		s.Broken = broken
		next := release(image, from, "VERSION=2", "TOKEN=hidden-"+models.NewID())
		next.EnvironmentID = old.EnvironmentID
		_, err := roll(t.Context(), target, next, nothing)
		if f := failure(t, err); f.Stage != want.stage || !strings.Contains(f.Message, want.words) {
			t.Errorf("%s: %s: %s", broken, f.Stage, f.Message)
		}
		for _, app := range s.Apps() {
			if traffic := app.Properties.Configuration.Ingress.Traffic; len(traffic) != 1 || !strings.HasSuffix(*traffic[0].RevisionName, "--r"+old.ID[24:]) {
				t.Errorf("%s: the traffic goes to %+v", broken, traffic)
			}
		}
		if err := target.Remove(t.Context(), next.ID, 0); err != nil {
			t.Fatal(err)
		}
		for _, app := range s.Apps() {
			for _, secret := range app.Properties.Configuration.Secrets {
				if strings.HasPrefix(*secret.Value, "hidden-") {
					t.Errorf("%s: a secret of a release that was removed is left", broken)
				}
			}
		}
	}
	s.Broken = ""
	if err := target.Remove(t.Context(), old.ID, 0); err != nil {
		t.Fatal(err)
	}
	if left := s.Apps(); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
}

func TestAnImageThatAzureCanNotPullIsExplained(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	from.Credential = func(context.Context) (string, string, error) { return user, "another", nil }
	_, err := roll(t.Context(), open(t, s), release(image, from), nothing)
	if f := failure(t, err); f.Stage != deploy.StageImage || !strings.Contains(f.Message, "refuses the login") {
		t.Errorf("%s: %s", f.Stage, f.Message)
	}
	from.Credential = func(context.Context) (string, string, error) {
		return "", "", models.Errorf(models.Conflict, "The registry's login has expired.")
	}
	_, err = roll(t.Context(), open(t, s), release(image, from), nothing)
	if f := failure(t, err); f.Stage != deploy.StageImage || !strings.Contains(f.Message, "login has expired") {
		t.Errorf("%s: %s", f.Stage, f.Message)
	}
}

func TestAnAppThatEatsItsMemoryIsNamed(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	r := release(image, from, "EAT=1")
	r.Scale.Memory = 64 << 20
	_, err := roll(t.Context(), open(t, s), r, nothing)
	if f := failure(t, err); f.Stage != deploy.StageStart || !f.OOM || !strings.Contains(f.Message, "more memory than it may (it gets 0.25 vCPU and 0.5 GiB)") {
		t.Errorf("%+v", f.DeploymentError)
	}
}

func TestWhatIsLostWhileItStartsIsSaid(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	target := open(t, s)
	r := release(image, from)
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for name := range s.Apps() {
		s.Lose(name)
	}
	_, err := target.Wait(t.Context(), r, nothing)
	if f := failure(t, err); f.Stage != deploy.StageStart || !strings.Contains(f.Message, "removed the revision") {
		t.Errorf("%s: %s", f.Stage, f.Message)
	}
	_, err = target.Route(t.Context(), r)
	if f := failure(t, err); !strings.Contains(f.Message, "is gone") {
		t.Errorf("%s: %s", f.Stage, f.Message)
	}
}

func TestACommandThatCanNotRunIsExplained(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	s.Deny("Microsoft.App/jobs/write")
	r := release(image, from)
	r.Command = []string{"say", "PORT"}
	if f := failure(t, open(t, s).Run(t.Context(), r, nothing)); f.Stage != deploy.StageTarget || !strings.Contains(f.Message, "Microsoft.App/jobs/write") {
		t.Errorf("%s: %s", f.Stage, f.Message)
	}
	s = azuretest.New(t)
	from.Credential = func(context.Context) (string, string, error) { return user, "another", nil }
	r = release(image, from)
	r.Command = []string{"say", "PORT"}
	if f := failure(t, open(t, s).Run(t.Context(), r, nothing)); f.Stage != deploy.StageImage || !strings.Contains(f.Message, "refuses the login") {
		t.Errorf("%s: %s", f.Stage, f.Message)
	}
}

func TestWhatIsNotSlipwaysIsNotTouched(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	id := models.NewID()
	same := func(c *deploy.Config) { c.ID = id }
	r := release(image, from)
	if err := open(t, s, same).Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	var name string
	for n := range s.Apps() {
		name = n
	}
	s.Lose(name)
	s.Seed(name, map[string]*string{"slipway-target": to.Ptr("another portal's")})
	target := open(t, s, same)
	before := len(s.Calls(`^(PUT|PATCH|DELETE|POST .*/(de)?activate)`))
	if f := failure(t, target.Start(t.Context(), r)); !strings.Contains(f.Message, "not Slipway's") || !strings.Contains(f.Message, "slipway-target="+id) {
		t.Errorf("%s", f.Message)
	}
	if _, err := target.Route(t.Context(), r); !errors.As(err, new(*deploy.Failure)) {
		t.Errorf("its traffic was turned: %v", err)
	}
	if err := target.Remove(t.Context(), r.ID, 0); err != nil {
		t.Error(err)
	}
	if found, err := target.List(t.Context()); err != nil || len(found) != 0 {
		t.Errorf("it lists %v, %v", found, err)
	}
	if n := len(s.Calls(`^(PUT|PATCH|DELETE|POST .*/(de)?activate)`)); n != before {
		t.Errorf("it was changed by %v", s.Calls(`^(PUT|PATCH|DELETE|POST)`)[before:])
	}
}
