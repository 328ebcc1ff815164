package main_test

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/models"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/forges/forgetest"
	"slipway.dev/services/git/gittest"
)

// statusOf is what the forge was told last about the commit.
func statusOf(told []forgetest.Status, commit string) string {
	state := ""
	for _, s := range told {
		if s.Commit == commit {
			state = s.State
		}
	}
	return state
}

func TestAForgeHearsOfEveryBuild(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, settings slipwaytest.Settings) {
		dockertest.BaseImage(t)
		g := forgetest.NewGitHub(t, "acme/shop")
		slow := shop("one") // so that the forge hears of the build before it ends
		slow["Dockerfile"] = "FROM slipway.test/base:1\nCOPY . .\nRUN sleep 5 && echo packing the shop\n"
		slow["fresh"] = t.TempDir()
		repo := gittest.New(t).Repository(t, "acme/shop.git", slow)
		p := slipwaytest.Start(t, settings)
		p.Team(t, "acme")
		connection := slipwaytest.Post[slipwaytest.Named](t, p.Client, "/api/v1/connections", map[string]any{
			"team": "acme", "kind": "github", "base_url": g.URL, "credential": "github_app",
			"settings": map[string]string{"app_id": g.AppID, "installation_id": g.InstallationID, "private_key": g.PrivateKey},
		})
		check := p.Call(t, http.MethodPost, "/api/v1/connections/"+connection.ID+"/check", nil)
		if check.Status != http.StatusOK || !strings.Contains(string(check.Body), `"name":"Commit statuses","verdict":"pass"`) {
			t.Fatalf("checking the connection answers %d: %s", check.Status, check.Body)
		}
		app := p.App(t, p.Repository(t, "acme", "shop", repo.URL).ID, "shop")

		first := build(t, p, app.ID, repo, "main", "packing the shop")
		told := g.Await(t, func(told []forgetest.Status) bool { return statusOf(told, first.Commit) == "success" })
		if told[0].State != "pending" || told[0].Context != "slipway/shop" || told[0].TargetURL != p.URL+"/builds/"+first.ID || told[0].Repository != "acme/shop" {
			t.Errorf("the forge was told %+v", told)
		}

		g.Break(forgetest.Answer(http.StatusServiceUnavailable, "")) // while a build runs
		second := build(t, p, app.ID, repo, repo.Commit(t, "main", "Second version", shop("two")), "packing the shop")
		if status := forgeStatus(t, p, second.ID); status.Sent == "success" || status.Want != "success" {
			t.Errorf("the forge is down, and the build says %+v", status)
		}
		g.Repair()
		told = g.Await(t, func(told []forgetest.Status) bool { return statusOf(told, second.Commit) == "success" })
		for _, s := range told {
			if s.Commit == second.Commit && s.State != "success" && s.State != "pending" {
				t.Errorf("the forge was told %+v of a build that succeeded", s)
			}
		}
		slipwaytest.Await(t, p.Client, "/api/v1/builds/"+second.ID, "the build says that the forge knows", func(b withStatus) bool { return b.ForgeStatus.Sent == "success" && b.ForgeStatus.Error == "" })
		p.Stop(t)
		noCanary(t, p, "CANARY", "BEGIN RSA PRIVATE KEY")
	})
}

// withStatus is a build with what its forge was told.
type withStatus struct {
	ForgeStatus struct{ Want, Sent, Error string } `json:"forge_status"`
}

func forgeStatus(t *testing.T, p *slipwaytest.Portal, build string) struct{ Want, Sent, Error string } {
	t.Helper()
	return slipwaytest.Get[withStatus](t, p.Client, "/api/v1/builds/"+build).ForgeStatus
}

// noCanary fails the test where the program's log or a file of its data has one of the words.
func noCanary(t *testing.T, p *slipwaytest.Portal, words ...string) {
	t.Helper()
	look := func(what string, text []byte) {
		for _, w := range words {
			if bytes.Contains(text, []byte(w)) {
				t.Errorf("%s has %s", what, w)
			}
		}
	}
	look("the program's log", []byte(p.Output()))
	err := filepath.WalkDir(p.Data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		look(path, text)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAScheduleBuildsWhenNobodyIsThere(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, settings slipwaytest.Settings) {
		dockertest.BaseImage(t)
		repo := gittest.New(t).Repository(t, "acme/shop.git", shop("one"))
		p := slipwaytest.Start(t, settings)
		p.Team(t, "acme")
		p.Worker(t) // besides the portal's own
		app := p.App(t, p.Repository(t, "acme", "shop", repo.URL).ID, "shop")
		s := slipwaytest.Post[slipwaytest.Named](t, p.Client, "/api/v1/apps/"+app.ID+"/schedules", map[string]any{"cron": "0 2 * * *", "time_zone": "Europe/Berlin", "only_new": true})

		url := settings["DATABASE_URL"]
		if url == "" {
			url = "sqlite:" + filepath.Join(p.Data, "slipway.db")
		}
		db, err := models.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		due := func() { // lets the hour strike
			t.Helper()
			if err := db.Model(&models.Schedule{}).Where("id = ?", s.ID).Update("next_at", db.NowFunc().Add(-time.Second)).Error; err != nil {
				t.Fatal(err)
			}
		}
		type schedule struct {
			LastOutcome string `json:"last_outcome"`
			LastBuildID string `json:"last_build_id"`
			Coming      []time.Time
		}
		due()
		first := slipwaytest.Await(t, p.Client, "/api/v1/schedules/"+s.ID, "the schedule had its turn", func(s schedule) bool { return s.LastOutcome == "queued" })
		if b := p.BuildEnd(t, first.LastBuildID); b.State != "succeeded" || b.Ref != "main" || len(first.Coming) != 3 {
			t.Errorf("the schedule %+v built %+v", first, b)
		}
		due()
		slipwaytest.Await(t, p.Client, "/api/v1/schedules/"+s.ID, "nothing is new", func(s schedule) bool { return s.LastOutcome == "nothing_new" })
		all := slipwaytest.Get[slipwaytest.List[slipwaytest.Build]](t, p.Client, "/api/v1/apps/"+app.ID+"/builds")
		if len(all.Items) != 1 {
			t.Errorf("%d builds of two turns, the second of which had nothing new", len(all.Items))
		}
	})
}
