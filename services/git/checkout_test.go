package git_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/git"
	"slipway.dev/services/git/gittest"
)

func TestACheckoutIsTheCommitAndNothingElse(t *testing.T) {
	repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{
		"Dockerfile": "FROM scratch\n", "bin/run": gittest.Executable("#!/bin/sh\n"), "lib/link": gittest.Symlink("../bin/run"),
		"lib/dangling": gittest.Symlink("nowhere"), "täst file": "x", ".gitattributes": "secret.txt export-ignore\nversion.txt export-subst\n*.bin filter=lfs\n",
		"secret.txt": "kept", "version.txt": "$Format:%H$", "blob.bin": "version https://git-lfs.github.com/spec/v1\n",
		".gitmodules": "[submodule \"x\"]\n\tpath = x\n\turl = http://127.0.0.1:1/x\n",
	})
	commit := repo.Git(t, "rev-parse", "main")
	s := fetched(t, repo)
	dir := filepath.Join(t.TempDir(), "src")
	before := time.Now().Add(-2 * time.Second)
	if err := s.Checkout(t.Context(), "r1", commit, dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"Dockerfile": "FROM scratch\n", "täst file": "x", "secret.txt": "kept", "version.txt": "$Format:%H$", "lib/link": "#!/bin/sh\n"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "bin/run"))
	if err != nil || info.Mode().Perm()&0o111 == 0 || info.ModTime().Before(before) {
		t.Errorf("bin/run: %v %v %v", info.Mode(), info.ModTime(), err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
		t.Error("the checkout has a .git")
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := s.Checkout(t.Context(), "r1", commit, dir); err == nil {
		t.Error("a folder with files was taken")
	}
}

// hostileTree commits one entry with a name or target that no ordinary client would write.
func hostileTree(t *testing.T, repo *gittest.Repo, entry string) string {
	t.Helper()
	blob := repo.Git(t, "rev-parse", "main:a")
	tree := filepath.Join(t.TempDir(), "tree")
	if err := os.WriteFile(tree, []byte(entry+"\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	raw := strings.Replace(entry, "BLOB", string(unhex(t, blob)), 1)
	if err := os.WriteFile(tree, []byte(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	id := repo.Git(t, "hash-object", "-t", "tree", "-w", "--literally", tree)
	return repo.Git(t, "-c", "user.name=Eve", "-c", "user.email=eve@example.com", "commit-tree", "-m", "Hostile", id)
}

func unhex(t *testing.T, id string) []byte {
	t.Helper()
	raw := make([]byte, len(id)/2)
	if _, err := fmt.Sscanf(id, "%x", &raw); err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestHostileTreesAreNotTaken(t *testing.T) {
	for _, name := range []string{"..", ".git", ".GIT", "git~1", "a\nb", "a\x1b[2Jb", "."} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			repo := gittest.NewRepo(t, filepath.Join(t.TempDir(), "shop.git"), gittest.Files{"a": "1"})
			commit := hostileTree(t, repo, "100644 "+name+"\x00BLOB")
			s := mirrorOf(t, repo, commit)
			dir := filepath.Join(t.TempDir(), "src")
			err := s.Checkout(t.Context(), "r1", commit, dir)
			wantError(t, err, models.Invalid)
			if written := tree(t, filepath.Dir(dir)); len(written) > 0 {
				t.Errorf("written: %v", written)
			}
		})
	}
}

// mirrorOf copies a repository into a mirror without the fetch, whose own checks would refuse it first.
func mirrorOf(t *testing.T, repo *gittest.Repo, commit string) *git.Service {
	t.Helper()
	s := newService(t)
	repo.Git(t, "update-ref", "refs/heads/hostile", commit)
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(s.Dir, "r1.git"), os.DirFS(repo.Dir)); err != nil {
		t.Fatal(err)
	}
	return s
}

func tree(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestAFetchRefusesHostileTrees(t *testing.T) {
	repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{"a": "1"})
	repo.Git(t, "update-ref", "refs/heads/hostile", hostileTree(t, repo, "100644 .git\x00BLOB"))
	_, err := newService(t).Fetch(t.Context(), "r1", git.Remote{URL: repo.URL})
	wantError(t, err, models.Invalid, "damaged or unsafe objects", "hasDotgit")
}

func TestLinksThatLeadOutAreRefused(t *testing.T) {
	tests := map[string]gittest.Files{
		"absolute":          {"Dockerfile": gittest.Symlink("/etc/passwd")},
		"upwards":           {"link": gittest.Symlink("../outside")},
		"upwards in folder": {"a/b/link": gittest.Symlink("../../../outside")},
		"the parent":        {"link": gittest.Symlink("..")},
		"a chain":           {"a/b/c/l": gittest.Symlink("../../../top"), "top/x": "1", "a/b/c/out": gittest.Symlink("l/../../etc")},
		"over another link": {"one": gittest.Symlink("dir/two"), "dir/two": gittest.Symlink("../../etc")},
		"a circle":          {"a": gittest.Symlink("b"), "b": gittest.Symlink("a")},
		"itself":            {"a": gittest.Symlink("a")},
		"through a folder":  {"d": gittest.Symlink("."), "x": gittest.Symlink("d/d/../..")},
	}
	for name, files := range tests {
		t.Run(name, func(t *testing.T) {
			repo := gittest.NewRepo(t, filepath.Join(t.TempDir(), "shop.git"), files)
			commit := repo.Git(t, "rev-parse", "main")
			dir := filepath.Join(t.TempDir(), "src")
			err := mirrorOf(t, repo, commit).Checkout(t.Context(), "r1", commit, dir)
			wantError(t, err, models.Invalid, "leads out of the repository")
			if written := tree(t, filepath.Dir(dir)); len(written) > 0 {
				t.Errorf("written: %v", written)
			}
		})
	}
}

func TestLinksThatStayInsideAreKept(t *testing.T) {
	repo := gittest.NewRepo(t, filepath.Join(t.TempDir(), "shop.git"), gittest.Files{
		"docker/Dockerfile": "FROM scratch\n", "Dockerfile": gittest.Symlink("docker/Dockerfile"), "a/b/c": gittest.Symlink("../../docker"),
		"via": gittest.Symlink("a/b/c/../docker/./Dockerfile"), "absent": gittest.Symlink("not/here/../there"),
	})
	commit := repo.Git(t, "rev-parse", "main")
	dir := filepath.Join(t.TempDir(), "src")
	if err := mirrorOf(t, repo, commit).Checkout(t.Context(), "r1", commit, dir); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "via")); err != nil || string(got) != "FROM scratch\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTreesHaveLimits(t *testing.T) {
	files := gittest.Files{}
	for i := range 30 {
		files[fmt.Sprintf("f%d", i)] = strings.Repeat("x", 1000)
	}
	repo := gittest.NewRepo(t, filepath.Join(t.TempDir(), "shop.git"), files)
	commit := repo.Git(t, "rev-parse", "main")
	s := mirrorOf(t, repo, commit)
	s.Limits.TreeFiles = 20
	wantError(t, s.Checkout(t.Context(), "r1", commit, filepath.Join(t.TempDir(), "src")), models.TooLarge, "more than 20 files")
	s.Limits = git.Limits{TreeBytes: 20_000}
	wantError(t, s.Checkout(t.Context(), "r1", commit, filepath.Join(t.TempDir(), "src")), models.TooLarge, "larger than 0 MiB")
}

func TestDockerfilesAreFoundInEveryFolder(t *testing.T) {
	repo := gittest.NewRepo(t, filepath.Join(t.TempDir(), "shop.git"), gittest.Files{
		"Dockerfile": "FROM scratch\n", "services/api/Dockerfile": "x", "services/api/Dockerfile.worker": "x", "web.Dockerfile": "x", "c/Containerfile": "x",
		"Dockerfile.dockerignore": "x", "node_modules/x/Dockerfile": "x", "MyDockerfile": "x", "docs/Dockerfile.md": "x", "Dockerfiles/readme": "x",
	})
	commit := repo.Git(t, "rev-parse", "main")
	files, err := mirrorOf(t, repo, commit).Files(t.Context(), "r1", commit)
	got := git.Dockerfiles(files)
	want := []string{"Dockerfile", "web.Dockerfile", "c/Containerfile", "services/api/Dockerfile", "services/api/Dockerfile.worker"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestReadFileStaysInTheRepository(t *testing.T) {
	repo := gittest.NewRepo(t, filepath.Join(t.TempDir(), "shop.git"), gittest.Files{
		"Dockerfile": "FROM scratch\n", "-p": "an option", "link": gittest.Symlink("/etc/passwd"), "dir/x": "1", "*": "a star",
	})
	commit := repo.Git(t, "rev-parse", "main")
	s := mirrorOf(t, repo, commit)
	for name, want := range map[string]string{"Dockerfile": "FROM scratch\n", "./dir/../Dockerfile": "FROM scratch\n", "-p": "an option", "*": "a star"} {
		if got, err := s.ReadFile(t.Context(), "r1", commit, name, 0); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"../../etc/passwd", "/etc/passwd", "link", "dir", "", "absent", ".git/config", ":(top)Dockerfile", "a\x00b"} {
		if got, err := s.ReadFile(t.Context(), "r1", commit, name, 0); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if got, err := s.ReadFile(t.Context(), "r1", commit, "Dockerfile", 4); err != nil || string(got) != "FROM" {
		t.Errorf("limited: got %q, %v", got, err)
	}
}
