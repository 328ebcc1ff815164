// Package porttest finds ports for the servers of tests that must be told one.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// The system gives ports above these to those that don't ask for one, outgoing
// connections and published ports of containers among them (ip(7),
// ip_local_port_range): none of those takes what was found here before it is used.
const (
	lowest  = 12_000
	highest = 32_000
)

// Address returns 127.0.0.1 with a port on which nothing listens. No other test
// of this user gets the port before this one has ended, whatever process it is of.
func Address(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		port := lowest + rand.IntN(highest-lowest)
		var mine bool
		if mine, err = ports.reserve(port); err != nil {
			break
		}
		if !mine {
			continue
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		var l net.Listener
		if l, err = net.Listen("tcp", address); err != nil {
			ports.release(port)
			continue
		}
		l.Close()
		t.Cleanup(func() { ports.release(port) })
		return address
	}
	t.Fatalf("no port is free: %v", err)
	return ""
}

// Port is the port of an Address.
func Port(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(Address(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// ports are those that tests of this process hold.
var ports = reserved{held: map[int]bool{}}

// reserved keeps ports from other processes by locks on the bytes of a file, each
// of which stands for a port; they end with the process. Within a process such
// locks hold nobody up (fcntl(2), "Advisory record locking"), so that it has a list too.
type reserved struct {
	mu   sync.Mutex
	held map[int]bool
	file *os.File // never closed: that would end all locks
}

// reserve makes the port this test's, unless it is another's.
func (r *reserved) reserve(port int) (mine bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held[port] {
		return false, nil
	}
	if r.file == nil {
		path := filepath.Join(os.TempDir(), fmt.Sprintf("slipway-test-ports-%d", os.Getuid()))
		if r.file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
			return false, err
		}
	}
	if r.lock(port, syscall.F_WRLCK) != nil { // another process has it
		return false, nil
	}
	r.held[port] = true
	return true, nil
}

func (r *reserved) release(port int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.lock(port, syscall.F_UNLCK)
	delete(r.held, port)
}

func (r *reserved) lock(port int, kind int16) error {
	return syscall.FcntlFlock(r.file.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: kind, Start: int64(port), Len: 1})
}
