// Package registriestest starts a second registry for tests: Debian's
// docker-registry, which make test installs.
package registriestest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"slipway.dev/services/porttest"
)

// The login of a registry that Start starts with Login.
const (
	User     = "robot"
	Password = "canary-of-the-registry"
)

// Registry is a docker-registry that runs until the test ends.
type Registry struct {
	Host   string // 127.0.0.1 and its port: the first part of images' names
	Folder string // of what it keeps
	log    *safeBuffer
}

// URL is the registry's address, without TLS.
func (r *Registry) URL() string { return "http://" + r.Host }

// Log is what the registry has written so far.
func (r *Registry) Log() string { return r.log.String() }

// Start starts a docker-registry without a login on a free port.
func Start(t testing.TB) *Registry {
	t.Helper()
	return start(t, "")
}

// StartWithLogin starts one that asks for User and Password (htpasswd).
func StartWithLogin(t testing.TB) *Registry {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(Password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte(User+":"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", file))
}

func start(t testing.TB, auth string) *Registry {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Fatal("there is no docker-registry: run the tests with make test, which installs it")
	}
	r := &Registry{Host: porttest.Address(t), Folder: t.TempDir(), log: &safeBuffer{}}
	file := filepath.Join(t.TempDir(), "registry.yml")
	config := fmt.Sprintf("version: 0.1\nlog: {level: warn, accesslog: {disabled: true}}\n%s"+
		"storage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: %q}\n", auth, r.Folder, r.Host)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "serve", file)
	command.Stdout, command.Stderr = r.log, r.log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = command.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
	})
	r.await(t, ended)
	return r
}

// await returns once the registry answers.
func (r *Registry) await(t testing.TB, ended <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		if answer, err := http.Get(r.URL() + "/v2/"); err == nil {
			answer.Body.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("docker-registry ended at once: %s", r.Log())
		case <-ctx.Done():
			t.Fatalf("docker-registry does not answer: %s", r.Log())
		case <-ticker.C:
		}
	}
}

// safeBuffer is a buffer that a process writes while a test reads.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
