package models

import (
	"net/url"
	"strings"
	"time"
)

// ForgeKind names a kind of forge.
type ForgeKind string

// The kinds of forges.
const (
	ForgeGitHub  ForgeKind = "github"  // github.com or GitHub Enterprise
	ForgeGitLab  ForgeKind = "gitlab"  // gitlab.com or one's own
	ForgeGitea   ForgeKind = "gitea"   // Gitea and Forgejo
	ForgeGeneric ForgeKind = "generic" // any program that can sign a request
)

// ConnectionCredential says how Slipway proves to a forge's API who it is.
type ConnectionCredential string

// The credentials of connections.
const (
	ConnectionNone  ConnectionCredential = "none" // Slipway only listens
	ConnectionToken ConnectionCredential = "token"
	ConnectionApp   ConnectionCredential = "github_app"
)

// Connection is what a team has with a forge: where it is, how Slipway calls
// it, and the secret that the forge signs its webhooks with.
type Connection struct {
	ID            string `gorm:"primaryKey"`
	TeamID        string
	Kind          ForgeKind
	Name          string
	BaseURL       string // such as https://github.com, without a slash at its end; empty for generic
	Credential    ConnectionCredential
	Settings      map[string]string `gorm:"serializer:json"` // of the credential, what may be shown
	Secrets       []byte            // of the credential, encrypted
	WebhookSecret []byte            // encrypted
	CreatedBy     string
	CreatedAt     time.Time
	UpdatedAt     time.Time
	Team          *Team `gorm:"foreignKey:TeamID"`
}

// Host is the forge's host in lower case, without port; empty where the connection names none.
func (c *Connection) Host() string {
	u, err := url.Parse(c.BaseURL)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// Origin is the scheme, host and port that the connection's credential goes to
// (RFC 6454 §4); empty where the connection names none.
func (c *Connection) Origin() string {
	u, err := url.Parse(c.BaseURL)
	if err != nil || u.Host == "" {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// Serves tells whether repositories on the host are at this forge. Ports don't
// count: a forge answers git over SSH and over HTTP on different ones.
func (c *Connection) Serves(host string) bool {
	return host != "" && c.Host() == strings.ToLower(host)
}
