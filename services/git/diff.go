package git

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
)

// ChangedFiles lists the paths at which two commits differ, in order, at most
// limit of them, and whether there are more. Both are full ids; a file that was
// moved counts at both places.
func (s *Service) ChangedFiles(ctx context.Context, id, from, to string, limit int) (paths []string, more bool, err error) {
	dir, err := s.existing(id)
	if err != nil {
		return nil, false, err
	}
	for _, commit := range []string{from, to} {
		if err := s.needCommit(ctx, dir, commit); err != nil {
			return nil, false, err
		}
	}
	out, err := s.local(ctx, dir, "diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "--end-of-options", from, to)
	if err != nil {
		return nil, false, err
	}
	for name := range bytes.SplitSeq(bytes.TrimSuffix(out, []byte{0}), []byte{0}) {
		if len(name) == 0 {
			continue
		}
		if len(paths) == limit {
			return paths, true, nil
		}
		paths = append(paths, string(name))
	}
	return paths, false, nil
}

// Contains tells whether the history of a commit contains another one. Both are full ids.
func (s *Service) Contains(ctx context.Context, id, commit, older string) (bool, error) {
	dir, err := s.existing(id)
	if err != nil {
		return false, err
	}
	for _, c := range []string{commit, older} {
		if err := s.needCommit(ctx, dir, c); err != nil {
			return false, err
		}
	}
	_, err = s.local(ctx, dir, "merge-base", "--is-ancestor", older, commit)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		return false, nil
	}
	return err == nil, err
}
