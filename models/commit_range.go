package models

import "time"

// CommitRange is what lies between two commits of a repository. It never
// changes once it was counted.
type CommitRange struct {
	RepositoryID string         `gorm:"primaryKey"`
	Base         string         `gorm:"primaryKey"` // a full commit id
	Head         string         `gorm:"primaryKey"` // a full commit id
	Ahead        int            // commits that Head has and Base has not
	Behind       int            // commits that Base has and Head has not
	Commits      []ChangeCommit `gorm:"serializer:json"` // the newest of those ahead; where there are none, of those behind
	Note         string         // why it could not be counted; empty: it was
	CountedAt    time.Time      // or tried in vain
}

// Back tells whether going from Base to Head only takes commits away.
func (r CommitRange) Back() bool { return r.Ahead == 0 && r.Behind > 0 }

// More tells whether there are more commits than the list has.
func (r CommitRange) More() bool {
	if r.Back() {
		return r.Behind > len(r.Commits)
	}
	return r.Ahead > len(r.Commits)
}
