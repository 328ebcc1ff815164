package models

import "time"

// RetentionRule keeps images of a repository. It keeps those that have a tag which
// matches one of Tags, or with Untagged those without a tag: the newest Last of
// them, and those pushed in the last Days days. Where both are 0 it keeps them all.
type RetentionRule struct {
	Tags     []string `json:"tags,omitempty" doc:"Patterns such as main, v* or {release,hotfix}-*; none: every tag."`
	Untagged bool     `json:"untagged,omitempty" doc:"The rule is about images without a tag."`
	Last     int      `json:"last,omitempty" minimum:"0" maximum:"100000" doc:"Keep so many, the newest."`
	Days     int      `json:"days,omitempty" minimum:"0" maximum:"36500" doc:"Keep what was pushed in so many days."`
}

// RetentionPolicy says which images a repository keeps. Everything that no rule
// keeps and that nothing uses goes once it is MinAgeDays old.
type RetentionPolicy struct {
	TeamID        string          `gorm:"primaryKey"`
	Repository    string          `gorm:"primaryKey"` // empty: for the team's repositories that have none of their own
	Enabled       bool            // the daily clean-up follows it
	Rules         []RetentionRule `gorm:"serializer:json"`
	MinAgeDays    int             // nothing younger goes
	Rollbacks     int             // images of so many deployments of each app and environment stay
	UpdatedByName string
	UpdatedAt     time.Time
}

// RetentionState is where a clean-up stands.
type RetentionState string

// The states of a clean-up.
const (
	RetentionQueued    RetentionState = "queued"
	RetentionRunning   RetentionState = "running"
	RetentionSucceeded RetentionState = "succeeded"
	RetentionFailed    RetentionState = "failed"
)

// RetentionRun is one clean-up of a repository: of what a plan named, it deletes what nothing keeps by then.
type RetentionRun struct {
	ID            string `gorm:"primaryKey"`
	TeamID        string
	Repository    string
	State         RetentionState
	Planned       int64  // manifests that the plan named
	Deleted       int64  // of them
	Tags          int64  // deleted with them
	Spared        int64  // that something keeps by now
	Bytes         int64  // that the plan would free
	Error         string // for people
	StartedBy     string // a user's or token's id; empty: the schedule
	StartedByName string
	CreatedAt     time.Time
	FinishedAt    *time.Time
}

// RetentionOutcome is what became of a manifest that a plan named.
type RetentionOutcome string

// The outcomes.
const (
	OutcomePlanned RetentionOutcome = "planned"
	OutcomeDeleted RetentionOutcome = "deleted"
	OutcomeSpared  RetentionOutcome = "spared"
)

// RetentionItem is a manifest that a plan named.
type RetentionItem struct {
	RunID   string   `gorm:"primaryKey"`
	Digest  string   `gorm:"primaryKey"`
	Tags    []string `gorm:"serializer:json"`
	Outcome RetentionOutcome
	Reason  string // why it was spared
}

// RegistryQuota is how many bytes of images a team may have. Bytes below 0: any number.
type RegistryQuota struct {
	TeamID        string `gorm:"primaryKey"` // empty: of every team without one of its own
	Bytes         int64
	UpdatedByName string
	UpdatedAt     time.Time
}

// RegistryUsage is what a repository takes, as it was last counted.
type RegistryUsage struct {
	TeamID       string `gorm:"primaryKey"`
	Repository   string `gorm:"primaryKey"` // empty: the whole team, where a blob of several repositories counts once
	Bytes        int64  // with what was deleted and can be restored
	Tags         int64
	Images       int64
	DeletedBytes int64 // that only deleted images hold
	FreesBytes   int64 // that the next clean-up would free
	CountedAt    time.Time
}

// RegistryUsageDay is what a repository, or with an empty name a team, took on a day.
type RegistryUsageDay struct {
	TeamID     string `gorm:"primaryKey"`
	Repository string `gorm:"primaryKey"`
	Day        string `gorm:"primaryKey"` // such as 2026-11-26, in UTC
	Bytes      int64
}
