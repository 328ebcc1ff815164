package models

import "time"

// TargetReading says when somebody last measured what runs on a target.
type TargetReading struct {
	TargetID string `gorm:"primaryKey"`
	TakenAt  time.Time
}

// UsageBucket is what an instance took in some minutes, sample by sample.
type UsageBucket struct {
	InstanceID string `gorm:"primaryKey"`
	StartsAt   int64  `gorm:"primaryKey"` // seconds since 1970
	Samples    []byte // packed by services/observe
}

// PlaceLog is what the instances of an app in an environment printed: all of
// its deployments, one after the other and side by side, as one row of lines.
// The lease says which worker listens.
type PlaceLog struct {
	ID            string `gorm:"primaryKey"`
	TeamID        string
	EnvironmentID string
	AppID         string
	SegmentID     string                      // the segment that is written; empty: none yet
	NextLine      int64                       // the number of the line that comes next
	Cursors       map[string]map[string]int64 `gorm:"serializer:json"` // deployment id → instance, or the replica's number → time of the last line that is stored, in nanoseconds since 1970
	Lease         `gorm:"embedded"`
	CreatedAt     time.Time
}

// LogSegment is a part of a place's log, stored as the log stream of the same id.
type LogSegment struct {
	ID         string `gorm:"primaryKey"`
	PlaceLogID string
	First      int64 // the number of its first line in the place's log
	FirstAt    time.Time
	LastAt     time.Time
	CreatedAt  time.Time
}
