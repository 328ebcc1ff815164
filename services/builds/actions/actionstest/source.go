package actionstest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/google/go-github/v88/github"
)

// source answers about files, branches and pull requests.
func (g *GitHub) source(w http.ResponseWriter, r *http.Request, parts []string) {
	at := strings.Join(parts, "/")
	switch {
	case strings.HasPrefix(at, "contents/"):
		g.contents(w, r, strings.TrimPrefix(at, "contents/"))
	case strings.HasPrefix(at, "git/ref/heads/"):
		branch := strings.TrimPrefix(at, "git/ref/heads/")
		if _, ok := g.files[branch]; !ok {
			g.missing(w, r)
			return
		}
		answer(w, r, http.StatusOK, reference(branch))
	case strings.HasPrefix(at, "git/refs/heads/") && r.Method == http.MethodPatch:
		branch := strings.TrimPrefix(at, "git/refs/heads/")
		g.files[branch] = map[string]string{}
		for path, text := range g.files["main"] {
			g.files[branch][path] = text
		}
		answer(w, r, http.StatusOK, reference(branch))
	case at == "git/refs" && r.Method == http.MethodPost:
		g.branch(w, r)
	case at == "pulls" && r.Method == http.MethodPost:
		g.open(w, r)
	case at == "pulls":
		var found []*github.PullRequest
		for _, p := range g.pulls {
			if p.GetState() == "open" && Owner+":"+p.GetHead().GetRef() == r.URL.Query().Get("head") {
				found = append(found, p)
			}
		}
		answer(w, r, http.StatusOK, append([]*github.PullRequest{}, found...))
	default:
		g.missing(w, r)
	}
}

func reference(branch string) *github.Reference {
	return &github.Reference{Ref: github.Ptr("refs/heads/" + branch), Object: &github.GitObject{SHA: github.Ptr(strings.Repeat("c", 40)), Type: github.Ptr("commit")}}
}

func blob(text string) string {
	if text == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))[:min(20, len(text))]
}

func (g *GitHub) contents(w http.ResponseWriter, r *http.Request, path string) {
	if r.Method == http.MethodGet {
		branch := r.URL.Query().Get("ref")
		if branch == "" {
			branch = "main"
		}
		text, ok := g.files[branch][path]
		if !ok {
			g.missing(w, r)
			return
		}
		answer(w, r, http.StatusOK, &github.RepositoryContent{Type: github.Ptr("file"), Path: github.Ptr(path), SHA: github.Ptr(blob(text)), Size: github.Ptr(len(text)),
			Encoding: github.Ptr("base64"), Content: github.Ptr(base64.StdEncoding.EncodeToString([]byte(text)))})
		return
	}
	var in github.RepositoryContentFileOptions
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		answer(w, r, http.StatusBadRequest, map[string]string{"message": "Problems parsing JSON"})
		return
	}
	files, ok := g.files[in.GetBranch()]
	switch {
	case !ok:
		g.missing(w, r)
	case files[path] != "" && in.GetSHA() != blob(files[path]):
		answer(w, r, http.StatusConflict, map[string]string{"message": path + " does not match"})
	default:
		files[path] = string(in.Content)
		g.calls["commit"]++
		answer(w, r, http.StatusOK, &github.RepositoryContentResponse{Content: &github.RepositoryContent{SHA: github.Ptr(blob(files[path]))}})
	}
}

func (g *GitHub) branch(w http.ResponseWriter, r *http.Request) {
	var in github.CreateRef
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		answer(w, r, http.StatusBadRequest, map[string]string{"message": "Problems parsing JSON"})
		return
	}
	name := strings.TrimPrefix(in.Ref, "refs/heads/")
	if _, ok := g.files[name]; ok {
		answer(w, r, http.StatusUnprocessableEntity, map[string]string{"message": "Reference already exists"})
		return
	}
	g.files[name] = map[string]string{}
	for path, text := range g.files["main"] {
		g.files[name][path] = text
	}
	answer(w, r, http.StatusCreated, reference(name))
}

func (g *GitHub) open(w http.ResponseWriter, r *http.Request) {
	var in github.NewPullRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		answer(w, r, http.StatusBadRequest, map[string]string{"message": "Problems parsing JSON"})
		return
	}
	n := len(g.pulls) + 1
	p := &github.PullRequest{Number: github.Ptr(n), State: github.Ptr("open"), Title: in.Title, Body: in.Body,
		HTMLURL: github.Ptr(g.URL + "/" + Owner + "/" + Name + "/pull/" + string(rune('0'+n))),
		Head:    &github.PullRequestBranch{Ref: in.Head}, Base: &github.PullRequestBranch{Ref: in.Base}}
	g.pulls = append(g.pulls, p)
	answer(w, r, http.StatusCreated, p)
}
