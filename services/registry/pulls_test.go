package registry_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/auth"
	"slipway.dev/services/registry"
)

// pullEntries returns what the audit log says of pulls, oldest first.
func (f *fixture) pullEntries(t *testing.T) []models.AuditEntry {
	t.Helper()
	var rows []models.AuditEntry
	if err := f.db.Where("action = ?", "image.pull").Order("id").Find(&rows).Error; err != nil {
		t.Fatal(err)
	}
	return rows
}

// get gets the manifest so many times with the access token.
func (f *fixture) get(t testing.TB, method, reference, access string, times int) {
	t.Helper()
	for range times {
		if a := f.ask(t, method, "/v2/payments/checkout/manifests/"+reference, "", bearer(access)); a.status != 200 {
			t.Fatalf("%s %s: %d %s", method, reference, a.status, a.body)
		}
	}
}

// hour waits where the clock is about to strike, so that a test's pulls are of one hour.
func hour(t *testing.T) {
	if left := time.Until(time.Now().Truncate(time.Hour).Add(time.Hour)); left < time.Minute {
		select {
		case <-time.After(left):
		case <-t.Context().Done():
		}
	}
}

func TestPullsAreCountedByWhoPulledWhat(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		hour(t)
		f := serve(t, db)
		second := f.process(t) // another process of the same registry
		img := f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
		digest, scope := digestOf(t, img), "repository:payments/checkout:pull"
		viewer := f.access(t, f.token(t, f.Viewer, models.ScopeRegistryRead), scope)
		f.get(t, http.MethodGet, "main", viewer, 3)
		f.get(t, http.MethodHead, "main", viewer, 3)
		f.get(t, http.MethodGet, digest, viewer, 1)
		if got := len(f.pullEntries(t)); got != 0 {
			t.Errorf("%d pulls were written while somebody waited", got)
		}
		if err := f.registry.FlushPulls(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.registry = second
		f.get(t, http.MethodGet, "main", viewer, 2)
		if err := f.registry.FlushPulls(t.Context()); err != nil {
			t.Fatal(err)
		}
		all := f.pullEntries(t)
		if len(all) != 2 {
			t.Fatalf("the entries are %+v", all)
		}
		byTag, byDigest := all[0], all[1]
		if byTag.Name != "payments/checkout:main" {
			byTag, byDigest = byDigest, byTag
		}
		if byTag.Times != 5 || byTag.LastAt == nil || byTag.ActorID != f.Viewer.ID || byTag.ActorName != f.Viewer.Name || byTag.IP != "127.0.0.1" ||
			byTag.TeamID != f.Team.ID || byTag.Subject != "image:payments/checkout" || byTag.Detail["digest"] != digest || byTag.Detail["tag"] != "main" {
			t.Errorf("the pulls by the tag are %+v", byTag)
		}
		if byDigest.Times != 1 || byDigest.LastAt != nil || byDigest.Detail["tag"] != "" || byDigest.Name != "payments/checkout@"+digest {
			t.Errorf("the pull by the digest is %+v", byDigest)
		}
		var total models.RegistryPulls
		if err := db.Where("repository = ? AND digest = ?", "payments/checkout", digest).Take(&total).Error; err != nil || total.Pulls != 6 || total.LastBy != f.Viewer.Name {
			t.Errorf("the sum is %+v, %v", total, err)
		}
	})
}

func TestEveryKindOfPullerIsNamed(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
	open := models.AnonymousYes
	f.set(t, registry.ChangeSettings{AnonymousPull: &open})
	if err := f.db.Model(f.Build).Update("state", models.BuildRunning).Error; err != nil {
		t.Fatal(err)
	}
	_, team, err := f.auth.CreateToken(modelstest.As(t, f.db, f.Maintainer), auth.NewToken{
		Name: "pipeline", TeamID: f.Team.ID, Role: models.RoleViewer, Scopes: []models.Scope{models.ScopeRegistryRead}})
	if err != nil {
		t.Fatal(err)
	}
	as := func(p *models.Principal) string {
		_, password, err := f.registry.Credential(models.WithPrincipal(t.Context(), p), "payments/checkout", []string{registry.Pull}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return password
	}
	pull := func(option ...remote.Option) {
		if _, err := remote.Image(f.ref(t, "payments/checkout:main"), option...); err != nil {
			t.Fatal(err)
		}
	}
	pull()
	pull(basic("x", team))
	pull(basic("x", as(models.SystemFor("build:"+f.Build.ID, "build #1 of checkout"))))
	pull(basic("x", as(models.System("deploy")))) // Slipway looks at it itself: no pull
	if err := f.registry.FlushPulls(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range f.pullEntries(t) {
		got = append(got, fmt.Sprint(e.ActorKind, " ", e.ActorName, " ", e.Times))
	}
	want := []string{"anonymous anonymous from 127.0.0.1 1", "token token pipeline of team payments 1", "system build #1 of checkout 1"}
	for _, w := range want {
		if !strings.Contains(strings.Join(got, "\n"), w) {
			t.Errorf("nothing says %q: %q", w, got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the pulls are %q", got)
	}
}

func TestTheLastPullsAreWrittenWhenTheProcessEnds(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.registry.RunPulls(ctx)
	}()
	f.get(t, http.MethodGet, "main", f.access(t, f.token(t, f.Viewer, models.ScopeRegistryRead), "repository:payments/checkout:pull"), 5)
	cancel()
	<-done
	var times int64
	for _, e := range f.pullEntries(t) {
		times += e.Times
	}
	if times != 5 {
		t.Errorf("%d of 5 pulls are in the log", times)
	}
}

func TestPullsThatCannotBeWrittenWait(t *testing.T) {
	t.Parallel()
	hour(t)
	f := serve(t, modelstest.DB(t))
	f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
	f.get(t, http.MethodGet, "main", f.access(t, f.token(t, f.Viewer, models.ScopeRegistryRead), "repository:payments/checkout:pull"), 2)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.registry.FlushPulls(gone); err == nil {
		t.Fatal("pulls were written without a database")
	}
	if err := f.registry.FlushPulls(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := f.pullEntries(t); len(all) != 1 || all[0].Times != 2 {
		t.Errorf("the entries are %+v", all)
	}
}

// BenchmarkPullOfAManifest is what a pull costs with its entry in the audit log.
func BenchmarkPullOfAManifest(b *testing.B) {
	f := serve(b, modelstest.DB(b))
	f.push(b, "payments/checkout:main", 1, f.writer(b, f.Developer))
	access := f.access(b, f.token(b, f.Viewer, models.ScopeRegistryRead), "repository:payments/checkout:pull")
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go f.registry.RunPulls(ctx)
	for b.Loop() {
		if a := f.ask(b, http.MethodGet, "/v2/payments/checkout/manifests/main", "", bearer(access)); a.status != 200 {
			b.Fatal(a.status)
		}
	}
}
