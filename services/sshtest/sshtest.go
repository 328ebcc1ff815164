// Package sshtest starts real SSH servers for tests.
package sshtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway.dev/services/porttest"
)

// Server is a real sshd on a free port of this machine that lets one key in. It forwards connections as sshd does by default.
type Server struct {
	// Address is "127.0.0.1:PORT", or what NewAs was given.
	Address string
	// User is the account that the key signs in to.
	User string

	t   testing.TB
	dir string
	cmd *exec.Cmd
}

// New starts an sshd that ends with the test. The authorized key is in the format of a .pub file.
func New(t testing.TB, authorizedKey string) *Server {
	t.Helper()
	return NewAs(t, porttest.Address(t), authorizedKey, "")
}

// NewAs is New at the address of the loopback with the private host key; empty: one is made.
func NewAs(t testing.TB, address, authorizedKey, hostKey string) *Server {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{User: me.Username, t: t, dir: t.TempDir(), Address: address}
	s.write("authorized_keys", authorizedKey)
	if hostKey == "" {
		s.NewHostKey()
	} else {
		s.write("host", hostKey)
	}
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	t.Cleanup(s.Stop)
	return s
}

// KeyPair makes a key pair with the program that people use for it: the private
// key locked with the passphrase, where there is one, and the line of the .pub file.
func KeyPair(t testing.TB, passphrase string) (private, public string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	secret, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return string(secret), string(shown)
}

// NewHostKey gives the server another identity from its next Restart on, as an impostor would have.
func (s *Server) NewHostKey() {
	s.t.Helper()
	_ = os.Remove(s.path("host"))
	_ = os.Remove(s.path("host.pub"))
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.path("host")).CombinedOutput()
	if err != nil {
		s.t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
}

// HostKey is the public half of the server's identity: its type and its key.
func (s *Server) HostKey() string {
	s.t.Helper()
	raw, err := os.ReadFile(s.path("host.pub"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(raw))[:2], " ")
}

// Restart starts the server anew on the same address.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.start()
}

func (s *Server) start() {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.Address)
	s.write("config", strings.Join([]string{
		"ListenAddress " + net.JoinHostPort(host, port), "HostKey " + s.path("host"), "AuthorizedKeysFile " + s.path("authorized_keys"),
		"PidFile none", "StrictModes no", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"PermitRootLogin yes", "X11Forwarding no", "PrintMotd no", "LogLevel ERROR", "",
	}, "\n"))
	var output bytes.Buffer
	s.cmd = exec.Command(sshd(s.t), "-D", "-e", "-f", s.path("config"))
	s.cmd.Stderr = &output
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.DialTimeout("tcp", s.Address, time.Second)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			s.Stop()
			s.t.Fatalf("sshd does not listen: %v\n%s", err, output.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Stop ends the server and every connection to it.
func (s *Server) Stop() {
	// The processes of connections are in groups of their own. No more come while they are looked for.
	_ = syscall.Kill(s.cmd.Process.Pid, syscall.SIGSTOP)
	for _, pid := range append(children(s.cmd.Process.Pid), s.cmd.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = s.cmd.Wait()
}

// children lists the processes below a process.
func children(pid int) (all []int) {
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	for _, text := range strings.Fields(string(list)) {
		if child, err := strconv.Atoi(text); err == nil {
			all = append(append(all, children(child)...), child)
		}
	}
	return all
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// sshd finds the server program, which is often outside of the search path; it must be started by its full name.
func sshd(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("sshd"); err == nil {
		return path
	}
	if _, err := os.Stat("/usr/sbin/sshd"); err != nil {
		t.Fatal("these tests need an SSH server: install openssh-server")
	}
	return "/usr/sbin/sshd"
}
