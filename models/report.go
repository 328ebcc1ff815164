package models

import "time"

// ForgeReport is what a forge is to be told about an app's newest build of a commit, as a commit status, and how far
// that has come. There is one for each app and commit, so that an old build can't overwrite what a newer one said.
type ForgeReport struct {
	ID           string `gorm:"primaryKey"`
	TeamID       string
	AppID        string
	Commit       string
	ConnectionID string
	RepositoryID string
	BuildID      string
	Number       int64      // the build's
	State        BuildState // what the forge is to be told
	Description  string     // in a sentence
	Ref          string     // the branch or tag; empty where the build is of a commit or a pull request
	Version      int64      // grows with every change of what is to be told
	Sent         string     // what the forge was told last about this build, in its own word; empty: nothing yet
	SentAt       *time.Time
	Attempts     int        // how many calls failed since the last change
	Since        time.Time  // when the forge should have been told
	NextAt       *time.Time // when it is tried next; nil: it is told, or it was given up
	LeasedUntil  *time.Time // until when a process may be busy with it
	HeldUntil    *time.Time // until when no report of the connection is sent, because the forge asked for it or is down
	Error        string     // why the last call failed, for people
	UpdatedAt    time.Time
}

// TableName is forge_reports.
func (ForgeReport) TableName() string { return "forge_reports" }

// ForgeComment is a comment on a pull request that Slipway writes once and then edits, and how far that has come. What
// it says is made when it is sent.
type ForgeComment struct {
	ID           string `gorm:"primaryKey"` // stands in the comment, so that it is found again
	TeamID       string
	RepositoryID string
	ConnectionID string
	Number       int64  // of the pull request
	ExternalID   string // the comment's at the forge; empty: not written yet
	Version      int64  // grows with every change of what is to be told
	Sent         string // SHA-256 of the text that the forge has; empty: none
	SentAt       *time.Time
	TriedAt      *time.Time // when it was first tried to write it
	Attempts     int        // how many calls failed since the last change
	Since        time.Time  // when the forge should have been told
	NextAt       *time.Time // when it is tried next; nil: it is told, or it was given up
	LeasedUntil  *time.Time // until when a process may be busy with it
	HeldUntil    *time.Time // until when no comment of the connection is sent
	Error        string     // why the last call failed, for people
	UpdatedAt    time.Time
}

// TableName is forge_comments.
func (ForgeComment) TableName() string { return "forge_comments" }

// GivenUp tells whether the forge will not be told any more.
func (r *ForgeReport) GivenUp() bool { return r.NextAt == nil && r.Error != "" }
