package hooks

import (
	"embed"
	"path"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/git"
)

// payloads are webhooks as the forges' documentation shows them, one of each kind that Slipway reads; the first part of
// the name is the kind of forge, the second the event.
//
//go:embed testdata/*.json
var payloads embed.FS

type seed struct {
	name  string
	kind  models.ForgeKind
	event string
	body  []byte
}

func seeds(t testing.TB) []seed {
	t.Helper()
	files, err := payloads.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var out []seed
	for _, f := range files {
		body, err := payloads.ReadFile(path.Join("testdata", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.SplitN(strings.TrimSuffix(f.Name(), ".json"), "-", 3)
		out = append(out, seed{f.Name(), models.ForgeKind(parts[0]), parts[1], body})
	}
	return out
}

func TestDocumentedPayloadsAreUnderstood(t *testing.T) {
	t.Parallel()
	want := map[string]struct{ summary, repo, commit string }{
		"github-push-branch.json":             {"push to main by Codertocat in Codertocat/Hello-World", "186853002", "6113728f27ae82c7b1a177c8d03f9e96e0adf246"},
		"github-push-tag.json":                {"tag simple-tag deleted by Codertocat in Codertocat/Hello-World", "186853002", ""},
		"github-pull_request-opened.json":     {"pull request #2 opened by Codertocat in Codertocat/Hello-World", "186853002", "ec26c3e57ca3a959ca5aad62de7213c562f8c821"},
		"github-ping-hook.json":               {"ping by Codertocat in Codertocat/Hello-World", "186853002", ""},
		"gitlab-push-branch.json":             {"push to master by jsmith in mike/diaspora", "15", "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"},
		"gitlab-tag_push-tag.json":            {"tag v1.0.0 by jsmith in jsmith/example", "1", "82b3d5ae55f7080f1e6022629cdb57bfae7cccc7"},
		"gitlab-merge_request-open.json":      {"pull request #1 open by root in gitlabhq/gitlab-test", "1", "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"},
		"gitea-push-branch.json":              {"push to develop by gitea in gitea/webhooks", "140", "bffeb74224043ba2feb48d137756c8a9331c449a"},
		"gitea-pull_request-opened.json":      {"pull request #1 opened by gitea in gitea/webhooks", "140", "9d2c3a87e1b8ab4d1b5f4b1c9a3d0e2f1a2b3c4d"},
		"generic-push-script.json":            {"push to main by release-bot in https://git.example.com/acme/shop.git", "", "9f3c2ab41be0d4c07e511aa0b81d9aa5d20c9e03"},
		"generic-pull_request-forgeless.json": {"pull request #7 opened by bob in https://git.example.com/acme/shop.git", "", "9f3c2ab41be0d4c07e511aa0b81d9aa5d20c9e03"},
	}
	found := map[string]bool{}
	for _, s := range seeds(t) {
		e, err := parse(s.kind, s.event, s.body)
		w, ok := want[s.name]
		if err != nil || !ok {
			t.Errorf("%s: %v, known: %v", s.name, err, ok)
			continue
		}
		found[s.name] = true
		commit := first(e.push.commit.id, e.pull.commit.id)
		if e.summary() != w.summary || e.repo.id != w.repo || commit != w.commit {
			t.Errorf("%s: got %q, %q, %q", s.name, e.summary(), e.repo.id, commit)
		}
	}
	if len(found) != len(want) {
		t.Errorf("%d of %d payloads are there", len(found), len(want))
	}
}

func TestForksAreToldFromTheRepositoryItself(t *testing.T) {
	t.Parallel()
	for _, s := range seeds(t) {
		e, err := parse(s.kind, s.event, s.body)
		if err != nil || e.kind != eventPull {
			continue
		}
		if want := s.name == "gitlab-merge_request-open.json" || s.name == "generic-pull_request-forgeless.json"; e.pull.Fork != want {
			t.Errorf("%s: fork %v", s.name, e.pull.Fork)
		}
	}
}

// FuzzParse feeds anything to every parser: none may panic, and what they let through must be safe to give to git.
func FuzzParse(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(string(s.kind), s.event, s.body)
	}
	for _, body := range []string{"", "null", "[]", `{"ref":null,"repository":null,"head_commit":null,"commits":[null]}`, `{"pull_request":null}`, `{"object_kind":"push","commits":[null],"project":null}`,
		`{"object_kind":"merge_request","object_attributes":{"iid":-1,"last_commit":null}}`, `{"ref":"refs/heads/../x","after":"` + strings.Repeat("a", 40) + `"}`} {
		for _, kind := range []models.ForgeKind{models.ForgeGitHub, models.ForgeGitLab, models.ForgeGitea, models.ForgeGeneric} {
			f.Add(string(kind), "push", []byte(body))
			f.Add(string(kind), "pull_request", []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, kind, name string, body []byte) {
		e, err := parse(models.ForgeKind(kind), name, body)
		if err != nil {
			if !models.IsCode(err, models.Invalid) {
				t.Errorf("an error that people can't read: %v", err)
			}
			return
		}
		if e.kind == eventPush && (!git.ValidRef(e.push.name) || e.push.after != "" && !git.ValidCommit(e.push.after)) {
			t.Errorf("let through %+v", e.push)
		}
		if e.kind == eventPull && (!git.ValidPullRef(e.pull.ref) || e.pull.step == pullChanged && !git.ValidCommit(e.pull.commit.id)) {
			t.Errorf("let through %+v", e.pull)
		}
		for _, patterns := range [][]string{nil, {"main"}, {"**", "!wip/**"}} {
			refusal(models.Triggers{Push: true, Branches: patterns, Tags: patterns, PullRequests: models.PullRequestsForks}, e, "main")
			anyMatches(patterns, e.push.files)
		}
		_ = sameURL("https://git.example.com/acme/shop.git", e.repo.urls)
		if text := e.summary(); strings.ContainsAny(text, "\n\x00\x1b") {
			t.Errorf("the summary %q has control characters", text)
		}
	})
}

// FuzzVerify looks for headers that are taken without the secret.
func FuzzVerify(f *testing.F) {
	f.Add("github", "sha256=00", "1", []byte("{}"))
	f.Add("gitlab", "v1,AAAA", "0", []byte(""))
	f.Fuzz(func(t *testing.T, kind, signature, at string, body []byte) {
		h := map[string][]string{}
		for _, name := range signatures {
			h[name] = []string{signature}
		}
		h["Webhook-Timestamp"], h["X-Slipway-Timestamp"] = []string{at}, []string{at}
		if _, ok := verify(models.ForgeKind(kind), "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cyBmb3IgdmVyaWZpY2F0aW9u", h, body, time.Now()); ok {
			t.Errorf("%s takes %q", kind, signature)
		}
	})
}
