package forges

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
)

// commenter writes the comments of one pull request at a forge. Ids are the forge's.
type commenter interface {
	create(ctx context.Context, body string) (id string, err error)
	// edit fails with the forge's 404 or 410 where the comment is gone.
	edit(ctx context.Context, id, body string) error
	// list returns the comments since the time, at most the hundred newest or oldest of them.
	list(ctx context.Context, since time.Time) ([]written, error)
}

// written is a comment at a forge.
type written struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
}

// find returns the id of the comment that begins with the marker and was written since; empty where there is none.
func find(ctx context.Context, at commenter, marker string, since time.Time) (string, error) {
	all, err := at.list(ctx, since)
	if err != nil {
		return "", err
	}
	for _, w := range all {
		if strings.HasPrefix(strings.TrimSpace(w.Body), marker) {
			return strconv.FormatInt(w.ID, 10), nil
		}
	}
	return "", nil
}

// commenter returns the commenter of the repository's pull request with the number.
func (s *Service) commenter(ctx context.Context, o Opened, path, externalID string, number int64) (commenter, error) {
	switch o.Kind {
	case models.ForgeGitHub:
		client, err := s.GitHub(ctx, o)
		owner, name, _ := strings.Cut(path, "/")
		return githubComments{client, owner, name, int(number)}, err
	case models.ForgeGitLab:
		r, err := s.rest(o)
		return restComments{rest: r, all: fmt.Sprintf("projects/%s/merge_requests/%d/notes", gitlabProject(path, externalID), number),
			one: fmt.Sprintf("projects/%s/merge_requests/%d/notes/", gitlabProject(path, externalID), number), change: http.MethodPut,
			query: func(time.Time) string { return "?sort=desc&order_by=created_at&per_page=100" }}, err
	case models.ForgeGitea:
		r, err := s.rest(o)
		return restComments{rest: r, all: fmt.Sprintf("repos/%s/issues/%d/comments", path, number), one: "repos/" + path + "/issues/comments/", change: http.MethodPatch,
			query: func(since time.Time) string { return "?since=" + url.QueryEscape(since.UTC().Format(time.RFC3339)) }}, err
	}
	return nil, models.Errorf(models.Conflict, "The connection %s is to no forge that knows comments.", o.Name)
}

// githubComments are those of a pull request of GitHub, which is an issue there:
// https://docs.github.com/en/rest/issues/comments.
type githubComments struct {
	client      *github.Client
	owner, name string
	number      int
}

func (g githubComments) create(ctx context.Context, body string) (string, error) {
	made, _, err := g.client.Issues.CreateComment(ctx, g.owner, g.name, g.number, &github.IssueComment{Body: &body})
	return strconv.FormatInt(made.GetID(), 10), err
}

func (g githubComments) edit(ctx context.Context, id, body string) error {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return &answerError{status: http.StatusNotFound} // of another forge, that the repository was at before
	}
	_, _, err = g.client.Issues.EditComment(ctx, g.owner, g.name, n, &github.IssueComment{Body: &body})
	return err
}

func (g githubComments) list(ctx context.Context, since time.Time) ([]written, error) {
	found, _, err := g.client.Issues.ListComments(ctx, g.owner, g.name, g.number, &github.IssueListCommentsOptions{Since: &since, ListOptions: github.ListOptions{PerPage: 100}})
	var all []written
	for _, c := range found {
		all = append(all, written{c.GetID(), c.GetBody()})
	}
	return all, err
}

// restComments are those of a merge request of GitLab (https://docs.gitlab.com/api/notes/#merge-requests) or of a pull
// request of Gitea and Forgejo (https://docs.gitea.com/api, issueCreateComment), which differ in their paths alone.
type restComments struct {
	rest   *rest
	all    string // path of all comments
	one    string // path of one of them, but for its id
	change string // the method that edits
	query  func(since time.Time) string
}

func (r restComments) create(ctx context.Context, body string) (string, error) {
	var made written
	err := r.rest.call(ctx, http.MethodPost, r.all, map[string]string{"body": body}, &made)
	return strconv.FormatInt(made.ID, 10), err
}

func (r restComments) edit(ctx context.Context, id, body string) error {
	return r.rest.call(ctx, r.change, r.one+url.PathEscape(id), map[string]string{"body": body}, nil)
}

func (r restComments) list(ctx context.Context, since time.Time) ([]written, error) {
	var all []written
	err := r.rest.call(ctx, http.MethodGet, r.all+r.query(since), nil, &all)
	return all, err
}
