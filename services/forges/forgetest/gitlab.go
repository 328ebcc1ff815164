package forgetest

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"
)

// GitLab is a GitLab with one token of a group. Its answers have the fields of https://docs.gitlab.com/api.
type GitLab struct {
	*Forge
	Token string

	projects []string          // by path; the id is 100 and the index. Guarded by mu, as are those below
	scopes   []string          // of the token
	access   int               // of the token in all projects: 20 reporter, 30 developer, 40 maintainer
	states   map[string]string // of the commit's status of a name, by project, commit and name
}

// gitlabMoves says which state a status that has not ended may take; one that has ended begins anew.
var gitlabMoves = map[string][]string{
	"":        {"pending", "running", "success", "failed", "canceled"},
	"pending": {"running", "success", "failed", "canceled"},
	"running": {"success", "failed", "canceled"},
}

// NewGitLab starts a GitLab that knows the projects, such as "acme/backend/shop".
func NewGitLab(t testing.TB, projects ...string) *GitLab {
	t.Helper()
	g := &GitLab{Forge: newForge(t), Token: "glpat-CANARY" + rand.Text(), projects: projects, scopes: []string{"api"}, access: 30, states: map[string]string{}}
	g.Handle("GET /api/v4/personal_access_tokens/self", g.self)
	g.Handle("GET /api/v4/projects/{id}", g.in(g.project))
	g.Handle("POST /api/v4/projects/{id}/statuses/{sha}", g.in(g.newStatus))
	for pattern, h := range map[string]func(http.ResponseWriter, *http.Request, string){"GET ": g.list, "POST ": g.comment} {
		g.Handle(pattern+"/api/v4/projects/{id}/merge_requests/{number}/notes", g.in(func(w http.ResponseWriter, r *http.Request, at int) { h(w, r, g.projects[at]) }))
	}
	g.Handle("PUT /api/v4/projects/{id}/merge_requests/{number}/notes/{comment}", g.in(func(w http.ResponseWriter, r *http.Request, at int) { g.edit(w, r, g.projects[at]) }))
	return g
}

// Grant sets the token's scopes and its role in the projects: 20 reporter, 30 developer, 40 maintainer.
func (g *GitLab) Grant(access int, scopes ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.access, g.scopes = access, scopes
}

// Revoke makes the token invalid.
func (g *GitLab) Revoke() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.Token = "revoked"
}

func (g *GitLab) authenticated(r *http.Request) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return r.Header.Get("PRIVATE-TOKEN") == g.Token
}

// in wraps a call about a project, which the path names by its id or by its escaped path.
func (g *GitLab) in(h func(http.ResponseWriter, *http.Request, int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		if path, err := url.PathUnescape(id); err == nil {
			id = path
		}
		g.mu.Lock()
		at := slices.IndexFunc(g.projects, func(path string) bool { return path == id })
		if n, err := strconv.Atoi(id); err == nil && n >= 100 && n < 100+len(g.projects) {
			at = n - 100
		}
		g.mu.Unlock()
		switch {
		case !g.authenticated(r):
			JSON(w, http.StatusUnauthorized, map[string]string{"message": "401 Unauthorized"})
		case at < 0:
			JSON(w, http.StatusNotFound, map[string]string{"message": "404 Project Not Found"})
		default:
			h(w, r, at)
		}
	}
}

func (g *GitLab) self(w http.ResponseWriter, r *http.Request) {
	if !g.authenticated(r) {
		JSON(w, http.StatusUnauthorized, map[string]string{"message": "401 Unauthorized"})
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	JSON(w, http.StatusOK, map[string]any{"id": 1, "name": "slipway", "revoked": false, "active": true, "scopes": g.scopes, "expires_at": time.Now().AddDate(0, 1, 0).Format(time.DateOnly)})
}

func (g *GitLab) project(w http.ResponseWriter, _ *http.Request, at int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	JSON(w, http.StatusOK, map[string]any{"id": 100 + at, "path_with_namespace": g.projects[at], "default_branch": "main",
		"permissions": map[string]any{"project_access": map[string]any{"access_level": g.access}, "group_access": nil}})
}

func (g *GitLab) newStatus(w http.ResponseWriter, r *http.Request, at int) {
	body, err := io.ReadAll(r.Body)
	var in struct {
		State, Ref, Name, Description string
		TargetURL                     string `json:"target_url"`
	}
	if err != nil || !decode(w, body, &in) {
		return
	}
	commit := r.PathValue("sha")
	g.mu.Lock()
	name, may := g.projects[at], g.access >= 30 && slices.Contains(g.scopes, "api")
	key := name + " " + commit + " " + in.Name
	moves, open := gitlabMoves[g.states[key]]
	allowed := !open || slices.Contains(moves, in.State)
	if may && allowed {
		g.states[key] = in.State
	}
	before := g.states[key]
	g.mu.Unlock()
	switch {
	case !may:
		JSON(w, http.StatusForbidden, map[string]string{"message": "403 Forbidden"})
	case !isCommit(commit):
		JSON(w, http.StatusNotFound, map[string]string{"message": "404 Commit Not Found"})
	case !slices.Contains([]string{"pending", "running", "success", "failed", "canceled", "skipped"}, in.State):
		JSON(w, http.StatusBadRequest, map[string]string{"error": "state does not have a valid value"})
	case !allowed:
		JSON(w, http.StatusBadRequest, map[string]any{"message": "Cannot transition status via :run from :" + before + " (Reason(s): Status cannot transition via \"run\")"})
	default:
		g.take(Status{Repository: name, Commit: commit, State: in.State, Context: in.Name, Description: in.Description, TargetURL: in.TargetURL, Ref: in.Ref})
		JSON(w, http.StatusCreated, map[string]any{"id": 1, "sha": commit, "ref": in.Ref, "status": in.State, "name": in.Name, "target_url": in.TargetURL, "description": in.Description})
	}
}

// Renew lets the forge take another token.
func (g *GitLab) Renew(token string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.Token = token
}
