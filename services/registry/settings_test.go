package registry_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/registry"
)

// set changes the settings of payments/checkout as the maintainer.
func (f *fixture) set(t testing.TB, in registry.ChangeSettings) {
	t.Helper()
	if _, err := f.registry.UpdateSettings(modelstest.As(t, f.db, f.Maintainer), "payments/checkout", in); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) setTeam(t testing.TB, in registry.ChangeTeamSettings) {
	t.Helper()
	if _, err := f.registry.UpdateTeamSettings(modelstest.As(t, f.db, f.Maintainer), "payments", in); err != nil {
		t.Fatal(err)
	}
}

func TestARepositoryDoesAsItsTeamSaysWhereItSaysNothing(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
		yes, no, patterns, none := true, models.AnonymousNo, []string{" v* ", "v*", "release-*", ""}, []string{}
		see := func() string {
			s, err := f.registry.Settings(modelstest.As(t, db, f.Viewer), "payments/checkout")
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(s.Public(), s.TagsAsTeam(), s.ImmutableTags())
		}
		if got := see(); got != "false true []" {
			t.Errorf("at first: %s", got)
		}
		f.setTeam(t, registry.ChangeTeamSettings{AnonymousPull: &yes, ImmutableTags: &patterns})
		if got := see(); got != "true true [v* release-*]" {
			t.Errorf("as the team says: %s", got)
		}
		f.set(t, registry.ChangeSettings{AnonymousPull: &no, ImmutableTags: &none})
		if got := see(); got != "false false []" {
			t.Errorf("as the repository says: %s", got)
		}
		f.set(t, registry.ChangeSettings{TagsAsTeam: true})
		if got := see(); got != "false true [v* release-*]" {
			t.Errorf("back to the team: %s", got)
		}
		var entries []models.AuditEntry
		if err := db.Where("action IN ?", []string{"image.settings", "team.image_settings"}).Find(&entries).Error; err != nil || len(entries) != 3 {
			t.Errorf("the audit log has %d changes, %v", len(entries), err)
		}
	})
}

func TestSettingsAreForMaintainersAndWrongOnesNameTheirField(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
	open := models.AnonymousYes
	for _, c := range []struct {
		who  *models.User
		code models.Code
	}{{f.Developer, models.Denied}, {f.Viewer, models.Denied}, {f.Stranger, models.NotFound}} {
		ctx := modelstest.As(t, f.db, c.who)
		if _, err := f.registry.UpdateSettings(ctx, "payments/checkout", registry.ChangeSettings{AnonymousPull: &open}); !models.IsCode(err, c.code) {
			t.Errorf("%s changes the repository: %v", c.who.Name, err)
		}
		if _, err := f.registry.UpdateTeamSettings(ctx, "payments", registry.ChangeTeamSettings{}); !models.IsCode(err, c.code) {
			t.Errorf("%s changes the team: %v", c.who.Name, err)
		}
	}
	if _, err := f.registry.Settings(modelstest.As(t, f.db, f.Stranger), "payments/checkout"); !models.IsCode(err, models.NotFound) {
		t.Errorf("a stranger sees the settings: %v", err)
	}
	maintainer := modelstest.As(t, f.db, f.Maintainer)
	for _, pattern := range []string{"[", "a/b", "two words", strings.Repeat("x", 200)} {
		_, err := f.registry.UpdateSettings(maintainer, "payments/checkout", registry.ChangeSettings{ImmutableTags: &[]string{pattern}})
		e, ok := errors.AsType[*models.Error](err)
		if !ok || e.Code != models.Invalid || !strings.Contains(e.Fields["immutable_tags"], "pattern") {
			t.Errorf("the pattern %q: %v", pattern, err)
		}
	}
	wrong := models.AnonymousPull("perhaps")
	if _, err := f.registry.UpdateSettings(maintainer, "payments/checkout", registry.ChangeSettings{AnonymousPull: &wrong}); !models.IsCode(err, models.Invalid) {
		t.Errorf("anonymous pull %q: %v", wrong, err)
	}
}

func TestATagThatAPatternKeepsNeitherMovesNorGoes(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		developer, maintainer := f.writer(t, f.Developer), f.writer(t, f.Maintainer)
		first := f.push(t, "payments/checkout:v1", 1, developer)
		f.push(t, "payments/checkout:main", 1, developer)
		f.set(t, registry.ChangeSettings{ImmutableTags: &[]string{"v*"}}) // later than the tag: it holds for it too

		other, err := random.Image(10, 1)
		if err != nil {
			t.Fatal(err)
		}
		refused := func(what string, err error) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), `"v*"`) || !strings.Contains(err.Error(), "immutable") {
				t.Errorf("%s: %v", what, err)
			}
		}
		refused("a push of another image", remote.Write(f.ref(t, "payments/checkout:v1"), other, developer))
		refused("a delete of the tag", remote.Delete(f.ref(t, "payments/checkout:v1"), maintainer))
		refused("a delete of the image", remote.Delete(f.ref(t, "payments/checkout@"+digestOf(t, first)), maintainer))
		if err := remote.Write(f.ref(t, "payments/checkout:main"), other, developer); err != nil {
			t.Errorf("a tag that no pattern keeps: %v", err)
		}
		ctx := modelstest.As(t, db, f.Developer)
		refused("a move in the portal", f.registry.Tag(ctx, registry.Retag{Repository: "payments/checkout", Tag: "v1", Digest: digestOf(t, other)}))
		refused("a build", f.registry.CheckTags(ctx, f.host+"/payments/checkout", []string{"main", "v1"}))
		if err := f.registry.CheckTags(ctx, "payments/checkout", []string{"main", "v2"}); err != nil {
			t.Errorf("free tags: %v", err)
		}
		if err := f.registry.CheckTags(ctx, "payments/new", []string{"v1"}); err != nil {
			t.Errorf("a repository that is not there yet: %v", err)
		}
		if err := remote.Write(f.ref(t, "payments/checkout:v1"), first, developer); err != nil {
			t.Errorf("the same image again: %v", err)
		}
		if err := remote.Write(f.ref(t, "payments/checkout:v2"), other, developer); err != nil {
			t.Errorf("a new tag: %v", err)
		}
		f.set(t, registry.ChangeSettings{ImmutableTags: &[]string{}})
		if err := remote.Write(f.ref(t, "payments/checkout:v1"), other, developer); err != nil {
			t.Errorf("after the pattern is gone: %v", err)
		}
	})
}

func TestNoPlatformGoesOutOfAnImageThatAPatternKeeps(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		index, err := random.Index(64, 1, 2)
		if err != nil {
			t.Fatal(err)
		}
		developer, maintainer := f.writer(t, f.Developer), f.writer(t, f.Maintainer)
		if err := remote.WriteIndex(f.ref(t, "payments/checkout:v1"), index, developer); err != nil {
			t.Fatal(err)
		}
		all, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		child := f.ref(t, "payments/checkout@"+all.Manifests[0].Digest.String())
		f.set(t, registry.ChangeSettings{ImmutableTags: &[]string{"v*"}})
		if err := remote.Delete(child, maintainer); err == nil || !strings.Contains(err.Error(), "immutable") {
			t.Errorf("half of an immutable image is gone: %v", err)
		}
		f.set(t, registry.ChangeSettings{ImmutableTags: &[]string{}})
		if err := remote.Delete(child, maintainer); err != nil {
			t.Errorf("without the pattern: %v", err)
		}
	})
}

func TestABuildMayMoveTheTagThatItMadeItselfAndNoOther(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	f.push(t, "payments/checkout:v1", 1, f.writer(t, f.Developer))
	f.set(t, registry.ChangeSettings{ImmutableTags: &[]string{"*"}})
	if err := f.db.Model(f.Build).Update("state", models.BuildRunning).Error; err != nil {
		t.Fatal(err)
	}
	ctx := models.WithPrincipal(t.Context(), models.SystemFor("build:"+f.Build.ID, "build #1 of checkout"))
	user, password, err := f.registry.Credential(ctx, "payments/checkout", []string{registry.Pull, registry.Push}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f.push(t, "payments/checkout:build-1", 1, basic(user, password))
	}
	img, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(f.ref(t, "payments/checkout:v1"), img, basic(user, password)); err == nil {
		t.Error("a build moved the tag of somebody else")
	}
	for range 2 {
		f.push(t, "payments/checkout:buildcache", 1, basic(user, password))
	}
}

func TestATagIsPutOnAnImageThatIsThereAndOnNoOther(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		old, now := digestOf(t, f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))), ""
		now = digestOf(t, f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer)))
		ctx := modelstest.As(t, db, f.Developer)
		back := registry.Retag{Repository: "payments/checkout", Tag: "main", Digest: old, Was: now, Checked: true}
		if err := f.registry.Tag(ctx, back); err != nil {
			t.Fatal(err)
		}
		desc, err := remote.Head(f.ref(t, "payments/checkout:main"), f.reader(t, f.Viewer))
		if err != nil || desc.Digest.String() != old {
			t.Errorf("the tag names %v, %v", desc, err)
		}
		if err := f.registry.Tag(ctx, back); !models.IsCode(err, models.Conflict) {
			t.Errorf("a move of a tag that moved since: %v", err)
		}
		for what, in := range map[string]registry.Retag{
			"a bad name":     {Repository: "payments/checkout", Tag: "-x", Digest: old},
			"no digest":      {Repository: "payments/checkout", Tag: "x", Digest: "main"},
			"an image of no": {Repository: "payments/checkout", Tag: "x", Digest: "sha256:" + strings.Repeat("0", 64)},
		} {
			if err := f.registry.Tag(ctx, in); !models.IsCode(err, models.Invalid) {
				t.Errorf("%s: %v", what, err)
			}
		}
		for who, code := range map[*models.User]models.Code{f.Viewer: models.Denied, f.Stranger: models.NotFound} {
			in := registry.Retag{Repository: "payments/checkout", Tag: "x", Digest: old}
			if err := f.registry.Tag(modelstest.As(t, db, who), in); !models.IsCode(err, code) {
				t.Errorf("%s moves a tag: %v", who.Name, err)
			}
		}
		p := models.PrincipalFrom(ctx)
		p.Scopes = []models.Scope{models.ScopeRead, models.ScopeWrite}
		in := registry.Retag{Repository: "payments/checkout", Tag: "x", Digest: old}
		if err := f.registry.Tag(models.WithPrincipal(ctx, p), in); !models.IsCode(err, models.Denied) {
			t.Errorf("a token that may not push moves a tag: %v", err)
		}
	})
}

func TestAnybodyPullsWhatATeamOpenedAndNothingElse(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		img := f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
		f.push(t, "payments/closed:main", 1, f.writer(t, f.Developer))
		open := models.AnonymousYes
		if _, err := remote.Image(f.ref(t, "payments/checkout:main")); err == nil {
			t.Error("a repository that nobody opened is open")
		}
		f.set(t, registry.ChangeSettings{AnonymousPull: &open})
		got, err := remote.Image(f.ref(t, "payments/checkout:main"))
		if err != nil || digestOf(t, got) != digestOf(t, img) {
			t.Fatalf("a pull without a login: %v", err)
		}
		if _, err := remote.Image(f.ref(t, "payments/checkout:main"), f.reader(t, f.Stranger)); err != nil {
			t.Errorf("a pull by somebody of another team: %v", err)
		}
		if _, err := remote.Image(f.ref(t, "payments/closed:main")); err == nil {
			t.Error("the repository beside it is open too")
		}

		token := func(scope string) answer { return f.ask(t, http.MethodGet, "/registry/token?scope="+scope, "", nil) }
		a := token("repository:payments/checkout:pull,push,delete")
		_, rest, _ := strings.Cut(a.body, `"access_token":"`)
		raw, _, _ := strings.Cut(rest, `"`)
		if a.status != 200 || raw == "" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		layer := digestOf(t, layers[0])
		for _, c := range []struct {
			route  string
			status int
		}{
			{"GET /v2/", 200}, {"GET /v2/payments/checkout/tags/list", 200}, {"GET /v2/payments/checkout/blobs/" + layer, 200},
			{"GET /v2/_catalog", 401}, {"GET /v2/payments/closed/tags/list", 401}, {"GET /v2/payments/nothing/tags/list", 401},
			{"POST /v2/payments/checkout/blobs/uploads/", 401}, {"DELETE /v2/payments/checkout/manifests/main", 401},
			{"PUT /v2/payments/checkout/manifests/other", 401},
		} {
			method, path, _ := strings.Cut(c.route, " ")
			if a := f.ask(t, method, path, "", bearer(raw)); a.status != c.status {
				t.Errorf("%s without a login: %d %s", c.route, a.status, a.body)
			}
		}
		for _, scope := range []string{"repository:payments/closed:pull", "registry:catalog:*", ""} {
			if a := token(scope); a.status != 401 {
				t.Errorf("a token without a login for %q: %d", scope, a.status)
			}
		}
		if a := f.ask(t, http.MethodGet, "/v2/payments/checkout/manifests/main", "", nil); a.status != 401 || !strings.Contains(a.header.Get("WWW-Authenticate"), "repository:payments/checkout:pull") {
			t.Errorf("without a token the client is not told where to get one: %d", a.status)
		}
		mount := f.access(t, f.token(t, f.Stranger, models.ScopeRegistryWrite), "repository:payments/checkout:pull repository:search/index:pull,push")
		if a := f.ask(t, http.MethodPost, "/v2/search/index/blobs/uploads/?mount="+layer+"&from=payments/checkout", "", bearer(mount)); a.status != http.StatusAccepted {
			t.Errorf("a mount out of a repository that is only open: %d", a.status)
		}
		shut := models.AnonymousNo
		f.set(t, registry.ChangeSettings{AnonymousPull: &shut})
		if a := f.ask(t, http.MethodGet, "/v2/payments/checkout/manifests/main", "", bearer(raw)); a.status != 401 {
			t.Errorf("a token of before opens a repository that was closed: %d", a.status)
		}
	})
}

func TestPullsWithoutALoginAreSlowedDownAndOthersAreNot(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t), func(s *registry.Service) { s.AnonymousBurst, s.AnonymousEvery = 20, time.Hour })
	f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
	open := models.AnonymousYes
	f.set(t, registry.ChangeSettings{AnonymousPull: &open})
	var statuses []int
	for i := range 60 {
		a := f.ask(t, http.MethodGet, "/registry/token?scope=repository:payments/checkout:pull", "", func(r *http.Request) {
			r.Header.Set("X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i))
		})
		statuses = append(statuses, a.status)
		if a.status == http.StatusTooManyRequests && (a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "TOOMANYREQUESTS")) {
			t.Errorf("the client is not told to wait: %s", a.body)
		}
	}
	if statuses[0] != 200 || !slices.Contains(statuses, http.StatusTooManyRequests) {
		t.Errorf("the answers are %v", statuses)
	}
	if _, err := remote.Image(f.ref(t, "payments/checkout:main"), f.reader(t, f.Viewer)); err != nil {
		t.Errorf("a pull with a login from the same address: %v", err)
	}
}
