package forgetest

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"testing"
)

// Gitea is a Gitea, or a Forgejo, with one token. Its answers have the fields of https://docs.gitea.com/api.
type Gitea struct {
	*Forge
	Token string

	repositories []string // guarded by mu, as are those below
	push         bool     // the token's user may write
}

// NewGitea starts a Gitea that knows the repositories, such as "acme/shop".
func NewGitea(t testing.TB, repositories ...string) *Gitea {
	t.Helper()
	random := make([]byte, 16)
	rand.Read(random)
	g := &Gitea{Forge: newForge(t), Token: "CANARY" + hex.EncodeToString(random), repositories: repositories, push: true}
	g.Handle("GET /api/v1/repos/{owner}/{repo}", g.in(func(w http.ResponseWriter, _ *http.Request, name string) {
		g.mu.Lock()
		defer g.mu.Unlock()
		JSON(w, http.StatusOK, map[string]any{"id": 7, "full_name": name, "default_branch": "main", "permissions": map[string]bool{"admin": false, "push": g.push, "pull": true}})
	}))
	g.Handle("POST /api/v1/repos/{owner}/{repo}/statuses/{sha}", g.in(g.newStatus))
	g.Handle("GET /api/v1/repos/{owner}/{repo}/issues/{number}/comments", g.in(g.list))
	g.Handle("POST /api/v1/repos/{owner}/{repo}/issues/{number}/comments", g.in(g.comment))
	g.Handle("PATCH /api/v1/repos/{owner}/{repo}/issues/comments/{comment}", g.in(g.edit))
	return g
}

// Push says whether the token's user may write to the repositories.
func (g *Gitea) Push(may bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.push = may
}

// Revoke makes the token invalid.
func (g *Gitea) Revoke() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.Token = "revoked"
}

func (g *Gitea) in(h func(http.ResponseWriter, *http.Request, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("owner") + "/" + r.PathValue("repo")
		g.mu.Lock()
		known, valid := slices.Contains(g.repositories, name), r.Header.Get("Authorization") == "token "+g.Token
		g.mu.Unlock()
		switch {
		case !valid:
			JSON(w, http.StatusUnauthorized, map[string]string{"message": "user does not exist [uid: 0, name: ]"})
		case !known:
			JSON(w, http.StatusNotFound, map[string]string{"message": "The target couldn't be found."})
		default:
			h(w, r, name)
		}
	}
}

func (g *Gitea) newStatus(w http.ResponseWriter, r *http.Request, name string) {
	body, err := io.ReadAll(r.Body)
	var in struct {
		State, Context, Description string
		TargetURL                   string `json:"target_url"`
	}
	if err != nil || !decode(w, body, &in) {
		return
	}
	g.mu.Lock()
	may := g.push
	g.mu.Unlock()
	switch {
	case !may:
		JSON(w, http.StatusForbidden, map[string]string{"message": "user should have a permission to write to this repository"})
	case !isCommit(r.PathValue("sha")):
		JSON(w, http.StatusNotFound, map[string]string{"message": "sha not found"})
	case !slices.Contains([]string{"pending", "success", "error", "failure", "warning"}, in.State):
		JSON(w, http.StatusUnprocessableEntity, map[string]string{"message": "invalid status"})
	default:
		g.take(Status{Repository: name, Commit: r.PathValue("sha"), State: in.State, Context: in.Context, Description: in.Description, TargetURL: in.TargetURL})
		JSON(w, http.StatusCreated, map[string]any{"id": 1, "status": in.State, "context": in.Context, "description": in.Description, "target_url": in.TargetURL})
	}
}

// Renew lets the forge take another token.
func (g *Gitea) Renew(token string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.Token = token
}
