package dockertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
)

// Own is a Docker Engine of one test, beside the machine's, which the test may stop and start.
type Own struct {
	Host    string // such as unix:///tmp/…/docker.sock
	Address string // at which the ports that it publishes are reached from here

	t      testing.TB
	folder string
	net    string        // its network namespace, and this machine's end of the cable to it
	ended  chan struct{} // closed once it has stopped
	log    *os.File
}

// NewOwn starts an engine with folders and a network namespace of its own, until the test ends. It needs root, by sudo where the test has it not.
func NewOwn(t testing.TB) *Own {
	t.Helper()
	folder, err := os.MkdirTemp("", "slipway-engine-") // t.TempDir's names are too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	// A network namespace of its own: an engine takes docker0 for its default network, or deletes it where it
	// is told to use none, and either would be the machine's.
	subnet := fmt.Sprintf("10.212.%d.", rand.IntN(256))
	o := &Own{Host: "unix://" + filepath.Join(folder, "docker.sock"), Address: subnet + "2", t: t, folder: folder, net: fmt.Sprintf("slipway%08x", rand.Uint32())}
	if o.log, err = os.Create(filepath.Join(folder, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.remove)
	o.run("ip", "netns", "add", o.net)
	o.run("ip", "link", "add", o.net, "type", "veth", "peer", "name", "eth0", "netns", o.net)
	o.run("ip", "addr", "add", subnet+"1/24", "dev", o.net)
	o.run("ip", "link", "set", o.net, "up")
	for _, inside := range [][]string{{"addr", "add", subnet + "2/24", "dev", "eth0"}, {"link", "set", "eth0", "up"}, {"link", "set", "lo", "up"}} {
		o.run(append([]string{"ip", "-n", o.net}, inside...)...)
	}
	o.Start()
	return o
}

// Start starts the engine and waits until it answers.
func (o *Own) Start() {
	o.t.Helper()
	at := func(name string) string { return filepath.Join(o.folder, name) }
	engine := asRoot("nsenter", "--net=/run/netns/"+o.net, "--", "dockerd", "--host", o.Host, "--group", strconv.Itoa(os.Getgid()), "--data-root", at("data"), "--exec-root", at("exec"), "--pidfile", at("pid"),
		"--bridge", "none", "--iptables=false", "--default-address-pool", "base=10.213.0.0/16,size=24", "--storage-driver", "vfs", "--shutdown-timeout", "1")
	engine.Stdout, engine.Stderr = o.log, o.log
	if err := engine.Start(); err != nil {
		o.t.Fatalf("starting a Docker Engine: %v", err)
	}
	ended := make(chan struct{})
	o.ended = ended
	go func() {
		defer close(ended)
		_ = engine.Wait()
	}()
	docker := o.client()
	defer docker.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		if _, err := docker.Ping(ctx); err == nil {
			tick.Stop()
			return
		}
		select {
		case <-ended:
			o.t.Fatalf("the Docker Engine ended at its start:\n%s", o.said())
		case <-ctx.Done():
			o.t.Fatalf("the Docker Engine does not answer:\n%s", o.said())
		case <-tick.C:
		}
	}
}

// Stop ends the engine and what it runs, as a reboot of its machine would.
func (o *Own) Stop() {
	o.t.Helper()
	if o.ended == nil {
		return // it never started
	}
	if id, err := os.ReadFile(filepath.Join(o.folder, "pid")); err == nil {
		_ = asRoot("kill", "-TERM", "--", strings.TrimSpace(string(id))).Run()
	}
	select {
	case <-o.ended:
	case <-time.After(patience):
		o.t.Errorf("the Docker Engine does not end:\n%s", o.said())
	}
}

func (o *Own) client() *client.Client {
	docker, err := client.NewClientWithOpts(client.WithHost(o.Host), client.WithAPIVersionNegotiation())
	if err != nil {
		o.t.Fatal(err)
	}
	return docker
}

func (o *Own) said() string {
	text, _ := os.ReadFile(filepath.Join(o.folder, "log"))
	return string(text[max(0, len(text)-4000):])
}

// remove ends the engine and takes away what it would leave behind: containers, networks and files.
func (o *Own) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	docker := o.client()
	defer docker.Close()
	if all, err := docker.ContainerList(ctx, container.ListOptions{All: true}); err == nil {
		for _, c := range all {
			_ = docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
		}
		_, _ = docker.NetworksPrune(ctx, filters.NewArgs())
	}
	o.Stop()
	o.log.Close()
	o.run("ip", "netns", "delete", o.net) // the cable goes with it
	if o.t.Failed() {
		o.t.Logf("the Docker Engine of the test said:\n%s", o.said())
	}
	if out, err := asRoot("rm", "-rf", "--", o.folder).CombinedOutput(); err != nil {
		o.t.Errorf("removing the Docker Engine's folder: %v: %s", err, out)
	}
}

// run runs a command as root.
func (o *Own) run(args ...string) {
	o.t.Helper()
	if out, err := asRoot(args...).CombinedOutput(); err != nil {
		o.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// asRoot is the command as root runs it, who finds servers where a user's PATH does not look.
func asRoot(args ...string) *exec.Cmd {
	args = append([]string{"env", "PATH=" + os.Getenv("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin"}, args...)
	if os.Getuid() != 0 {
		args = append([]string{"sudo", "-n", "--"}, args...)
	}
	return exec.Command(args[0], args[1:]...)
}
