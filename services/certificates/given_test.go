package certificates_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/certificates"
	"slipway.dev/services/certificates/acmetest"
)

var noLog = log.New(io.Discard, "", 0)

// issuer signs certificates.
type issuer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if i.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	i.key = key
	return i
}

func (i *issuer) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}))
}

// sign returns a certificate of the names that ends after the time, and its key.
func (i *issuer) sign(lives time.Duration, change func(*x509.Certificate), names ...string) (chain, key string) {
	i.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: names, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(lives), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, i.cert, k.Public(), i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	text, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		i.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text}))
}

func field(err error, name string) string {
	if e, ok := errors.AsType[*models.Error](err); ok {
		return e.Fields[name]
	}
	return ""
}

func TestACertificateThatCantBeShownIsRefusedByField(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	w := modelstest.Seed(t, db)
	i, other := newIssuer(t), newIssuer(t)
	chain, key := i.sign(24*time.Hour, nil, host)
	_, otherKey := i.sign(24*time.Hour, nil, host)
	ended, endedKey := i.sign(-time.Hour, nil, host)
	nameless, namelessKey := i.sign(24*time.Hour, nil)
	client, clientKey := i.sign(24*time.Hour, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, host)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(weak)}))
	s := &certificates.Service{DB: db, Box: newBox(t)}
	ctx := modelstest.As(t, db, w.Maintainer)
	for name, c := range map[string]struct{ chain, key, field, says string }{
		"nothing":          {"", key, "chain", "BEGIN CERTIFICATE"},
		"no key":           {chain, "", "key", "BEGIN PRIVATE KEY"},
		"another key":      {chain, otherKey, "key", "does not belong"},
		"a key as chain":   {key, key, "chain", "something else"},
		"ended":            {ended, endedKey, "chain", "ended on"},
		"no name":          {nameless, namelessKey, "chain", "names no host"},
		"for clients":      {client, clientKey, "chain", "not for servers"},
		"wrong order":      {chain + other.pem(), key, "chain", "not signed by"},
		"broken":           {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key, "chain", "can't be read"},
		"a weak key":       {chain, small, "key", "1024 bits"},
		"a passphrase":     {chain, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "key", "passphrase"},
		"too much":         {strings.Repeat(chain, 100), key, "chain", "At most"},
		"many":             {strings.Repeat(i.pem(), 11), key, "chain", "At most"},
		"garbage as a key": {chain, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "key", "can't be read"},
	} {
		_, err := s.Add(ctx, certificates.Input{TeamID: w.Team.ID, Chain: c.chain, Key: c.key})
		if !strings.Contains(field(err, c.field), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), "PRIVATE KEY-----\nM") {
			t.Errorf("%s: the error has the key: %v", name, err)
		}
	}
	c, err := s.Add(ctx, certificates.Input{TeamID: w.Team.ID, Chain: "a comment\n" + chain + i.pem(), Key: key})
	if err != nil || c.Issuer != "Test authority" || !c.Ends(db.NowFunc()) || len(c.Hosts) != 1 {
		t.Fatalf("%+v %v", c, err)
	}
	for who, code := range map[*models.User]models.Code{w.Stranger: models.NotFound, w.Developer: models.Denied} {
		if _, err := s.Add(modelstest.As(t, db, who), certificates.Input{TeamID: w.Team.ID, Chain: chain, Key: key}); !models.IsCode(err, code) {
			t.Errorf("%s added a certificate: %v", who.Name, err)
		}
		if err := s.Delete(modelstest.As(t, db, who), c.ID); !models.IsCode(err, code) {
			t.Errorf("%s deleted a certificate: %v", who.Name, err)
		}
	}
	if _, err := s.Add(ctx, certificates.Input{Chain: chain, Key: key}); !models.IsCode(err, models.Denied) {
		t.Errorf("a maintainer gave the whole site a certificate: %v", err)
	}
	if err := s.Delete(ctx, c.ID); err != nil {
		t.Error(err)
	}
}

func TestAHostShowsTheBestCertificateThatItsTeamOrAnAdminGave(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	s := &certificates.Service{DB: w.db, Box: w.box}
	i := newIssuer(t)
	give := func(team string, who *models.User, lives time.Duration, names ...string) *models.Certificate {
		t.Helper()
		chain, key := i.sign(lives, nil, names...)
		c, err := s.Add(modelstest.As(t, w.db, who), certificates.Input{TeamID: team, Chain: chain, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	roots := &acmetest.Authority{Roots: x509.NewCertPool()}
	roots.Roots.AddCert(i.cert)
	expect := func(what string, c *models.Certificate) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); ; <-time.After(20 * time.Millisecond) {
			got := w.proxies[0].shown(t, roots, host).PeerCertificates[0]
			if got.NotAfter.Equal(c.NotAfter) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: shown is one until %s, not until %s", what, got.NotAfter, c.NotAfter)
			}
		}
	}
	give(w.OtherTeam.ID, w.Stranger, 99*24*time.Hour, host) // of a team that has not the host
	wide := give("", w.Admin, 50*24*time.Hour, "*.example.org")
	expect("a wildcard of the site", wide)
	exact := give(w.Team.ID, w.Maintainer, 10*24*time.Hour, host, "www.example.org")
	expect("one that names the host", exact)
	longer := give(w.Team.ID, w.Maintainer, 20*24*time.Hour, host)
	expect("one that ends later", longer)
	if err := s.Delete(modelstest.As(t, w.db, w.Maintainer), longer.ID); err != nil {
		t.Fatal(err)
	}
	expect("the one before", exact)
	shown, err := s.For(modelstest.As(t, w.db, w.Viewer), w.Team.ID, host)
	if err != nil || shown.Certificate == nil || shown.Certificate.ID != exact.ID {
		t.Errorf("the page says %+v %v", shown, err)
	}
}

func TestWhatIsShownElsewhereIsGivenAndNotOrdered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	told := []string{}
	s := &certificates.Service{DB: w.db, Box: w.box, Changed: func(_ context.Context, _ *gorm.DB, team string) error {
		told = append(told, team)
		return nil
	}}
	if chain, key, err := s.Given(t.Context(), w.Team.ID, host); err != nil || len(chain)+len(key) > 0 {
		t.Errorf("nobody gave one: %q, %v", chain, err)
	}
	chain, key := newIssuer(t).sign(24*time.Hour, nil, host)
	given, err := s.Add(modelstest.As(t, w.db, w.Maintainer), certificates.Input{TeamID: w.Team.ID, Chain: chain, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	gotChain, gotKey, err := s.Given(t.Context(), w.Team.ID, host)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(gotChain, gotKey); err != nil || string(gotChain) != chain {
		t.Errorf("it is given as %q: %v", gotChain, err)
	}
	if chain, _, err := s.Given(t.Context(), w.OtherTeam.ID, host); err != nil || len(chain) > 0 {
		t.Errorf("another team gets it: %v", err)
	}
	if err := s.Delete(modelstest.As(t, w.db, w.Maintainer), given.ID); err != nil || !slices.Equal(told, []string{w.Team.ID, w.Team.ID}) {
		t.Errorf("told of %v: %v", told, err)
	}
	ordering := &certificates.Service{DB: w.db, Box: w.box, Authority: &certificates.Authority{Directory: "http://127.0.0.1:1"}, Elsewhere: []string{w.Target.Kind}}
	if err := ordering.OrderAll(t.Context()); err != nil || w.orders(host) != nil {
		t.Errorf("a certificate is ordered for a host whose visitors never come here: %+v, %v", w.orders(host), err)
	}
}
