// Package acmetest runs a real ACME server, Let's Encrypt's own for tests
// (Pebble), inside a test. It looks for hosts on this machine, whatever their names.
package acmetest

import (
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// Authority is an ACME server that signs for hosts which it can see.
type Authority struct {
	Directory string
	Client    *http.Client   // trusts the server
	Roots     *x509.CertPool // of the certificates that it signs
}

// Options says where hosts are and who may order.
type Options struct {
	HTTPPort, TLSPort int               // on 127.0.0.1, in place of 80 and 443
	Accounts          map[string]string // external accounts, of which one is needed: key id → HMAC key in base64url
}

var once sync.Once

// Start runs the server until the test ends.
func Start(t testing.TB, o Options) *Authority {
	t.Helper()
	once.Do(func() {
		if err := os.Setenv("PEBBLE_VA_NOSLEEP", "1"); err != nil { // it waits for seconds at random otherwise
			t.Fatal(err)
		}
	})
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	for id, key := range o.Accounts {
		if err := store.AddExternalAccountKeyByID(id, key); err != nil {
			t.Fatal(err)
		}
	}
	signs := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	looks := va.New(quiet, o.HTTPPort, o.TLSPort, false, names(t), store)
	front := wfe.New(quiet, store, looks, signs, []string{"authority.test"}, false, len(o.Accounts) > 0, 1, 1)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(signs.GetRootCert(0).Cert)
	return &Authority{Directory: server.URL + wfe.DirectoryPath, Client: server.Client(), Roots: roots}
}

// names starts a name server that knows every host as this machine.
func names(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, ask *dns.Msg) {
		out := new(dns.Msg)
		out.SetReply(ask)
		if ask.Question[0].Qtype == dns.TypeA {
			out.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: ask.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)}}
		}
		if err := w.WriteMsg(out); err != nil {
			t.Log(err)
		}
	})}
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.ActivateAndServe(); err != nil {
			t.Error(err)
		}
	})
	<-started
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	return l.Addr().String()
}
