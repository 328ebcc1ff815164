package api

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// EnvironmentChange is a deployment that served, with what it brought.
type EnvironmentChange struct {
	DeploymentID string                  `json:"deployment_id"`
	Number       int64                   `json:"number" doc:"Counts per app."`
	AppID        string                  `json:"app_id"`
	App          string                  `json:"app" doc:"The app's name."`
	Action       models.DeploymentAction `json:"action" enum:"deploy,rollback,restart,start"`
	Active       bool                    `json:"active" doc:"Whether this is what serves now."`
	Digest       string                  `json:"digest"`
	BuildID      *string                 `json:"build_id,omitempty"`
	PreviousID   *string                 `json:"previous_id,omitempty" doc:"What served before."`
	CreatedBy    string                  `json:"created_by" doc:"A name, for people."`
	Since        time.Time               `json:"since" doc:"When it began to serve."`
	Ahead        int                     `json:"commits_ahead" doc:"How many commits came."`
	Behind       int                     `json:"commits_behind" doc:"How many commits went, as with a rollback."`
	Commits      []Commit                `json:"commits" nullable:"false" doc:"The newest of those that came; where none did, of those that went."`
	Counting     bool                    `json:"counting" doc:"The commits are being read and are known in a moment."`
	Note         string                  `json:"note,omitempty" doc:"Why there are no commits."`
}

// NewsIn is a call for what came to an environment.
type NewsIn struct {
	IDIn
	PageIn
	AppID string `query:"app_id" maxLength:"100" doc:"Of one app alone."`
}

func (a *API) listNews(ctx context.Context, in *NewsIn) (*answer[List[EnvironmentChange]], error) {
	list, err := a.Deploy.News(ctx, deploy.NewsFilter{Page: in.page(), EnvironmentID: in.ID, AppID: in.AppID})
	if err != nil {
		return nil, err
	}
	return listOf(list, environmentChangeOf), nil
}

func environmentChangeOf(n *deploy.News) EnvironmentChange {
	d := n.Deployment
	out := EnvironmentChange{DeploymentID: d.ID, Number: d.Number, AppID: d.AppID, App: d.App.Name, Action: d.Action, Active: d.Active, Digest: d.ImageDigest, BuildID: d.BuildID,
		PreviousID: d.PreviousID, CreatedBy: d.CreatedByName, Since: servedSince(d), Commits: []Commit{}, Counting: n.Counting, Note: n.Note}
	if n.Range != nil {
		out.Ahead, out.Behind, out.Commits = n.Range.Ahead, n.Range.Behind, sliceOf(n.Range.Commits, changeCommitOf)
	}
	return out
}

func servedSince(d models.Deployment) time.Time {
	if d.FinishedAt != nil {
		return d.FinishedAt.UTC()
	}
	return d.CreatedAt.UTC()
}

// feed is what came to an environment in the Atom Syndication Format (RFC 4287).
type feed struct {
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string      `xml:"id"`
	Title   string      `xml:"title"`
	Updated time.Time   `xml:"updated"`
	Link    feedLink    `xml:"link"`
	Entries []feedEntry `xml:"entry"`
}

type feedLink struct {
	Href string `xml:"href,attr"`
}

type feedEntry struct {
	ID      string    `xml:"id"`
	Title   string    `xml:"title"`
	Updated time.Time `xml:"updated"`
	Author  string    `xml:"author>name"`
	Link    feedLink  `xml:"link"`
	Content string    `xml:"content"` // plain text, which is what it is where no type says otherwise
}

// feedAnswer describes the feed.
func feedAnswer(c *call) {
	c.op.Description = "The newest 50, in the Atom format (RFC 4287). A feed reader has to send the token, as every caller does."
	c.op.Responses["200"] = &huma.Response{Description: "The feed", Content: map[string]*huma.MediaType{"application/atom+xml": {Schema: &huma.Schema{Type: huma.TypeString}}}}
}

// FeedOut is a feed.
type FeedOut struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (a *API) newsFeed(ctx context.Context, in *struct {
	IDIn
	AppID string `query:"app_id" maxLength:"100" doc:"Of one app alone."`
}) (*FeedOut, error) {
	e, err := a.Deploy.Environment(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	list, err := a.Deploy.News(ctx, deploy.NewsFilter{EnvironmentID: in.ID, AppID: in.AppID})
	if err != nil {
		return nil, err
	}
	f := feed{ID: "urn:uuid:" + e.ID, Title: "What's new in " + e.Name, Updated: e.CreatedAt.UTC(), Link: feedLink{a.Auth.ExternalURL + "/environments/" + e.ID + "/changes"}}
	for _, n := range list.Items {
		f.Entries = append(f.Entries, a.entryOf(e, n))
	}
	if len(f.Entries) > 0 {
		f.Updated = f.Entries[0].Updated
	}
	var out bytes.Buffer
	out.WriteString(xml.Header)
	if err := xml.NewEncoder(&out).Encode(f); err != nil {
		return nil, fmt.Errorf("writing the feed: %w", err)
	}
	return &FeedOut{ContentType: "application/atom+xml; charset=utf-8", Body: out.Bytes()}, nil
}

func (a *API) entryOf(e *models.Environment, n deploy.News) feedEntry {
	d := n.Deployment
	title := fmt.Sprintf("%s %s in %s", d.App.Name, d.Title(), e.Name)
	if d.Action == models.ActionRollback {
		title += ": rolled back"
	}
	var lines []string
	if n.Note != "" {
		lines = append(lines, n.Note)
	}
	if n.Range != nil {
		if n.Range.Back() {
			lines = append(lines, "Taken back:")
		}
		for _, c := range n.Range.Commits {
			lines = append(lines, fmt.Sprintf("%.7s %s (%s)", c.ID, c.Subject, c.Author))
		}
		if n.Range.More() {
			lines = append(lines, "and older ones")
		}
	}
	author := d.CreatedByName
	if author == "" {
		author = "Slipway"
	}
	return feedEntry{ID: "urn:uuid:" + d.ID, Title: title, Updated: servedSince(d), Author: author, Link: feedLink{a.Auth.ExternalURL + "/deployments/" + d.ID}, Content: strings.Join(lines, "\n")}
}
