package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"slipway.dev/models"
)

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

// Checkout writes the files of a commit into dir, which must be an empty or absent folder. It refuses trees with
// hostile names, over the limits, or with symbolic links that lead out of the tree; then nothing is written.
// Modification times are those of now, submodules are left empty, export attributes have no effect.
func (s *Service) Checkout(ctx context.Context, id, commit, dir string) error {
	mirror, err := s.existing(id)
	if err != nil {
		return err
	}
	files, err := s.files(ctx, mirror, commit)
	if err != nil {
		return err
	}
	if err := s.checkLinks(ctx, mirror, files); err != nil {
		return err
	}
	if dir, err = emptyFolder(dir); err != nil {
		return err
	}
	return s.write(ctx, mirror, commit, dir)
}

// write uses an index of its own, so that any number of checkouts can run beside each other and beside a fetch.
func (s *Service) write(ctx context.Context, mirror, commit, dir string) error {
	scratch, err := os.MkdirTemp(filepath.Dir(mirror), ".index-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	env := []string{"GIT_INDEX_FILE=" + scratch + "/index", "GIT_WORK_TREE=" + dir}
	for _, args := range [][]string{{"read-tree", commit}, {"checkout-index", "--all", "--force", "--quiet"}} {
		if _, err := s.run(ctx, command{args: args, dir: mirror, env: env}); err != nil {
			return explainCheckout(err)
		}
	}
	return nil
}

func explainCheckout(err error) error {
	var failed *failure
	if !errors.As(err, &failed) {
		return err
	}
	if strings.Contains(failed.stderr, "No space left") {
		return &models.Error{Code: models.Unavailable, Message: "There is no space left on the worker's disk for a checkout. Tell an administrator.", Err: failed}
	}
	if strings.Contains(failed.stderr, "invalid path") {
		return &models.Error{Code: models.Invalid, Message: "The commit can't be checked out. Git says: " + reasonIn(failed.stderr), Err: failed}
	}
	return err
}

// emptyFolder makes the folder where it is missing and gives its full path.
func emptyFolder(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("checking out into %s: the folder is not empty", dir)
	}
	return dir, err
}

// checkLinks refuses symbolic links whose way leads out of the tree, also through other links.
func (s *Service) checkLinks(ctx context.Context, mirror string, files []File) error {
	links, err := s.readLinks(ctx, mirror, files)
	if err != nil {
		return err
	}
	for name, target := range links {
		if !staysInside(links, name) {
			return models.Errorf(models.Invalid, "The commit holds a symbolic link that leads out of the repository: %s → %s. Slipway doesn't check it out.", shown(name), shown(target))
		}
	}
	return nil
}

func (s *Service) readLinks(ctx context.Context, mirror string, files []File) (map[string]string, error) {
	var wanted []File
	var in bytes.Buffer
	for _, file := range files {
		if file.Mode != ModeSymlink {
			continue
		}
		if file.Size > 4096 {
			return nil, models.Errorf(models.Invalid, "The symbolic link %s is longer than any path can be.", shown(file.Path))
		}
		wanted = append(wanted, file)
		in.WriteString(file.blob + "\n")
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, localLimit)
	defer cancel()
	out, err := s.run(ctx, command{args: []string{"cat-file", "--batch=%(objectsize)"}, dir: mirror, stdin: &in})
	if err != nil {
		return nil, err
	}
	return parseLinks(out, wanted)
}

// parseLinks reads "SIZE\nCONTENT\n" for each of the wanted files.
func parseLinks(out []byte, wanted []File) (map[string]string, error) {
	links := make(map[string]string, len(wanted))
	for _, file := range wanted {
		header, rest, _ := bytes.Cut(out, []byte("\n"))
		size, err := strconv.Atoi(string(header))
		if err != nil || size > len(rest)-1 {
			return nil, fmt.Errorf("git gave no content for the symbolic link %s", file.Path)
		}
		links[file.Path] = string(rest[:size])
		out = rest[size+1:]
	}
	return links, nil
}

// staysInside walks the way of a link as the kernel would, over the links of the tree. What doesn't exist in the tree
// is harmless; what begins at the root, climbs above the top or goes in circles is not.
func staysInside(links map[string]string, name string) bool {
	here, ways := parts(path.Dir(name)), [][]string{strings.Split(links[name], "/")}
	if path.IsAbs(links[name]) {
		return false
	}
	for hops := 0; len(ways) > 0; {
		way := ways[len(ways)-1]
		if len(way) == 0 {
			ways = ways[:len(ways)-1]
			continue
		}
		step := way[0]
		ways[len(ways)-1] = way[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			if len(here) == 0 {
				return false
			}
			here = here[:len(here)-1]
			continue
		}
		target, isLink := links[path.Join(path.Join(here...), step)]
		if !isLink {
			here = append(here, step)
			continue
		}
		if hops++; hops > maxLinks || path.IsAbs(target) {
			return false
		}
		ways = append(ways, strings.Split(target, "/"))
	}
	return true
}

func parts(dir string) []string {
	if dir == "." {
		return nil
	}
	return strings.Split(dir, "/")
}
