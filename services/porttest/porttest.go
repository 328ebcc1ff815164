// Package porttest finds ports for the servers of tests that must be told one.
package porttest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// The system gives ports above these to those that don't ask for one, outgoing
// connections and published ports of containers among them (ip(7),
// ip_local_port_range): none of those takes what was found here before it is used.
const (
	lowest  = 12_000
	highest = 32_000
)

// Address returns 127.0.0.1 with a port on which nothing listens.
func Address(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(lowest+rand.IntN(highest-lowest)))
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
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
