package aws_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/aws"
	"slipway.dev/services/deploy/aws/awstest"
)

func TestATargetByTheRoleOfATokenStoresNoKey(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	var mu sync.Mutex
	asked := map[deploy.Subject]int{}
	identity := func(_ context.Context, audience string, of deploy.Subject) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[of]++
		return "token for " + audience, nil
	}
	cloud.Trust(func(token string) error {
		if token != "token for sts.amazonaws.com" {
			return errors.New("not this one")
		}
		return nil
	})
	target := openAs(t, cloud, models.NewID(), map[string]string{"access_key_id": "", "role": awstest.Role}, identity)
	r := release(at, from)
	up(t, target, r)
	if _, err := target.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if asked[r.Subject()] != 1 || asked[deploy.Subject{}] != 1 || len(asked) != 2 {
		t.Errorf("asked was for %v", asked)
	}
	mu.Unlock()
	cloud.Expire() // such as when an admin revokes the role's sessions
	if _, err := target.Route(t.Context(), r); err != nil {
		t.Errorf("a session that expired: %v", err)
	}
	mu.Lock()
	if asked[r.Subject()] != 2 {
		t.Errorf("renewed was for %v", asked)
	}
	mu.Unlock()
	cloud.Trust(func(string) error { return errors.New("no more") })
	cloud.Expire()
	f := failure(t, second(target.Check(t.Context())))
	for _, word := range []string{awstest.Role, "trust policy", "sts.amazonaws.com", "target:aws"} {
		if !strings.Contains(f.Message, word) {
			t.Errorf("the message has no %q: %s", word, f.Message)
		}
	}
}

func TestAKeyTakesTheRole(t *testing.T) {
	t.Parallel()
	cloud := awstest.New(t)
	if _, err := open(t, cloud, map[string]string{"role": awstest.Role}).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if cloud.Calls("sts:AssumeRole") != 1 {
		t.Error("the role was not taken")
	}
	settings, _ := cloud.Settings()
	wrong, err := aws.Kind().Open(deploy.Config{ID: models.NewID(), Settings: settings, Secrets: map[string]string{"secret_access_key": "another"}})
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	if f := failure(t, second(wrong.Check(t.Context()))); !strings.Contains(f.Message, "does not know the credential") {
		t.Errorf("a wrong secret: %s", f.Message)
	}
}

func TestSecretsAreKeptOutOfTaskDefinitions(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	target := open(t, cloud, nil)
	r := release(at, from, "EMPTY=")
	r.Plain = slices.DeleteFunc(r.Plain, func(n string) bool { return n == "EMPTY" }) // a secret of no letters
	found := up(t, target, r)
	if got := get(t, found[0].Address, "/env?name=PASSWORD"); got != "hidden" {
		t.Errorf("the secret arrived as %q", got)
	}
	text, err := json.Marshal(cloud.Definitions())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hidden") || !strings.Contains(string(text), "hello") || !strings.Contains(cloud.Secret(), "hidden") {
		t.Errorf("the definition is %s, the secret %s", text, cloud.Secret())
	}
}

func get(t *testing.T, address, path string) string {
	t.Helper()
	return awstest.Get(t, "http://"+address+path)
}

func TestNothingOfATargetIsLeftOnceItIsDestroyed(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	cloud.SeedLogGroup("/slipway/payments/dev/theirs")
	cloud.SeedRule("theirs.apps.test")
	target := open(t, cloud, nil)
	one, two := release(at, from), release(at, from)
	up(t, target, one)
	up(t, target, two)
	if _, err := target.Route(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	keeps, err := target.(deploy.Destroyer).Keeps(t.Context())
	if err != nil || len(keeps) != 5 { // cluster, two services, two log groups
		t.Errorf("it keeps %+v, %v", keeps, err)
	}
	if err := target.Remove(t.Context(), one.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := target.(deploy.EnvironmentKeeper).RemoveEnvironment(t.Context(), one.EnvironmentID); err != nil {
		t.Fatal(err)
	}
	if n := count(cloud.Left(), "log group "); n != 2 {
		t.Errorf("left are %q", cloud.Left())
	}
	for range 2 {
		if err := target.(deploy.Destroyer).Destroy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	left := cloud.Left()
	slices.Sort(left)
	if !slices.Equal(left, []string{"log group /slipway/payments/dev/theirs", "rule theirs.apps.test"}) {
		t.Errorf("left are %q", left)
	}
}

func TestOnEC2CapacityAContainerMayHaveAnySize(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	cloud.AddCluster("production", 2)
	target := open(t, cloud, map[string]string{"launch": "EC2", "cluster": "production"})
	r := release(at, from)
	r.Scale = models.Scale{Replicas: 2, CPU: 300, Memory: 100 << 20}
	if found := up(t, target, r); len(found) != 2 {
		t.Errorf("healthy are %+v", found)
	}
	app := cloud.Definitions()[0].ContainerDefinitions[0]
	if app.Cpu != 308 || *app.Memory != 100 || !slices.Equal(app.DockerSecurityOptions, []string{"no-new-privileges"}) {
		t.Errorf("the container gets %+v", app)
	}
	if info, err := target.Check(t.Context()); err != nil || info.CPU != 0 || info.Memory != 0 || !strings.Contains(info.Version, awstest.Account) {
		t.Errorf("%+v, %v", info, err)
	}
	if err := target.(deploy.Destroyer).Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := cloud.Left(); !slices.Equal(left, []string{"cluster production"}) {
		t.Errorf("left are %q", left)
	}
}

func TestWhatIsAnotherTargetsIsNotTouched(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	cloud.AddCluster("shared", 0)
	shared := map[string]string{"cluster": "shared"}
	r := release(at, from)
	up(t, open(t, cloud, shared), r)
	before := cloud.Left()
	other := open(t, cloud, shared)
	if all, err := other.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("it lists %+v, %v", all, err)
	}
	if err := other.Remove(t.Context(), r.ID, 0); err != nil {
		t.Error(err)
	}
	if err := other.(deploy.Destroyer).Destroy(t.Context()); err != nil {
		t.Error(err)
	}
	if f := failure(t, other.Start(t.Context(), r)); !strings.Contains(f.Message, "is not this target's") {
		t.Errorf("it started: %s", f.Message)
	}
	after := cloud.Left()
	slices.Sort(before)
	slices.Sort(after)
	if !slices.Equal(before, after) {
		t.Errorf("there was %q and is %q", before, after)
	}
}

func TestAnAppTakesNoHostNameOfOthers(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	cloud.SeedRule("checkout-dev.apps.test")
	target := open(t, cloud, nil)
	r := release(at, from)
	up(t, target, r)
	url, err := target.Route(t.Context(), r)
	if err != nil || !strings.HasPrefix(url, "http://checkout-dev-payments.apps.test:") {
		t.Errorf("%s, %v", url, err)
	}
}

func TestVisitorsComeToAPublicAddressWithoutALoadBalancer(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	target := open(t, cloud, public)
	r := release(at, from, "VERSION=7")
	up(t, target, r)
	url, err := target.Route(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if got := awstest.Get(t, url+"/version"); got != "7" {
		t.Errorf("a visitor of %s got %q", url, got)
	}
	if err := target.Remove(t.Context(), r.ID, 0); err != nil {
		t.Fatal(err)
	}
	bad := release(at, from, "BAD=1")
	bad.Patience = 8 * time.Second
	if err := target.Start(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	var said []string
	_, err = target.Wait(t.Context(), bad, func(line string) { said = append(said, line) })
	if f := failure(t, err); f.Stage != deploy.StageHealth || !strings.Contains(strings.Join(said, "\n"), "GET :8080/healthz → HTTP 500") {
		t.Errorf("%v; said was %q", err, said)
	}
}

func TestWhatIsMissingIsSaidBeforeAnythingIsMade(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	r := release(deploy.Image{Repository: awstest.Account + ".dkr.ecr.eu-central-1.amazonaws.com/checkout", Digest: at.Digest}, from)
	r.ID, r.Scale = "", models.Scale{Replicas: 2, CPU: 300, Memory: 700 << 20}
	inspect := func(change map[string]string) map[string]deploy.Check {
		t.Helper()
		checks, err := open(t, cloud, change).(deploy.Inspector).Inspect(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]deploy.Check{}
		for _, c := range checks {
			out[c.Name] = c
		}
		return out
	}
	for name, c := range inspect(nil) {
		if !c.OK {
			t.Errorf("%s: %s", name, c.Message)
		}
	}
	if got := inspect(nil)["Size"]; !strings.Contains(got.Message, "0.5 vCPU and 1 GB, the next size up") {
		t.Errorf("the size: %s", got.Message)
	}
	if left := cloud.Left(); len(left) > 0 {
		t.Errorf("made was %q", left)
	}
	cloud.Deny("ecs:CreateService")
	cloud.Deny("iam:PassRole")
	fails := func(checks map[string]deploy.Check, name string, words ...string) {
		t.Helper()
		for _, w := range words {
			if c := checks[name]; c.OK || !strings.Contains(c.Message, w) {
				t.Errorf("%s: %+v has no %q", name, c, w)
			}
		}
	}
	fails(inspect(nil), "Permissions", "ecs:CreateService, iam:PassRole")
	cloud.Deny("iam:SimulatePrincipalPolicy")
	if c := inspect(nil)["Permissions"]; !c.OK || !strings.Contains(c.Message, "iam:SimulatePrincipalPolicy") {
		t.Errorf("%+v", c)
	}
	fails(inspect(map[string]string{"cluster": "nowhere"}), "Cluster", "no cluster nowhere")
	fails(inspect(map[string]string{"subnets": "subnet-ffffffff"}), "Network", "subnet-ffffffff")
	fails(inspect(map[string]string{"execution_role": "arn:aws:iam::123456789012:role/none"}), "Execution role", "no role")
	r.Image.Repository = "localhost:8080/checkout"
	fails(inspect(nil), "Registry", "localhost:8080", "ECR")
	r.Image.Repository = "registry.example.com/checkout"
	r.From.Credential = func(context.Context) (string, string, error) { return "someone", "secret", nil }
	fails(inspect(nil), "Registry", "asks for a login", "target's registry")
	r.Scale.Memory = 200 << 30
	fails(inspect(nil), "Size", "at most 16 processors")
	cloud.Deny("sts:GetCallerIdentity")
	fails(inspect(nil), "Credential", "sts:GetCallerIdentity")
}

func TestWhatWasMadeAndWhatHappenedIsListed(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	target := open(t, cloud, nil)
	r := release(at, from)
	up(t, target, r)
	if _, err := target.Route(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	all, err := target.(deploy.Ledger).Resources(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, one := range all {
		kinds = append(kinds, one.Kind)
		if one.Name == "" || !strings.HasPrefix(one.Link, "https://eu-central-1.console.aws.amazon.com/") {
			t.Errorf("%+v", one)
		}
	}
	if want := []string{"Cluster", "Service", "Task definition", "Task", "Log group", "Secret", "Target group", "Listener rule"}; !slices.Equal(kinds, want) {
		t.Errorf("listed are %q", kinds)
	}
	events, err := target.(deploy.Reporter).Events(t.Context(), r.ID)
	if err != nil || len(events) < 2 || !strings.Contains(events[0].Text, "steady state") || events[0].Warning {
		t.Errorf("%+v, %v", events, err)
	}
	for _, none := range []func() (int, error){
		func() (int, error) {
			a, err := target.(deploy.Ledger).Resources(t.Context(), models.NewID())
			return len(a), err
		},
		func() (int, error) {
			a, err := target.(deploy.Reporter).Events(t.Context(), models.NewID())
			return len(a), err
		},
	} {
		if n, err := none(); n != 0 || err != nil {
			t.Errorf("of a release that is not there: %d, %v", n, err)
		}
	}
}
