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

func nothing(string) {}

// account is an AWS account, and how a target of it is opened.
type account struct {
	*vmtest.EC2
	kind deploy.Kind
}

func newAccount(t *testing.T, patience time.Duration) account {
	t.Helper()
	e := vmtest.NewEC2(t)
	return account{e, vm.AWS(vm.Options{SSHPort: e.Port(), Every: 20 * time.Millisecond, Patience: patience})}
}

// config is what an admin enters, stored.
func (a account) config(t *testing.T) deploy.Config {
	t.Helper()
	c := deploy.Config{ID: models.NewID(), Name: "vm-1", Secrets: map[string]string{"secret_access_key": vmtest.SecretKey}, Settings: map[string]string{
		"region": vmtest.Region, "access_key_id": vmtest.AccessKey, "ssh_from": "203.0.113.7/32", "user": a.User(), "endpoint": a.URL}}
	if err := a.kind.Prepare(c.Settings, c.Secrets); err != nil {
		t.Fatal(err)
	}
	dockertest.Sweep(t, "slipway.target", c.ID)
	return c
}

func (a account) open(t *testing.T, c deploy.Config) deploy.Target {
	t.Helper()
	target, err := a.kind.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

// made gives the target its machine, as a rollout would.
func made(t *testing.T, target deploy.Target, image deploy.Image) deploy.Target {
	t.Helper()
	if err := target.Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err != nil {
		t.Fatal(err)
	}
	return target
}

// inspect is what a target's provider says before anything is made.
func inspect(t *testing.T, target deploy.Target) (bad []string) {
	t.Helper()
	checks, err := target.(deploy.Inspector).Inspect(t.Context(), deploy.Release{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		if !c.OK {
			bad = append(bad, c.Message)
		}
	}
	return bad
}

func TestAMachineOfEC2DoesWhatEveryTargetMust(t *testing.T) {
	t.Parallel()
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	gone := image
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	a := newAccount(t, time.Minute)
	deploytest.Run(t, deploytest.Suite{
		Title: "Virtual machine (Amazon EC2)",
		Open:  func(t *testing.T) deploy.Target { return made(t, a.open(t, a.config(t)), image) },
		Image: image, From: vmtest.Anyone(image), Gone: gone,
	})
}

func TestATargetOfEC2HasOneMachineWhoeverAsks(t *testing.T) {
	t.Parallel()
	a := newAccount(t, time.Minute)
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	c := a.config(t)
	targets := []deploy.Target{a.open(t, c), a.open(t, c), a.open(t, c)} // as three processes have it open
	if info, err := targets[0].Check(t.Context()); err != nil || !strings.Contains(info.Version, "no machine yet") || info.Platform != "linux/amd64" {
		t.Errorf("before its first rollout it says %+v, %v", info, err)
	}
	if bad := inspect(t, targets[0]); len(bad) > 0 || len(a.Instances()) > 0 {
		t.Errorf("looking finds %q and makes %q", bad, a.Instances())
	}
	if found, err := targets[0].(deploy.Finder).Find(t.Context(), image, vmtest.Anyone(image)); err != nil || found.Here {
		t.Errorf("without a machine the image is %+v, %v", found, err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var said []string
	for _, target := range targets {
		all.Go(func() {
			err := target.Fetch(t.Context(), image, vmtest.Anyone(image), func(line string) { mu.Lock(); defer mu.Unlock(); said = append(said, line) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := a.Instances(); len(got) != 1 {
		t.Errorf("the instances are %q", got)
	}
	if got := a.Groups(); len(got) != 1 || !strings.HasSuffix(got[0], " 203.0.113.7/32") {
		t.Errorf("the groups are %q", got)
	}
	for _, want := range []string{"asks Amazon EC2 for one", "makes the machine i-", "Docker answers on the machine i-"} {
		if !strings.Contains(strings.Join(said, "\n"), want) {
			t.Errorf("nobody said %q in %q", want, said)
		}
	}
	if info, err := targets[1].Check(t.Context()); err != nil || !strings.HasPrefix(info.Version, "Docker Engine") || !strings.Contains(info.Version, " on i-") {
		t.Errorf("with a machine it says %+v, %v", info, err)
	}
	a.Fail(func(string, int) *vmtest.Fault { return &vmtest.Fault{} })
	if err := targets[1].Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err != nil {
		t.Errorf("while the provider does not answer the machine is not used: %v", err)
	}
	if info, err := targets[1].Check(t.Context()); err != nil || !strings.HasPrefix(info.Version, "Docker Engine") {
		t.Errorf("while the provider does not answer it says %+v, %v", info, err)
	}
	if bad := inspect(t, targets[1]); len(bad) > 0 {
		t.Errorf("while the provider does not answer it says %q", bad)
	}
	a.Fail(nil)
	if kept, err := targets[0].(deploy.Ledger).Resources(t.Context(), models.NewID()); err != nil || len(kept) != 2 || !strings.Contains(kept[0].Link, vmtest.Region) {
		t.Errorf("made were %+v, %v", kept, err)
	}
}

func TestWhatBreaksInTheMiddleIsTakenUpByAnotherProcess(t *testing.T) {
	t.Parallel()
	a := newAccount(t, time.Minute)
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	c := a.config(t)
	a.Fail(vmtest.On("RunInstances", vmtest.Fault{Done: true})) // it is made, and the answer gets lost, each time
	err := a.open(t, c).Fetch(t.Context(), image, vmtest.Anyone(image), nothing)
	if f := new(deploy.Failure); !errors.As(err, &f) || !strings.Contains(f.Message, "does not answer. What was made is kept") {
		t.Fatalf("an API that goes away gives %v", err)
	}
	a.Fail(nil)
	if err := a.open(t, c).Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err != nil {
		t.Fatal(err)
	}
	if got := a.Instances(); len(got) != 1 {
		t.Errorf("the instances are %q", got)
	}
}

func TestAMachineThatSomebodyEndedIsMadeAgain(t *testing.T) {
	t.Parallel()
	a := newAccount(t, time.Minute)
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	target := a.open(t, a.config(t))
	fetch := func() error { return target.Fetch(t.Context(), image, vmtest.Anyone(image), nothing) }
	if err := fetch(); err != nil {
		t.Fatal(err)
	}
	first := a.Instances()
	a.Set("stopped")
	err := fetch()
	if f := new(deploy.Failure); !errors.As(err, &f) || !strings.Contains(f.Message, "is stopped. Start it there") {
		t.Errorf("a stopped machine gives %v", err)
	}
	a.Set("terminated")
	if all, err := target.List(t.Context()); err == nil && len(all) > 0 {
		t.Errorf("without a machine there are %+v", all)
	}
	if err := fetch(); err != nil {
		t.Fatal(err)
	}
	if second := a.Instances(); len(second) != 1 || second[0] == first[0] {
		t.Errorf("after %q there is %q", first, second)
	}
}

func TestDestroyRemovesAllThatIsTheTargetsAndNothingElse(t *testing.T) {
	t.Parallel()
	a := newAccount(t, time.Minute)
	a.Foreign()
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	c := a.config(t)
	target := a.open(t, c)
	if err := target.Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err != nil {
		t.Fatal(err)
	}
	if kept, err := target.(deploy.Destroyer).Keeps(t.Context()); err != nil || len(kept) != 2 {
		t.Errorf("it keeps %+v, %v", kept, err)
	}
	for range 2 { // the second time it is gone already
		if err := target.(deploy.Destroyer).Destroy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := append(a.Instances(), a.Groups()...); !slices.Equal(got, []string{"i-foreign", "sg-foreign "}) {
		t.Errorf("left are %q", got)
	}
	if all, err := target.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("without a machine there are %+v, %v", all, err)
	}
	if err := target.Start(t.Context(), deploy.Release{ID: models.NewID()}); err == nil || !strings.Contains(err.Error(), "Deploy again: a rollout makes one") {
		t.Errorf("a start without a machine gives %v", err)
	}
}

func TestTheFirewallFollowsTheSettings(t *testing.T) {
	t.Parallel()
	a := newAccount(t, time.Minute)
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	c := a.config(t)
	if err := a.open(t, c).Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err != nil {
		t.Fatal(err)
	}
	c.Settings = maps.Clone(c.Settings)
	c.Settings["ssh_from"] = "198.51.100.0/24, 192.0.2.1/32"
	target := a.open(t, c)
	if err := target.Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err != nil {
		t.Fatal(err)
	}
	if got := a.Groups(); len(got) != 1 || !strings.HasSuffix(got[0], " 192.0.2.1/32,198.51.100.0/24") {
		t.Errorf("SSH is let in at %q", got)
	}
}

func TestWhatAWSRefusesIsSaidInWords(t *testing.T) {
	t.Parallel()
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	for name, c := range map[string]struct {
		script vmtest.Script
		change func(*deploy.Config)
		want   string
	}{
		"a permission that is missing":     {script: vmtest.On("RunInstances", vmtest.Fault{Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/x is not authorized to perform: ec2:CreateTags on resource: arn:aws:ec2:::instance/* because no identity-based policy allows the ec2:CreateTags action."}), want: "lacks the permission ec2:CreateTags"},
		"a permission that is not named":   {script: vmtest.On("CreateSecurityGroup", vmtest.Fault{Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation."}), want: "lacks the permission ec2:CreateSecurityGroup"},
		"a parameter that may not be read": {script: vmtest.On("GetParameter", vmtest.Fault{Status: 400, Code: "AccessDeniedException", Message: "User: x is not authorized to perform: ssm:GetParameter on resource: y"}), want: "lacks the permission ssm:GetParameter"},
		"a quota":                          {script: vmtest.On("RunInstances", vmtest.Fault{Status: 400, Code: "VcpuLimitExceeded"}), want: "quota in eu-test-1 does not allow another t3.small"},
		"no capacity":                      {script: vmtest.On("RunInstances", vmtest.Fault{Status: 500, Code: "InsufficientInstanceCapacity"}), want: "no t3.small free in the machine's zone"},
		"throttling without end":           {script: vmtest.On("DescribeInstances", vmtest.Fault{Status: 503, Code: "RequestLimitExceeded"}), want: "takes no more requests of this account now"},
		"an API that is not there":         {script: vmtest.On("DescribeInstances", vmtest.Fault{}), want: "API in eu-test-1 does not answer"},
		"a wrong secret":                   {change: func(c *deploy.Config) { c.Secrets["secret_access_key"] = "another" }, want: "does not accept the target's credential (SignatureDoesNotMatch)"},
		"an unknown key":                   {change: func(c *deploy.Config) { c.Settings["access_key_id"] = "AKIAOTHEROTHEROTHER" }, want: "does not accept the target's credential (AuthFailure)"},
		"a subnet that is not":             {change: func(c *deploy.Config) { c.Settings["subnet"] = "subnet-ffffffffffffffff0" }, want: "There is no subnet subnet-ffffffffffffffff0"},
		"an image that is not":             {change: func(c *deploy.Config) { c.Settings["image"] = "ami-ffffffffffffffff0" }, want: "There is no image ami-ffffffffffffffff0"},
		"another architecture":             {change: func(c *deploy.Config) { c.Settings["architecture"] = "arm64" }, want: "is for x86_64, and the target's architecture is arm64"},
		"a size that is not":               {change: func(c *deploy.Config) { c.Settings["size"] = "t0.huge" }, want: "no machine of the size t0.huge"},
		"a role without an issuer":         {change: func(c *deploy.Config) { c.Settings["role"] = vmtest.Role }, want: "this portal is no issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, time.Minute)
			a.Fail(c.script)
			config := a.config(t)
			if c.change != nil {
				c.change(&config)
			}
			target := a.open(t, config)
			err := target.Fetch(t.Context(), image, vmtest.Anyone(image), nothing)
			f := new(deploy.Failure)
			if !errors.As(err, &f) || f.Stage != deploy.StageTarget || !strings.Contains(f.Message, c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), vmtest.SecretKey) || strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Error("the failure tells a secret")
			}
			if got := a.Instances(); len(got) > 0 {
				t.Errorf("made were %q", got)
			}
			if bad := inspect(t, target); len(bad) == 0 && !strings.Contains(name, "quota") {
				t.Errorf("a look before says nothing of it")
			}
		})
	}
}

func TestThrottlingThatEndsIsWaitedFor(t *testing.T) {
	t.Parallel()
	a := newAccount(t, time.Minute)
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	a.Fail(func(call string, n int) *vmtest.Fault {
		if n > 2 {
			return nil
		}
		return &vmtest.Fault{Status: 503, Code: "RequestLimitExceeded"}
	})
	if err := a.open(t, a.config(t)).Fetch(t.Context(), image, vmtest.Anyone(image), nothing); err != nil {
		t.Error(err)
	}
}

func TestAMachineThatNeverAnswersIsGivenUpWithWords(t *testing.T) {
	t.Parallel()
	a := newAccount(t, 3*time.Second)
	a.Silence()
	image := vmtest.Push(t, dockertest.App(t, "VERSION=1"))
	err := a.open(t, a.config(t)).Fetch(t.Context(), image, vmtest.Anyone(image), nothing)
	f := new(deploy.Failure)
	if !errors.As(err, &f) || !strings.Contains(f.Message, "nothing listens there") || !strings.Contains(f.Message, "aws ec2 get-console-output") || !strings.Contains(f.Message, "SSH from") {
		t.Errorf("it says %v", err)
	}
}

func TestCredentialsOfARoleAreFetchedAndRenewedOnce(t *testing.T) {
	t.Parallel()
	a := newAccount(t, time.Minute)
	c := a.config(t)
	delete(c.Settings, "access_key_id")
	c.Settings["role"] = vmtest.Role
	var asked []string
	c.Identity = func(_ context.Context, audience string, of deploy.Subject) (string, error) {
		asked = append(asked, audience+" "+of.Team)
		return vmtest.Token, nil
	}
	target := a.open(t, c)
	if _, err := target.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.Expire()
	if _, err := target.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(asked, []string{"sts.amazonaws.com ", "sts.amazonaws.com "}) {
		t.Errorf("tokens were asked for as %q", asked)
	}
	a.Fail(vmtest.On("AssumeRoleWithWebIdentity", vmtest.Fault{Status: 403, Code: "AccessDenied"}))
	a.Expire()
	_, err := target.Check(t.Context())
	if f := new(deploy.Failure); !errors.As(err, &f) || !strings.Contains(f.Message, "sts:AssumeRoleWithWebIdentity") {
		t.Errorf("a role that trusts nobody gives %v", err)
	}
}

func TestSettingsOfAMachineThatCanNotBeAreRefused(t *testing.T) {
	t.Parallel()
	a := newAccount(t, time.Minute)
	for field, value := range map[string]string{
		"region": "here", "subnet": "sub", "image": "ubuntu", "size": "-x", "disk": "9", "architecture": "mips", "ssh_from": "203.0.113.7", "user": "Root:", "role": "slipway",
		"endpoint": "http://api.example.com",
	} {
		c := a.config(t)
		c.Settings[field] = value
		_, err := a.kind.Open(c)
		if wrong := new(models.Error); !errors.As(err, &wrong) || wrong.Fields[field] == "" {
			t.Errorf("%s %q gives %v", field, value, err)
		}
	}
	c := a.config(t)
	c.Secrets["host_private_key"] = "no key"
	if err := a.kind.Prepare(c.Settings, c.Secrets); !models.IsCode(err, models.Invalid) {
		t.Errorf("a host key that is none gives %v", err)
	}
}
