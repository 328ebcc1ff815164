// Package audit records who did what to what, in the transaction that did it.
package audit

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Entry is what one audit entry says; who, when and from where come from the context.
type Entry struct {
	TeamID  string // empty: of the whole site
	Action  string // such as build.queue
	Subject string // such as build:ID
	Name    string // what people call the subject
	Detail  map[string]string
}

// Record writes the entry in tx, so that nothing happens without it. Details must carry no secret.
func Record(ctx context.Context, tx *gorm.DB, e Entry) error {
	row := models.AuditEntry{
		ID: models.NewID(), TeamID: e.TeamID, Action: e.Action, Subject: e.Subject, Name: e.Name,
		Detail: e.Detail, RequestID: models.RequestFrom(ctx).ID, IP: models.RequestFrom(ctx).IP, Times: 1,
	}
	if p := models.PrincipalFrom(ctx); p != nil {
		row.ActorKind, row.ActorID, row.ActorName = p.Kind, p.ID, p.Name
		if p.UserID != "" {
			row.ActorID = p.UserID
		}
	}
	if err := tx.Create(&row).Error; err != nil {
		return fmt.Errorf("recording %s: %w", e.Action, err)
	}
	return nil
}

// Service reads the audit log.
type Service struct{ DB *gorm.DB }

// Filter narrows the list. An empty TeamID asks for the whole site, which only admins may.
type Filter struct {
	models.Page
	TeamID  string `query:"team_id"`
	Subject string `query:"subject"`
	Action  string `query:"action"` // such as image.pull
}

// List returns entries, newest first. A team's maintainers read their team's, admins everything.
func (s *Service) List(ctx context.Context, f Filter) (models.List[models.AuditEntry], error) {
	if err := s.authorize(ctx, f.TeamID); err != nil {
		return models.List[models.AuditEntry]{}, err
	}
	q := s.DB.WithContext(ctx)
	if f.TeamID != "" {
		q = q.Where("team_id = ?", f.TeamID)
	}
	if f.Subject != "" {
		q = q.Where("subject = ?", f.Subject)
	}
	if f.Action != "" {
		q = q.Where("action = ?", f.Action)
	}
	return models.Newest(q, f.Page, "id", func(e models.AuditEntry) string { return e.ID })
}

func (s *Service) authorize(ctx context.Context, teamID string) error {
	if teamID == "" {
		return models.AuthorizeAdmin(ctx)
	}
	return models.Authorize(ctx, teamID, models.RoleMaintainer, "team")
}
