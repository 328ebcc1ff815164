package models

import "time"

// User is a person who signs in through OIDC, known by issuer and subject and never by e-mail.
type User struct {
	ID          string `gorm:"primaryKey"`
	Issuer      string
	Subject     string
	Email       string
	Name        string
	Admin       bool
	DisabledAt  *time.Time
	LastLoginAt *time.Time
	CreatedAt   time.Time
}

// Session is one browser that is signed in; ID is the SHA-256 of the cookie's value.
type Session struct {
	ID         string `gorm:"primaryKey"`
	UserID     string
	Issuer     string
	UserAgent  string
	IP         string
	CreatedAt  time.Time
	LastSeenAt time.Time
	ExpiresAt  time.Time
}

// TokenKind says whom a token stands for.
type TokenKind string

// The kinds of tokens.
const (
	TokenPersonal  TokenKind = "personal"  // its user, with the user's roles
	TokenTeam      TokenKind = "team"      // a team, with a role of its own
	TokenBootstrap TokenKind = "bootstrap" // a site admin without a user, made at the first start
)

// Token is a credential for programs; only the SHA-256 of its secret is stored.
type Token struct {
	ID         string `gorm:"primaryKey"`
	Kind       TokenKind
	UserID     *string
	TeamID     *string
	Role       Role // for team tokens
	Name       string
	Hash       string
	Hint       string  // the first characters, to recognise it by
	Scopes     []Scope `gorm:"serializer:json"`
	CreatedBy  string
	CreatedAt  time.Time
	ExpiresAt  *time.Time
	LastUsedAt *time.Time
	RevokedAt  *time.Time
}

// Setting is one value that the whole installation shares, such as the set-up token's hash.
type Setting struct {
	Key       string `gorm:"primaryKey"`
	Value     string
	UpdatedAt time.Time
}

// SigningKey is a key pair that Slipway signs with. Private is encrypted.
type SigningKey struct {
	ID        string `gorm:"primaryKey"` // the key id (kid)
	Use       string // oidc, registry, identity
	Algorithm string
	Private   []byte
	CreatedAt time.Time
	RetiredAt *time.Time
}
