package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"slipway.dev/models"
)

// rsaBits is the size of RSA keys (NIST SP 800-57: good beyond 2030 for signatures that live for minutes).
const rsaBits = 2048

// generate makes a key pair, sealed for its row, which is not stored yet.
func (r *Ring) generate() (*models.SigningKey, error) {
	id := models.NewID()
	plain, err := r.pair()
	if err != nil {
		return nil, fmt.Errorf("making a signing key for %s: %w", r.Use, err)
	}
	return &models.SigningKey{ID: id, Use: r.Use, Algorithm: string(r.Algorithm), Private: r.Box.Seal(place(id), plain), CreatedAt: r.DB.NowFunc()}, nil
}

// pair makes a private key as it is stored: the seed of an Ed25519 key, PKCS #8 of any other.
func (r *Ring) pair() ([]byte, error) {
	switch r.Algorithm {
	case jose.EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		return key.Seed(), nil
	case jose.ES256:
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		return x509.MarshalPKCS8PrivateKey(key)
	case jose.RS256:
		key, err := rsa.GenerateKey(rand.Reader, rsaBits)
		if err != nil {
			return nil, err
		}
		return x509.MarshalPKCS8PrivateKey(key)
	}
	return nil, fmt.Errorf("there are no keys for the algorithm %s", r.Algorithm)
}

// open returns the private key of the row, which must be one of the ring's algorithm.
func (r *Ring) open(row models.SigningKey) (crypto.Signer, error) {
	plain, err := r.Box.Open(place(row.ID), row.Private)
	if err != nil {
		return nil, err
	}
	wrong := fmt.Errorf("the signing key %s is no key for %s", row.ID, r.Algorithm)
	if row.Algorithm != string(r.Algorithm) {
		return nil, wrong
	}
	if r.Algorithm == jose.EdDSA {
		if len(plain) != ed25519.SeedSize {
			return nil, wrong
		}
		return ed25519.NewKeyFromSeed(plain), nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, fmt.Errorf("reading the signing key %s: %w", row.ID, err)
	}
	switch key := parsed.(type) {
	case *ecdsa.PrivateKey:
		if r.Algorithm == jose.ES256 {
			return key, nil
		}
	case *rsa.PrivateKey:
		if r.Algorithm == jose.RS256 {
			return key, nil
		}
	}
	return nil, wrong
}

func place(id string) string { return "signing_keys/" + id }
