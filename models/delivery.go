package models

import "time"

// DeliveryState is where a delivery stands.
type DeliveryState string

// The states of a delivery.
const (
	DeliveryReceived DeliveryState = "received" // stored; a worker looks at it in a moment
	DeliveryHandled  DeliveryState = "handled"  // it led to something
	DeliveryIgnored  DeliveryState = "ignored"  // there was nothing to do
	DeliveryFailed   DeliveryState = "failed"   // it could not be understood; Message says why
)

// Delivery is one webhook that a forge has sent and whose signature was right.
type Delivery struct {
	ID            string `gorm:"primaryKey"` // sorts by the time it arrived
	TeamID        string
	ConnectionID  string
	ExternalID    string            // the forge's own id of it
	Fingerprint   string            // SHA-256 of what was signed, so that it is not taken twice under another id
	RedeliveryOf  string            // the delivery whose payload a person had worked anew
	RedeliveredBy string            // that person's name
	Event         string            // what the forge calls it: push, Push Hook
	Headers       map[string]string `gorm:"serializer:json"` // those that say something; no secret
	Body          []byte            // as it arrived, compressed with gzip
	Size          int64             // of the body as it arrived
	SHA256        string            `gorm:"column:sha256"` // of the body as it arrived
	State         DeliveryState
	Summary       string // such as "push to main by ada in acme/shop"
	Message       string // why it failed or was ignored as a whole
	HandledAt     *time.Time
	CreatedAt     time.Time
	Connection    *Connection       `gorm:"foreignKey:ConnectionID"`
	Outcomes      []DeliveryOutcome `gorm:"foreignKey:DeliveryID"`
}

// OutcomeKind says what became of a delivery for one app or repository.
type OutcomeKind string

// The kinds of outcomes.
const (
	OutcomeQueued     OutcomeKind = "queued"     // a build was queued
	OutcomeWaiting    OutcomeKind = "waiting"    // a build waits for approval
	OutcomeSuperseded OutcomeKind = "superseded" // a newer push was quicker
	OutcomeCanceled   OutcomeKind = "canceled"   // builds were canceled
	OutcomeIgnored    OutcomeKind = "ignored"
)

// DeliveryOutcome is what became of a delivery for one app, or for a repository as a whole.
type DeliveryOutcome struct {
	DeliveryID   string `gorm:"primaryKey"`
	Seq          int    `gorm:"primaryKey;autoIncrement:false"`
	Kind         OutcomeKind
	RepositoryID string
	Repository   string // its name then
	AppID        string // empty: of the repository as a whole
	App          string // its name then
	BuildID      string
	Message      string // such as "queued build #12", "ignored: branch not wanted"
}
