package models

import "time"

// LogStream is the output of a build, or a part of that of instances. It lives as chunks
// while it is written and as one compressed blob afterwards.
type LogStream struct {
	ID        string `gorm:"primaryKey"` // the build's id, or that of a part of a place's log
	Kind      string // build, deployment
	Lines     int64
	Bytes     int64
	Closed    bool
	Truncated bool
	Blob      string // the blob's key once closed
	Error     string // why the log is not whole, for people
	Writer    string // who writes it now; whoever opened it last
	CreatedAt time.Time
	UpdatedAt time.Time
}

// LogChunk is a run of lines of a stream that is still being written.
type LogChunk struct {
	StreamID string `gorm:"primaryKey"`
	First    int64  `gorm:"primaryKey"` // number of the first line, from 1
	Lines    int64
	Data     []byte
}

// Event says that something changed; open pages and the events API follow them.
type Event struct {
	ID        string            `gorm:"primaryKey"` // sorts by time
	TeamID    string            // empty: for admins
	Kind      string            // such as build.running
	Topic     string            // what changed: "build:ID"
	Parent    string            // the topic above it: "app:ID"
	Data      map[string]string `gorm:"serializer:json"`
	CreatedAt time.Time
}

// AuditEntry says who did what to what, when and from where.
type AuditEntry struct {
	ID        string `gorm:"primaryKey"`
	TeamID    string
	ActorKind PrincipalKind
	ActorID   string // the user's id, or the token's
	ActorName string
	Action    string // such as build.queue
	Subject   string // such as build:ID
	Name      string // what people call the subject
	IP        string
	RequestID string
	Detail    map[string]string `gorm:"serializer:json"`
	Times     int64             // how often it happened; more than once only where the same was done again soon
	LastAt    *time.Time        // when it happened last, where that was more than once
	MergeKey  *string           // what is the same; nil: every time has an entry of its own
	CreatedAt time.Time
}

// IdempotencyKey remembers the answer to a POST, so that a repeated one starts nothing twice.
type IdempotencyKey struct {
	Principal string `gorm:"primaryKey"`
	Key       string `gorm:"primaryKey"`
	Request   string // SHA-256 of method, path and body
	Status    int    // 0 while the first request still runs
	Body      []byte
	CreatedAt time.Time
}
