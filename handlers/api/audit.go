package api

import (
	"context"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/audit"
)

// AuditEntry says who did what to what, when and from where.
type AuditEntry struct {
	ID        string            `json:"id"`
	TeamID    string            `json:"team_id,omitempty"`
	Actor     Actor             `json:"actor"`
	Action    string            `json:"action" example:"build.queue"`
	Subject   string            `json:"subject" example:"build:0198c0de"`
	Name      string            `json:"name" doc:"What people call the subject."`
	IP        string            `json:"ip,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
	Detail    map[string]string `json:"detail,omitempty"`
	CreatedAt time.Time         `json:"created_at"`
}

// Actor is who did something.
type Actor struct {
	Kind models.PrincipalKind `json:"kind" enum:"session,token,system"`
	ID   string               `json:"id,omitempty"`
	Name string               `json:"name,omitempty"`
}

func (a *API) audit() {
	get(a, "/audit", "list-audit", "Who did what, newest first", a.listAudit, about("Of a team for its maintainers; of the whole site for admins."))
}

func (a *API) listAudit(ctx context.Context, in *struct {
	PageIn
	Team    string `query:"team" maxLength:"100" doc:"Slug of a team; empty: the whole site."`
	Subject string `query:"subject" maxLength:"200" doc:"Only what was done to this, such as build:ID."`
}) (*answer[List[AuditEntry]], error) {
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	l, err := a.Audit.List(ctx, audit.Filter{Page: in.page(), TeamID: team, Subject: in.Subject})
	if err != nil {
		return nil, err
	}
	return listOf(l, auditOf), nil
}

func auditOf(e *models.AuditEntry) AuditEntry {
	return AuditEntry{e.ID, e.TeamID, Actor{e.ActorKind, e.ActorID, e.ActorName}, e.Action, e.Subject, e.Name, e.IP, e.RequestID, e.Detail, e.CreatedAt.UTC()}
}
