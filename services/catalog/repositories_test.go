package catalog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/catalog"
	"slipway.dev/services/git/gittest"
)

func TestARegisteredRepositoryIsReadAndAnAppIsOfferedForEachDockerfile(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		repo := gittest.New(t).Repository(t, "acme/Web_Shop.git", gittest.Files{
			"Dockerfile":                  "FROM scratch\nEXPOSE 3000\n",
			"services/api/Dockerfile":     "FROM scratch AS build\nEXPOSE 1\nFROM scratch\nENV PORT=8081\nCOPY main.go /\nEXPOSE $PORT/tcp 53/udp\n",
			"services/api/main.go":        "package main\n",
			"services/web/Dockerfile":     "FROM scratch\nCOPY go.mod services/web/main.go ./\n",
			"services/web/main.go":        "package main\n",
			"go.mod":                      "module x\n",
			"services/api/Dockerfile.job": "FRM scratch\n",
			"tools/api/Dockerfile":        "FROM scratch\nCOPY --from=build /x /x\n",
		})
		first := repo.Git(t, "rev-parse", "main")
		repo.Commit(t, "feature/x", "A feature", gittest.Files{"x": "1"})
		repo.Tag(t, "v1.0", first)
		r := w.register(t, catalog.NewRepository{CloneURL: repo.URL})
		if r.State != models.RepositoryReady || r.Name != "web-shop" || r.DefaultBranch != "main" || r.FetchedAt == nil || r.Error != "" || r.Team.Slug != "payments" {
			t.Errorf("got %+v", r)
		}
		var refs []string
		for _, ref := range r.Refs {
			refs = append(refs, string(ref.Kind)+" "+ref.Name)
		}
		if !slices.Equal(refs, []string{"branch feature/x", "branch main", "tag v1.0"}) {
			t.Errorf("refs %v", refs)
		}
		want := []models.DetectedDockerfile{
			{Path: "Dockerfile", Name: "web-shop", Context: ".", Port: 3000},
			{Path: "services/api/Dockerfile", Name: "api", Context: "services/api", Port: 8081},
			{Path: "services/api/Dockerfile.job", Name: "api-job", Context: "services/api"},
			{Path: "services/web/Dockerfile", Name: "web", Context: "."},
			{Path: "tools/api/Dockerfile", Name: "api-2", Context: "tools/api"},
		}
		for i := range want {
			want[i].RepositoryID = r.ID
		}
		if !slices.Equal(r.DetectedDockerfiles, want) {
			t.Errorf("found %+v", r.DetectedDockerfiles)
		}
	})
}

func TestFetchingAgainFollowsTheRemote(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{"Dockerfile": "FROM scratch\n"})
		repo.Commit(t, "old", "Old", gittest.Files{"x": "1"})
		r := w.register(t, catalog.NewRepository{CloneURL: repo.URL, Name: "shop-two"})
		repo.DeleteBranch(t, "old")
		repo.Commit(t, "trunk", "Another default", gittest.Files{"Dockerfile": gittest.Delete(), "app/Containerfile": "FROM scratch\n"})
		repo.Git(t, "symbolic-ref", "HEAD", "refs/heads/trunk")
		repo.DeleteBranch(t, "main")
		if _, err := w.catalog.FetchRepository(w.as["developer"], r.ID); err != nil {
			t.Fatal(err)
		}
		r = w.settled(t, r.ID)
		if r.DefaultBranch != "trunk" || len(r.Refs) != 1 || len(r.DetectedDockerfiles) != 1 || r.DetectedDockerfiles[0].Path != "app/Containerfile" {
			t.Errorf("got %+v", r)
		}
	})
}

func TestARepositoryThatCantBeReadSaysWhy(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		server := gittest.New(t)
		private := server.Repository(t, "private.git", gittest.Files{"Dockerfile": "FROM scratch\n"})
		tests := []struct {
			in   catalog.NewRepository
			says []string
		}{
			{catalog.NewRepository{Name: "a", CloneURL: server.URL + "/no/such.git"}, []string{"no such repository", "Git says: fatal:"}},
			{catalog.NewRepository{Name: "b", CloneURL: "https://10.9.8.7/shop.git"}, []string{"10.9.8.7 is a private address", "SLIPWAY_OUTBOUND_ALLOW"}},
			{catalog.NewRepository{Name: "c", CloneURL: "https://no-such-host.invalid/shop.git"}, []string{"no-such-host.invalid is not known"}},
			{catalog.NewRepository{Name: "d", CloneURL: private.URL, DefaultBranch: "trunk"}, []string{`no branch "trunk"`, `"main"`}},
		}
		for _, test := range tests {
			r := w.register(t, test.in)
			for _, part := range test.says {
				if r.State != models.RepositoryFailed || !strings.Contains(r.Error, part) {
					t.Errorf("%s is %s: %q lacks %q", test.in.CloneURL, r.State, r.Error, part)
				}
			}
		}
		server.RequireAuth("ci", "right-token")
		r := w.register(t, catalog.NewRepository{Name: "e", CloneURL: private.URL, Credential: catalog.Credential{User: "ci", Token: "wrong-token"}})
		if r.State != models.RepositoryFailed || !strings.Contains(r.Error, "did not accept the token") {
			t.Errorf("got %s, %q", r.State, r.Error)
		}
		if _, err := w.catalog.UpdateRepository(w.as["maintainer"], r.ID, catalog.UpdateRepository{Credential: catalog.Credential{Kind: models.CredentialToken, User: "ci", Token: "right-token"}}); err != nil {
			t.Fatal(err)
		}
		if r = w.settled(t, r.ID); r.State != models.RepositoryReady || r.Error != "" {
			t.Errorf("with the right token: %s, %q", r.State, r.Error)
		}
	})
}

func TestARepositoryWithoutDockerfileOrCommitIsReadToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	server := gittest.New(t)
	r := w.register(t, catalog.NewRepository{CloneURL: server.Repository(t, "docs.git", gittest.Files{"README.md": "# Docs\n"}).URL})
	if r.State != models.RepositoryReady || len(r.DetectedDockerfiles) != 0 {
		t.Errorf("got %+v", r)
	}
	r = w.register(t, catalog.NewRepository{CloneURL: server.Repository(t, "empty.git", nil).URL})
	if r.State != models.RepositoryReady || r.DefaultBranch != "" || len(r.Refs) != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestWhatIsWrongWithARegistrationIsSaidAtTheField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	base := catalog.NewRepository{Name: "fine", CloneURL: "https://git.example.com/team/app.git"}
	tests := []struct {
		change func(*catalog.NewRepository)
		field  string
		says   string
	}{
		{func(in *catalog.NewRepository) { in.CloneURL = "" }, "clone_url", "Enter the repository's clone URL"},
		{func(in *catalog.NewRepository) { in.CloneURL = "not a url" }, "clone_url", "no spaces"},
		{func(in *catalog.NewRepository) { in.CloneURL = "ext::sh -c id" }, "clone_url", "no spaces"},
		{func(in *catalog.NewRepository) { in.CloneURL = "--upload-pack=id" }, "clone_url", "hyphen"},
		{func(in *catalog.NewRepository) { in.CloneURL = "https://me:secret@git.example.com/x" }, "clone_url", "Leave user name and password out"},
		{func(in *catalog.NewRepository) { in.Name = "Über" }, "name", "lower-case letters"},
		{func(in *catalog.NewRepository) { in.Name = "shop" }, "name", `named "shop" already`},
		{func(in *catalog.NewRepository) { in.DefaultBranch = "--all" }, "default_branch", "not the name of a branch"},
		{func(in *catalog.NewRepository) { in.Credential.Kind = "password" }, "credential_kind", "Choose none, token or ssh"},
		{func(in *catalog.NewRepository) { in.Credential.Kind = models.CredentialToken }, "credential_token", "Enter the access token"},
		{func(in *catalog.NewRepository) { in.Credential.Kind = models.CredentialSSH }, "credential_kind", "only with an SSH address"},
		{func(in *catalog.NewRepository) {
			in.CloneURL = "git@git.example.com:team/app.git"
			in.Credential = catalog.Credential{Token: "t"}
		}, "credential_kind", "only with an http"},
		{func(in *catalog.NewRepository) {
			in.CloneURL = "git@git.example.com:team/app.git"
			in.Credential = catalog.Credential{PrivateKey: "nonsense"}
		}, "credential_private_key", "not a private key"},
	}
	for _, test := range tests {
		in := base
		in.Team = w.Team.Slug
		test.change(&in)
		_, err := w.catalog.RegisterRepository(w.as["maintainer"], in)
		wantField(t, err, test.field, test.says)
	}
}

func TestOnlyAnAdminRegistersAFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	root := t.TempDir()
	repo := gittest.NewRepo(t, filepath.Join(root, "shop.git"), gittest.Files{"Dockerfile": "FROM scratch\n"})
	in := catalog.NewRepository{Team: w.Team.Slug, Name: "local", CloneURL: repo.Dir}
	_, err := w.catalog.RegisterRepository(w.as["maintainer"], in)
	wantCode(t, "a maintainer", err, models.Denied)
	r, err := w.catalog.RegisterRepository(w.as["admin"], in)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.settled(t, r.ID); got.State != models.RepositoryFailed || !strings.Contains(got.Error, "SLIPWAY_LOCAL_REPOSITORIES") {
		t.Errorf("a folder that is not allowed: %s, %q", got.State, got.Error)
	}
	w.stop() // it reads what changes
	w.catalog.Git.LocalRoots = []string{root}
	w.work(t)
	if _, err := w.catalog.FetchRepository(w.as["developer"], r.ID); err != nil {
		t.Fatal(err)
	}
	if got := w.settled(t, r.ID); got.State != models.RepositoryReady {
		t.Errorf("an allowed folder: %s, %q", got.State, got.Error)
	}
	if _, err := w.catalog.UpdateRepository(w.as["maintainer"], r.ID, catalog.UpdateRepository{Name: ptr("renamed")}); err != nil {
		t.Errorf("renaming it: %v", err)
	}
	_, err = w.catalog.UpdateRepository(w.as["maintainer"], r.ID, catalog.UpdateRepository{CloneURL: ptr("/etc")})
	wantCode(t, "moving it", err, models.Denied)
}

func TestADeployKeyIsMadeAndUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	in := catalog.NewRepository{Team: w.Team.Slug, Name: "over-ssh", CloneURL: "git@127.0.0.1:nowhere"}
	r, err := w.catalog.RegisterRepository(w.as["maintainer"], in)
	if err != nil {
		t.Fatal(err)
	}
	if r.CredentialKind != models.CredentialSSH || !strings.HasPrefix(r.CredentialPublic, "ssh-ed25519 ") || !strings.HasSuffix(r.CredentialPublic, " slipway-over-ssh") {
		t.Errorf("got %s %q", r.CredentialKind, r.CredentialPublic)
	}
	if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(r.CredentialPublic)); err != nil {
		t.Error(err)
	}
	server := gittest.NewSSH(t, r.CredentialPublic)
	repo := gittest.NewRepo(t, filepath.Join(t.TempDir(), "shop.git"), gittest.Files{"Dockerfile": "FROM scratch\n"})
	w.settled(t, r.ID)
	_, err = w.catalog.UpdateRepository(w.as["maintainer"], r.ID, catalog.UpdateRepository{CloneURL: ptr(server.URL(repo))})
	wantField(t, err, "credential_kind", "names another host")

	w.db.Model(&models.Repository{}).Where("id = ?", r.ID).Update("clone_url", server.URL(repo))
	if _, err := w.catalog.FetchRepository(w.as["developer"], r.ID); err != nil {
		t.Fatal(err)
	}
	if r = w.settled(t, r.ID); r.State != models.RepositoryReady || r.HostKey != server.HostKey() {
		t.Fatalf("got %s %q, host key %q", r.State, r.Error, r.HostKey)
	}
	server.NewHostKey()
	server.Restart()
	if _, err := w.catalog.FetchRepository(w.as["developer"], r.ID); err != nil {
		t.Fatal(err)
	}
	if r = w.settled(t, r.ID); r.State != models.RepositoryFailed || !strings.Contains(r.Error, "another SSH host key") {
		t.Errorf("with another host key: %s %q", r.State, r.Error)
	}
	if _, err := w.catalog.UpdateRepository(w.as["maintainer"], r.ID, catalog.UpdateRepository{ForgetHostKey: true}); err != nil {
		t.Fatal(err)
	}
	if r = w.settled(t, r.ID); r.State != models.RepositoryReady || r.HostKey != server.HostKey() {
		t.Errorf("after the old key was forgotten: %s %q", r.State, r.Error)
	}
}

func TestACredentialIsNotSentToAnotherHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	first, other := gittest.New(t), gittest.New(t)
	repo := first.Repository(t, "shop.git", gittest.Files{"a": "1"})
	stolen := other.Repository(t, "shop.git", gittest.Files{"a": "1"})
	r := w.register(t, catalog.NewRepository{Name: "moved", CloneURL: repo.URL, Credential: catalog.Credential{Token: "s3cret-token"}})
	_, err := w.catalog.UpdateRepository(w.as["maintainer"], r.ID, catalog.UpdateRepository{CloneURL: &stolen.URL})
	wantField(t, err, "credential_kind", "names another host")
	if _, err = w.catalog.UpdateRepository(w.as["maintainer"], r.ID, catalog.UpdateRepository{CloneURL: &stolen.URL, Credential: catalog.Credential{Kind: models.CredentialNone}}); err != nil {
		t.Fatal(err)
	}
	w.settled(t, r.ID)
	for _, request := range other.Requests() {
		if request.Header.Get("Authorization") != "" {
			t.Error("the token reached the other host")
		}
	}
}

func TestSecretsAreSealedAndNeverShown(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		const canary = "canary-s3cret-token"
		w := newWorld(t, db)
		server := gittest.New(t)
		repo := server.Repository(t, "shop.git", gittest.Files{"a": "1"})
		server.RequireAuth("ci", "another")
		r := w.register(t, catalog.NewRepository{Name: "sealed", CloneURL: repo.URL, Credential: catalog.Credential{User: "ci", Token: canary}})
		var stored models.Repository
		if err := db.Where("id = ?", r.ID).Take(&stored).Error; err != nil || len(stored.CredentialSecret) == 0 {
			t.Fatalf("stored %d bytes, %v", len(stored.CredentialSecret), err)
		}
		var events []models.Event
		var entries []models.AuditEntry
		if err := errors.Join(db.Find(&events).Error, db.Find(&entries).Error); err != nil || len(events) == 0 || len(entries) == 0 {
			t.Fatalf("%d events, %d entries, %v", len(events), len(entries), err)
		}
		text, _ := json.Marshal([]any{stored, events, entries, r})
		if bytes.Contains(text, []byte(canary)) || bytes.Contains(stored.CredentialSecret, []byte(canary)) {
			t.Error("the token can be read")
		}
		other := w.register(t, catalog.NewRepository{Name: "copied", CloneURL: repo.URL})
		if err := db.Model(&models.Repository{}).Where("id = ?", other.ID).Updates(map[string]any{"credential_secret": stored.CredentialSecret, "credential_kind": models.CredentialToken}).Error; err != nil {
			t.Fatal(err)
		}
		if err := w.catalog.Refresh(t.Context(), other.ID); !models.IsCode(err, models.Unavailable) || !strings.Contains(err.Error(), "can't be decrypted") {
			t.Errorf("a secret copied to another row: %v", err)
		}
	})
}

func TestALookAtARepositoryRegistersNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	server := gittest.New(t)
	repo := server.Repository(t, "acme/shop.git", gittest.Files{"a": "1"})
	server.RequireAuth("ci", "right-token")
	in := catalog.CheckRepository{Team: w.Team.Slug, CloneURL: repo.URL}
	before := w.rows(t)
	_, err := w.catalog.CheckRepository(w.as["maintainer"], in)
	wantField(t, err, "credential_kind", "asks for credentials")
	in.Credential = catalog.Credential{User: "ci", Token: "wrong-token"}
	_, err = w.catalog.CheckRepository(w.as["maintainer"], in)
	wantField(t, err, "credential_token", "did not accept the token")
	in.Credential.Token = "right-token"
	got, err := w.catalog.CheckRepository(w.as["maintainer"], in)
	if err != nil || got.Name != "shop" || got.DefaultBranch != "main" || len(got.Branches) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	if w.rows(t) != before {
		t.Error("the look wrote something")
	}
}

func TestDeletingARepositoryTakesItsAppsAndItsMirror(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{"Dockerfile": "FROM scratch\n"})
		r := w.register(t, catalog.NewRepository{Name: "doomed", CloneURL: repo.URL})
		app, err := w.catalog.CreateApp(w.as["developer"], catalog.NewApp{RepositoryID: r.ID})
		if err != nil {
			t.Fatal(err)
		}
		if !w.catalog.Git.Has(r.ID) {
			t.Fatal("there is no mirror")
		}
		if err := w.catalog.DeleteRepository(w.as["maintainer"], r.ID); err != nil {
			t.Fatal(err)
		}
		_, err = w.catalog.App(w.as["maintainer"], app.ID)
		wantCode(t, "the app", err, models.NotFound)
		if w.catalog.Git.Has(r.ID) {
			t.Error("the mirror is still there")
		}
		var entries int64
		db.Model(&models.AuditEntry{}).Where("action IN ? AND team_id = ?", []string{"repository.delete", "app.delete"}, w.Team.ID).Count(&entries)
		if entries != 2 {
			t.Errorf("%d audit entries", entries)
		}
		wantCode(t, "with a queued build", w.catalog.DeleteRepository(w.as["maintainer"], w.World.Repository.ID), models.Conflict)
	})
}

func TestAFetchOfADeletedRepositoryIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	err := w.catalog.Refresh(t.Context(), models.NewID())
	wantCode(t, "refreshing nothing", err, models.NotFound)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.catalog.Refresh(ctx, w.World.Repository.ID); err == nil {
		t.Error("a canceled refresh is no success")
	}
	var r models.Repository
	if err := w.db.Take(&r, "id = ?", w.World.Repository.ID).Error; err != nil || r.State != models.RepositoryReady {
		t.Errorf("a worker that stopped left %s, %v", r.State, err)
	}
}
