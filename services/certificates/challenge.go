package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"regexp"
	"time"

	"golang.org/x/crypto/acme"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/secrets"
)

// ALPN is the protocol by which an authority asks for the certificate of a tls-alpn-01 challenge (RFC 8737 §3).
const ALPN = acme.ALPNProto

// ChallengePath is where an authority asks for the answer of an http-01 challenge (RFC 8555 §8.3).
const ChallengePath = "/.well-known/acme-challenge/"

const challengeTime = 30 * time.Minute

var (
	token       = regexp.MustCompile(`^[A-Za-z0-9_-]{8,200}$`)
	errNoAnswer = errors.New("no challenge of this host waits for an answer")
)

func challengePlace(host string) string { return "certificate_challenges/" + host }

// ChallengeAnswer returns what the authority is to get for the token at the host; empty: nobody knows the token.
func ChallengeAnswer(ctx context.Context, db *models.Database, host, asked string) (string, error) {
	if !token.MatchString(asked) {
		return "", nil
	}
	var c models.CertificateChallenge
	err := db.WithContext(ctx).Limit(1).Find(&c, "token = ? AND host = ? AND kind = ? AND expires_at > ?", asked, host, models.ChallengeHTTP, db.NowFunc()).Error
	return c.Answer, err
}

// ChallengeCertificate returns the certificate that answers a tls-alpn-01 challenge of the host.
func ChallengeCertificate(ctx context.Context, db *models.Database, box *secrets.Box, host string) (*tls.Certificate, error) {
	var c models.CertificateChallenge
	err := db.WithContext(ctx).Limit(1).Find(&c, "host = ? AND kind = ? AND expires_at > ?", host, models.ChallengeALPN, db.NowFunc()).Error
	if err != nil {
		return nil, err
	}
	if c.Host == "" {
		return nil, errNoAnswer
	}
	key, err := box.Open(challengePlace(host), c.Sealed)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair([]byte(c.Answer), key)
	return &pair, err
}

// prepare lets every proxy answer the challenge.
func (s *Service) prepare(ctx context.Context, client *acme.Client, host string, c *acme.Challenge) error {
	row := models.CertificateChallenge{Host: host, Kind: models.ChallengeKind(c.Type), Token: c.Token, ExpiresAt: s.DB.NowFunc().Add(challengeTime)}
	var err error
	if row.Kind == models.ChallengeHTTP {
		row.Answer, err = client.HTTP01ChallengeResponse(c.Token)
	} else {
		err = s.prepareALPN(client, &row)
	}
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error
}

func (s *Service) prepareALPN(client *acme.Client, row *models.CertificateChallenge) error {
	pair, err := client.TLSALPN01ChallengeCert(row.Token, row.Host)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return err
	}
	row.Answer = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}))
	row.Sealed = s.Box.Seal(challengePlace(row.Host), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	return nil
}
