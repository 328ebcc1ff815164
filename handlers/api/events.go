package api

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"slipway.dev/handlers/problem"
	"slipway.dev/handlers/sse"
	"slipway.dev/models"
	"slipway.dev/services/events"
)

// Event says that something changed.
type Event struct {
	ID        string            `json:"id" doc:"Sorts by time; send the last one as Last-Event-ID to go on after it."`
	Kind      string            `json:"kind" example:"build.running"`
	Topic     string            `json:"topic" doc:"What changed." example:"build:0198c0de"`
	Parent    string            `json:"parent,omitempty" doc:"What it belongs to." example:"app:0198c0de"`
	TeamID    string            `json:"team_id,omitempty"`
	Data      map[string]string `json:"data,omitempty"`
	CreatedAt time.Time         `json:"created_at"`
}

// missed is how many events a client that comes back is told at most.
const missed = 1000

type eventsIn struct {
	LastEventID string `header:"Last-Event-ID" doc:"Go on after this event; events are kept for a day."`
	After       string `query:"after" doc:"The same for clients that can't send the header."`
}

func (a *API) events() {
	get(a, "/events", "stream-events", "Follow everything that you may see change, as server-sent events", a.streamEvents,
		stream("Each event's name is `event`, its data an Event in JSON. It ends when your session or token ends."))
}

func (a *API) streamEvents(context.Context, *eventsIn) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		c := humaecho.Unwrap(hc)
		st, err := a.streams.Open(c.Response(), c.Request(), nil)
		if err != nil {
			a.refuse(hc, err)
			return
		}
		defer st.Close()
		a.followEvents(st, sse.After(c.Request()))
	}}, nil
}

// followEvents tells what was missed and then what happens. It subscribes
// before it reads, so that nothing falls between, and tells nothing twice.
func (a *API) followEvents(st *sse.Stream, after string) {
	ctx := st.Context()
	live := a.Events.Subscribe(ctx)
	told := map[string]bool{}
	if after != "" {
		past, err := a.Events.Since(ctx, after, missed)
		if err != nil {
			return
		}
		var b bytes.Buffer
		for _, e := range past {
			told[e.ID] = true
			sse.Append(&b, e.ID, "event", encode(e))
		}
		if b.Len() > 0 && st.SendAll(b.Bytes()) != nil {
			return
		}
	}
	for e := range live {
		if told[e.ID] || !events.Visible(st.Principal(), e) {
			continue
		}
		if st.Send(e.ID, "event", encode(e)) != nil {
			return
		}
	}
}

func encode(e models.Event) string {
	b, _ := json.Marshal(Event{e.ID, e.Kind, e.Topic, e.Parent, e.TeamID, e.Data, e.CreatedAt.UTC()}) // plain fields: can't fail
	return string(b)
}

// refuse answers with an error where a stream could not begin.
func (a *API) refuse(hc huma.Context, err error) {
	p := problem.Of(hc.Context(), err)
	if described, failed := oneForm(hc, "", p); failed == nil {
		p = described.(*problem.Problem)
	}
	hc.SetHeader("Content-Type", problem.ContentType)
	hc.SetStatus(p.Status)
	_ = json.NewEncoder(hc.BodyWriter()).Encode(p) // the client is gone: nobody to tell
}
