package models

import (
	"net"
	"slices"
	"strings"
	"time"
)

// Certificate is what a host shows to visitors who come by TLS. One that a team
// gave is shown for the team's own domains alone, one that an admin gave for
// every host that it names, and one that was ordered for the one host that it was ordered for.
type Certificate struct {
	ID            string   `gorm:"primaryKey"`
	TeamID        string   // empty: of the whole site
	OrderedFor    string   // the host for which Slipway ordered it from an authority; empty: it was given
	Hosts         []string `gorm:"serializer:json"` // the names in it, such as *.example.com
	Chain         string   // PEM, the host's own certificate first
	Sealed        []byte   // the private key in PEM, encrypted
	Issuer        string   // in words
	NotBefore     time.Time
	NotAfter      time.Time
	CreatedByName string
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// CertificateWarning is how long before its end a certificate is warned about.
const CertificateWarning = 21 * 24 * time.Hour

// Valid tells whether the certificate counts at the moment.
func (c *Certificate) Valid(now time.Time) bool {
	return !now.Before(c.NotBefore) && now.Before(c.NotAfter)
}

// Ends tells whether the certificate has ended or is about to.
func (c *Certificate) Ends(now time.Time) bool { return now.Add(CertificateWarning).After(c.NotAfter) }

// Covers tells whether the certificate is one for the host, and whether it names the host itself rather than a
// wildcard, which stands for exactly one label (RFC 6125 §6.4.3).
func (c *Certificate) Covers(host string) (covers, exact bool) {
	if slices.Contains(c.Hosts, host) {
		return true, true
	}
	if _, parent, ok := strings.Cut(host, "."); ok && net.ParseIP(host) == nil {
		return slices.Contains(c.Hosts, "*."+parent), false
	}
	return false, false
}

// MayShow tells whether the host, a domain of the team where team is not empty, may show the certificate.
func (c *Certificate) MayShow(host, team string) bool {
	if c.OrderedFor != "" {
		return c.OrderedFor == host
	}
	return c.TeamID == "" || c.TeamID == team
}

// Better tells whether the host should rather show c than other: one that counts before one that does not, one that was
// given before one that was ordered, one that names the host before a wildcard, one that ends later.
func (c *Certificate) Better(other *Certificate, host string, now time.Time) bool {
	if a, b := c.Valid(now), other.Valid(now); a != b {
		return a
	}
	if a, b := c.OrderedFor == "", other.OrderedFor == ""; a != b {
		return a
	}
	_, a := c.Covers(host)
	_, b := other.Covers(host)
	if a != b {
		return a
	}
	return c.NotAfter.After(other.NotAfter)
}

// CertificateAccount is Slipway's account with an authority that certificates are ordered from.
type CertificateAccount struct {
	Directory string `gorm:"primaryKey"` // the authority's URL
	Sealed    []byte // the account's private key in PEM, encrypted
	CreatedAt time.Time
}

// CertificateOrder is where the ordering of a host's certificate stands. One worker at a time works on it.
type CertificateOrder struct {
	Host       string     `gorm:"primaryKey"`
	Tries      int        // that failed, one after the other
	Note       string     // why the last one failed
	NextAt     time.Time  // not before
	TakenUntil *time.Time // a worker is at it until then
	UpdatedAt  time.Time
}

// ChallengeKind is how an authority sees that a host is ours.
type ChallengeKind string

// The challenges that Slipway answers.
const (
	ChallengeHTTP ChallengeKind = "http-01"     // RFC 8555 §8.3
	ChallengeALPN ChallengeKind = "tls-alpn-01" // RFC 8737
)

// CertificateChallenge is what every proxy answers when an authority looks whether a host is ours.
type CertificateChallenge struct {
	Host      string        `gorm:"primaryKey"`
	Kind      ChallengeKind `gorm:"primaryKey"`
	Token     string
	Answer    string // of http-01: the key authorization; of tls-alpn-01: the certificate in PEM
	Sealed    []byte // of tls-alpn-01: that certificate's key in PEM, encrypted
	ExpiresAt time.Time
}
