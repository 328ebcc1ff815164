package docker_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/deploytest"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/sshtest"
)

// far is another machine, as far as Slipway can tell: what it has is reached over SSH alone.
type far struct {
	*sshtest.Server
	private string
}

func newFar(t *testing.T) far {
	t.Helper()
	private, public := sshtest.KeyPair(t, "")
	return far{sshtest.New(t, public), private}
}

func (f far) open(t *testing.T, change func(*deploy.Config)) deploy.Target {
	t.Helper()
	id := models.NewID()
	dockertest.Sweep(t, "slipway.target", id)
	c := deploy.Config{ID: id, Settings: map[string]string{"host": f.User + "@" + f.Address, "host_key": f.HostKey()}, Secrets: map[string]string{"private_key": f.private}}
	if change != nil {
		change(&c)
	}
	target, err := docker.SSHKind().Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

func TestADockerEngineBehindSSHDoesWhatEveryTargetMust(t *testing.T) {
	image := push(t, dockertest.App(t, "VERSION=1"))
	gone := image
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	forget(t, image.Ref())
	machine := newFar(t)
	deploytest.Run(t, deploytest.Suite{
		Title: "Docker over SSH",
		Open:  func(t *testing.T) deploy.Target { return machine.open(t, nil) },
		Image: image, From: anyone(image), Gone: gone,
	})
}

func TestInstancesBehindSSHAreReachedThroughIt(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	machine := newFar(t)
	target := machine.open(t, nil)
	dial := func() error {
		conn, err := target.Dial(t.Context(), "tcp", listener.Addr().String())
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := dial(); err != nil {
		t.Fatal(err)
	}
	machine.Stop()
	if err := dial(); err == nil {
		t.Error("the instance is reached without the machine's SSH server")
	}
	machine.Restart()
	if err := dial(); err != nil {
		t.Errorf("the connection is not made again: %v", err)
	}
	listener.Close()
	refused := new(net.OpError)
	if err := dial(); !errors.As(err, &refused) || refused.Op != "dial" {
		t.Errorf("a port that nobody listens on: %v", err)
	}
}

func TestAMachineThatIsNotWhatItWasGetsNoKey(t *testing.T) {
	t.Parallel()
	machine := newFar(t)
	target := machine.open(t, nil)
	if _, err := target.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	machine.NewHostKey()
	machine.Restart()
	wantFailure(t, target, "another host key")
}

func TestWhatKeepsSlipwayFromAMachineIsSaid(t *testing.T) {
	t.Parallel()
	machine := newFar(t)
	stranger, _ := sshtest.KeyPair(t, "")
	for name, c := range map[string]struct {
		change func(*deploy.Config)
		want   string
	}{
		"nobody looked at its key": {func(c *deploy.Config) { delete(c.Settings, "host_key") }, "shows the host key SHA256:"},
		"another host key":         {func(c *deploy.Config) { c.Settings["host_key"] = "SHA256:" + strings.Repeat("A", 43) }, "another host key"},
		"a key that it refuses":    {func(c *deploy.Config) { c.Secrets["private_key"] = stranger }, "does not accept the key"},
		"nothing listens":          {func(c *deploy.Config) { c.Settings["host"] = "me@127.0.0.1:1" }, "nothing listens there"},
		"a name that is not known": {func(c *deploy.Config) { c.Settings["host"] = "me@no-such-machine.invalid" }, "its name is not known"},
		"no engine at the socket":  {func(c *deploy.Config) { c.Settings["socket"] = "/run/no-docker.sock" }, "There is no Docker Engine at /run/no-docker.sock"},
		"what listens is not sshd": {func(c *deploy.Config) { c.Settings["host"] = "me@" + otherServer(t) }, "no SSH server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantFailure(t, machine.open(t, c.change), c.want)
		})
	}
}

// otherServer takes connections and says something that is not SSH.
func otherServer(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("220 mail.example.com ESMTP\r\n"))
			conn.Close()
		}
	}()
	return listener.Addr().String()
}

func wantFailure(t *testing.T, target deploy.Target, want string) {
	t.Helper()
	_, err := target.Check(t.Context())
	failure := new(deploy.Failure)
	if !errors.As(err, &failure) || failure.Stage != deploy.StageTarget || !strings.Contains(failure.Message, want) {
		t.Errorf("got %v, want a failure of the target with %q", err, want)
	}
	if strings.Contains(err.Error(), "PRIVATE KEY") {
		t.Error("the failure tells the key")
	}
}

func TestSettingsOfAMachineThatCanNotBeAreRefused(t *testing.T) {
	t.Parallel()
	private, public := sshtest.KeyPair(t, "")
	locked, _ := sshtest.KeyPair(t, "secret")
	for name, c := range map[string]struct{ field, value, wrong string }{
		"no user":                   {"host", "203.0.113.7", "host"},
		"an option":                 {"host", "-oProxyCommand=x@host", "host"},
		"an option as host":         {"host", "me@-oProxyCommand=x", "host"},
		"a path":                    {"host", "me@host/tmp", "host"},
		"a port that is none":       {"host", "me@host:99999", "host"},
		"two hosts":                 {"host", "me@host@other", "host"},
		"a relative socket":         {"socket", "docker.sock", "socket"},
		"a socket with detours":     {"socket", "/var/../docker.sock", "socket"},
		"a host key that is none":   {"host_key", "abc", "host_key"},
		"a public key as private":   {"private_key", public, "private_key"},
		"a key with a passphrase":   {"private_key", locked, "private_key"},
		"an address that is a name": {"address", "host.example.com", "address"},
	} {
		settings := map[string]string{"host": "me@host", "host_key": "SHA256:abc"}
		secrets := map[string]string{"private_key": private}
		if c.field == "private_key" {
			secrets[c.field] = c.value
		} else {
			settings[c.field] = c.value
		}
		_, err := docker.SSHKind().Open(deploy.Config{ID: models.NewID(), Settings: settings, Secrets: secrets})
		wrong := new(models.Error)
		if !errors.As(err, &wrong) || wrong.Fields[c.wrong] == "" {
			t.Errorf("%s: got %v, want a word about the field %s", name, err, c.wrong)
		}
	}
}

func TestAKeyPairIsMadeWhereNoneWasBrought(t *testing.T) {
	t.Parallel()
	kind := docker.SSHKind()
	settings, secrets := map[string]string{"host": "me@host"}, map[string]string{}
	if err := kind.Prepare(settings, secrets); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(settings["public_key"], "ssh-ed25519 ") || !strings.Contains(secrets["private_key"], "PRIVATE KEY") {
		t.Fatalf("made were %q and a private key of %d bytes", settings["public_key"], len(secrets["private_key"]))
	}
	before := settings["public_key"]
	if err := kind.Prepare(settings, secrets); err != nil || settings["public_key"] != before {
		t.Errorf("saved again, the key is %q (%v)", settings["public_key"], err)
	}
	private, public := sshtest.KeyPair(t, "")
	secrets["private_key"] = strings.ReplaceAll(private, "\n", "\r\n") // as a form sends it
	if err := kind.Prepare(settings, secrets); err != nil || strings.Join(strings.Fields(settings["public_key"])[:2], " ") != strings.Join(strings.Fields(public)[:2], " ") {
		t.Errorf("a key that was brought is shown as %q (%v)", settings["public_key"], err)
	}
	if _, err := kind.Open(deploy.Config{ID: models.NewID(), Settings: settings, Secrets: secrets}); err != nil {
		t.Error(err)
	}
}

func TestWhatAnAppListensOnIsReadThroughSSH(t *testing.T) {
	t.Parallel()
	image := push(t, dockertest.App(t, "LISTEN=9090"))
	forget(t, image.Ref())
	target := newFar(t).open(t, nil)
	info, err := target.Check(t.Context())
	if err != nil || info.Disk <= 0 {
		t.Errorf("the machine says %+v, %v", info, err)
	}
	r := release(image)
	if err := target.Fetch(t.Context(), image, anyone(image), func(string) {}); err != nil {
		t.Fatal(err)
	}
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = target.Wait(ctx, r, func(string) {})
	f := new(deploy.Failure)
	if !errors.As(err, &f) || !strings.Contains(f.Message, "It listens on port 9090 instead") {
		t.Errorf("it says %v", err)
	}
}
