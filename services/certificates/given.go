package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"unicode/utf8"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Limits of what people give.
const (
	maxPEM    = 64 << 10
	maxChain  = 10
	maxNames  = 200
	maxGiven  = 500 // certificates of a team
	leastBits = 2048
)

// Input is a certificate that somebody gives.
type Input struct {
	TeamID string // empty: of the whole site, for any host
	Chain  string // PEM: the host's certificate first, then those that signed it
	Key    string // PEM, without a passphrase
}

// Add checks the certificate and keeps it. Its hosts show it at once.
func (s *Service) Add(ctx context.Context, in Input) (*models.Certificate, error) {
	if in.TeamID == "" {
		if err := models.AuthorizeAdmin(ctx); err != nil {
			return nil, err
		}
	} else if err := models.Authorize(ctx, in.TeamID, models.RoleMaintainer, "team"); err != nil {
		return nil, err
	}
	chain, err := readChain(in.Chain)
	if err != nil {
		return nil, err
	}
	key, err := readKey(in.Key)
	if err != nil {
		return nil, err
	}
	if _, err := tls.X509KeyPair([]byte(in.Chain), key); err != nil {
		return nil, models.InvalidField("key", "This key does not belong to the certificate.")
	}
	leaf := chain[0]
	if now := s.DB.NowFunc(); now.After(leaf.NotAfter) {
		return nil, models.InvalidField("chain", "The certificate ended on %s.", leaf.NotAfter.UTC().Format("2 January 2006"))
	}
	c := s.newCertificate(leaf)
	c.TeamID, c.Chain = in.TeamID, encode(chain)
	if who := models.PrincipalFrom(ctx); who != nil {
		c.CreatedByName = who.Name
	}
	c.Sealed = s.Box.Seal(keyPlace(c.ID), key)
	return c, s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var n int64
		if err := tx.Model(&models.Certificate{}).Where("team_id = ?", c.TeamID).Count(&n).Error; err != nil {
			return err
		}
		if n >= maxGiven {
			return models.Errorf(models.Conflict, "There are %d certificates, which is as many as there can be. Delete one first.", n)
		}
		if err := tx.Create(c).Error; err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "certificate.add")
	})
}

// newCertificate describes a host's certificate.
func (s *Service) newCertificate(leaf *x509.Certificate) *models.Certificate {
	now := s.DB.NowFunc()
	c := &models.Certificate{ID: models.NewID(), NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(), CreatedAt: now, UpdatedAt: now}
	for _, name := range leaf.DNSNames {
		c.Hosts = append(c.Hosts, strings.ToLower(strings.TrimSuffix(name, ".")))
	}
	c.Issuer = leaf.Issuer.CommonName
	if len(leaf.Issuer.Organization) > 0 && c.Issuer == "" {
		c.Issuer = leaf.Issuer.Organization[0]
	}
	c.Issuer = strings.ToValidUTF8(c.Issuer[:min(len(c.Issuer), 200)], "")
	return c
}

// readChain reads the certificates and checks that each is signed by the next.
func readChain(text string) (chain []*x509.Certificate, err error) {
	if len(text) > maxPEM {
		return nil, models.InvalidField("chain", "At most %d KiB.", maxPEM>>10)
	}
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, models.InvalidField("chain", "There is something else than certificates here: %q. The key has a field of its own.", short(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, models.InvalidField("chain", "Certificate %d can't be read.", len(chain)+1)
		}
		if chain = append(chain, c); len(chain) > maxChain {
			return nil, models.InvalidField("chain", "At most %d certificates.", maxChain)
		}
	}
	if len(chain) == 0 {
		return nil, models.InvalidField("chain", "Paste the certificate in PEM: it begins with -----BEGIN CERTIFICATE-----.")
	}
	for i := range chain[:len(chain)-1] {
		if chain[i].CheckSignatureFrom(chain[i+1]) != nil {
			return nil, models.InvalidField("chain", "Certificate %d was not signed by the one after it. The host's own comes first, then the one that signed it, and so on.", i+1)
		}
	}
	return chain, checkLeaf(chain[0])
}

func checkLeaf(leaf *x509.Certificate) error {
	switch {
	case len(leaf.DNSNames) == 0:
		return models.InvalidField("chain", "The first certificate names no host (subject alternative names).")
	case len(leaf.DNSNames) > maxNames:
		return models.InvalidField("chain", "The certificate names more than %d hosts.", maxNames)
	case len(leaf.ExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny):
		return models.InvalidField("chain", "The certificate is not for servers.")
	}
	for _, name := range leaf.DNSNames {
		if len(name) > 255 || !utf8.ValidString(name) || strings.ContainsAny(name, "\x00\r\n ") {
			return models.InvalidField("chain", "The certificate names a host that is none.")
		}
	}
	return nil
}

// readKey checks the key and returns its PEM alone.
func readKey(text string) ([]byte, error) {
	if len(text) > maxPEM {
		return nil, models.InvalidField("key", "At most %d KiB.", maxPEM>>10)
	}
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, models.InvalidField("key", "Paste the private key in PEM: it begins with -----BEGIN PRIVATE KEY-----.")
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, models.InvalidField("key", "The key has a passphrase. Paste it without one: openssl pkey -in key.pem prints it.")
		case !strings.HasSuffix(block.Type, "PRIVATE KEY"):
			continue // such as the parameters that openssl puts before a key
		}
		return pem.EncodeToMemory(block), checkKey(block.Bytes)
	}
}

func checkKey(der []byte) error {
	var key any
	var err error
	if key, err = x509.ParsePKCS8PrivateKey(der); err != nil {
		if key, err = x509.ParseECPrivateKey(der); err != nil {
			key, err = x509.ParsePKCS1PrivateKey(der)
		}
	}
	if err != nil {
		return models.InvalidField("key", "The key can't be read.")
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < leastBits {
			return models.InvalidField("key", "The key has %d bits; browsers ask for at least %d.", k.N.BitLen(), leastBits)
		}
	case *ecdsa.PrivateKey, ed25519.PrivateKey:
	default:
		return models.InvalidField("key", "Use an RSA or ECDSA key.")
	}
	return nil
}

func encode(chain []*x509.Certificate) string {
	var out strings.Builder
	for _, c := range chain {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return out.String()
}

func short(text string) string { return text[:min(len(text), 40)] }
