package models

import (
	"encoding/json"
	"slices"
	"time"
)

// CopyState is where a copy stands.
type CopyState string

// The states of a copy.
const (
	CopyQueued    CopyState = "queued" // also: it waits for its next try
	CopyRunning   CopyState = "running"
	CopySucceeded CopyState = "succeeded"
	CopyFailed    CopyState = "failed"
	CopyCanceled  CopyState = "canceled"
)

var copyMoves = map[CopyState][]CopyState{
	CopyQueued:   {CopyRunning, CopyFailed, CopyCanceled},
	CopyRunning:  {CopyQueued, CopySucceeded, CopyFailed, CopyCanceled},
	CopyFailed:   {CopyQueued},
	CopyCanceled: {CopyQueued},
}

// Ended tells whether nothing more happens by itself.
func (s CopyState) Ended() bool { return s != CopyQueued && s != CopyRunning }

// Valid tells whether the state is one of the five.
func (s CopyState) Valid() bool {
	return slices.Contains([]CopyState{CopyQueued, CopyRunning, CopySucceeded, CopyFailed, CopyCanceled}, s)
}

// ImagePlaceName is a repository in some registry.
type ImagePlaceName struct {
	Registry   string // id; empty: the embedded registry
	Host       string // such as ghcr.io
	Repository string // without the host, such as acme/shop
}

// Name is the repository as people write it, such as ghcr.io/acme/shop.
func (p ImagePlaceName) Name() string { return p.Host + "/" + p.Repository }

// Copy is an image that is brought from one registry to another, by its digest.
type Copy struct {
	ID                string `gorm:"primaryKey"`
	TeamID            string // for which it is done
	State             CopyState
	Source            ImagePlaceName `gorm:"embedded;embeddedPrefix:source_"`
	SourceTag         string         // the tag that was clicked, for people
	Digest            string         // of the image or index: what is copied, whatever the tag names later
	Target            ImagePlaceName `gorm:"embedded;embeddedPrefix:target_"`
	TargetTag         string         // set last; empty: the image gets no tag
	Referrers         bool           // signatures, bills of materials and what else is about the image are copied too
	Manifests         int64          // how many the image has; 0: not known yet
	Blobs             int64          // how many it has, config included
	BlobsDone         int64          // those that are at the target, by whomever
	BlobsThere        int64          // those of them that were there before
	Bytes             int64          // of all blobs
	BytesDone         int64
	BytesThere        int64
	Uploads           map[string]json.RawMessage `gorm:"serializer:json"` // by digest: how far the uploads that were begun are
	Tries             int                        // that failed one after the other
	NextTryAt         *time.Time                 // when a waiting copy goes on
	Note              string                     // why it waits, for people
	Error             string                     // why it failed, for people
	Lease             `gorm:"embedded"`
	CancelRequestedAt *time.Time
	CanceledBy        string
	AskedKind         PrincipalKind // whom it acts for
	AskedID           string        // the session's or token's id
	CreatedBy         string        // the user's id
	CreatedByName     string
	CreatedAt         time.Time
	StartedAt         *time.Time
	FinishedAt        *time.Time
	Team              *Team `gorm:"foreignKey:TeamID"`
}

// TableName is the table; gorm would say copies too, and a reader should not have to know.
func (Copy) TableName() string { return "copies" }

// Move changes the state, or says why it can't.
func (c *Copy) Move(next CopyState) error {
	if !slices.Contains(copyMoves[c.State], next) {
		return Errorf(Conflict, "The copy is %s and can't become %s.", c.State, next)
	}
	c.State = next
	return nil
}

// From is what is copied, as people write it.
func (c *Copy) From() string {
	if c.SourceTag != "" {
		return c.Source.Name() + ":" + c.SourceTag
	}
	return c.Source.Name() + "@" + c.Digest
}

// To is where it goes, as people write it.
func (c *Copy) To() string {
	if c.TargetTag != "" {
		return c.Target.Name() + ":" + c.TargetTag
	}
	return c.Target.Name()
}
