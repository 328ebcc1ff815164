package hooks_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/blobs"
	"slipway.dev/services/builds"
	"slipway.dev/services/catalog"
	"slipway.dev/services/forges"
	"slipway.dev/services/git"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/hooks"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
	"slipway.dev/services/outbound"
	"slipway.dev/services/secrets"
)

// world is the service on a database with one of everything and a real git server. Its queue was not started: tests
// work on deliveries themselves.
type world struct {
	*modelstest.World
	t      *testing.T
	db     *models.Database
	hooks  *hooks.Service
	forges *forges.Service
	builds *builds.Service
	server *gittest.Server
	repo   *gittest.Repo
	as     map[string]context.Context

	connection *models.Connection
	secret     string
	n          int
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	w := &world{World: modelstest.Seed(t, db), t: t, db: db, server: gittest.New(t)}
	w.must(db.Delete(&models.Build{}, "id = ?", w.Build.ID).Error)
	w.must(db.Model(w.App).Update("build_count", 0).Error)
	w.repo = w.server.Repository(t, "acme/shop.git", gittest.Files{"Dockerfile": "FROM scratch\n", "docs/a.md": "a"})
	w.must(db.Model(w.Repository).Update("clone_url", w.repo.URL).Error)
	box, err := secrets.Load(filepath.Join(t.TempDir(), "keys"))
	w.must(err)
	queue, err := jobs.New(db, jobs.Config{})
	w.must(err)
	bucket, err := blobs.Open(t.Context(), t.TempDir())
	w.must(err)
	guard := &outbound.Guard{Allow: gittest.Loopback}
	proxy := &outbound.Proxy{Guard: guard}
	w.must(proxy.Listen())
	t.Cleanup(func() { _ = proxy.Close() })
	mirrors := &git.Service{Dir: filepath.Join(t.TempDir(), "git"), Guard: guard, Proxy: proxy}
	things := &catalog.Service{DB: db.DB, Jobs: queue, Secrets: box, Git: mirrors}
	things.Register(queue)
	w.forges = &forges.Service{DB: db.DB, Box: box, ExternalURL: "https://slipway.example.test"}
	w.builds = &builds.Service{DB: db, Jobs: queue, Git: mirrors, Logs: &logs.Service{DB: db, Blobs: bucket}, Remote: things.Remote}
	w.builds.Register(queue)
	w.hooks = &hooks.Service{DB: db, Jobs: queue, Forges: w.forges, Builds: w.builds, Git: mirrors, Remote: things.Remote, Refresh: things.Refresh}
	w.hooks.Register(queue)
	w.as = map[string]context.Context{"nobody": t.Context(), "system": models.WithPrincipal(t.Context(), models.System("test"))}
	for name, u := range map[string]*models.User{"admin": w.Admin, "maintainer": w.Maintainer, "developer": w.Developer, "viewer": w.Viewer, "stranger": w.Stranger} {
		w.as[name] = modelstest.As(t, db, u)
	}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// connect makes a connection of the kind that the team's repository uses.
func (w *world) connect(kind models.ForgeKind) {
	w.t.Helper()
	in := forges.NewConnection{Team: w.Team.Slug, Kind: kind, Name: string(kind)}
	if kind != models.ForgeGeneric {
		in.BaseURL = "http://127.0.0.1"
	}
	var err error
	w.connection, w.secret, err = w.forges.Create(w.as["maintainer"], in)
	w.must(err)
	w.must(w.db.Model(&models.Repository{}).Where("id = ?", w.Repository.ID).Update("connection_id", w.connection.ID).Error)
}

// triggers changes what builds the app.
func (w *world) triggers(id string, change func(*models.Triggers)) {
	w.t.Helper()
	var app models.App
	w.must(w.db.Take(&app, "id = ?", id).Error)
	change(&app.Triggers)
	w.must(w.db.Save(&app).Error)
}

// app adds an app to the repository.
func (w *world) app(repository, name string) *models.App {
	w.t.Helper()
	a := *w.App
	a.ID, a.RepositoryID, a.Name, a.BuildCount = models.NewID(), repository, name, 0
	w.must(w.db.Create(&a).Error)
	return &a
}

// signed are the headers with which a forge of the kind sends the event.
func signed(kind models.ForgeKind, secret, id, event string, body []byte, at time.Time) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	mac := func(key []byte, content string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(content))
		return m.Sum(nil)
	}
	stamp := strconv.FormatInt(at.Unix(), 10)
	switch kind {
	case models.ForgeGitHub:
		h.Set("X-GitHub-Event", event)
		h.Set("X-GitHub-Delivery", id)
		h.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac([]byte(secret), string(body))))
	case models.ForgeGitea:
		h.Set("X-Gitea-Event", event)
		h.Set("X-Gitea-Delivery", id)
		h.Set("X-Gitea-Signature", hex.EncodeToString(mac([]byte(secret), string(body))))
	case models.ForgeGitLab:
		h.Set("X-Gitlab-Event", event)
		h.Set("Idempotency-Key", id)
		h.Set("X-Gitlab-Token", secret)
	case "gitlab signed":
		key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		h.Set("X-Gitlab-Event", event)
		h.Set("Webhook-Id", id)
		h.Set("Webhook-Timestamp", stamp)
		h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac(key, id+"."+stamp+"."+string(body))))
	case models.ForgeGeneric:
		h.Set("X-Slipway-Event", event)
		h.Set("X-Slipway-Delivery", id)
		h.Set("X-Slipway-Timestamp", stamp)
		h.Set("X-Slipway-Signature-256", "sha256="+hex.EncodeToString(mac([]byte(secret), stamp+"."+string(body))))
	}
	return h
}

// send delivers an event as the connection's forge does and returns the delivery's id.
func (w *world) send(event string, payload any) string {
	w.t.Helper()
	body, err := json.Marshal(payload)
	if raw, ok := payload.([]byte); ok {
		body, err = raw, nil
	}
	w.must(err)
	w.n++
	receipt, err := w.hooks.Receive(w.t.Context(), hooks.Incoming{ConnectionID: w.connection.ID, Body: body,
		Header: signed(w.connection.Kind, w.secret, fmt.Sprint("delivery-", w.n), event, body, time.Now())})
	w.must(err)
	if receipt.Again {
		w.t.Fatal("it was received before")
	}
	return receipt.DeliveryID
}

// work does what a worker does with the delivery, and reads it again.
func (w *world) work(id string) *models.Delivery {
	w.t.Helper()
	w.must(w.hooks.Work(w.as["system"], hooks.Args{DeliveryID: id}))
	d, _, err := w.hooks.Get(w.as["viewer"], id)
	w.must(err)
	return d
}

// told is what a delivery says became of it: its message, and each app's outcome in order of names.
func told(d *models.Delivery) string {
	text := []string{}
	if d.Message != "" {
		text = append(text, d.Message)
	}
	for _, o := range d.Outcomes {
		text = append(text, strings.TrimPrefix(o.App+": "+o.Message, ": "))
	}
	return strings.Join(text, "; ")
}

// deliver sends an event, works on it, and returns what it says became of it.
func (w *world) deliver(event string, payload any) string {
	w.t.Helper()
	return told(w.work(w.send(event, payload)))
}

// build reads the app's build with the number.
func (w *world) build(appID string, number int64) models.Build {
	w.t.Helper()
	var b models.Build
	w.must(w.db.Take(&b, "app_id = ? AND number = ?", appID, number).Error)
	return b
}

// rows counts all rows that a webhook could write.
func (w *world) rows() string {
	w.t.Helper()
	out := ""
	for _, m := range append(models.All(), "river_job") {
		var n int64
		q := w.db.Model(m)
		if name, ok := m.(string); ok {
			q = w.db.Table(name)
		}
		w.must(q.Count(&n).Error)
		out += fmt.Sprint(n, " ")
	}
	return out
}

// hubPush is a push as GitHub and Gitea send it.
func (w *world) hubPush(ref, before, after string, more map[string]any) map[string]any {
	p := map[string]any{
		"ref": ref, "before": or(before, zeros), "after": or(after, zeros), "created": before == "", "deleted": after == "", "forced": false,
		"repository": map[string]any{"id": 77, "full_name": "acme/shop", "clone_url": w.repo.URL, "ssh_url": "git@127.0.0.1:acme/shop.git", "html_url": strings.TrimSuffix(w.repo.URL, ".git"), "default_branch": "main"},
		"pusher":     map[string]any{"name": "ada"}, "sender": map[string]any{"login": "ada"}, "commits": []any{}, "head_commit": nil,
	}
	for k, v := range more {
		p[k] = v
	}
	return p
}

// hubPull is a pull request as GitHub sends it.
func (w *world) hubPull(number int, action, head string, fork bool) map[string]any {
	from := 77
	if fork {
		from = 99
	}
	return map[string]any{
		"action": action, "number": number, "sender": map[string]any{"login": "bob"},
		"repository": map[string]any{"id": 77, "full_name": "acme/shop", "clone_url": w.repo.URL, "default_branch": "main"},
		"pull_request": map[string]any{"title": "Better shop", "html_url": "https://forge.example.test/acme/shop/pull/" + fmt.Sprint(number),
			"head": map[string]any{"ref": "better", "sha": head, "repo": map[string]any{"id": from}},
			"base": map[string]any{"ref": "main", "sha": w.repo.Git(w.t, "rev-parse", "main"), "repo": map[string]any{"id": 77}}},
	}
}

// pull makes the head of a pull request at the forge: a commit of a branch that the forge does not show as one.
func (w *world) pull(number int, message string, files gittest.Files) string {
	w.t.Helper()
	id := w.repo.Commit(w.t, "tmp", message, files)
	w.repo.Git(w.t, "update-ref", fmt.Sprintf("refs/pull/%d/head", number), id)
	w.repo.DeleteBranch(w.t, "tmp")
	return id
}

const zeros = "0000000000000000000000000000000000000000"

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func wantCode(t *testing.T, what string, err error, code models.Code) {
	t.Helper()
	if code == "" && err != nil || code != "" && !models.IsCode(err, code) {
		t.Errorf("%s: got %v, want %q", what, err, code)
	}
}
