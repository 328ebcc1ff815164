package git_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/git"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/sshtest"
)

// overEveryTransport runs the test with real servers: git's own over HTTP, and sshd.
func overEveryTransport(t *testing.T, test func(t *testing.T, at func(r *gittest.Repo) git.Remote, server *gittest.Server)) {
	t.Run("http", func(t *testing.T) {
		t.Parallel()
		test(t, func(r *gittest.Repo) git.Remote { return git.Remote{URL: r.URL} }, gittest.New(t))
	})
	t.Run("ssh", func(t *testing.T) {
		t.Parallel()
		private, public := sshtest.KeyPair(t, "")
		door := gittest.NewSSH(t, public)
		test(t, func(r *gittest.Repo) git.Remote { return git.Remote{URL: door.URL(r), PrivateKey: private} }, gittest.New(t))
	})
}

func TestNothingInARepositoryIsRun(t *testing.T) {
	t.Parallel()
	overEveryTransport(t, func(t *testing.T, at func(*gittest.Repo) git.Remote, server *gittest.Server) {
		pwned := filepath.Join(t.TempDir(), "pwned")
		run := "$(touch${IFS}" + pwned + ")"
		repo := server.Repository(t, "shop.git", gittest.Files{
			"Dockerfile": "FROM scratch\n", "`touch " + pwned + "`": "1", "--upload-pack=touch " + pwned: "1", "-rf": "1", "; touch pwned #": "1",
			".gitattributes": "* filter=evil diff=evil merge=evil export-subst\nDockerfile export-ignore\n",
			"$Id$":           "$Format:%H$\n",
		})
		first := repo.Git(t, "rev-parse", "main")
		for _, branch := range []string{strings.ReplaceAll(run, "/", "|"), "--upload-pack=x", "-x", "a;touch${IFS}b", "`id`", "a'b\"c", "héllo"} {
			repo.Git(t, "update-ref", "refs/heads/"+branch, first)
		}
		hook := filepath.Join(repo.Dir, "hooks", "post-checkout")
		if err := os.WriteFile(hook, []byte("#!/bin/sh\ntouch "+pwned+"\n"), 0o755); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		s := newService(t)
		if _, err := s.Fetch(t.Context(), "r1", at(repo)); err != nil {
			t.Fatal(err)
		}
		refs, err := s.Refs(t.Context(), "r1")
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range refs {
			if strings.HasPrefix(ref.Name, "-") {
				t.Errorf("a branch that looks like an option is offered: %q", ref.Name)
			}
			if _, err := s.Resolve(t.Context(), "r1", ref.Name); err != nil {
				t.Errorf("%q: %v", ref.Name, err)
			}
		}
		if len(refs) != 6 {
			t.Errorf("%d branches are listed: %+v", len(refs), refs)
		}
		dir := filepath.Join(t.TempDir(), "src")
		if err := s.Checkout(t.Context(), "r1", first, dir); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(filepath.Join(dir, "$Id$")); err != nil || string(text) != "$Format:%H$\n" {
			t.Errorf("the file became %q, error %v", text, err)
		}
		if got := len(tree(t, dir)); got != 7 {
			t.Errorf("%d files were written: %v", got, tree(t, dir))
		}
		if _, err := os.Stat(pwned); err == nil {
			t.Error("something in the repository was run")
		}
	})
}

func TestHostileRepositoriesAreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	overEveryTransport(t, func(t *testing.T, at func(*gittest.Repo) git.Remote, server *gittest.Server) {
		for name, c := range map[string]struct {
			entry string // of a tree; BLOB stands for a file
			files gittest.Files
			says  []string
		}{
			"a name with a line break":           {entry: "100644 a\nb\x00BLOB", says: []string{"control characters"}},
			"a name that clears the screen":      {entry: "100644 a\x1b[2Jb\x00BLOB", says: []string{"control characters"}},
			"a name that climbs":                 {entry: "100644 ..\x00BLOB", says: []string{"unsafe objects"}},
			"a name with a slash":                {entry: "100644 ../x\x00BLOB", says: []string{"unsafe objects"}},
			"a name that is .git on a Mac":       {entry: "100644 .g\u200cit\x00BLOB", says: []string{"unsafe objects"}},
			"submodules that run commands":       {files: gittest.Files{".gitmodules": "[submodule \"x\"]\n\tpath = x\n\turl = https://x.example.com/x\n\tupdate = !touch pwned\n"}, says: []string{"unsafe objects", "submodule"}},
			"a submodule that is an option":      {files: gittest.Files{".gitmodules": "[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=touch\n"}, says: []string{"unsafe objects", "submodule"}},
			"a link to the machine's root":       {files: gittest.Files{"etc": gittest.Symlink("/etc/passwd")}, says: []string{"symbolic link", "etc → /etc/passwd"}},
			"a Dockerfile that is a link":        {files: gittest.Files{"Dockerfile": gittest.Symlink("../../../etc/passwd")}, says: []string{"leads out of the repository"}},
			"links that lead out together":       {files: gittest.Files{"a": gittest.Symlink("b/.."), "b": gittest.Symlink("c"), "c/x": "1", "d": gittest.Symlink("a/../..")}, says: []string{"leads out of the repository"}},
			"a link into git's own folder above": {files: gittest.Files{"up": gittest.Symlink("../r1.git/config")}, says: []string{"leads out of the repository"}},
		} {
			repo := server.Repository(t, models.NewID()+".git", gittest.Files{"a": "1"})
			commit := ""
			if c.entry != "" {
				commit = hostileTree(t, repo, c.entry)
				repo.Git(t, "update-ref", "refs/heads/main", commit)
			} else {
				commit = repo.Commit(t, "main", "Hostile", c.files)
			}
			s := newService(t)
			dir := filepath.Join(t.TempDir(), "src")
			_, err := s.Fetch(t.Context(), "r1", at(repo))
			if err == nil {
				err = s.Checkout(t.Context(), "r1", commit, dir)
			}
			if err == nil {
				t.Errorf("%s was checked out", name)
				continue
			}
			wantError(t, err, models.Invalid, c.says...)
			if _, err := os.Lstat(dir); err == nil && len(tree(t, dir)) > 0 {
				t.Errorf("%s: files were written: %v", name, tree(t, dir))
			}
		}
	})
}

func TestTenThousandBranchesAreFetchedListedAndFound(t *testing.T) {
	t.Parallel()
	overEveryTransport(t, func(t *testing.T, at func(*gittest.Repo) git.Remote, server *gittest.Server) {
		repo := server.Repository(t, "shop.git", gittest.Files{"a": "1"})
		id := repo.Git(t, "rev-parse", "main")
		var packed strings.Builder
		packed.WriteString("# pack-refs with: peeled fully-peeled sorted \n")
		for i := range 10_000 {
			fmt.Fprintf(&packed, "%s refs/heads/topic/%05d\n", id, i)
		}
		if err := os.WriteFile(filepath.Join(repo.Dir, "packed-refs"), []byte(packed.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newService(t)
		began := time.Now()
		if _, err := s.Fetch(t.Context(), "r1", at(repo)); err != nil {
			t.Fatal(err)
		}
		refs, err := s.Refs(t.Context(), "r1")
		if err != nil || len(refs) != 5000 {
			t.Errorf("%d branches are listed, error %v", len(refs), err)
		}
		if got, err := s.Resolve(t.Context(), "r1", "topic/09999"); err != nil || got.Commit.ID != id {
			t.Errorf("the last branch is %+v, error %v", got, err)
		}
		t.Logf("fetched and listed in %v", time.Since(began))
	})
}

func TestAFileOfTwoGigabytesIsRefusedBeforeItFillsTheDisk(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{"a": "1"})
	sparse, err := os.Create(filepath.Join(t.TempDir(), "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer sparse.Close()
	if err := sparse.Truncate(2<<30 + 1); err != nil {
		t.Fatal(err)
	}
	blob := repo.Git(t, "-c", "core.compression=1", "-c", "core.bigFileThreshold=1m", "hash-object", "-w", sparse.Name())
	repo.Import(t, fmt.Sprintf("commit refs/heads/main\ncommitter A <a@example.com> 1700000100 +0000\ndata 3\nBig\nfrom refs/heads/main^0\nM 100644 %s big.bin\n", blob))
	commit := repo.Git(t, "rev-parse", "main")
	s := newService(t)
	if _, err := s.Fetch(t.Context(), "r1", git.Remote{URL: repo.URL}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "src")
	wantError(t, s.Checkout(t.Context(), "r1", commit, dir), models.TooLarge, "larger than 2048 MiB")
	if _, err := os.Lstat(dir); err == nil {
		t.Error("a folder was made for it")
	}
	packed := int64(0)
	for _, file := range tree(t, s.Dir) {
		if info, err := os.Stat(file); err == nil {
			packed += info.Size()
		}
	}
	if packed > 64<<20 {
		t.Errorf("the mirror takes %d MB", packed>>20)
	}
}

func TestManyWhoAskAtOnceShareAFetchAndNobodyGetsAnOldOne(t *testing.T) {
	t.Parallel()
	server := gittest.New(t)
	repo := server.Repository(t, "shop.git", gittest.Files{"a": "1"})
	s := newService(t)
	other := &git.Service{Dir: s.Dir, Guard: s.Guard, Proxy: s.Proxy} // as another process would have it
	var pushes sync.Mutex
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			pushes.Lock()
			commit := repo.Commit(t, fmt.Sprintf("topic-%d", i), "Work", gittest.Files{"a": fmt.Sprint(i)})
			pushes.Unlock()
			by := s
			if i%2 == 0 {
				by = other
			}
			got, err := by.Fetch(t.Context(), "r1", git.Remote{URL: repo.URL})
			if err != nil || got.DefaultBranch != "main" {
				t.Errorf("got %+v, error %v", got, err)
			}
			if !by.HasCommit(t.Context(), "r1", commit) {
				t.Errorf("the fetch did not bring the commit that was pushed before it was asked for")
			}
		})
	}
	all.Wait()
	visits := func() (n int) {
		for _, r := range server.Requests() {
			if strings.HasSuffix(r.URL.Path, "/info/refs") {
				n++
			}
		}
		return n / 2 // one for HEAD, one for the objects
	}
	if n := visits(); n > 25 {
		t.Errorf("50 who asked made %d fetches", n)
	} else {
		t.Logf("50 who asked made %d fetches", n)
	}
	before := visits()
	for range 50 {
		all.Go(func() {
			if _, err := s.Fetch(t.Context(), "r1", git.Remote{URL: repo.URL}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := visits() - before; n > 4 {
		t.Errorf("50 at the same moment made %d fetches", n)
	}
	before = visits()
	if _, err := s.Fetch(t.Context(), "r1", git.Remote{URL: repo.URL}); err != nil || visits() != before+1 {
		t.Errorf("one alone made %d fetches, error %v", visits()-before, err)
	}
}

func TestWhatACheckoutLacksIsTold(t *testing.T) {
	t.Parallel()
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
	repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{
		"img/.gitattributes": "*.png filter=lfs diff=lfs merge=lfs -text\n", "img/a.png": pointer, "img/b.png": pointer, "img/real.png": "PNG",
		"docs/pointer.txt": "about " + pointer, "link": gittest.Symlink("img/a.png"),
	})
	repo.Import(t, "commit refs/heads/main\ncommitter A <a@example.com> 1700000100 +0000\ndata 3\nSub\nfrom refs/heads/main^0\nM 160000 4d7a214614ab2935c943f9e0ff69d22eadbb8f32 vendor/lib\n")
	commit := repo.Git(t, "rev-parse", "main")
	s := fetched(t, repo)
	dir := filepath.Join(t.TempDir(), "src")
	if err := s.Checkout(t.Context(), "r1", commit, dir); err != nil {
		t.Fatal(err)
	}
	m, err := s.Missing(t.Context(), "r1", commit, dir)
	if err != nil || m.PointerN != 2 || m.SubmoduleN != 1 || strings.Join(m.Pointers, " ") != "img/a.png img/b.png" || strings.Join(m.Submodules, " ") != "vendor/lib" {
		t.Errorf("missing is %+v, error %v", m, err)
	}
}
