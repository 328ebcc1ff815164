package main_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

// connection is what the API answers about a new connection.
type connection struct {
	ID      string `json:"id"`
	HookURL string `json:"hook_url"`
	Secret  string `json:"webhook_secret"`
}

// delivery is what the API answers about a webhook.
type delivery struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Message  string `json:"message"`
	Outcomes []struct {
		App     string `json:"app"`
		BuildID string `json:"build_id"`
		Message string `json:"message"`
	} `json:"outcomes"`
}

// hook sends a webhook as GitHub does, and returns the status and what was said.
func (c connection) hook(t *testing.T, id, event string, payload any) (int, string) {
	t.Helper()
	body, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.HookURL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(c.Secret))
	mac.Write(body)
	for name, value := range map[string]string{"Content-Type": "application/json", "User-Agent": "GitHub-Hookshot/044aadd", "X-GitHub-Event": event, "X-GitHub-Delivery": id,
		"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil))} {
		request.Header.Set(name, value)
	}
	client := &http.Client{Timeout: time.Minute}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(said)
}

// handled waits until a worker has looked at the newest delivery that is not of the ids.
func handled(t *testing.T, p *slipwaytest.Portal, said string) delivery {
	t.Helper()
	var told struct{ ID string }
	if err := json.Unmarshal([]byte(said), &told); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return slipwaytest.Await(t, p.Client, "/api/v1/deliveries/"+told.ID, "a worker looked at the delivery", func(d delivery) bool { return d.State != "received" })
}

func TestAWebhookBecomesABuild(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, settings slipwaytest.Settings) {
		dockertest.BaseImage(t)
		repo := gittest.New(t).Repository(t, "acme/shop.git", shop("one"))
		p := slipwaytest.Start(t, settings)
		p.Team(t, "acme")
		c := slipwaytest.Post[connection](t, p.Client, "/api/v1/connections", map[string]any{"team": "acme", "kind": "github", "base_url": "http://127.0.0.1"})
		repository := p.Repository(t, "acme", "shop", repo.URL)
		app := p.App(t, repository.ID, "shop")
		if p.Call(t, http.MethodPatch, "/api/v1/apps/"+app.ID, map[string]any{"triggers": map[string]any{"pull_requests": "forks"}}).Status != http.StatusOK {
			t.Fatal("the triggers can't be changed")
		}
		place := map[string]any{"id": 77, "full_name": "acme/shop", "clone_url": repo.URL, "default_branch": "main"}

		before := repo.Git(t, "rev-parse", "main")
		after := repo.Commit(t, "main", "Second version", shop("two"))
		push := map[string]any{"ref": "refs/heads/main", "before": before, "after": after, "repository": place, "pusher": map[string]any{"name": "ada"}, "commits": []any{}}
		if status, said := (connection{HookURL: c.HookURL, Secret: "whsec_wrong"}).hook(t, "1", "push", push); status != http.StatusUnauthorized {
			t.Errorf("a wrong signature: %d %s", status, said)
		}
		status, said := c.hook(t, "1", "push", push)
		if status != http.StatusAccepted {
			t.Fatalf("got %d %s", status, said)
		}
		d := handled(t, p, said)
		if d.State != "handled" || len(d.Outcomes) != 1 || d.Outcomes[0].Message != "queued build #1" {
			t.Fatalf("got %+v", d)
		}
		if status, _ := c.hook(t, "1", "push", push); status != http.StatusOK {
			t.Errorf("the same once more: %d", status)
		}
		if b := p.BuildEnd(t, d.Outcomes[0].BuildID); b.State != "succeeded" || b.Commit != after || !slices.Contains(b.Image.Tags, "main") || !slices.Contains(b.Image.Tags, after) {
			t.Errorf("got %+v", b)
		}
		fromAFork(t, p, c, repo, place)
	})
}

// fromAFork sends a pull request of a fork that replaces what main's image is of.
func fromAFork(t *testing.T, p *slipwaytest.Portal, c connection, repo *gittest.Repo, place map[string]any) {
	t.Helper()
	head := repo.Commit(t, "tmp", "A stranger's", shop("three"))
	repo.Git(t, "update-ref", "refs/pull/7/head", head)
	repo.DeleteBranch(t, "tmp")
	status, said := c.hook(t, "2", "pull_request", map[string]any{"action": "opened", "number": 7, "repository": place, "sender": map[string]any{"login": "stranger"},
		"pull_request": map[string]any{"title": "Mine", "head": map[string]any{"ref": "main", "sha": head, "repo": map[string]any{"id": 99}}, "base": map[string]any{"ref": "main", "sha": repo.Git(t, "rev-parse", "main")}}})
	d := handled(t, p, said)
	if status != http.StatusAccepted || len(d.Outcomes) != 1 || d.Outcomes[0].Message != "build #2 waits for approval: from a fork" {
		t.Fatalf("got %d %+v", status, d)
	}
	id := d.Outcomes[0].BuildID
	if b := slipwaytest.Get[slipwaytest.Build](t, p.Client, "/api/v1/builds/"+id); b.State != "waiting" || b.Commit != head {
		t.Errorf("got %+v", b)
	}
	slipwaytest.Post[slipwaytest.Build](t, p.Client, "/api/v1/builds/"+id+"/approve", map[string]string{"commit": head})
	b := p.BuildEnd(t, id)
	if want := []string{"build-2", "pr-7"}; b.State != "succeeded" || !slices.Equal(slices.Sorted(slices.Values(b.Image.Tags)), want) {
		t.Errorf("got %s with the tags %v, want %v: %+v", b.State, b.Image.Tags, want, b.Error)
	}
	if log := string(p.Call(t, http.MethodGet, "/api/v1/builds/"+id+"/logs", nil).Body); !strings.Contains(log, "packing the shop") {
		t.Errorf("the log: %s", fmt.Sprint(log))
	}
}
