package hooks

import (
	"fmt"

	"slipway.dev/models"
)

// labProject is a project as GitLab sends it.
type labProject struct {
	ID            int64  `json:"id"`
	Path          string `json:"path_with_namespace"`
	WebURL        string `json:"web_url"`
	HTTPURL       string `json:"git_http_url"`
	SSHURL        string `json:"git_ssh_url"`
	DefaultBranch string `json:"default_branch"`
}

func (p labProject) place() place {
	return place{id: number(p.ID), name: p.Path, urls: []string{p.HTTPURL, p.SSHURL, p.WebURL}, defaultBranch: p.DefaultBranch}
}

type labCommit struct {
	ID      string `json:"id"`
	Message string `json:"message"`
	Author  struct {
		Name string `json:"name"`
	} `json:"author"`
	Added    []string `json:"added"`
	Modified []string `json:"modified"`
	Removed  []string `json:"removed"`
}

// labEvent has what Slipway reads of the events push, tag_push and merge_request
// (https://docs.gitlab.com/user/project/integrations/webhook_events/).
type labEvent struct {
	Kind         string      `json:"object_kind"`
	Before       string      `json:"before"`
	After        string      `json:"after"`
	Ref          string      `json:"ref"`
	Checkout     string      `json:"checkout_sha"`
	UserName     string      `json:"user_name"`
	UserLogin    string      `json:"user_username"`
	Project      labProject  `json:"project"`
	Commits      []labCommit `json:"commits"`
	TotalCommits int         `json:"total_commits_count"`
	User         struct {
		Name  string `json:"name"`
		Login string `json:"username"`
	} `json:"user"`
	Merge struct {
		IID      int64      `json:"iid"`
		Title    string     `json:"title"`
		URL      string     `json:"url"`
		Action   string     `json:"action"`
		OldRev   string     `json:"oldrev"`
		Source   string     `json:"source_branch"`
		Target   string     `json:"target_branch"`
		SourceID int64      `json:"source_project_id"`
		TargetID int64      `json:"target_project_id"`
		Last     *labCommit `json:"last_commit"`
	} `json:"object_attributes"`
}

func parseGitLab(body []byte) (*event, error) {
	var kind struct {
		Kind string `json:"object_kind"`
	}
	if err := decode(body, &kind); err != nil {
		return nil, err
	}
	if kind.Kind != "push" && kind.Kind != "tag_push" && kind.Kind != "merge_request" {
		return &event{kind: eventOther}, nil
	}
	var in labEvent
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	if in.Kind == "merge_request" {
		return in.pull(), nil
	}
	return in.push(), nil
}

// push is an event about a branch or a tag. GitLab lists at most 20 commits and says how many there are.
func (in labEvent) push() *event {
	e := &event{kind: eventPush, repo: in.Project.place(), sender: first(in.UserLogin, in.UserName)}
	e.push.setRef(in.Ref)
	e.push.before, e.push.after = real(in.Before), real(in.After)
	e.push.commit = commit{id: first(real(in.Checkout), e.push.after)}
	if e.push.after == "" {
		e.push.commit = commit{}
	}
	e.push.whole = e.push.before != "" && len(in.Commits) > 0 && len(in.Commits) == in.TotalCommits
	for _, c := range in.Commits {
		e.push.files = append(e.push.files, concat(c.Added, c.Removed, c.Modified)...)
		if c.ID == e.push.commit.id {
			e.push.commit.message, e.push.commit.author = c.Message, c.Author.Name
		}
	}
	return e
}

func (in labEvent) pull() *event {
	m := in.Merge
	e := &event{kind: eventPull, repo: in.Project.place(), sender: first(in.User.Login, in.User.Name)}
	step := stepOf(m.Action, []string{"open", "reopen"}, []string{"close", "merge"})
	if m.Action == "update" && m.OldRev != "" { // only an update with new commits has it
		step = pullChanged
	}
	e.pull = pull{
		PullRequest: models.PullRequest{Number: m.IID, Title: m.Title, URL: m.URL, Source: m.Source, Fork: m.SourceID == 0 || m.SourceID != m.TargetID},
		ref:         fmt.Sprintf("refs/merge-requests/%d/head", m.IID), target: m.Target, step: step, action: m.Action,
	}
	if m.Last != nil {
		e.pull.commit = commit{m.Last.ID, m.Last.Message, m.Last.Author.Name}
	}
	return e
}
