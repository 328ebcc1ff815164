package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/hooks"
)

// Delivery is one webhook that a forge has sent.
type Delivery struct {
	ID            string               `json:"id"`
	TeamID        string               `json:"team_id"`
	ConnectionID  string               `json:"connection_id"`
	Connection    string               `json:"connection" doc:"The connection's name."`
	ExternalID    string               `json:"external_id" doc:"The forge's own id of it."`
	RedeliveryOf  string               `json:"redelivery_of,omitempty" doc:"The delivery whose payload was worked on anew."`
	RedeliveredBy string               `json:"redelivered_by,omitempty"`
	Event         string               `json:"event" doc:"What the forge calls it." example:"push"`
	State         models.DeliveryState `json:"state" enum:"received,handled,ignored,failed"`
	Summary       string               `json:"summary"`
	Message       string               `json:"message,omitempty" doc:"Why it failed, or was ignored as a whole."`
	Outcomes      []DeliveryOutcome    `json:"outcomes" nullable:"false"`
	Size          int64                `json:"size" doc:"Of the payload, in bytes."`
	SHA256        string               `json:"sha256" doc:"Of the payload."`
	Headers       map[string]string    `json:"headers,omitempty" doc:"Those that say something; not in lists."`
	Payload       string               `json:"payload,omitempty" doc:"As text, indented, at most 256 KiB of it; not in lists."`
	HandledAt     *time.Time           `json:"handled_at"`
	CreatedAt     time.Time            `json:"created_at"`
}

// DeliveryOutcome is what became of a delivery for one app, or for a repository as a whole.
type DeliveryOutcome struct {
	Kind         models.OutcomeKind `json:"kind" enum:"queued,waiting,superseded,canceled,ignored"`
	RepositoryID string             `json:"repository_id"`
	Repository   string             `json:"repository"`
	AppID        string             `json:"app_id,omitempty"`
	App          string             `json:"app,omitempty"`
	BuildID      string             `json:"build_id,omitempty"`
	Message      string             `json:"message" example:"queued build #12"`
}

// maxPayload is how much of a payload is answered.
const maxPayload = 256 << 10

func (a *API) deliveries() {
	get(a, "/deliveries", "list-deliveries", "Webhooks that arrived, newest first", a.listDeliveries, about("They are kept for 30 days."))
	get(a, "/deliveries/{id}", "get-delivery", "A webhook with its payload", a.getDelivery)
	post(a, "/deliveries/{id}/redeliver", "redeliver", "Work on a webhook's payload anew", a.redeliver, status(http.StatusAccepted), repeatable)
}

func (a *API) listDeliveries(ctx context.Context, in *struct {
	PageIn
	Team         string               `query:"team" maxLength:"100" doc:"Slug of a team."`
	ConnectionID string               `query:"connection_id" maxLength:"100"`
	RepositoryID string               `query:"repository_id" maxLength:"100"`
	State        models.DeliveryState `query:"state" enum:"received,handled,ignored,failed"`
}) (*answer[List[Delivery]], error) {
	l, err := a.Hooks.List(ctx, hooks.Filter{Page: in.page(), Team: in.Team, ConnectionID: in.ConnectionID, RepositoryID: in.RepositoryID, State: in.State})
	if err != nil {
		return nil, err
	}
	return listOf(l, deliveryOf), nil
}

func (a *API) getDelivery(ctx context.Context, in *IDIn) (*answer[Delivery], error) {
	d, body, err := a.Hooks.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := deliveryOf(d)
	out.Headers = d.Headers
	out.Payload, _ = hooks.Pretty(body, maxPayload)
	return reply(out), nil
}

func (a *API) redeliver(ctx context.Context, in *IDIn) (*answer[Delivery], error) {
	d, err := a.Hooks.Redeliver(ctx, in.ID)
	return replyWith(d, deliveryOf, err)
}

func deliveryOf(d *models.Delivery) Delivery {
	out := Delivery{
		ID: d.ID, TeamID: d.TeamID, ConnectionID: d.ConnectionID, ExternalID: d.ExternalID, RedeliveryOf: d.RedeliveryOf, RedeliveredBy: d.RedeliveredBy,
		Event: d.Event, State: d.State, Summary: d.Summary, Message: d.Message, Size: d.Size, SHA256: d.SHA256, HandledAt: utc(d.HandledAt), CreatedAt: d.CreatedAt.UTC(),
		Outcomes: sliceOf(d.Outcomes, func(o *models.DeliveryOutcome) DeliveryOutcome {
			return DeliveryOutcome{o.Kind, o.RepositoryID, o.Repository, o.AppID, o.App, o.BuildID, o.Message}
		}),
	}
	if d.Connection != nil {
		out.Connection = d.Connection.Name
	}
	return out
}
