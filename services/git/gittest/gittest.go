// Package gittest serves real git repositories to tests: over HTTP by git's own http-backend, with or without
// credentials, and over SSH by a real sshd (see SSH).
package gittest

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Loopback is what a test's outbound.Guard must allow to reach the servers of this package.
var Loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// Files maps paths to contents. A removal is written with Delete, a symbolic link with Symlink, a
// program with Executable.
type Files map[string]string

const (
	deleted    = "\x00delete"
	symlink    = "\x00symlink:"
	executable = "\x00executable:"
)

// Delete as a file's content removes the file in this commit.
func Delete() string { return deleted }

// Symlink as a file's content makes it a symbolic link.
func Symlink(target string) string { return symlink + target }

// Executable as a file's content makes it a program.
func Executable(content string) string { return executable + content }

// Server serves the repositories below one folder over HTTP.
type Server struct {
	// URL is the server's address without a slash at the end.
	URL string
	// Root is the folder that holds the bare repositories.
	Root string

	mu             sync.Mutex
	user, password string
	requests       []*http.Request
}

// New starts a git server that ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{Root: t.TempDir()}
	execPath, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatalf("git is needed for this test: %v", err)
	}
	backend := &cgi.Handler{
		Stderr: io.Discard,
		Path:   filepath.Join(strings.TrimSpace(string(execPath)), "git-http-backend"),
		Env:    []string{"GIT_PROJECT_ROOT=" + s.Root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.admit(r) {
			backend.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(w, "credentials needed", http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// RequireAuth asks for these credentials from now on; empty ones open the server again.
func (s *Server) RequireAuth(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user, s.password = user, password
}

// Requests gives the requests that have arrived so far.
func (s *Server) Requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func (s *Server) admit(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Clone(r.Context()))
	if s.password == "" {
		return true
	}
	user, password, _ := r.BasicAuth()
	return subtle.ConstantTimeCompare([]byte(user+"\n"+password), []byte(s.user+"\n"+s.password)) == 1
}

// Repository makes a bare repository such as "acme/shop.git" with one commit of the files on branch main; with no
// files it stays empty.
func (s *Server) Repository(t testing.TB, name string, files Files) *Repo {
	t.Helper()
	repo := &Repo{Name: name, URL: s.URL + "/" + name, Dir: filepath.Join(s.Root, name)}
	repo.init(t)
	if files != nil {
		repo.Commit(t, "main", "First commit", files)
	}
	return repo
}

// Repo is one bare repository that tests write to.
type Repo struct {
	Name string
	URL  string
	Dir  string

	clock int64
}

// NewRepo makes a bare repository at dir, for tests that need no server; its URL is the folder.
func NewRepo(t testing.TB, dir string, files Files) *Repo {
	t.Helper()
	repo := &Repo{Name: filepath.Base(dir), URL: dir, Dir: dir}
	repo.init(t)
	repo.Commit(t, "main", "First commit", files)
	return repo
}

func (r *Repo) init(t testing.TB) {
	t.Helper()
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.Git(t, "init", "--quiet", "--bare", "--initial-branch=main", ".")
}

// Commit adds a commit to a branch, which begins at main (or at nothing) when it is new, and gives its id.
func (r *Repo) Commit(t testing.TB, branch, message string, files Files) string {
	t.Helper()
	var in bytes.Buffer
	r.clock++
	fmt.Fprintf(&in, "commit refs/heads/%s\n", branch)
	fmt.Fprintf(&in, "author Ada Lovelace <ada@example.com> %d +0000\n", 1700000000+r.clock)
	fmt.Fprintf(&in, "committer Ada Lovelace <ada@example.com> %d +0000\n", 1700000000+r.clock)
	fmt.Fprintf(&in, "data %d\n%s\n", len(message), message)
	if parent := r.parent(branch); parent != "" {
		fmt.Fprintf(&in, "from %s\n", parent)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		writeFile(&in, path, files[path])
	}
	r.Import(t, in.String())
	return r.Git(t, "rev-parse", "refs/heads/"+branch)
}

func (r *Repo) parent(branch string) string {
	for _, name := range []string{branch, "main"} {
		out, err := r.command("rev-parse", "--verify", "--quiet", "refs/heads/"+name).Output()
		if err == nil {
			return strings.TrimSpace(string(out))
		}
	}
	return ""
}

func writeFile(in *bytes.Buffer, path, content string) {
	mode := "100644"
	if content == deleted {
		fmt.Fprintf(in, "D %s\n", path)
		return
	}
	if target, ok := strings.CutPrefix(content, symlink); ok {
		mode, content = "120000", target
	} else if program, ok := strings.CutPrefix(content, executable); ok {
		mode, content = "100755", program
	}
	fmt.Fprintf(in, "M %s inline %s\ndata %d\n%s\n", mode, path, len(content), content)
}

// Branch makes a branch at a commit or moves it there.
func (r *Repo) Branch(t testing.TB, name, commit string) {
	t.Helper()
	r.Git(t, "update-ref", "refs/heads/"+name, commit)
}

// DeleteBranch removes a branch.
func (r *Repo) DeleteBranch(t testing.TB, name string) {
	t.Helper()
	r.Git(t, "update-ref", "-d", "refs/heads/"+name)
}

// Tag makes an annotated tag.
func (r *Repo) Tag(t testing.TB, name, commit string) {
	t.Helper()
	r.Git(t, "-c", "user.name=Ada Lovelace", "-c", "user.email=ada@example.com", "tag", "--annotate", "--message=Release "+name, name, commit)
}

// Import feeds a stream to git fast-import, for trees that no ordinary commit would have.
func (r *Repo) Import(t testing.TB, stream string) {
	t.Helper()
	cmd := r.command("fast-import", "--quiet", "--force")
	cmd.Stdin = strings.NewReader(stream)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git fast-import: %v\n%s", err, out)
	}
}

// Git runs a git command in the repository and gives its output without the last line end.
func (r *Repo) Git(t testing.TB, args ...string) string {
	t.Helper()
	out, err := r.command(args...).CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimRight(string(out), "\n")
}

func (r *Repo) command(args ...string) *exec.Cmd {
	cmd := exec.Command("git", args...)
	cmd.Dir = r.Dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_DIR="+r.Dir)
	return cmd
}
