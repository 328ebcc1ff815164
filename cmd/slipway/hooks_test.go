package main_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

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

// handled waits until a worker has looked at the delivery that the answer names.
func handled(t *testing.T, p *slipwaytest.Portal, said []byte) delivery {
	t.Helper()
	var told struct{ ID string }
	if err := json.Unmarshal(said, &told); err != nil {
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
		c := slipwaytest.Post[slipwaytest.Connection](t, p.Client, "/api/v1/connections", map[string]any{"team": "acme", "kind": "github", "base_url": "http://127.0.0.1"})
		repository := p.Repository(t, "acme", "shop", repo.URL)
		app := p.App(t, repository.ID, "shop")
		if p.Call(t, http.MethodPatch, "/api/v1/apps/"+app.ID, map[string]any{"triggers": map[string]any{"pull_requests": "forks"}}).Status != http.StatusOK {
			t.Fatal("the triggers can't be changed")
		}
		before := repo.Git(t, "rev-parse", "main")
		after := repo.Commit(t, "main", "Second version", shop("two"))
		push := map[string]any{"ref": "refs/heads/main", "before": before, "after": after, "repository": slipwaytest.HubRepository(repo.URL), "pusher": map[string]any{"name": "ada"}, "commits": []any{}}
		if status, said := (slipwaytest.Connection{HookURL: c.HookURL, Secret: "whsec_wrong"}).Hook(t, "1", "push", push); status != http.StatusUnauthorized {
			t.Errorf("a wrong signature: %d %s", status, said)
		}
		status, said := c.Hook(t, "1", "push", push)
		if status != http.StatusAccepted {
			t.Fatalf("got %d %s", status, said)
		}
		d := handled(t, p, said)
		if d.State != "handled" || len(d.Outcomes) != 1 || d.Outcomes[0].Message != "queued build #1" {
			t.Fatalf("got %+v", d)
		}
		if status, _ := c.Hook(t, "1", "push", push); status != http.StatusOK {
			t.Errorf("the same once more: %d", status)
		}
		if b := p.BuildEnd(t, d.Outcomes[0].BuildID); b.State != "succeeded" || b.Commit != after || !slices.Contains(b.Image.Tags, "main") || !slices.Contains(b.Image.Tags, after) {
			t.Errorf("got %+v", b)
		}
		fromAFork(t, p, c, repo)
	})
}

// fromAFork sends a pull request of a fork that replaces what main's image is of.
func fromAFork(t *testing.T, p *slipwaytest.Portal, c slipwaytest.Connection, repo *gittest.Repo) {
	t.Helper()
	head := repo.Commit(t, "tmp", "A stranger's", shop("three"))
	repo.Git(t, "update-ref", "refs/pull/7/head", head)
	repo.DeleteBranch(t, "tmp")
	status, said := c.Hook(t, "2", "pull_request", slipwaytest.HubFork(repo.URL, head, repo.Git(t, "rev-parse", "main")))
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
	awaitLog(t, p, id, "packing the shop")
}
