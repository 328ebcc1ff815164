package hooks

import (
	"fmt"
	"strconv"

	"slipway.dev/models"
)

// hubRepository is a repository as GitHub, Gitea and Forgejo send it.
type hubRepository struct {
	ID            int64  `json:"id"`
	FullName      string `json:"full_name"`
	CloneURL      string `json:"clone_url"`
	SSHURL        string `json:"ssh_url"`
	GitURL        string `json:"git_url"`
	HTMLURL       string `json:"html_url"`
	DefaultBranch string `json:"default_branch"`
}

func (r hubRepository) place() place {
	return place{id: number(r.ID), name: r.FullName, urls: []string{r.CloneURL, r.SSHURL, r.GitURL, r.HTMLURL}, defaultBranch: r.DefaultBranch}
}

type hubUser struct {
	Login string `json:"login"`
	Name  string `json:"name"`
}

type hubCommit struct {
	ID       string   `json:"id"`
	Message  string   `json:"message"`
	Author   hubUser  `json:"author"`
	Added    []string `json:"added"`
	Removed  []string `json:"removed"`
	Modified []string `json:"modified"`
}

// hubPush is the event push of GitHub (https://docs.github.com/webhooks/webhook-events-and-payloads#push) and of Gitea,
// which adds the number of all commits.
type hubPush struct {
	Ref          string        `json:"ref"`
	Before       string        `json:"before"`
	After        string        `json:"after"`
	Created      bool          `json:"created"`
	Deleted      bool          `json:"deleted"`
	Forced       bool          `json:"forced"`
	Repository   hubRepository `json:"repository"`
	Pusher       hubUser       `json:"pusher"`
	Sender       hubUser       `json:"sender"`
	HeadCommit   *hubCommit    `json:"head_commit"`
	Commits      []hubCommit   `json:"commits"`
	TotalCommits *int          `json:"total_commits"`
}

// hubPull is the event pull_request of GitHub (…#pull_request) and of Gitea.
type hubPull struct {
	Action      string        `json:"action"`
	Number      int64         `json:"number"`
	Repository  hubRepository `json:"repository"`
	Sender      hubUser       `json:"sender"`
	PullRequest struct {
		Title   string    `json:"title"`
		HTMLURL string    `json:"html_url"`
		Head    hubBranch `json:"head"`
		Base    hubBranch `json:"base"`
	} `json:"pull_request"`
}

type hubBranch struct {
	Ref  string `json:"ref"`
	SHA  string `json:"sha"`
	Repo *struct {
		ID int64 `json:"id"`
	} `json:"repo"`
}

// hubMax is the number of commits up to which GitHub's list is surely whole (it ends at 2048).
const hubMax = 1000

func parseGitHub(name string, body []byte) (*event, error) {
	switch name {
	case "ping":
		var in struct {
			Repository hubRepository `json:"repository"`
			Sender     hubUser       `json:"sender"`
		}
		err := decode(body, &in)
		return &event{kind: eventPing, repo: in.Repository.place(), sender: in.Sender.Login}, err
	case "push":
		return parseHubPush(body, func(p hubPush) bool { return len(p.Commits) <= hubMax })
	case "pull_request":
		return parseHubPull(body, []string{"opened", "synchronize", "reopened", "ready_for_review"}, []string{"closed"})
	case "workflow_run", "workflow_job":
		var in struct {
			Repository hubRepository `json:"repository"`
			Sender     hubUser       `json:"sender"`
		}
		err := decode(body, &in)
		return &event{kind: eventRun, repo: in.Repository.place(), sender: in.Sender.Login}, err
	}
	return &event{kind: eventOther}, nil
}

// parseGitea reads the events of Gitea (https://docs.gitea.com/usage/webhooks) and Forgejo
// (https://forgejo.org/docs/latest/user/webhooks/). Their test delivery is a push.
func parseGitea(name string, body []byte) (*event, error) {
	switch name {
	case "push":
		return parseHubPush(body, func(p hubPush) bool { return p.TotalCommits != nil && *p.TotalCommits == len(p.Commits) })
	case "pull_request":
		return parseHubPull(body, []string{"opened", "synchronized", "reopened"}, []string{"closed"})
	}
	return &event{kind: eventOther}, nil
}

func parseHubPush(body []byte, whole func(hubPush) bool) (*event, error) {
	var in hubPush
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	e := &event{kind: eventPush, repo: in.Repository.place(), sender: first(in.Pusher.Login, in.Pusher.Name, in.Sender.Login)}
	e.push.setRef(in.Ref)
	e.push.before, e.push.after = real(in.Before), real(in.After)
	if in.Deleted {
		e.push.after = ""
	}
	e.push.commit = commit{id: e.push.after}
	head := in.HeadCommit
	if head == nil {
		head = lastOf(in.Commits, e.push.after)
	}
	if head != nil && e.push.after != "" {
		e.push.commit = commit{first(head.ID, e.push.after), head.Message, first(head.Author.Name, head.Author.Login)}
	}
	e.push.whole = !in.Created && !in.Forced && e.push.before != "" && whole(in)
	for _, c := range in.Commits {
		e.push.files = append(e.push.files, concat(c.Added, c.Removed, c.Modified)...)
	}
	return e, nil
}

func lastOf(list []hubCommit, id string) *hubCommit {
	for i := range list {
		if list[i].ID == id {
			return &list[i]
		}
	}
	return nil
}

func parseHubPull(body []byte, changed, closed []string) (*event, error) {
	var in hubPull
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	head, base := in.PullRequest.Head, in.PullRequest.Base
	e := &event{kind: eventPull, repo: in.Repository.place(), sender: in.Sender.Login}
	e.pull = pull{
		PullRequest: models.PullRequest{Number: in.Number, Title: in.PullRequest.Title, URL: in.PullRequest.HTMLURL, Source: head.Ref,
			Fork: head.Repo == nil || head.Repo.ID == 0 || head.Repo.ID != in.Repository.ID}, // a fork that was deleted is one too
		ref: fmt.Sprintf("refs/pull/%d/head", in.Number), target: base.Ref, base: base.SHA, commit: commit{id: head.SHA},
		step: stepOf(in.Action, changed, closed), action: in.Action,
	}
	return e, nil
}

// stepOf sorts an action into what it means to builds.
func stepOf(action string, changed, closed []string) pullStep {
	for _, a := range changed {
		if a == action {
			return pullChanged
		}
	}
	for _, a := range closed {
		if a == action {
			return pullClosed
		}
	}
	return pullSame
}

func number(id int64) string {
	if id == 0 {
		return ""
	}
	return strconv.FormatInt(id, 10)
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func concat(lists ...[]string) (all []string) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
