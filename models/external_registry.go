package models

import (
	"strings"
	"time"
)

// RegistryAccess is what teams may do with the images of an external registry.
type RegistryAccess string

// The accesses. Each includes those before it.
const (
	RegistryNone RegistryAccess = ""
	RegistryPull RegistryAccess = "pull"
	RegistryPush RegistryAccess = "push" // pull and push
)

// Valid tells whether the access is one of the three.
func (a RegistryAccess) Valid() bool {
	return a == RegistryNone || a == RegistryPull || a == RegistryPush
}

// Allows tells whether the access covers the action, which is pull or push.
func (a RegistryAccess) Allows(action string) bool {
	return action == "push" && a == RegistryPush || action == "pull" && (a == RegistryPull || a == RegistryPush)
}

// Registry is an external registry that an admin connected. The embedded
// registry has no row: in code and in the API it is the one with the empty id.
type Registry struct {
	ID              string `gorm:"primaryKey"`
	Slug            string // in addresses
	Name            string
	Kind            string            // such as ghcr
	Host            string            // first part of its images' names, in lower case: ghcr.io, or registry.example.com:5000
	PlainHTTP       bool              // an admin allows it to be reached without TLS
	Realm           string            // another host that gives its tokens, as an admin confirmed it; empty: none but those of the kind
	Settings        map[string]string `gorm:"serializer:json"` // of the credential, what may be shown
	Secrets         []byte            // of the credential, encrypted
	AllTeams        RegistryAccess    // what every team may do in all of its repositories
	CheckRepository string            // the repository that checks pull from and push to
	Checks          []RegistryCheck   `gorm:"serializer:json"` // of the last check
	CheckedAt       *time.Time
	CreatedAt       time.Time
	UpdatedAt       time.Time
	Grants          []RegistryGrant `gorm:"foreignKey:RegistryID"`
}

// RegistryGrant lets a team use the repositories of a registry that are the
// prefix or lie below it; an empty prefix means all.
type RegistryGrant struct {
	RegistryID string `gorm:"primaryKey"`
	TeamID     string `gorm:"primaryKey"`
	Prefix     string `gorm:"primaryKey"` // such as acme, or acme/shop
	Access     RegistryAccess
	CreatedAt  time.Time
	Team       *Team `gorm:"foreignKey:TeamID"`
}

// Covers tells whether the repository is the grant's prefix or lies below it.
func (g RegistryGrant) Covers(repository string) bool {
	return g.Prefix == "" || repository == g.Prefix || strings.HasPrefix(repository, g.Prefix+"/")
}

// CheckResult says how one step of a registry's check ended.
type CheckResult string

// The results of a step.
const (
	CheckPassed   CheckResult = "passed"
	CheckFailed   CheckResult = "failed"
	CheckNotTried CheckResult = "not_tried"
)

// RegistryCheck is one step of checking a registry: reach, login, pull or push.
type RegistryCheck struct {
	Step    string      `json:"step"`
	Result  CheckResult `json:"result"`
	Message string      `json:"message"`        // what was found, for people
	Help    string      `json:"help,omitempty"` // what to do about it
}
