package azure_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azure"
	"slipway.dev/services/deploy/azure/azuretest"
)

// only is the one Container App that there is, as JSON.
func only(t *testing.T, s *azuretest.Server) (name, text string) {
	t.Helper()
	all := s.Apps()
	if len(all) != 1 {
		t.Fatalf("there are %d apps", len(all))
	}
	for n, app := range all {
		b, err := json.Marshal(app)
		if err != nil {
			t.Fatal(err)
		}
		name, text = n, string(b)
	}
	return name, text
}

func TestAReleaseIsARevisionWithItsSecretsApart(t *testing.T) {
	s := azuretest.New(t)
	id := models.NewID()
	const pull = "/subscriptions/6a1f0c52-1111-2222-3333-444455556666/resourceGroups/apps/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pull"
	target := open(t, s, func(c *deploy.Config) {
		c.ID, c.Settings["registry_identity"], c.Settings["workload_profile"] = id, pull, "Consumption"
	})
	image := deploy.Image{Repository: "acme.azurecr.io/payments/checkout", Digest: "sha256:" + strings.Repeat("a", 64)}
	r := release(image, deploy.Source{}, "PASSWORD=hidden", "EMPTY=")
	r.App, r.Scale = "2--checkout-of-everything-that-is-sold", models.Scale{Replicas: 2, CPU: 300, Memory: 600 << 20, Max: 5, CPUTarget: 70}
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	name, text := only(t, s)
	if len(name) > 32 || !strings.HasPrefix(name, "a2-checkout-of-every") {
		t.Errorf("the app is called %s", name)
	}
	for _, want := range []string{
		`"slipway-target":"` + id + `"`, `"slipway-release":"` + r.ID + `"`, `"slipway-environment":"` + r.EnvironmentID + `"`, `"slipway-app":"` + r.App + `"`,
		`"activeRevisionsMode":"Multiple"`, `"revisionSuffix":"r` + r.ID[24:] + `"`, `"image":"acme.azurecr.io/payments/checkout@sha256:aaaa`, `"cpu":0.5,"memory":"1Gi"`,
		`"minReplicas":2`, `"maxReplicas":5`, `"type":"Utilization","value":"70"`, `"identity":"` + pull + `"`, `"type":"UserAssigned"`, `"path":"/healthz"`, `"allowInsecure":false`, `"external":true`,
		`"workloadProfileName":"Consumption"`, `"name":"SLIPWAY_RELEASE","value":"` + r.ID + `"`, `"name":"EMPTY","value":""`, `"value":"hidden"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in %s", want, text)
		}
	}
	if strings.Contains(text, `"name":"PASSWORD","value"`) {
		t.Error("a secret is where anybody reads it")
	}
	if err := target.Remove(t.Context(), r.ID, 0); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasMadeIsListedAndWhatHappenedIsTold(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	target := open(t, s)
	r := release(image, from)
	r.Command = []string{"say", "PORT"}
	if err := target.Run(t.Context(), r, nothing); err != nil {
		t.Fatal(err)
	}
	if _, err := roll(t.Context(), target, r, nothing); err != nil {
		t.Fatal(err)
	}
	name, _ := only(t, s)
	made, err := target.(deploy.Ledger).Resources(t.Context(), r.ID)
	if err != nil || len(made) != 3 || made[0].Kind != "Container App" || made[0].Name != name || made[1].Kind != "Revision" || made[2].Kind != "Container Apps job" {
		t.Fatalf("%+v, %v", made, err)
	}
	for _, m := range made {
		if !strings.HasPrefix(m.Link, "https://portal.azure.com/#@"+s.Tenant+"/resource/subscriptions/"+s.Subscription+"/resourceGroups/apps/providers/Microsoft.App/") {
			t.Errorf("%s leads to %s", m.Kind, m.Link)
		}
	}
	happened, err := target.(deploy.Reporter).Events(t.Context(), r.ID)
	if err != nil || len(happened) < 4 {
		t.Fatalf("%+v, %v", happened, err)
	}
	if !slices.IsSortedFunc(happened, func(a, b deploy.Event) int { return b.At.Compare(a.At) }) || happened[0].At.IsZero() {
		t.Errorf("they are not the newest first: %+v", happened)
	}
	if !slices.ContainsFunc(happened, func(e deploy.Event) bool {
		return strings.HasPrefix(e.Text, "PulledImage: Successfully") && strings.HasPrefix(e.Object, "Replica "+name) && !e.Warning
	}) {
		t.Errorf("the image was never pulled: %+v", happened)
	}
	if err := target.Remove(t.Context(), r.ID, 0); err != nil {
		t.Fatal(err)
	}
	if left, err := target.(deploy.Ledger).Resources(t.Context(), r.ID); err != nil || len(left) != 0 {
		t.Errorf("left are %+v, %v", left, err)
	}
	if gone, err := target.(deploy.Reporter).Events(t.Context(), r.ID); err != nil || len(gone) != 0 {
		t.Errorf("%+v, %v", gone, err)
	}
}

func TestATargetThatIsDeletedLeavesNothing(t *testing.T) {
	s := azuretest.New(t)
	target := open(t, s)
	image, from := store(t)
	r := release(image, from)
	r.Command = []string{"say", "PORT"}
	if err := target.Run(t.Context(), r, nothing); err != nil {
		t.Fatal(err)
	}
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.Seed("theirs", nil)
	destroyer := target.(deploy.Destroyer)
	if kept, err := destroyer.Keeps(t.Context()); err != nil || len(kept) != 2 || kept[0].Kind != "Container App" || kept[1].Kind != "Container Apps job" {
		t.Errorf("%+v, %v", kept, err)
	}
	for range 2 {
		if err := destroyer.Destroy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := destroyer.Keeps(t.Context()); err != nil || len(kept) != 0 {
		t.Errorf("left are %+v, %v", kept, err)
	}
	if name, _ := only(t, s); name != "theirs" {
		t.Errorf("left is %s", name)
	}
}

func TestAnotherPortCountsFromTheSwitchOn(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	target := open(t, s)
	old := release(image, from, "VERSION=old")
	if _, err := roll(t.Context(), target, old, nothing); err != nil {
		t.Fatal(err)
	}
	next := release(image, from, "VERSION=new", "PORT=9090")
	next.EnvironmentID, next.Port = old.EnvironmentID, 9090
	checks, err := target.(deploy.Inspector).Inspect(t.Context(), next)
	if err != nil || !slices.ContainsFunc(checks, func(c deploy.Check) bool { return c.OK && strings.Contains(c.Message, "from 8080 to 9090") }) {
		t.Errorf("%+v, %v", checks, err)
	}
	if err := target.Start(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if _, text := only(t, s); !strings.Contains(text, `"targetPort":8080`) {
		t.Error("the port of those who have the visitors was changed")
	}
	if _, err := target.Wait(t.Context(), next, nothing); err != nil {
		t.Fatal(err)
	}
	url, err := target.Route(t.Context(), next)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.HTTP().Get(url + "/version")
	if err != nil || res.StatusCode != 200 {
		t.Errorf("%v, %v", res, err)
	}
	res.Body.Close()
}

func TestAzureIsNotAskedMoreThanItNeeds(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	id := models.NewID()
	same := func(c *deploy.Config) { c.ID = id }
	target := open(t, s, same)
	r := release(image, from)
	if _, err := roll(t.Context(), target, r, nothing); err != nil {
		t.Fatal(err)
	}
	if _, err := target.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := len(s.Calls(`^GET `))
	for range 5 {
		if all, err := target.List(t.Context()); err != nil || len(all) != 1 || all[0].State != models.InstanceHealthy {
			t.Fatalf("%+v, %v", all, err)
		}
	}
	if n := len(s.Calls(`^GET `)) - before; n != 5 {
		t.Errorf("five looks at what did not change took %d calls", n)
	}
	next := release(image, from)
	next.EnvironmentID = r.EnvironmentID
	if err := open(t, s, same).Start(t.Context(), next); err != nil { // another process
		t.Fatal(err)
	}
	if all, err := target.List(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("what another process started is not seen: %+v, %v", all, err)
	}
}

func TestALoginThatChangedIsRenewed(t *testing.T) {
	s := azuretest.New(t)
	target := open(t, s)
	word := "one"
	from := deploy.Source{Credential: func(context.Context) (string, string, error) { return user, word, nil }}
	r := release(deploy.Image{Repository: "registry.example.com/payments/checkout", Digest: "sha256:" + strings.Repeat("a", 64)}, from, "PASSWORD=hidden")
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	renewer := target.(deploy.Renewer)
	if err := renewer.Renew(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if n := len(s.Calls(`^PATCH `)); n != 0 {
		t.Errorf("what had not changed was written %d times", n)
	}
	word = "another"
	if err := renewer.Renew(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, text := only(t, s); !strings.Contains(text, `"value":"another"`) || strings.Contains(text, `"value":"one"`) || !strings.Contains(text, `"value":"hidden"`) {
		t.Errorf("the app is %s", text)
	}
}

func TestWhatWouldNotWorkIsSaidBeforehand(t *testing.T) {
	image := deploy.Image{Repository: "registry.example.com/payments/checkout", Digest: "sha256:" + strings.Repeat("a", 64)}
	look := func(s *azuretest.Server, change func(*deploy.Release)) (good []string, bad map[string]string) {
		r := release(image, deploy.Source{})
		r.ID, r.Env = "", nil
		if change != nil {
			change(&r)
		}
		checks, err := open(t, s).(deploy.Inspector).Inspect(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		bad = map[string]string{}
		for _, c := range checks {
			if c.OK {
				good = append(good, c.Message)
			} else {
				bad[c.Name] = c.Message
			}
		}
		return good, bad
	}
	s := azuretest.New(t)
	good, bad := look(s, func(r *deploy.Release) { r.Scale = models.Scale{Replicas: 1, CPU: 600} })
	if len(bad) != 0 || len(good) != 7 || !strings.Contains(strings.Join(good, " "), "0.75 vCPU and 1.5 GiB") {
		t.Errorf("%q, %q", good, bad)
	}
	s.Deny("Microsoft.App/jobs/write", "Microsoft.App/containerApps/revisions/*")
	s.Provider, s.Cores = "NotRegistered", 99
	_, bad = look(s, func(r *deploy.Release) {
		r.Image.Repository = "localhost:8080/payments/checkout"
		r.Scale.Replicas = 3
	})
	for name, want := range map[string]string{
		"Permissions":       "Microsoft.App/containerApps/revisions/read, Microsoft.App/containerApps/revisions/activate/action, Microsoft.App/containerApps/revisions/deactivate/action, Microsoft.App/containerApps/revisions/replicas/read, Microsoft.App/jobs/write",
		"Resource provider": "az provider register", "Quota": "needs 1.5 beside the old one", "Registry": "name of this machine",
	} {
		if !strings.Contains(bad[name], want) {
			t.Errorf("%s: there is no %q in %q", name, want, bad[name])
		}
	}
	if n := len(s.Calls(`^(PUT|PATCH|DELETE)`)); n != 0 {
		t.Errorf("to look changed something %d times", n)
	}
}

func TestACostIsThatOfThePairThatAzureGives(t *testing.T) {
	kind := azure.Kind()
	list := map[string]float64{}
	for _, p := range kind.Prices {
		list[p.Name] = p.Amount
	}
	sum := 0.0
	for _, line := range kind.Estimate(list, models.Scale{Replicas: 2, CPU: 300}) {
		sum += line.Month
	}
	if sum < 78 || sum > 80 { // 2 × (0.5 vCPU × 0.0864 + 1 GiB × 0.0108) × 730 h
		t.Errorf("it costs %g", sum)
	}
}
