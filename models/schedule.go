package models

import "time"

// ScheduleOutcome says what came of a schedule's last turn.
type ScheduleOutcome string

// The outcomes of a turn.
const (
	ScheduleQueued     ScheduleOutcome = "queued"      // a build was queued
	ScheduleNothingNew ScheduleOutcome = "nothing_new" // the ref is at the commit of its last build
	ScheduleFailed     ScheduleOutcome = "failed"      // Error says why no build was queued
)

// Schedule has an app built again and again, at the times of a cron expression.
type Schedule struct {
	ID            string `gorm:"primaryKey"`
	TeamID        string // the app's
	AppID         string
	Cron          string // five fields, or a word such as @daily
	TimeZone      string // an IANA name, such as Europe/Berlin
	Ref           string // a branch or a tag; empty: the default branch of the day
	NoCache       bool
	OnlyNew       bool // build only a commit that the ref's last build was not about
	Enabled       bool
	NextAt        *time.Time // when its next turn is; nil while it is off
	Turn          int64      // grows with every turn and every change, so that only one process takes a turn
	LeasedUntil   *time.Time // until when a process may be busy with the turn
	LastAt        *time.Time // when its last turn was
	LastOutcome   ScheduleOutcome
	LastBuildID   string
	Error         string // why the last turn failed, for people
	CreatedBy     string // user id
	CreatedByName string
	CreatedAt     time.Time
	UpdatedAt     time.Time
	App           *App `gorm:"foreignKey:AppID"`
}
