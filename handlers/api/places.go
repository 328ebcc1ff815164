package api

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"slipway.dev/models"
	"slipway.dev/services/logs"
	"slipway.dev/services/observe"
)

// PlaceIn is a call about an app in an environment.
type PlaceIn struct {
	IDIn
	AppID string `path:"app_id" maxLength:"100"`
}

func (in PlaceIn) place() observe.Place {
	return observe.Place{EnvironmentID: in.ID, AppID: in.AppID}
}

// Usage is how the instances of an app in an environment are and what they took over the last hour.
type Usage struct {
	From      time.Time       `json:"from"`
	Until     time.Time       `json:"until"`
	Step      int             `json:"step" doc:"Seconds between two samples."`
	Instances []InstanceUsage `json:"instances" nullable:"false" doc:"Those that serve first, then those that ran within the hour."`
	Mean      bool            `json:"mean" doc:"Whether the samples are the mean of all instances of a deployment, the same for each: the target's provider tells of none by itself."`
	Switches  []Switch        `json:"switches" nullable:"false" doc:"When another deployment began to serve, oldest first."`
}

// InstanceUsage is one instance with its samples.
type InstanceUsage struct {
	ID           string               `json:"id"`
	Name         string               `json:"name"`
	DeploymentID string               `json:"deployment_id"`
	Deployment   int64                `json:"deployment" doc:"The deployment's number."`
	State        models.InstanceState `json:"state" enum:"starting,healthy,failing,stopped,unknown"`
	Gone         bool                 `json:"gone" doc:"Whether it has been removed."`
	Restarts     int                  `json:"restarts"`
	StartedAt    *time.Time           `json:"started_at"`
	CPULimit     int64                `json:"cpu_limit" doc:"Thousandths of a processor that it may take; 0: no limit."`
	MemoryLimit  int64                `json:"memory_limit" doc:"Bytes that it may take; 0: no limit."`
	Samples      []Sample             `json:"samples" nullable:"false" doc:"Oldest first."`
}

// Sample is what an instance took at a moment.
type Sample struct {
	Time   time.Time `json:"time"`
	CPU    int64     `json:"cpu" doc:"Thousandths of a processor."`
	Memory int64     `json:"memory" doc:"Bytes."`
}

// Switch is a moment at which another deployment began to serve.
type Switch struct {
	Time         time.Time `json:"time"`
	DeploymentID string    `json:"deployment_id"`
	Deployment   int64     `json:"deployment" doc:"Its number."`
}

// KeptLine is a line of the kept log of an app in an environment.
type KeptLine struct {
	N          int64       `json:"n" doc:"Its number, which never changes."`
	Time       time.Time   `json:"time"`
	Deployment int64       `json:"deployment" doc:"The number of the deployment that printed it."`
	Instance   int         `json:"instance" doc:"Which of its instances, from 1."`
	Stream     logs.Source `json:"stream" enum:"stdout,stderr,slipway"`
	Text       string      `json:"text" doc:"May hold ANSI colours."`
}

// KeptLogIn narrows the kept log.
type KeptLogIn struct {
	PlaceIn
	Q          string      `query:"q" maxLength:"200" doc:"Only lines that hold the text, whatever its case."`
	Deployment int64       `query:"deployment" minimum:"0" doc:"The number of a deployment."`
	Instance   int         `query:"instance" minimum:"0" maximum:"1000" doc:"Which of the deployment's instances, from 1."`
	Stream     logs.Source `query:"stream" enum:"stdout,stderr,slipway"`
	Since      time.Time   `query:"since" doc:"Not before."`
	Until      time.Time   `query:"until" doc:"Before."`
	Cursor     int64       `query:"cursor" minimum:"0" doc:"What is older: the header Slipway-Next of the answer before."`
	After      int64       `query:"after" minimum:"0" doc:"What is newer than the line of the number, oldest first."`
	Limit      int         `query:"limit" minimum:"1" maximum:"1000" default:"200"`
}

// KeptLog is a part of the kept log.
type KeptLog struct {
	ContentType string `header:"Content-Type"`
	Next        string `header:"Slipway-Next" doc:"Send it as ?cursor= for what is older (with ?after=: as ?after= for what is newer); missing at the end. A search looks through a bounded part at once: an answer without lines may have one."`
	Body        []byte
}

func (a *API) places() {
	get(a, "/environments/{id}/apps/{app_id}/usage", "get-usage", "What an app's instances took over the last hour", a.usage)
	get(a, "/environments/{id}/apps/{app_id}/logs", "search-logs", "Search what an app's instances printed", a.keptLog,
		func(c *call) {
			c.op.Description = "One line of JSON for each line that was printed (application/x-ndjson), oldest first: the newest that match, and with `cursor` those before. Lines stay after their container has gone."
		})
}

func (a *API) usage(ctx context.Context, in *PlaceIn) (*answer[Usage], error) {
	u, err := a.Observe.Usage(ctx, in.place())
	if err != nil {
		return nil, err
	}
	return reply(Usage{From: u.From.UTC(), Until: u.Until.UTC(), Step: int(observe.MeasureEvery / time.Second), Instances: sliceOf(u.Instances, instanceUsageOf), Mean: u.Mean, Switches: sliceOf(u.Switches, switchOf)}), nil
}

func instanceUsageOf(i *observe.InstanceUsage) InstanceUsage {
	return InstanceUsage{
		ID: i.ID, Name: i.Name, DeploymentID: i.DeploymentID, Deployment: i.Deployment.Number, State: i.State, Gone: i.Gone, Restarts: i.Restarts, StartedAt: utc(i.StartedAt),
		CPULimit: i.Limits().CPU, MemoryLimit: i.Limits().Memory, Samples: sliceOf(i.Samples, sampleOf),
	}
}

func sampleOf(s *observe.Sample) Sample { return Sample{s.At.UTC(), s.CPU, s.Memory} }

func switchOf(s *observe.Switch) Switch {
	return Switch{s.At.UTC(), s.Deployment.ID, s.Deployment.Number}
}

func (a *API) keptLog(ctx context.Context, in *KeptLogIn) (*KeptLog, error) {
	page, err := a.Observe.Read(ctx, observe.Query{
		Place: in.place(), Before: in.Cursor, After: in.After, Limit: in.Limit,
		Filter: observe.Filter{Text: in.Q, Deployment: in.Deployment, Replica: in.Instance, Stream: in.Stream, Since: in.Since, Until: in.Until},
	})
	if err != nil {
		return nil, err
	}
	out := &KeptLog{ContentType: "application/x-ndjson"}
	switch {
	case in.Cursor == 0 && in.After > 0:
		if page.Later {
			out.Next = strconv.FormatInt(page.After, 10)
		}
	case page.Before > 0:
		out.Next = strconv.FormatInt(page.Before, 10)
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	for _, l := range page.Lines {
		if err := enc.Encode(KeptLine{l.N, l.At.UTC(), l.Deployment, l.Replica, l.Stream, l.Text}); err != nil {
			return nil, err
		}
	}
	out.Body = body.Bytes()
	return out, nil
}

var _ huma.Resolver = (*KeptLogIn)(nil)

// Resolve lets only one direction through.
func (in *KeptLogIn) Resolve(huma.Context) []error {
	if in.Cursor > 0 && in.After > 0 {
		return []error{&huma.ErrorDetail{Location: "query.after", Message: "Send cursor for what is older or after for what is newer, not both.", Value: in.After}}
	}
	return nil
}
