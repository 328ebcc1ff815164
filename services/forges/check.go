package forges

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-github/v88/github"
	"gorm.io/gorm"
	"slipway.dev/models"
)

// Verdict is what a check found.
type Verdict string

// The verdicts.
const (
	Pass    Verdict = "pass"
	Fail    Verdict = "fail"
	Unknown Verdict = "unknown" // it could not be found out
)

// Finding is one thing that a check of a connection looked at.
type Finding struct {
	Name    string // such as "Commit statuses"
	Verdict Verdict
	Text    string // what that means, or what to do
}

// What a credential may do, as findings name it.
const (
	findCredential = "Credential"
	findStatuses   = "Commit statuses"
	findPulls      = "Pull requests"
	findContents   = "Contents"
	findActions    = "Actions"
)

// Check calls the connection's forge and finds out whether its credential is accepted and what it may do; the team's
// maintainers may. Nothing is changed at the forge. A forge that does not answer is a finding, not an error.
func (s *Service) Check(ctx context.Context, id string) ([]Finding, error) {
	c, err := s.connection(ctx, id)
	if err != nil {
		return nil, err
	}
	if c.Credential == models.ConnectionNone {
		return nil, noCredential(c)
	}
	o, err := s.Open(models.WithPrincipal(ctx, models.System("check")), id)
	if err != nil {
		return nil, err
	}
	path, err := s.somePath(ctx, c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*callTime)
	defer cancel()
	switch {
	case c.Credential == models.ConnectionApp:
		return s.checkApp(ctx, o), nil
	case c.Kind == models.ForgeGitHub:
		return s.checkGitHub(ctx, o, path), nil
	case c.Kind == models.ForgeGitLab:
		return s.checkGitLab(ctx, o, path), nil
	}
	return s.checkGitea(ctx, o, path), nil
}

// somePath is the path of a repository that uses the connection, to try the credential on; empty where none does.
func (s *Service) somePath(ctx context.Context, c *models.Connection) (string, error) {
	var r models.Repository
	err := s.DB.WithContext(ctx).Omit("credential_secret").Where("connection_id = ?", c.ID).Order("id").Take(&r).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	path, err := pathAt(c, &r)
	if _, told := errors.AsType[*models.Error](err); told {
		return "", nil // its page says so
	}
	return path, err
}

func accepted(by string) Finding {
	return Finding{findCredential, Pass, by + " accepts it."}
}

// refusedCredential is the only finding where the forge does not answer, or not to this credential.
func (s *Service) refusedCredential(o Opened, err error) []Finding {
	return []Finding{{findCredential, Fail, s.problemOf(o, "this", err).message}}
}

// untried says of what a credential may do that there is no repository to try it on.
func untried(names ...string) []Finding {
	var all []Finding
	for _, name := range names {
		all = append(all, Finding{name, Unknown, "No repository uses the connection yet, so there is nothing to try it on."})
	}
	return all
}

// finding is Pass where may is true.
func finding(name string, may bool, yes, no string) Finding {
	if may {
		return Finding{name, Pass, yes}
	}
	return Finding{name, Fail, no}
}

// checkApp makes a token of the app's installation, which comes with its permissions.
func (s *Service) checkApp(ctx context.Context, o Opened) []Finding {
	api, err := apiURL(&o.Connection)
	if err != nil {
		return s.refusedCredential(o, err)
	}
	made, err := s.newInstallationToken(ctx, api, o)
	if err != nil {
		return s.refusedCredential(o, err)
	}
	p := made.GetPermissions()
	found := []Finding{accepted(forgeName(&o.Connection))}
	for _, want := range []struct{ name, has string }{
		{findStatuses, p.GetStatuses()}, {findPulls, p.GetPullRequests()}, {findContents, p.GetContents()}, {findActions, p.GetActions()}, {"Workflows", p.GetWorkflows()},
	} {
		found = append(found, finding(want.name, want.has == "write", "Read and write.",
			fmt.Sprintf("Give the app the permission “%s: Read and write”, and accept it for the installation.", want.name)))
	}
	return found
}

// checkGitHub tries a token. A classic one tells its scopes; what a fine-grained one may do shows in how GitHub refuses
// requests that are wrong in themselves: with 422 where they would be allowed, with 403 or 404 where not.
func (s *Service) checkGitHub(ctx context.Context, o Opened, path string) []Finding {
	client, err := s.GitHub(ctx, o)
	if err != nil {
		return s.refusedCredential(o, err)
	}
	if path == "" {
		if _, _, err := client.Users.Get(ctx, ""); err != nil {
			return s.refusedCredential(o, err)
		}
		return append([]Finding{accepted(forgeName(&o.Connection))}, untried(findStatuses, findPulls, findContents, findActions)...)
	}
	owner, name, _ := strings.Cut(path, "/")
	_, answer, err := client.Repositories.Get(ctx, owner, name)
	if err != nil {
		return s.refusedCredential(o, err)
	}
	found := []Finding{accepted(forgeName(&o.Connection))}
	if scopes := answer.Header.Get("X-OAuth-Scopes"); scopes != "" {
		return append(found, scopesAllow(scopes)...)
	}
	repo := "repos/" + path
	for _, try := range []struct{ name, method, path string }{
		{findStatuses, http.MethodPost, repo + "/statuses/" + strings.Repeat("0", 40)}, {findPulls, http.MethodPost, repo + "/pulls"},
		{findContents, http.MethodPost, repo + "/git/refs"}, {findActions, http.MethodGet, repo + "/actions/workflows"},
	} {
		found = append(found, s.try(ctx, client, o, try.name, try.method, try.path))
	}
	return found
}

// try sends a request without what it needs, and judges by the answer whether one with it would be allowed.
func (s *Service) try(ctx context.Context, client *github.Client, o Opened, name, method, path string) Finding {
	var body any
	if method == http.MethodPost {
		body = map[string]string{}
	}
	request, err := client.NewRequest(ctx, method, path, body)
	if err != nil {
		return Finding{name, Unknown, "It could not be tried."}
	}
	_, err = client.Do(request, nil)
	a, refused := answerOf(err)
	switch {
	case err == nil, refused && a.status == http.StatusUnprocessableEntity:
		return Finding{name, Pass, "Allowed."}
	case refused && (a.status == http.StatusForbidden || a.status == http.StatusNotFound):
		return Finding{name, Fail, fmt.Sprintf("Give the token “%s: Read and write” for the repository.", name)}
	}
	return Finding{name, Unknown, s.problemOf(o, "this", err).message}
}

// scopesAllow says what a classic token's scopes allow.
func scopesAllow(list string) []Finding {
	var scopes []string
	for scope := range strings.SplitSeq(list, ",") {
		scopes = append(scopes, strings.TrimSpace(scope))
	}
	has := func(any ...string) bool {
		return slices.ContainsFunc(any, func(scope string) bool { return slices.Contains(scopes, scope) })
	}
	const no = "Give the token the scope repo, or make a fine-grained one."
	return []Finding{
		finding(findStatuses, has("repo", "repo:status", "public_repo"), "Allowed.", no),
		finding(findPulls, has("repo", "public_repo"), "Allowed.", no),
		finding(findContents, has("repo", "public_repo"), "Allowed.", no),
		finding(findActions, has("repo", "public_repo") && has("workflow"), "Allowed, with the workflow files.", "Give the token the scopes repo and workflow."),
	}
}

// developer is GitLab's least role that may write: https://docs.gitlab.com/api/access_requests/#valid-access-levels.
const developer = 30

// checkGitLab reads the token's scopes and its role in a project.
func (s *Service) checkGitLab(ctx context.Context, o Opened, path string) []Finding {
	r, err := s.rest(o)
	if err != nil {
		return s.refusedCredential(o, err)
	}
	var self struct {
		Scopes    []string `json:"scopes"`
		ExpiresAt string   `json:"expires_at"`
	}
	if err := r.call(ctx, http.MethodGet, "personal_access_tokens/self", nil, &self); err != nil {
		return s.refusedCredential(o, err)
	}
	found := []Finding{accepted(forgeName(&o.Connection))}
	if self.ExpiresAt != "" {
		found[0].Text += " It expires on " + clean(o, self.ExpiresAt) + "."
	}
	if path == "" {
		return append(found, untried(findStatuses, "Merge requests", findContents)...)
	}
	type access struct {
		AccessLevel int `json:"access_level"`
	}
	var project struct {
		Permissions struct {
			ProjectAccess *access `json:"project_access"`
			GroupAccess   *access `json:"group_access"`
		} `json:"permissions"`
	}
	if err := r.call(ctx, http.MethodGet, "projects/"+gitlabProject(path, ""), nil, &project); err != nil {
		return append(found, Finding{findStatuses, Fail, s.problemOf(o, "this", err).message})
	}
	level := 0
	if a := project.Permissions.ProjectAccess; a != nil {
		level = a.AccessLevel
	}
	if a := project.Permissions.GroupAccess; a != nil {
		level = max(level, a.AccessLevel)
	}
	may := level >= developer && slices.Contains(self.Scopes, "api")
	return append(found,
		finding(findStatuses, may, "Allowed.", needs(o, thingStatuses)), finding("Merge requests", may, "Allowed.", needs(o, thingStatuses)),
		finding(findContents, may || level >= developer && slices.Contains(self.Scopes, "write_repository"), "Allowed.", needs(o, thingStatuses)))
}

// checkGitea reads what the token's user may do in a repository.
func (s *Service) checkGitea(ctx context.Context, o Opened, path string) []Finding {
	r, err := s.rest(o)
	if err != nil {
		return s.refusedCredential(o, err)
	}
	if path == "" {
		err := r.call(ctx, http.MethodGet, "user", nil, nil)
		if a, ok := answerOf(err); err != nil && (!ok || a.status != http.StatusForbidden) { // 403: valid, but not for this
			return s.refusedCredential(o, err)
		}
		return append([]Finding{accepted(forgeName(&o.Connection))}, untried(findStatuses, findPulls, findContents)...)
	}
	var repository struct {
		Permissions struct{ Push, Pull bool } `json:"permissions"`
	}
	if err := r.call(ctx, http.MethodGet, "repos/"+path, nil, &repository); err != nil {
		return s.refusedCredential(o, err)
	}
	may := repository.Permissions
	return []Finding{
		accepted(forgeName(&o.Connection)), finding(findStatuses, may.Push, "Allowed.", needs(o, thingStatuses)),
		finding(findPulls, may.Pull, "Allowed.", needs(o, thingStatuses)), finding(findContents, may.Push, "Allowed.", needs(o, thingStatuses)),
	}
}
