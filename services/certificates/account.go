package certificates

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"golang.org/x/crypto/acme"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// Authority is where certificates are ordered, by ACME (RFC 8555).
type Authority struct {
	Directory string       // its URL
	Email     string       // where it writes to; empty: nowhere
	KeyID     string       // of an external account (RFC 8555 §7.3.4); empty: none is needed
	MACKey    []byte       // of that account
	Client    *http.Client // reaches the authority, within time limits

	mu     sync.Mutex
	client *acme.Client // registered
}

func accountPlace(directory string) string { return "certificate_accounts/" + directory }

// account returns a client with Slipway's account at the authority: the same in every process.
func (s *Service) account(ctx context.Context) (*acme.Client, error) {
	a := s.Authority
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client != nil {
		return a.client, nil
	}
	key, err := s.accountKey(ctx)
	if err != nil {
		return nil, err
	}
	client := &acme.Client{Key: key, DirectoryURL: a.Directory, HTTPClient: a.Client, UserAgent: "slipway"}
	account := &acme.Account{}
	if a.Email != "" {
		account.Contact = []string{"mailto:" + a.Email}
	}
	if a.KeyID != "" {
		account.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: a.KeyID, Key: a.MACKey}
	}
	if _, err := client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("registering with the authority: %w", err)
	}
	a.client = client
	return client, nil
}

// accountKey returns the account's key, which the first process makes.
func (s *Service) accountKey(ctx context.Context) (crypto.Signer, error) {
	place := accountPlace(s.Authority.Directory)
	_, text, err := newKey()
	if err != nil {
		return nil, err
	}
	db := s.DB.WithContext(ctx)
	row := models.CertificateAccount{Directory: s.Authority.Directory, Sealed: s.Box.Seal(place, text), CreatedAt: s.DB.NowFunc()}
	if err := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error; err != nil {
		return nil, err
	}
	var kept models.CertificateAccount
	if err := db.Take(&kept, "directory = ?", s.Authority.Directory).Error; err != nil {
		return nil, err
	}
	text, err = s.Box.Open(place, kept.Sealed)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the account's key is no PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the account's key signs nothing")
	}
	return signer, nil
}

// newKey makes a key on the curve P-256, and its PEM.
func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
