package models

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/netip"
	"strings"
	"time"
)

// Domain is a host name that a team wants its apps to answer for. Nobody is
// served there before it is proven; of several teams that name one host, the first to prove it has it.
type Domain struct {
	ID            string `gorm:"primaryKey"`
	TeamID        string
	Host          string     // in ASCII (IDNA), lower case
	Token         string     // stands in the TXT record that proves the domain
	ProvenAt      *time.Time // nil: not yet
	ProvenBy      string     // how: dns, or the name of the admin who confirmed it
	CheckedAt     *time.Time // when its record was last looked up
	Note          string     // what was found there instead; empty: all is well
	Redirect      bool       // http becomes https, once there is a certificate
	HSTS          int64      `gorm:"column:hsts"` // seconds for which browsers are told to use https alone (RFC 6797); 0: they are not told
	CreatedByName string
	CreatedAt     time.Time
	UpdatedAt     time.Time
	Team          *Team `gorm:"foreignKey:TeamID"`
}

// Proven tells whether the domain is the team's.
func (d *Domain) Proven() bool { return d.ProvenAt != nil }

// RecordName is the name of the TXT record that proves the domain.
func (d *Domain) RecordName() string { return "_slipway." + d.Host }

// RecordValue is what that record has to say.
func (d *Domain) RecordValue() string { return "slipway=" + d.Token }

// Address is a host name and a path at which visitors find an app in an
// environment, beside the host name that the place has by itself.
type Address struct {
	ID            string `gorm:"primaryKey"`
	TeamID        string
	EnvironmentID string
	AppID         string
	Host          string // a domain of the team, or the own host name of one of its places
	Path          string // begins with a slash and ends with none, unless it is / for all paths
	Strip         bool   // the app sees paths without Path
	CreatedByName string
	CreatedAt     time.Time
}

// Text is the address as people write it.
func (a *Address) Text() string { return a.Host + strings.TrimSuffix(a.Path, "/") }

// PlaceLimits bounds the requests to an app in an environment. Durations are in
// seconds; 0 stands for the default.
type PlaceLimits struct {
	EnvironmentID string `gorm:"primaryKey"`
	AppID         string `gorm:"primaryKey"`
	Connect       int64  // until an instance takes the connection
	FirstByte     int64  // until an instance begins to answer, from the end of the request on
	Idle          int64  // without a byte in either direction
	Body          int64  // bytes of a request's body; below 0: any number
	UpdatedBy     string
	UpdatedAt     time.Time
}

// The limits of a place that says nothing else.
const (
	DefaultConnect   = 10      // seconds
	DefaultFirstByte = 120     // seconds
	DefaultIdle      = 600     // seconds
	DefaultBody      = 1 << 30 // bytes
)

// WithDefaults fills in what the limits leave open.
func (l PlaceLimits) WithDefaults() PlaceLimits {
	for _, f := range []struct {
		to *int64
		by int64
	}{{&l.Connect, DefaultConnect}, {&l.FirstByte, DefaultFirstByte}, {&l.Idle, DefaultIdle}, {&l.Body, DefaultBody}} {
		if *f.to == 0 {
			*f.to = f.by
		}
	}
	return l
}

// Maintenance keeps visitors away from an app in an environment.
type Maintenance struct {
	EnvironmentID string         `gorm:"primaryKey"`
	AppID         string         `gorm:"primaryKey"`
	Message       string         // what visitors read; empty: a sentence of Slipway's
	EndsAt        *time.Time     // when it ends by itself; nil: somebody ends it
	Allow         []netip.Prefix `gorm:"serializer:json"` // visitors from there reach the app all the same
	CodeHash      string         // SHA-256 in hex of the code with which a visitor reaches the app all the same
	StartedByName string
	StartedAt     time.Time
}

// On tells whether the maintenance keeps visitors away at the moment.
func (m *Maintenance) On(now time.Time) bool { return m.EndsAt == nil || now.Before(*m.EndsAt) }

// Admits tells whether the code lets a visitor reach the app all the same.
func (m *Maintenance) Admits(code string) bool {
	return m.CodeHash != "" && subtle.ConstantTimeCompare([]byte(HashCode(code)), []byte(m.CodeHash)) == 1
}

// HashCode is what is stored of a maintenance's code, which is random and long.
func HashCode(code string) string {
	sum := sha256.Sum256([]byte(code))
	return hex.EncodeToString(sum[:])
}

// VisitorEvents begins the kinds of all events after which proxies look anew at what they know.
const VisitorEvents = "visitors."

// Protocol is what an app speaks on its port.
type Protocol string

// The protocols of apps.
const (
	ProtocolHTTP1 Protocol = ""    // HTTP/1.1, with WebSocket
	ProtocolH2C   Protocol = "h2c" // HTTP/2 without TLS, by prior knowledge (RFC 9113 §3.3), as gRPC servers do
)
