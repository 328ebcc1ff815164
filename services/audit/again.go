package audit

import (
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// Often is what the same one did several times within an hour of the clock: one
// entry that counts, so that what happens thousands of times a day leaves the log readable.
type Often struct {
	Entry
	Actor   models.Principal
	Request models.Request // of the first time
	Key     string         // names who did what to what; the hour is added to it
	Times   int64
	First   time.Time
	Last    time.Time
}

// RecordOften writes the entry in tx, or counts it up where the same one did the
// same in the same hour. Any number of processes may do so at once.
func RecordOften(tx *gorm.DB, o Often) error {
	key := o.First.UTC().Format("2006-01-02T15 ") + o.Key
	row := models.AuditEntry{
		ID: models.NewID(), TeamID: o.TeamID, ActorKind: o.Actor.Kind, ActorID: o.Actor.ID, ActorName: o.Actor.Name,
		Action: o.Action, Subject: o.Subject, Name: o.Name, IP: o.Request.IP, RequestID: o.Request.ID, Detail: o.Detail,
		Times: o.Times, MergeKey: &key, CreatedAt: o.First,
	}
	if o.Actor.UserID != "" {
		row.ActorID = o.Actor.UserID
	}
	if o.Times > 1 {
		row.LastAt = &o.Last
	}
	err := tx.Clauses(clause.OnConflict{
		Columns: []clause.Column{{Name: "merge_key"}},
		DoUpdates: clause.Assignments(map[string]any{
			"times": gorm.Expr("audit_entries.times + excluded.times"), "last_at": o.Last,
		}),
	}).Create(&row).Error
	if err != nil {
		return fmt.Errorf("recording %s: %w", o.Action, err)
	}
	return nil
}
