package git_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/git"
	"slipway.dev/services/git/gittest"
)

func TestCheckShowsBranchesAndTagsOfARemote(t *testing.T) {
	repo := gittest.New(t).Repository(t, "acme/shop.git", gittest.Files{"Dockerfile": "FROM scratch\n"})
	second := repo.Commit(t, "feature/cart", "Add the cart", gittest.Files{"cart.go": "package cart\n"})
	repo.Tag(t, "v1.0", second)
	probe, err := newService(t).Check(t.Context(), git.Remote{URL: repo.URL})
	if err != nil {
		t.Fatal(err)
	}
	if probe.DefaultBranch != "main" || !slices.Equal(probe.Branches, []string{"feature/cart", "main"}) || !slices.Equal(probe.Tags, []string{"v1.0"}) {
		t.Errorf("got %+v", probe)
	}
}

func TestAnEmptyRepositoryHasNoDefaultBranch(t *testing.T) {
	repo := gittest.New(t).Repository(t, "empty.git", nil)
	s := newService(t)
	got, err := s.Fetch(t.Context(), "r1", git.Remote{URL: repo.URL})
	if err != nil || got.DefaultBranch != "" {
		t.Errorf("got %+v, %v", got, err)
	}
	refs, err := s.Refs(t.Context(), "r1")
	if err != nil || len(refs) != 0 {
		t.Errorf("refs %v, %v", refs, err)
	}
}

func TestFetchFollowsTheRemote(t *testing.T) {
	repo := gittest.New(t).Repository(t, "acme/shop.git", gittest.Files{"a": "1"})
	repo.Commit(t, "old", "Old work", gittest.Files{"b": "1"})
	s := fetched(t, repo)
	forced := repo.Git(t, "rev-parse", "old")
	repo.DeleteBranch(t, "old")
	repo.Commit(t, "old/deeper", "A branch below a name that was one", gittest.Files{"c": "1"})
	repo.Branch(t, "main", forced)
	got, err := s.Fetch(t.Context(), "r1", git.Remote{URL: repo.URL})
	if err != nil || got.DefaultBranch != "main" {
		t.Fatalf("got %+v, %v", got, err)
	}
	refs, err := s.Refs(t.Context(), "r1")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, ref := range refs {
		names[ref.Name] = ref.Commit
	}
	if len(names) != 2 || names["main"] != forced || names["old/deeper"] == "" {
		t.Errorf("refs are %v", names)
	}
}

func TestATokenReachesItsHostOnly(t *testing.T) {
	server := gittest.New(t)
	repo := server.Repository(t, "acme/private.git", gittest.Files{"a": "1"})
	server.RequireAuth("ci", "s3cret-token")
	s := newService(t)
	if _, err := s.Fetch(t.Context(), "r1", git.Remote{URL: repo.URL, User: "ci", Token: "s3cret-token"}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Check(t.Context(), git.Remote{URL: repo.URL})
	wantError(t, err, models.Invalid, "asks for credentials", "Git says: fatal:")
	_, err = s.Check(t.Context(), git.Remote{URL: repo.URL, User: "ci", Token: "wrong-token"})
	wantError(t, err, models.Invalid, "did not accept the token")

	var leaked atomic.Bool
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		leaked.Store(leaked.Load() || r.Header.Get("Authorization") != "")
	}))
	t.Cleanup(thief.Close)
	bait := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL+r.URL.Path+"?"+r.URL.RawQuery, http.StatusFound)
	}))
	t.Cleanup(bait.Close)
	_, err = s.Check(t.Context(), git.Remote{URL: bait.URL + "/acme/private.git", User: "ci", Token: "s3cret-token"})
	wantError(t, err, models.Invalid, "sends this address on")
	if leaked.Load() {
		t.Error("the token reached another host")
	}
}

func TestARedirectIsFollowedWithoutCredentials(t *testing.T) {
	repo := gittest.New(t).Repository(t, "acme/shop.git", gittest.Files{"a": "1"})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, repo.URL+strings.TrimPrefix(r.URL.Path, "/old")+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
	}))
	t.Cleanup(front.Close)
	if _, err := newService(t).Fetch(t.Context(), "r1", git.Remote{URL: front.URL + "/old"}); err != nil {
		t.Error(err)
	}
}

func TestARedirectToTheInsideIsNotFollowed(t *testing.T) {
	var arrived atomic.Int32
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	inside := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Add(1) })}}
	inside.Start()
	t.Cleanup(inside.Close)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, inside.URL+r.URL.Path, http.StatusFound)
	}))
	t.Cleanup(front.Close)
	s := serviceWith(t, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")})
	_, err = s.Check(t.Context(), git.Remote{URL: front.URL + "/shop"})
	wantError(t, err, models.Invalid, "127.0.0.2 is an address of this machine itself", "SLIPWAY_OUTBOUND_ALLOW")
	if arrived.Load() != 0 {
		t.Error("the request arrived inside")
	}
}

func TestEveryFailureSaysWhatToDo(t *testing.T) {
	server := gittest.New(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<html>\n<body>\nhello\n</body>\n</html>\n")
	}))
	t.Cleanup(page.Close)
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	t.Cleanup(broken.Close)
	secure := httptest.NewTLSServer(page.Config.Handler)
	t.Cleanup(secure.Close)
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	gone := httptest.NewServer(nil)
	gone.Close()
	tests := []struct {
		name, url string
		code      models.Code
		parts     []string
	}{
		{"not found", server.URL + "/no/such.git", models.Invalid, []string{"no such repository", "Git says: fatal: repository"}},
		{"a page", page.URL + "/shop", models.Invalid, []string{"there is no git repository at this address"}},
		{"a server error", broken.URL + "/shop", models.Unavailable, []string{"could not be read to the end", "502"}},
		{"a certificate of nobody", secure.URL + "/shop", models.Invalid, []string{"certificate"}},
		{"no such host", "https://no-such-host.invalid/shop", models.Invalid, []string{"no-such-host.invalid is not known"}},
		{"nobody listens", gone.URL + "/shop", models.Unavailable, []string{"refused the connection"}},
		{"an inside address", "http://169.254.169.254/latest", models.Invalid, []string{"169.254.169.254 is a link-local address", "SLIPWAY_OUTBOUND_ALLOW"}},
		{"a spelled-out inside address", "http://2130706433/shop", models.Invalid, []string{"write an IP address in full"}},
		{"a server that never answers", "http://" + mute.Addr().String() + "/shop", models.Unavailable, []string{"did not answer in time"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t)
			if test.name == "a server that never answers" {
				s.Limits.Check = 500 * time.Millisecond
			}
			_, err := s.Check(t.Context(), git.Remote{URL: test.url})
			wantError(t, err, test.code, test.parts...)
		})
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	const canary = "canary-s3cret"
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "ERR go away %s %s %s\n", user, password, r.Header.Get("Authorization"))
	}))
	t.Cleanup(echo.Close)
	_, err := newService(t).Fetch(t.Context(), "r1", git.Remote{URL: echo.URL + "/shop", User: "ci", Token: canary})
	if err == nil {
		t.Fatal("no error")
	}
	var told *models.Error
	errors.As(err, &told)
	text, _ := json.Marshal(told)
	for _, form := range []string{canary, "Y2k6Y2FuYXJ5LXMzY3JldA"} {
		if strings.Contains(string(text), form) || strings.Contains(err.Error(), form) {
			t.Errorf("the error quotes the token: %v", err)
		}
	}
}

func TestAMirrorHasALimit(t *testing.T) {
	repo := gittest.New(t).Repository(t, "big.git", gittest.Files{"a": "1"})
	noise := make([]byte, 3<<20)
	state := uint32(1)
	for i := range noise {
		state = state*1664525 + 1013904223
		noise[i] = byte(state >> 24)
	}
	repo.Commit(t, "main", "Something big", gittest.Files{"noise": string(noise)})
	s := newService(t)
	s.Limits.MirrorBytes = 1 << 20
	_, err := s.Fetch(t.Context(), "r1", git.Remote{URL: repo.URL})
	wantError(t, err, models.TooLarge, "larger than the limit of 1 MiB")
}

func TestFetchesOfOneRepositoryDontDisturbEachOther(t *testing.T) {
	repo := gittest.New(t).Repository(t, "acme/shop.git", gittest.Files{"a": "1"})
	first := newService(t)
	second := &git.Service{Dir: first.Dir, Guard: first.Guard, Proxy: first.Proxy}
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			if _, err := []*git.Service{first, second}[i%2].Fetch(t.Context(), "r1", git.Remote{URL: repo.URL}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if _, err := first.Resolve(t.Context(), "r1", "main"); err != nil {
		t.Error(err)
	}
}

func TestAFetchThatWasKilledLeavesNoLocks(t *testing.T) {
	repo := gittest.New(t).Repository(t, "acme/shop.git", gittest.Files{"a": "1"})
	s := fetched(t, repo)
	mirror := filepath.Join(s.Dir, "r1.git")
	for _, name := range []string{"packed-refs.lock", "refs/heads/main.lock", "HEAD.lock", "objects/pack/tmp_pack_x1"} {
		if err := os.WriteFile(filepath.Join(mirror, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := repo.Commit(t, "main", "Second", gittest.Files{"a": "2"})
	if _, err := s.Fetch(t.Context(), "r1", git.Remote{URL: repo.URL}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Resolve(t.Context(), "r1", "")
	if err != nil || got.Commit.ID != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestADamagedMirrorIsMadeAnew(t *testing.T) {
	for name, spoil := range map[string]func(pack string) error{
		"empty pack":     func(pack string) error { return os.Truncate(pack, 0) },
		"lost pack":      os.Remove,
		"lost HEAD":      func(pack string) error { return os.Remove(filepath.Join(filepath.Dir(pack), "../../HEAD")) },
		"truncated pack": func(pack string) error { return os.Truncate(pack, 40) },
	} {
		t.Run(name, func(t *testing.T) {
			repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{"a": "1"})
			s := fetched(t, repo)
			packs, _ := filepath.Glob(filepath.Join(s.Dir, "r1.git/objects/pack/*.pack"))
			if len(packs) != 1 {
				t.Fatalf("packs %v", packs)
			}
			if err := os.Chmod(packs[0], 0o600); err != nil {
				t.Fatal(err)
			}
			if err := spoil(packs[0]); err != nil {
				t.Fatal(err)
			}
			want := repo.Commit(t, "main", "Second", gittest.Files{"b": "2"})
			if _, err := s.Fetch(t.Context(), "r1", git.Remote{URL: repo.URL}); err != nil {
				t.Fatal(err)
			}
			if err := s.Checkout(t.Context(), "r1", want, filepath.Join(t.TempDir(), "src")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTheDefaultBranchIsTheOneThatExists(t *testing.T) {
	repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{"a": "1"})
	repo.Commit(t, "develop", "Work", gittest.Files{"b": "1"})
	s := newService(t)
	fetch := func(wanted string) string {
		t.Helper()
		got, err := s.Fetch(t.Context(), "r1", git.Remote{URL: repo.URL, DefaultBranch: wanted})
		if err != nil {
			t.Fatal(err)
		}
		at, err := s.Resolve(t.Context(), "r1", "")
		if err != nil || at.Ref != got.DefaultBranch {
			t.Errorf("resolved %+v, %v", at, err)
		}
		return got.DefaultBranch
	}
	if got := fetch("develop"); got != "develop" {
		t.Errorf("the one asked for: %s", got)
	}
	if got := fetch("absent"); got != "main" {
		t.Errorf("the remote's: %s", got)
	}
	repo.Git(t, "symbolic-ref", "HEAD", "refs/heads/gone")
	repo.DeleteBranch(t, "main")
	if got := fetch(""); got != "develop" {
		t.Errorf("the one that is left: %s", got)
	}
}

func TestACanceledFetchEndsAtOnce(t *testing.T) {
	arrived, hold := make(chan struct{}, 8), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-hold
	}))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(hold) })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	s := newService(t)
	go func() {
		_, err := s.Fetch(ctx, "r1", git.Remote{URL: slow.URL + "/shop"})
		ended <- err
	}()
	<-arrived
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) { // the server never answers
		t.Errorf("ended with %v", err)
	}
}

func TestLocalFoldersAreReadOnlyWhereAllowed(t *testing.T) {
	root := t.TempDir()
	repo := gittest.NewRepo(t, filepath.Join(root, "allowed", "shop.git"), gittest.Files{"a": "1"})
	outside := gittest.NewRepo(t, filepath.Join(root, "outside", "shop.git"), gittest.Files{"a": "1"})
	if err := os.Symlink(outside.Dir, filepath.Join(root, "allowed", "link")); err != nil {
		t.Fatal(err)
	}
	s := newService(t)
	_, err := s.Fetch(t.Context(), "r1", git.Remote{URL: repo.Dir})
	wantError(t, err, models.Invalid, "not allowed here")
	s.LocalRoots = []string{filepath.Join(root, "allowed")}
	for _, url := range []string{repo.Dir, "file://" + repo.Dir} {
		if _, err := s.Fetch(t.Context(), "r1", git.Remote{URL: url}); err != nil {
			t.Error(err)
		}
	}
	for _, url := range []string{outside.Dir, filepath.Join(root, "allowed", "..", "outside", "shop.git"), filepath.Join(root, "allowed", "link"), root + "/allowed-not"} {
		if _, err := s.Fetch(t.Context(), "r2", git.Remote{URL: url}); !models.IsCode(err, models.Invalid) {
			t.Errorf("%s: got %v", url, err)
		}
	}
}

func TestCredentialsMustFitTheAddress(t *testing.T) {
	s := newService(t)
	for _, remote := range []git.Remote{
		{URL: "git@git.example.com:acme/shop", Token: "token"},
		{URL: "git@git.example.com:acme/shop"},
		{URL: "https://git.example.com/acme/shop", PrivateKey: "key"},
		{URL: "https://git.example.com/acme/shop", Token: "a\r\nX-Evil: 1"},
		{URL: "https://git.example.com/acme/shop", User: "a:b", Token: "token"},
	} {
		_, err := s.Check(t.Context(), remote)
		wantError(t, err, models.Invalid)
	}
}
