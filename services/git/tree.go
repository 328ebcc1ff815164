package git

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"slipway.dev/models"
)

// Files lists the tree of a commit, or says why the tree is not taken: a hostile name, or more than the limits allow.
// Submodules are listed and never fetched.
func (s *Service) Files(ctx context.Context, id, commit string) ([]File, error) {
	dir, err := s.existing(id)
	if err != nil {
		return nil, err
	}
	return s.files(ctx, dir, commit)
}

func (s *Service) files(ctx context.Context, dir, commit string) ([]File, error) {
	if err := s.needCommit(ctx, dir, commit); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, localLimit)
	defer cancel()
	list := &treeReader{limits: s.Limits, cancel: cancel}
	_, err := s.run(ctx, command{args: []string{"ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", commit}, dir: dir, stdout: list})
	if list.err != nil {
		return nil, list.err
	}
	return list.files, err
}

// treeReader parses the output of ls-tree as it comes and ends it at the first entry that is not acceptable.
type treeReader struct {
	limits Limits
	cancel context.CancelFunc
	rest   []byte
	files  []File
	bytes  int64
	err    error
}

func (t *treeReader) Write(p []byte) (int, error) {
	t.rest = append(t.rest, p...)
	for t.err == nil {
		entry, rest, found := bytes.Cut(t.rest, []byte{0})
		if !found {
			break
		}
		t.rest = rest
		t.err = t.add(string(entry))
	}
	if t.err != nil {
		t.cancel()
		return 0, t.err
	}
	return len(p), nil
}

func (t *treeReader) add(entry string) error {
	meta, name, _ := strings.Cut(entry, "\t")
	fields := strings.Fields(meta)
	if len(fields) != 4 {
		return fmt.Errorf("git listed a file in a form that is not known: %q", entry)
	}
	if reason := hostileName(name); reason != "" {
		return models.Errorf(models.Invalid, "The commit holds a file named %q: %s. Slipway doesn't check it out.", shown(name), reason)
	}
	size, _ := strconv.ParseInt(fields[3], 10, 64)
	t.files = append(t.files, File{Path: name, Mode: FileMode(fields[0]), Size: size, blob: fields[2]})
	t.bytes += size
	if len(t.files) > t.limits.treeFiles() {
		return models.Errorf(models.TooLarge, "The commit holds more than %d files, the limit for a build.", t.limits.treeFiles())
	}
	if t.bytes > t.limits.treeBytes() {
		return models.Errorf(models.TooLarge, "The files of the commit are larger than %d MiB together, the limit for a build.", t.limits.treeBytes()>>20)
	}
	return nil
}

// hostileName says what is wrong with a path out of a tree, or "".
func hostileName(name string) string {
	switch {
	case len(name) > 4000:
		return "the path is too long"
	case !utf8.ValidString(name):
		return "the name is not valid UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "the name contains control characters"
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return "the path leads out of its folder"
		case strings.EqualFold(part, ".git"):
			return "a repository can't contain its own .git folder"
		case len(part) > 255:
			return "the name is too long"
		}
	}
	return ""
}

// Dockerfiles picks what looks like a Dockerfile out of a tree: Dockerfile, Containerfile, with a suffix after a dot
// (Dockerfile.worker) or a prefix before it (worker.Dockerfile), in any folder but those of other people's code.
func Dockerfiles(files []File) []string {
	var found []string
	for _, file := range files {
		if isDockerfile(path.Base(file.Path)) && file.Mode != ModeSubmodule && !vendored(file.Path) {
			found = append(found, file.Path)
		}
	}
	slices.SortFunc(found, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "/"), strings.Count(b, "/")), cmp.Compare(a, b))
	})
	return found
}

func isDockerfile(base string) bool {
	name := strings.ToLower(base)
	if strings.HasSuffix(name, ".dockerignore") || strings.HasSuffix(name, ".md") {
		return false
	}
	for _, kind := range []string{"dockerfile", "containerfile"} {
		if name == kind || strings.HasPrefix(name, kind+".") || strings.HasSuffix(name, "."+kind) {
			return true
		}
	}
	return false
}

// vendored tells whether a path lies among copies of other people's code.
func vendored(name string) bool {
	for part := range strings.SplitSeq(path.Dir(name), "/") {
		if part == "node_modules" || part == "vendor" || part == "testdata" {
			return true
		}
	}
	return false
}

// ReadFile reads one file of a commit, at most limit bytes of it (1 MiB when limit is zero). Symbolic links are not
// followed.
func (s *Service) ReadFile(ctx context.Context, id, commit, name string, limit int) ([]byte, error) {
	dir, err := s.existing(id)
	if err != nil {
		return nil, err
	}
	if name = path.Clean(name); hostileName(name) != "" {
		return nil, models.InvalidField("path", "%q is not the path of a file in a repository.", shown(name))
	}
	if err := s.needCommit(ctx, dir, commit); err != nil {
		return nil, err
	}
	out, err := s.local(ctx, dir, "ls-tree", "-z", "--full-tree", "--end-of-options", commit, name)
	if err != nil {
		return nil, err
	}
	meta, _, _ := strings.Cut(string(out), "\t")
	fields := strings.Fields(meta)
	if len(fields) != 3 || fields[1] != "blob" || FileMode(fields[0]) == ModeSymlink {
		return nil, models.Errorf(models.NotFound, "There is no file %s in commit %s.", shown(name), commit[:12])
	}
	return s.blob(ctx, dir, fields[2], or(limit, 1<<20))
}

func (s *Service) blob(ctx context.Context, dir, blob string, limit int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, localLimit)
	defer cancel()
	content := &capped{limit: limit}
	_, err := s.run(ctx, command{args: []string{"cat-file", "blob", blob}, dir: dir, stdout: content})
	return content.buf.Bytes(), err
}
