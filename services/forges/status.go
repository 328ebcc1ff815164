package forges

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
)

// words are what the states of builds are called by forges that know pending, success, failure and error.
var words = map[models.BuildState]string{
	models.BuildSucceeded: "success", models.BuildFailed: "failure", models.BuildCanceled: "error",
}

// gitlabWords are GitLab's.
var gitlabWords = map[models.BuildState]string{
	models.BuildRunning: "running", models.BuildSucceeded: "success", models.BuildFailed: "failed", models.BuildCanceled: "canceled",
}

// word is what the forge calls the state; pending where the build has not ended.
func word(kind models.ForgeKind, state models.BuildState) string {
	known := words
	if kind == models.ForgeGitLab {
		known = gitlabWords
	}
	if w, ok := known[state]; ok {
		return w
	}
	return "pending"
}

// status is a commit status as it is sent.
type status struct {
	path        string // of the repository
	externalID  string // of the repository, where known
	commit      string
	word        string
	context     string
	description string
	target      string
	ref         string
}

// tell sends the commit status that the report asks for and returns the forge's word for it.
func (s *Service) tell(ctx context.Context, o Opened, r *models.ForgeReport) (string, error) {
	var app models.App
	if err := s.DB.WithContext(ctx).Preload("Repository").Where("id = ?", r.AppID).Take(&app).Error; err != nil {
		return "", models.FromDB(err, "app")
	}
	path, err := pathAt(&o.Connection, app.Repository)
	if err != nil {
		return "", err
	}
	st := status{
		path: path, externalID: app.Repository.ExternalID, commit: r.Commit, word: word(o.Kind, r.State), context: "slipway/" + app.Name,
		description: r.Description, target: s.ExternalURL + "/builds/" + r.BuildID, ref: r.Ref,
	}
	switch o.Kind {
	case models.ForgeGitHub:
		return st.word, s.tellGitHub(ctx, o, st)
	case models.ForgeGitLab:
		return st.word, s.tellGitLab(ctx, o, st)
	case models.ForgeGitea:
		return st.word, s.tellGitea(ctx, o, st)
	}
	return "", models.Errorf(models.Conflict, "The connection %s is to no forge that knows commit statuses.", o.Name)
}

// tellGitHub creates a commit status: https://docs.github.com/en/rest/commits/statuses#create-a-commit-status.
func (s *Service) tellGitHub(ctx context.Context, o Opened, st status) error {
	client, err := s.GitHub(ctx, o)
	if err != nil {
		return err
	}
	owner, name, _ := strings.Cut(st.path, "/")
	_, _, err = client.Repositories.CreateStatus(ctx, owner, name, st.commit, github.RepoStatus{
		State: &st.word, Context: &st.context, Description: &st.description, TargetURL: &st.target,
	})
	return err
}

// tellGitLab sets a commit's pipeline status: https://docs.gitlab.com/api/commits/#set-commit-pipeline-status.
func (s *Service) tellGitLab(ctx context.Context, o Opened, st status) error {
	r, err := s.rest(o)
	if err != nil {
		return err
	}
	body := map[string]string{"state": st.word, "name": st.context, "description": st.description, "target_url": st.target}
	if st.ref != "" {
		body["ref"] = st.ref
	}
	err = r.call(ctx, http.MethodPost, fmt.Sprintf("projects/%s/statuses/%s", gitlabProject(st.path, st.externalID), url.PathEscape(st.commit)), body, nil)
	if a, ok := answerOf(err); ok && a.status == http.StatusBadRequest && knows(st.word, a.message) {
		return nil
	}
	return err
}

// knows tells whether GitLab refused the state because the commit has it already, or one that comes after it.
func knows(word, message string) bool {
	return strings.Contains(message, "Cannot transition status") && (word == "pending" || word == "running" || strings.Contains(message, "from :"+word))
}

// gitlabProject is how GitLab's API names a project: by its id, or by its whole path, escaped.
func gitlabProject(path, id string) string {
	if id != "" && strings.Trim(id, "0123456789") == "" {
		return id
	}
	return url.PathEscape(path)
}

// tellGitea creates a commit status: POST /repos/{owner}/{repo}/statuses/{sha} of https://docs.gitea.com/api, and of Forgejo.
func (s *Service) tellGitea(ctx context.Context, o Opened, st status) error {
	r, err := s.rest(o)
	if err != nil {
		return err
	}
	body := map[string]string{"state": st.word, "context": st.context, "description": st.description, "target_url": st.target}
	return r.call(ctx, http.MethodPost, "repos/"+st.path+"/statuses/"+url.PathEscape(st.commit), body, nil)
}
