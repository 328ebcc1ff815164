package git

import (
	"bytes"
	"context"
	"io"
	"os"
	"path"
	"path/filepath"
)

const (
	pointerHead = "version https://git-lfs.github.com/spec/" // git-lfs/docs/spec.md
	maxPointer  = 1024                                       // the same: a pointer file is smaller
	maxAttrs    = 256 << 10                                  // of a .gitattributes that is looked at
	maxNamed    = 3
)

// Missing is what a checkout does not hold although the commit speaks of it.
type Missing struct {
	Submodules []string // the first few folders that are left empty
	SubmoduleN int
	Pointers   []string // the first few files of which only Git LFS's pointer is there
	PointerN   int
}

// Missing looks through a checkout for submodules, which are never fetched, and
// for files that Git LFS keeps elsewhere. Pointers are looked for where an
// attribute says that the repository uses Git LFS.
func (s *Service) Missing(ctx context.Context, id, commit, dir string) (Missing, error) {
	files, err := s.Files(ctx, id, commit)
	if err != nil {
		return Missing{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Missing{}, err
	}
	defer root.Close()
	var m Missing
	lfs := usesLFS(root, files)
	for _, file := range files {
		switch {
		case file.Mode == ModeSubmodule:
			m.Submodules, m.SubmoduleN = named(m.Submodules, file.Path), m.SubmoduleN+1
		case lfs && isPointer(root, file):
			m.Pointers, m.PointerN = named(m.Pointers, file.Path), m.PointerN+1
		}
		if ctx.Err() != nil {
			return m, ctx.Err()
		}
	}
	return m, nil
}

func named(list []string, name string) []string {
	if len(list) == maxNamed {
		return list
	}
	return append(list, shown(name))
}

// usesLFS tells whether an attribute of the tree names Git LFS's filter.
func usesLFS(root *os.Root, files []File) bool {
	for _, file := range files {
		if path.Base(file.Path) == ".gitattributes" && bytes.Contains(head(root, file, maxAttrs), []byte("filter=lfs")) {
			return true
		}
	}
	return false
}

func isPointer(root *os.Root, file File) bool {
	return file.Size < maxPointer && bytes.HasPrefix(head(root, file, len(pointerHead)), []byte(pointerHead))
}

// head reads the first bytes of an ordinary file; nothing of anything else.
func head(root *os.Root, file File, n int) []byte {
	if file.Mode != ModeFile && file.Mode != ModeExecutable {
		return nil
	}
	f, err := root.Open(filepath.FromSlash(file.Path))
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(n)))
	if err != nil {
		return nil
	}
	return text
}
