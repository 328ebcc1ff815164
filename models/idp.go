package models

import "time"

// Account is a person's user name and password at the embedded OpenID Connect
// provider. Its id is the subject that the provider names to the portal.
type Account struct {
	ID           string `gorm:"primaryKey"`
	UserName     string // lower case
	Name         string
	Email        string
	PasswordHash string // argon2id in PHC form; empty until the person has set one
	DisabledAt   *time.Time
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Invite is a one-time link with which a person sets the password of their
// account; only the SHA-256 of its token is stored.
type Invite struct {
	ID        string `gorm:"primaryKey"`
	AccountID string
	Hash      string
	CreatedBy string
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedAt    *time.Time
}

// Authorization is one sign-in at the embedded provider, from its code to the end of its access token.
type Authorization struct {
	ID          string `gorm:"primaryKey"`
	CodeHash    string
	ClientID    string
	AccountID   string
	RedirectURI string
	Scopes      []string `gorm:"serializer:json"`
	Nonce       string
	Challenge   string // the code's S256 challenge (RFC 7636)
	CreatedAt   time.Time
	ExpiresAt   time.Time
	UsedAt      *time.Time // when the code was redeemed
}
