package git

import (
	"context"
	"regexp"
	"strings"

	"slipway.dev/models"
)

// pullForms are the refs under which forges show the head of a pull request: GitHub, Gitea and Forgejo, and GitLab.
var pullForms = regexp.MustCompile(`^refs/(pull|merge-requests)/([1-9][0-9]{0,17})/head$`)

// ValidPullRef tells whether ref is the head of a pull or merge request at its forge, such as refs/pull/7/head.
func ValidPullRef(ref string) bool { return pullForms.MatchString(ref) }

// FetchRef brings the head of a pull request into the repository's mirror, outside of the branches and tags that people
// see and that a build can be asked for by name.
func (s *Service) FetchRef(ctx context.Context, id string, remote Remote, ref string) error {
	if !ValidPullRef(ref) {
		return models.InvalidField("ref", "%q is not the head of a pull request.", ref)
	}
	if _, err := s.existing(id); err != nil {
		if _, err := s.Fetch(ctx, id, remote); err != nil {
			return err
		}
	}
	dir, err := s.mirror(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.Limits.fetch(), errSlow)
	defer cancel()
	v, err := s.open(ctx, remote)
	if err != nil {
		return err
	}
	defer v.close()
	held, err := lock(ctx, dir+".lock")
	if err != nil {
		return &models.Error{Code: models.Unavailable, Message: "Another fetch of this repository is still running. Try again when it has ended.", Err: err}
	}
	defer unlock(held)
	sweep(dir)
	c := v.command("fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
		"--no-recurse-submodules", "--", v.address.String(), "+"+ref+":refs/slipway/"+strings.TrimPrefix(ref, "refs/"))
	c.dir, c.lock = dir, held
	if err := s.limited(ctx, c, dir); err != nil {
		sweep(dir)
		return s.explain(v, err)
	}
	return nil
}

// Changed lists the files that differ between two commits of the mirror, both given by full ids, at most limit of
// them, and whether that is all. With sinceFork it compares to with where both histories have parted.
func (s *Service) Changed(ctx context.Context, id, from, to string, sinceFork bool, limit int) (files []string, whole bool, err error) {
	dir, err := s.existing(id)
	if err != nil {
		return nil, false, err
	}
	for _, commit := range []string{from, to} {
		if err := s.needCommit(ctx, dir, commit); err != nil {
			return nil, false, err
		}
	}
	span := from + ".." + to
	if sinceFork {
		span = from + "..." + to
	}
	out, err := s.local(ctx, dir, "diff", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=none", "--end-of-options", span, "--")
	if err != nil {
		return nil, false, err
	}
	files = strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(files) == 1 && files[0] == "" {
		return nil, true, nil
	}
	return files[:min(len(files), limit)], len(files) <= limit, nil
}

// Message returns the whole message of a commit of the mirror, at most limit bytes of it.
func (s *Service) Message(ctx context.Context, id, commit string, limit int) (string, error) {
	dir, err := s.existing(id)
	if err != nil {
		return "", err
	}
	if err := s.needCommit(ctx, dir, commit); err != nil {
		return "", err
	}
	out, err := s.local(ctx, dir, "log", "--no-show-signature", "--encoding=UTF-8", "--max-count=1", "--format=%B", "--end-of-options", commit, "--")
	return string(out[:min(len(out), limit)]), err
}
