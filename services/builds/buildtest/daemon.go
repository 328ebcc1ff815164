package buildtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/porttest"
)

// Daemon is a buildkitd of the test's own, reached by mutual TLS.
type Daemon struct {
	Address string // tcp://127.0.0.1:PORT
	Root    string // what it keeps on disk
	Base    string // an image with a shell that it can fetch, for FROM
	Certificates
	process *exec.Cmd
	pid     string // the file with its process id
	output  *tail
	once    sync.Once
	ended   chan struct{}
}

// daemonConfig is buildkitd.toml. The network of commands has a loopback of its
// own and nothing else: without one, a buildkitd lends them the machine's.
const daemonConfig = `
root = %[1]q
[grpc]
  address = [%[2]q]
  [grpc.tls]
    cert = %[3]q
    key = %[4]q
    ca = %[5]q
[otel]
  socketPath = %[6]q
[worker.oci]
  enabled = true
  networkMode = "cni"
  cniConfigPath = %[7]q
  cniBinaryPath = "/usr/lib/cni"
[worker.containerd]
  enabled = false
`

const ownLoopback = `{"cniVersion": "1.0.0", "name": "slipway-test", "plugins": [{"type": "loopback"}]}`

// StartDaemon starts a buildkitd that ends with the test. What it runs ends with it: it has process and mount
// namespaces of its own. Images for FROM are in a registry on this machine.
func StartDaemon(t testing.TB) *Daemon {
	t.Helper()
	d := &Daemon{Certificates: NewCertificates(t), output: &tail{}, ended: make(chan struct{})}
	d.Root = temporary(t)
	d.Base = Push(t, Registry(t)+"/base:1", dockertest.Base(t))
	for range 3 { // another process may take the port in between
		if d.start(t) {
			return d
		}
	}
	t.Fatalf("buildkitd does not start:\n%s", d.output)
	return nil
}

// Push puts the image into a registry of a test, where it stays until the test ends, and returns its name.
func Push(t testing.TB, ref string, image v1.Image) string {
	t.Helper()
	at, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(at, image); err != nil {
		t.Fatal(err)
	}
	return ref
}

func (d *Daemon) start(t testing.TB) bool {
	t.Helper()
	port := porttest.Port(t)
	d.Address = "tcp://127.0.0.1:" + port
	config := d.configure(t)
	program := os.Getenv("SLIPWAY_TEST_BUILDKITD")
	if program == "" {
		t.Fatal("SLIPWAY_TEST_BUILDKITD names no buildkitd: run the tests with make test, which builds one, or through .ci/with")
	}
	d.pid = filepath.Join(t.TempDir(), "pid")
	// Its process id is not that of sudo, which would leave it running.
	d.process = asRoot("sh", "-c", `echo $$ >"$0" && exec "$@"`, d.pid, "unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "--",
		"env", "TMPDIR="+d.Root, "BUILDKIT_STEP_LOG_MAX_SIZE=-1", "BUILDKIT_STEP_LOG_MAX_SPEED=-1", program, "--config", config)
	d.process.Stdout, d.process.Stderr = d.output, d.output
	if err := d.process.Start(); err != nil {
		t.Fatalf("starting buildkitd: %v", err)
	}
	ended := make(chan struct{})
	d.ended, d.once = ended, sync.Once{}
	go func(p *exec.Cmd) {
		defer close(ended)
		_ = p.Wait() // it is killed at the end
	}(d.process)
	t.Cleanup(d.Kill)
	return d.answers(ended)
}

// asRoot is the command as root runs it.
func asRoot(args ...string) *exec.Cmd {
	if os.Getuid() != 0 {
		args = append([]string{"sudo", "-n", "--"}, args...)
	}
	return exec.Command(args[0], args[1:]...)
}

// answers waits until the daemon takes connections.
func (d *Daemon) answers(ended chan struct{}) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(3 * time.Minute)
	for {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(d.Address, "tcp://"), d.Client())
		if err == nil {
			conn.Close()
			return true
		}
		select {
		case <-ended:
			return false
		case <-late:
			d.Kill()
			return false
		case <-tick.C:
		}
	}
}

func (d *Daemon) configure(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text := fmt.Sprintf(daemonConfig, d.Root, d.Address, write("cert.pem", d.ServerCert), write("key.pem", d.ServerKey),
		write("ca.pem", d.CA), filepath.Join(dir, "otel.sock"), write("cni.conflist", []byte(ownLoopback)))
	return write("buildkitd.toml", []byte(text))
}

// Kill ends the daemon at once, as a machine that loses its power does.
func (d *Daemon) Kill() {
	d.once.Do(func() {
		if id, err := os.ReadFile(d.pid); err == nil {
			_ = asRoot("kill", "-KILL", "--", strings.TrimSpace(string(id))).Run() // it may have ended by itself
		}
		<-d.ended
	})
}

// Find returns the files of what the daemon keeps that hold the text.
func (d *Daemon) Find(t testing.TB, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := asRoot("grep", "-rlaF", "--", text, d.Root)
	out := &bytes.Buffer{}
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	_ = cmd.Wait() // grep fails where it finds nothing
	return out.String()
}

// temporary is a folder that root may write to and that is removed as root.
func temporary(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "slipway-buildkitd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := asRoot("rm", "-rf", "--", dir).CombinedOutput(); err != nil {
			t.Errorf("removing buildkitd's folder: %v: %s", err, out)
		}
	})
	return dir
}

// tail keeps the last of what a program printed.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (o *tail) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	if len(o.text) > 1<<20 {
		o.text = o.text[len(o.text)-1<<20:]
	}
	return len(p), nil
}

func (o *tail) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// Output is what the daemon printed.
func (d *Daemon) Output() string { return d.output.String() }
