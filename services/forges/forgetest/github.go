package forgetest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-github/v88/github"
)

// API is where a GitHub at an address of its own has its API.
const API = "/api/v3"

// GitHub is a GitHub Enterprise Server with one GitHub App, one installation of it and one personal token.
type GitHub struct {
	*Forge
	Token          string // a fine-grained personal token
	AppID          string
	InstallationID string
	PrivateKey     string // of the app, in PEM's format

	key          *rsa.PrivateKey
	repositories map[string]*github.Repository // by owner/name; guarded by mu, as are those below
	permissions  map[string]string             // of tokens: statuses, contents, pull_requests, actions → read, write
	scopes       string                        // of a classic token; empty: it is fine-grained
	issued       map[string]time.Time          // tokens of the installation, with their ends
	lifetime     time.Duration
}

// NewGitHub starts a GitHub that knows the repositories, such as "acme/shop".
func NewGitHub(t testing.TB, repositories ...string) *GitHub {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	g := &GitHub{
		Forge: newForge(t), Token: "github_pat_CANARY" + rand.Text(), AppID: "4711", InstallationID: "815", PrivateKey: string(pem.EncodeToMemory(block)), key: key,
		repositories: map[string]*github.Repository{}, issued: map[string]time.Time{}, lifetime: time.Hour,
		permissions: map[string]string{"metadata": "read", "statuses": "write", "contents": "write", "pull_requests": "write", "actions": "write"},
	}
	for i, name := range repositories {
		g.repositories[name] = g.repository(int64(1000+i), name)
	}
	g.routesOfApps()
	g.routesOfRepositories()
	return g
}

func (g *GitHub) repository(id int64, fullName string) *github.Repository {
	owner, name, _ := strings.Cut(fullName, "/")
	return &github.Repository{
		ID: &id, Name: &name, FullName: &fullName, Owner: &github.User{Login: &owner}, DefaultBranch: github.Ptr("main"),
		HTMLURL: github.Ptr(g.URL + "/" + fullName), CloneURL: github.Ptr(g.URL + "/" + fullName + ".git"), Private: github.Ptr(true),
	}
}

// Permit sets what the tokens may do with a thing such as statuses: read, write, or nothing where empty.
func (g *GitHub) Permit(thing, access string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.permissions[thing] = access
}

// Classic makes the personal token a classic one with the scopes, such as "repo, workflow".
func (g *GitHub) Classic(scopes string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.scopes = scopes
}

// Revoke makes the personal token and all tokens of the installation invalid.
func (g *GitHub) Revoke() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.Token, g.issued = "revoked", map[string]time.Time{}
}

// Issued is how many tokens of the installation were made.
func (g *GitHub) Issued() int {
	n := 0
	for _, r := range g.Requests() {
		if strings.HasSuffix(r.Path, "/access_tokens") {
			n++
		}
	}
	return n
}

func (g *GitHub) routesOfApps() {
	g.Handle("POST "+API+"/app/installations/{id}/access_tokens", g.newToken)
}

// newToken gives an installation's token to the app that signed the request.
func (g *GitHub) newToken(w http.ResponseWriter, r *http.Request) {
	if !g.signed(r) {
		JSON(w, http.StatusUnauthorized, map[string]string{"message": "A JSON web token could not be decoded"})
		return
	}
	if r.PathValue("id") != g.InstallationID {
		JSON(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	token, end := "ghs_CANARY"+rand.Text(), time.Now().Add(g.lifetime)
	g.issued[token] = end
	may := func(thing string) *string {
		if g.permissions[thing] == "" {
			return nil
		}
		return github.Ptr(g.permissions[thing])
	}
	JSON(w, http.StatusCreated, github.InstallationToken{Token: &token, ExpiresAt: &github.Timestamp{Time: end}, Permissions: &github.InstallationPermissions{
		Metadata: may("metadata"), Statuses: may("statuses"), Contents: may("contents"), PullRequests: may("pull_requests"), Actions: may("actions"), Workflows: may("workflows"),
	}})
}

// signed checks the app's own token as GitHub does: RS256 with the app's key, issued by the app, ten minutes at most.
func (g *GitHub) signed(r *http.Request) bool {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	if !ok || err != nil {
		return false
	}
	var claims jwt.Claims
	if err := token.Claims(&g.key.PublicKey, &claims); err != nil || claims.Issuer != g.AppID || claims.IssuedAt == nil || claims.Expiry == nil {
		return false
	}
	now := time.Now()
	return !claims.IssuedAt.Time().After(now) && claims.Expiry.Time().After(now) && claims.Expiry.Time().Sub(now) <= 10*time.Minute
}

// Authenticated tells whether the request carries a token that is valid now.
func (g *GitHub) Authenticated(r *http.Request) bool {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	g.mu.Lock()
	defer g.mu.Unlock()
	end, installed := g.issued[text]
	return ok && (text == g.Token || installed && time.Now().Before(end))
}

// may tells whether tokens have the access to the thing.
func (g *GitHub) may(thing, access string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	has := g.permissions[thing]
	return has == "write" || has == access
}

// In wraps a call about a repository: it answers as GitHub does where the token is not valid, the repository unknown,
// or the access to the thing not allowed. Calls that a test adds should use it.
func (g *GitHub) In(thing, access string, h func(http.ResponseWriter, *http.Request, *github.Repository)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		repository, scopes := g.repositories[r.PathValue("owner")+"/"+r.PathValue("repo")], g.scopes
		g.mu.Unlock()
		if scopes != "" {
			w.Header().Set("X-OAuth-Scopes", scopes)
		}
		switch {
		case !g.Authenticated(r):
			JSON(w, http.StatusUnauthorized, map[string]string{"message": "Bad credentials"})
		case repository == nil:
			JSON(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
		case scopes == "" && !g.may(thing, access):
			w.Header().Set("X-Accepted-GitHub-Permissions", thing+"="+access)
			JSON(w, http.StatusForbidden, map[string]string{"message": "Resource not accessible by personal access token"})
		default:
			h(w, r, repository)
		}
	}
}

func (g *GitHub) routesOfRepositories() {
	repo := API + "/repos/{owner}/{repo}"
	g.Handle("GET "+repo, g.In("metadata", "read", func(w http.ResponseWriter, _ *http.Request, repository *github.Repository) {
		JSON(w, http.StatusOK, repository)
	}))
	g.Handle("POST "+repo+"/statuses/{sha}", g.In("statuses", "write", g.newStatus))
	g.Handle("GET "+repo+"/issues/{number}/comments", g.In("pull_requests", "read", func(w http.ResponseWriter, r *http.Request, repository *github.Repository) {
		g.list(w, r, repository.GetFullName())
	}))
	g.Handle("POST "+repo+"/issues/{number}/comments", g.In("pull_requests", "write", func(w http.ResponseWriter, r *http.Request, repository *github.Repository) {
		g.comment(w, r, repository.GetFullName())
	}))
	g.Handle("PATCH "+repo+"/issues/comments/{comment}", g.In("pull_requests", "write", func(w http.ResponseWriter, r *http.Request, repository *github.Repository) {
		g.edit(w, r, repository.GetFullName())
	}))
	g.Handle("POST "+repo+"/pulls", g.In("pull_requests", "write", g.invalid))
	g.Handle("POST "+repo+"/git/refs", g.In("contents", "write", g.invalid))
	g.Handle("GET "+repo+"/actions/workflows", g.In("actions", "read", func(w http.ResponseWriter, _ *http.Request, _ *github.Repository) {
		JSON(w, http.StatusOK, github.Workflows{TotalCount: github.Ptr(0)})
	}))
}

// invalid answers a request whose body lacks what it needs.
func (g *GitHub) invalid(w http.ResponseWriter, _ *http.Request, _ *github.Repository) {
	JSON(w, http.StatusUnprocessableEntity, map[string]string{"message": "Invalid request."})
}

func (g *GitHub) newStatus(w http.ResponseWriter, r *http.Request, repository *github.Repository) {
	body, err := io.ReadAll(r.Body)
	var in github.RepoStatus
	if err != nil || !decode(w, body, &in) {
		return
	}
	commit := r.PathValue("sha")
	switch state := in.GetState(); {
	case !isCommit(commit) || strings.Trim(commit, "0") == "":
		JSON(w, http.StatusUnprocessableEntity, map[string]string{"message": "No commit found for SHA: " + commit})
		return
	case state != "pending" && state != "success" && state != "failure" && state != "error":
		JSON(w, http.StatusUnprocessableEntity, map[string]string{"message": "Validation Failed"})
		return
	case len([]rune(in.GetDescription())) > 140:
		JSON(w, http.StatusUnprocessableEntity, map[string]string{"message": "Validation Failed: description is too long (maximum is 140 characters)"})
		return
	}
	g.take(Status{Repository: repository.GetFullName(), Commit: commit, State: in.GetState(), Context: in.GetContext(), Description: in.GetDescription(), TargetURL: in.GetTargetURL()})
	in.ID, in.URL = github.Ptr(int64(len(g.Statuses()))), github.Ptr(g.URL+API+"/repos/"+repository.GetFullName()+"/statuses/"+strconv.Itoa(1))
	JSON(w, http.StatusCreated, in)
}

// Lifetime sets how long the installation's tokens are good for from now on; an hour unless set.
func (g *GitHub) Lifetime(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lifetime = d
}

// Renew lets the forge take another token.
func (g *GitHub) Renew(token string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.Token = token
}
