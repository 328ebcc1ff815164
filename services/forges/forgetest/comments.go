package forgetest

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"testing"
)

// Comment is a comment on a pull request at a forge, as it stands there now.
type Comment struct {
	ID         int64
	Repository string // owner/name
	Number     int64  // of the pull request
	Body       string
	Edits      int // how often it was changed
}

// Comments returns the comments that stand at the forge, the oldest first.
func (f *Forge) Comments() []Comment {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.written)
}

// DeleteComment removes a comment, as a person might.
func (f *Forge) DeleteComment(id int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written = slices.DeleteFunc(f.written, func(c Comment) bool { return c.ID == id })
}

// AwaitComments waits until the condition holds for the comments that stand at the forge, and returns them.
func (f *Forge) AwaitComments(t testing.TB, condition func([]Comment) bool) []Comment {
	t.Helper()
	return await(t, f, &f.written, condition)
}

// bodyOf reads the text of a comment that is sent, and answers as the forges do where there is none.
func bodyOf(w http.ResponseWriter, r *http.Request) (string, bool) {
	content, err := io.ReadAll(r.Body)
	var in struct{ Body string }
	if err != nil || !decode(w, content, &in) {
		return "", false
	}
	if in.Body == "" {
		JSON(w, http.StatusUnprocessableEntity, map[string]string{"message": "Validation Failed"})
		return "", false
	}
	return in.Body, true
}

func (c Comment) json() map[string]any { return map[string]any{"id": c.ID, "body": c.Body} }

// comment writes a comment: POST of GitHub, GitLab and Gitea.
func (f *Forge) comment(w http.ResponseWriter, r *http.Request, repository string) {
	body, ok := bodyOf(w, r)
	number, err := strconv.ParseInt(r.PathValue("number"), 10, 64)
	if !ok {
		return
	}
	if err != nil || number <= 0 {
		JSON(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
		return
	}
	f.mu.Lock()
	f.numbers++
	made := Comment{ID: 5000 + f.numbers, Repository: repository, Number: number, Body: body}
	f.written = append(f.written, made)
	f.wake()
	f.mu.Unlock()
	JSON(w, http.StatusCreated, made.json())
}

// edit changes a comment: PATCH of GitHub and Gitea, PUT of GitLab.
func (f *Forge) edit(w http.ResponseWriter, r *http.Request, repository string) {
	body, ok := bodyOf(w, r)
	if !ok {
		return
	}
	f.mu.Lock()
	at := slices.IndexFunc(f.written, func(c Comment) bool {
		return strconv.FormatInt(c.ID, 10) == r.PathValue("comment") && c.Repository == repository
	})
	var now Comment
	if at >= 0 {
		f.written[at].Body = body
		f.written[at].Edits++
		now = f.written[at]
		f.wake()
	}
	f.mu.Unlock()
	if at < 0 {
		JSON(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
		return
	}
	JSON(w, http.StatusOK, now.json())
}

// list answers with the comments of a pull request.
func (f *Forge) list(w http.ResponseWriter, r *http.Request, repository string) {
	all := []map[string]any{}
	for _, c := range f.Comments() {
		if c.Repository == repository && strconv.FormatInt(c.Number, 10) == r.PathValue("number") {
			all = append(all, c.json())
		}
	}
	JSON(w, http.StatusOK, all)
}
