// Package vmtest stands for the providers of virtual machines in tests: it
// speaks their protocols, checks every request's credential, can be told to
// fail, and starts for each machine a real SSH server on this computer, with
// the keys that the machine's user data names. Docker behind it is the
// computer's own.
package vmtest

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os/user"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"go.yaml.in/yaml/v3"
	"slipway.dev/services/deploy"
	"slipway.dev/services/porttest"
	"slipway.dev/services/sshtest"
)

// Fault is what goes wrong with a call.
type Fault struct {
	Status  int    // of the answer; 0: none comes
	Code    string // as the provider names it
	Message string
	Done    bool // the call does its work before the fault
}

// Script says what goes wrong with the n-th call of the name, from 1; nil: nothing.
type Script func(call string, n int) *Fault

// On is the script by which the calls of the name fail.
func On(name string, f Fault) Script {
	return func(call string, _ int) *Fault {
		if call != name {
			return nil
		}
		return &f
	}
}

// machines are what the providers have in common: the machines, and the script.
type machines struct {
	t    testing.TB
	port string

	mu     sync.Mutex
	n      int
	calls  map[string]int
	script Script
	silent bool
	booted map[string]*sshtest.Server // by address
}

func newMachines(t testing.TB) *machines {
	return &machines{t: t, port: porttest.Port(t), calls: map[string]int{}, booted: map[string]*sshtest.Server{}}
}

// Port is where the machines' SSH servers listen.
func (m *machines) Port() string { return m.port }

// User is who the machines have to be made for: the only one that an SSH server of this computer lets in.
func (m *machines) User() string {
	me, err := user.Current()
	if err != nil {
		m.t.Fatal(err)
	}
	return me.Username
}

// Fail has calls fail from now on; nil: none.
func (m *machines) Fail(s Script) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.script, m.calls = s, map[string]int{}
}

// Silence has machines that are made from now on never answer.
func (m *machines) Silence() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.silent = true
}

// Calls is how often the call was made since the last Fail.
func (m *machines) Calls(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[name]
}

// fault counts the call and returns what goes wrong with it.
func (m *machines) fault(call string) *Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[call]++
	if m.script == nil {
		return nil
	}
	return m.script(call, m.calls[call])
}

// cloudInit is what the machines understand of a cloud-config.
type cloudInit struct {
	Update   bool     `yaml:"package_update"`
	Packages []string `yaml:"packages"`
	Users    []struct {
		Name   string   `yaml:"name"`
		Groups []string `yaml:"groups"`
		Shell  string   `yaml:"shell"`
		Locked bool     `yaml:"lock_passwd"`
		Keys   []string `yaml:"ssh_authorized_keys"`
	} `yaml:"users"`
	Password bool `yaml:"ssh_pwauth"`
	HostKey  struct {
		Private string `yaml:"ed25519_private"`
		Public  string `yaml:"ed25519_public"`
	} `yaml:"ssh_keys"`
	Files []struct {
		Path    string `yaml:"path"`
		Content string `yaml:"content"`
	} `yaml:"write_files"`
}

// boot starts a machine as cloud-init would, and returns its address.
func (m *machines) boot(userData string) string {
	var c cloudInit
	d := yaml.NewDecoder(strings.NewReader(userData))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		m.t.Errorf("the user data can't be read: %v", err)
		return ""
	}
	if len(c.Users) != 1 || !slices.Contains(c.Users[0].Groups, "docker") || len(c.Users[0].Keys) != 1 || !slices.Contains(c.Packages, "docker.io") || c.HostKey.Private == "" || c.Password {
		m.t.Errorf("no machine for Slipway comes of the user data %+v", c)
		return ""
	}
	if c.Users[0].Name != m.User() {
		m.t.Errorf("the machine is for %s", c.Users[0].Name)
	}
	m.mu.Lock()
	m.n++
	address := fmt.Sprintf("127.77.%d.%d", m.n/250, 1+m.n%250)
	silent := m.silent
	m.mu.Unlock()
	if silent {
		return address
	}
	s := sshtest.NewAs(m.t, net.JoinHostPort(address, m.port), c.Users[0].Keys[0], c.HostKey.Private)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.booted[address] = s
	return address
}

// halt ends the machine at the address.
func (m *machines) halt(address string) {
	m.mu.Lock()
	s := m.booted[address]
	delete(m.booted, address)
	m.mu.Unlock()
	if s != nil {
		s.Stop()
	}
}

// Push puts the image into a registry of the test's own.
func Push(t testing.TB, image v1.Image) deploy.Image {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	repository := server.Listener.Addr().String() + "/payments/checkout"
	ref, err := name.NewTag(repository + ":1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return deploy.Image{Repository: repository, Digest: digest.String()}
}

// Anyone may read the image.
func Anyone(image deploy.Image) deploy.Source {
	return deploy.Source{
		Credential: func(context.Context) (string, string, error) { return "someone", "secret", nil },
		Open: func(context.Context) (name.Repository, []remote.Option, error) {
			repository, err := name.NewRepository(image.Repository)
			return repository, nil, err
		},
	}
}

// hangUp breaks the connection without an answer.
func hangUp(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		conn.Close()
	}
}
