// Package forgetest holds forges that speak their real protocol, for tests: a GitHub, a GitLab and a Gitea that check
// method, path, credential and body of each request, remember what they were told, and can be told to fail. A test adds
// calls of its own with Handle.
package forgetest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Status is a commit status as a forge was told it.
type Status struct {
	Repository  string // owner/name, or the id that the forge was asked by
	Commit      string
	State       string // in the forge's words
	Context     string
	Description string
	TargetURL   string
	Ref         string // GitLab's alone
}

// Request is a request as the forge got it.
type Request struct {
	Method, Path  string
	Authorization string // or GitLab's PRIVATE-TOKEN
	Header        http.Header
	Body          []byte
}

// Forge is what the three forges share. Its methods are safe for concurrent use.
type Forge struct {
	URL string // where people would open it in the browser

	t       testing.TB
	routes  *http.ServeMux
	mu      sync.Mutex
	faults  []http.HandlerFunc
	down    http.HandlerFunc
	got     []Request
	told    []Status
	written []Comment
	numbers int64 // of comments
	changed chan struct{}
}

func newForge(t testing.TB) *Forge {
	f := &Forge{t: t, routes: http.NewServeMux(), changed: make(chan struct{})}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.URL = server.URL
	return f
}

// Handle adds a call, such as "GET /api/v3/repos/{owner}/{repo}/actions/workflows".
func (f *Forge) Handle(pattern string, h http.HandlerFunc) { f.routes.HandleFunc(pattern, h) }

// ServeHTTP answers as the forge, or fails as it was told to.
func (f *Forge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := readAll(r)
	f.mu.Lock()
	f.got = append(f.got, Request{Method: r.Method, Path: r.URL.EscapedPath(), Authorization: credentialOf(r), Header: r.Header.Clone(), Body: body})
	fail := f.down
	if len(f.faults) > 0 {
		fail, f.faults = f.faults[0], f.faults[1:]
	}
	f.wake()
	f.mu.Unlock()
	if fail != nil {
		fail(w, r)
		return
	}
	f.routes.ServeHTTP(w, r)
}

// wake tells those who wait that something was told; the lock is held.
func (f *Forge) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func credentialOf(r *http.Request) string {
	if token := r.Header.Get("PRIVATE-TOKEN"); token != "" {
		return token
	}
	return r.Header.Get("Authorization")
}

// Fail lets the next requests fail, one after the other.
func (f *Forge) Fail(with ...http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, with...)
}

// Break lets every request fail until Repair.
func (f *Forge) Break(with http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = with
}

// Echo lets every request but those for an App's token fail with what is made of the credential that it carries, as a hostile
// forge would.
func (f *Forge) Echo(with func(secret string) http.HandlerFunc) {
	f.Break(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/access_tokens") {
			f.routes.ServeHTTP(w, r)
			return
		}
		_, secret, _ := strings.Cut(credentialOf(r), " ")
		with(secret)(w, r)
	})
}

// Repair ends what Break and Fail began.
func (f *Forge) Repair() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down, f.faults = nil, nil
}

// Requests returns what the forge was asked so far.
func (f *Forge) Requests() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.got)
}

// Statuses returns the commit statuses that the forge took, in their order.
func (f *Forge) Statuses() []Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.told)
}

// Await waits until the condition holds for the statuses that the forge took, and returns them.
func (f *Forge) Await(t testing.TB, condition func([]Status) bool) []Status {
	t.Helper()
	return await(t, f, &f.told, condition)
}

// await waits until the condition holds for what the forge keeps there, and returns it.
func await[T any](t testing.TB, f *Forge, kept *[]T, condition func([]T) bool) []T {
	t.Helper()
	limit := time.After(4 * time.Minute)
	for {
		f.mu.Lock()
		now, changed := slices.Clone(*kept), f.changed
		f.mu.Unlock()
		if condition(now) {
			return now
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("the forge has only %+v; it was asked %d times", now, len(f.Requests()))
		}
	}
}

func (f *Forge) take(s Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, s)
	f.wake()
}

// Answer is a fault, or any answer: the status with the headers, in pairs, and a message as GitHub writes one.
func Answer(status int, message string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		JSON(w, status, map[string]string{"message": message})
	}
}

// Redirect is a fault: the request is sent on to another address.
func Redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) }
}

// Hang is a fault: no answer comes until the caller gives up.
func Hang(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// Cut is a fault: the connection ends without an answer.
func Cut(w http.ResponseWriter, _ *http.Request) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		c.Close()
	}
}

// JSON answers with the value.
func JSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a caller that went away
}

// decode reads the body, and answers 400 where it is not of the form.
func decode(w http.ResponseWriter, body []byte, into any) bool {
	if err := json.Unmarshal(body, into); err != nil {
		JSON(w, http.StatusBadRequest, map[string]string{"message": "Problems parsing JSON"})
		return false
	}
	return true
}

// isCommit tells whether the text is a commit's whole id.
func isCommit(text string) bool {
	return len(text) == 40 && strings.Trim(text, "0123456789abcdef") == ""
}

// readAll reads the body and puts it back for whoever answers.
func readAll(r *http.Request) []byte {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body
}
