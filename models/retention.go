package models

import (
	"fmt"
	"strings"
	"time"
)

// RetentionRule keeps images of a repository. It keeps those that have a tag which
// matches one of Tags, or with Untagged those without a tag: the newest Last of
// them, and those pushed in the last Days days. Where both are 0 it keeps them all.
type RetentionRule struct {
	Tags     []string `json:"tags,omitempty" doc:"Patterns such as main, v* or {release,hotfix}-*; none: every tag."`
	Untagged bool     `json:"untagged,omitempty" doc:"The rule is about images without a tag."`
	Last     int      `json:"last,omitempty" minimum:"0" maximum:"100000" doc:"Keep so many, the newest."`
	Days     int      `json:"days,omitempty" minimum:"0" maximum:"36500" doc:"Keep what was pushed in so many days."`
}

// Sentence says the rule in words.
func (r RetentionRule) Sentence() string {
	what := "every image with a tag"
	switch {
	case r.Untagged:
		what = "every image without a tag"
	case len(r.Tags) > 0:
		what = "every image tagged " + strings.Join(r.Tags, " or ")
	}
	of := strings.TrimPrefix(what, "every image ")
	switch {
	case r.Last > 0 && r.Days > 0:
		return fmt.Sprintf("keep the newest %s, and those pushed in the last %s, %s", many(r.Last, "image"), many(r.Days, "day"), of)
	case r.Last > 0:
		return fmt.Sprintf("keep the newest %s %s", many(r.Last, "image"), of)
	case r.Days > 0:
		return fmt.Sprintf("keep images %s pushed in the last %s", of, many(r.Days, "day"))
	}
	return "keep " + what
}

func many(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
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

// RetentionKind says what keeps a manifest.
type RetentionKind string

// What keeps a manifest. Empty: nothing, it goes.
const (
	KeptRuns      RetentionKind = "runs"      // it runs, or its instances have not gone yet
	KeptPending   RetentionKind = "pending"   // a deployment that has not ended names it
	KeptRollback  RetentionKind = "rollback"  // one of the last deployments of an environment ran it
	KeptBuild     RetentionKind = "build"     // a build that has not ended names it
	KeptProtected RetentionKind = "protected" // one of its tags may not be deleted
	KeptDeleted   RetentionKind = "deleted"   // a deletion can be undone only with it
	KeptBase      RetentionKind = "base"      // a Dockerfile builds on it
	KeptCache     RetentionKind = "cache"     // builds read their cache from it
	KeptRule      RetentionKind = "rule"
	KeptYoung     RetentionKind = "young" // it is younger than the policy's minimum
	KeptPart      RetentionKind = "part"  // it is a part of an index that stays, or an index with a part that is used
	KeptAbout     RetentionKind = "about" // it is about an image that stays, or something young is about it
)

// EffectivePolicy is the policy that counts for a repository, and where it comes from.
type EffectivePolicy struct {
	RetentionPolicy
	Set       bool // there is one
	Inherited bool // it is the team's
}

// RetentionEntry is one tag, or one manifest without a tag, and what a clean-up would do to it.
type RetentionEntry struct {
	Tag      string // empty: the manifest has none
	Digest   string
	PushedAt time.Time
	Size     int64 // compressed bytes of the image
	Frees    int64 // bytes that nothing but this manifest holds; 0 where it stays
	Goes     bool
	Kind     RetentionKind // what keeps it
	Reason   string        // the rule or the reference that keeps it, for people
}

// RetentionPreview is what a clean-up would do now: a dry run.
type RetentionPreview struct {
	Repository  string
	Policy      EffectivePolicy
	Fingerprint string // names what goes; a run is started with it
	Manifests   int
	Goes        int // manifests
	GoesTags    int
	Bytes       int64 // that are free once what goes is gone for good
	Entries     List[RetentionEntry]
}

// ImageUsage is what a repository or a team takes, as it was last counted.
type ImageUsage struct {
	RegistryUsage
	Team     string // its slug
	Growth   int64  // bytes more than GrowthOf ago
	GrowthOf time.Duration
	Quota    int64 // of a team, in bytes; 0: none
	OwnQuota bool  // the team's own number
}

// Nearly tells whether the team has used at least 80 % of its quota.
func (u ImageUsage) Nearly() bool { return u.Quota > 0 && u.Bytes*5 >= u.Quota*4 }

// TeamImageUsage is a team and its repositories, the largest first.
type TeamImageUsage struct {
	Total        ImageUsage
	Repositories List[ImageUsage]
}
