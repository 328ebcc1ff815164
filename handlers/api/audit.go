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
	Times     int64             `json:"times" doc:"How often it happened; pulls of the same image by the same within an hour are one entry."`
	LastAt    *time.Time        `json:"last_at" doc:"When it happened last, where that was more than once."`
	CreatedAt time.Time         `json:"created_at"`
}

// Actor is who did something.
type Actor struct {
	Kind models.PrincipalKind `json:"kind" enum:"session,token,system,workload,anonymous"`
	ID   string               `json:"id,omitempty"`
	Name string               `json:"name,omitempty"`
}

func (a *API) audit() {
	get(a, "/audit", "list-audit", "Who did what, newest first", a.listAudit, about("Of a team for its maintainers; of the whole site for admins."))
}

func (a *API) listAudit(ctx context.Context, in *struct {
	PageIn
	Team    string `query:"team" maxLength:"100" doc:"Slug of a team; empty: the whole site."`
	Subject string `query:"subject" maxLength:"300" doc:"Only what was done to this, such as build:ID or image:payments/checkout."`
	Action  string `query:"action" maxLength:"100" doc:"Only this, such as image.pull, image.push or image.delete."`
}) (*answer[List[AuditEntry]], error) {
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	l, err := a.Audit.List(ctx, audit.Filter{Page: in.page(), TeamID: team, Subject: in.Subject, Action: in.Action})
	if err != nil {
		return nil, err
	}
	return listOf(l, auditOf), nil
}

func auditOf(e *models.AuditEntry) AuditEntry {
	return AuditEntry{e.ID, e.TeamID, Actor{e.ActorKind, e.ActorID, e.ActorName}, e.Action, e.Subject, e.Name, e.IP, e.RequestID, e.Detail, max(e.Times, 1), utc(e.LastAt), e.CreatedAt.UTC()}
}
