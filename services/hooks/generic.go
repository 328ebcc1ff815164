package hooks

import (
	"slipway.dev/models"
)

// genericPayload is what a program sends that signs its webhooks itself; docs/webhooks.md describes it.
type genericPayload struct {
	Repository string   `json:"repository"` // the clone URL
	Ref        string   `json:"ref"`        // refs/heads/main, refs/tags/v1
	Before     string   `json:"before"`
	Commit     string   `json:"commit"` // empty: the ref was deleted
	Message    string   `json:"message"`
	Author     string   `json:"author"`
	Sender     string   `json:"sender"`
	Files      []string `json:"files"` // that changed; absent: Slipway looks itself
	Pull       *struct {
		Number int64  `json:"number"`
		Title  string `json:"title"`
		URL    string `json:"url"`
		Ref    string `json:"ref"` // refs/pull/7/head
		Source string `json:"source"`
		Target string `json:"target"`
		Fork   *bool  `json:"fork"`   // absent: it is one
		Action string `json:"action"` // opened, changed, closed
	} `json:"pull_request"`
}

func parseGeneric(name string, body []byte) (*event, error) {
	if name != "push" && name != "pull_request" && name != "ping" {
		return &event{kind: eventOther}, nil
	}
	var in genericPayload
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	e := &event{kind: eventPing, repo: place{name: in.Repository, urls: []string{in.Repository}}, sender: in.Sender}
	switch name {
	case "push":
		e.kind = eventPush
		e.push.setRef(in.Ref)
		e.push.before, e.push.after = real(in.Before), real(in.Commit)
		e.push.commit = commit{e.push.after, in.Message, in.Author}
		e.push.files, e.push.whole = in.Files, in.Files != nil
	case "pull_request":
		if in.Pull == nil {
			return nil, models.Errorf(models.Invalid, "The payload has no pull_request.")
		}
		e.kind = eventPull
		e.pull = pull{
			PullRequest: models.PullRequest{Number: in.Pull.Number, Title: in.Pull.Title, URL: in.Pull.URL, Source: in.Pull.Source, Fork: in.Pull.Fork == nil || *in.Pull.Fork},
			ref:         in.Pull.Ref, target: in.Pull.Target, base: real(in.Before), commit: commit{in.Commit, in.Message, in.Author},
			step: stepOf(in.Pull.Action, []string{"opened", "changed"}, []string{"closed"}), action: in.Pull.Action,
		}
	}
	return e, nil
}
