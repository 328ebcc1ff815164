package git

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"slipway.dev/models"
)

// Probe is what a look at a remote shows without fetching it.
type Probe struct {
	DefaultBranch string // empty for an empty repository
	Branches      []string
	Tags          []string
	HostKey       string // see Remote.HostKey
}

// Fetched is what a fetch found out beside the objects.
type Fetched struct {
	DefaultBranch string // empty for an empty repository
	HostKey       string // see Remote.HostKey
}

var (
	errTooBig = errors.New("the repository is over the size limit")
	errSlow   = errors.New("the time limit has passed")
)

// Check looks at a remote with a short deadline: can it be read, and which branches and tags has it? Its errors say
// in plain words why not, with git's own reason.
func (s *Service) Check(ctx context.Context, remote Remote) (*Probe, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.Limits.check(), errSlow)
	defer cancel()
	v, err := s.open(ctx, remote)
	if err != nil {
		return nil, err
	}
	defer v.close()
	out, err := s.run(ctx, v.command("ls-remote", "--symref", "--", v.address.String(), "HEAD", "refs/heads/*", "refs/tags/*"))
	if err != nil {
		return nil, s.explain(v, err)
	}
	probe := parseRemote(string(out))
	probe.HostKey = v.hostKey()
	return probe, nil
}

func parseRemote(out string) *Probe {
	probe := &Probe{}
	for line := range strings.Lines(out) {
		value, name, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		head, isHead := strings.CutPrefix(value, "ref: refs/heads/")
		branch, isBranch := strings.CutPrefix(name, "refs/heads/")
		tag, isTag := strings.CutPrefix(name, "refs/tags/")
		switch {
		case isHead && name == "HEAD" && ValidRef(head):
			probe.DefaultBranch = head
		case isBranch && ValidRef(branch):
			probe.Branches = append(probe.Branches, branch)
		case isTag && ValidRef(tag):
			probe.Tags = append(probe.Tags, tag)
		}
	}
	return probe
}

// Fetch brings a repository's mirror up to date, creating it the first time. One fetch runs at a time for each
// repository, in whatever process of this machine, and all who asked before it began share it: however many builds
// wait, the remote is read at most twice. Branches and tags that are gone at the remote go here too.
func (s *Service) Fetch(ctx context.Context, id string, remote Remote) (*Fetched, error) {
	dir, err := s.mirror(id)
	if err != nil {
		return nil, err
	}
	asked, before := time.Now(), lastFetch(dir)
	ctx, cancel := context.WithTimeoutCause(ctx, s.Limits.fetch(), errSlow)
	defer cancel()
	v, err := s.open(ctx, remote)
	if err != nil {
		return nil, err
	}
	defer v.close()
	held, err := lock(ctx, dir+".lock")
	if err != nil {
		return nil, &models.Error{Code: models.Unavailable, Message: "Another fetch of this repository is still running. Try again when it has ended.", Err: err}
	}
	defer unlock(held)
	if last := lastFetch(dir); last.serves(remote, asked, before) {
		return &last.Fetched, nil
	}
	begun := time.Now()
	fetched, err := s.fetch(ctx, v, dir, held)
	if err != nil {
		return nil, err
	}
	return fetched, writeStamp(dir, remote, begun, *fetched)
}

func (s *Service) fetch(ctx context.Context, v *visit, dir string, held *os.File) (*Fetched, error) {
	if err := s.prepare(ctx, dir); err != nil {
		return nil, err
	}
	head, err := s.run(ctx, v.command("ls-remote", "--symref", "--", v.address.String(), "HEAD"))
	if err != nil {
		return nil, s.explain(v, err)
	}
	if err := s.pullAgain(ctx, v, dir, held); err != nil {
		sweep(dir)
		return nil, s.explain(v, err)
	}
	fetched := &Fetched{HostKey: v.hostKey()}
	if fetched.DefaultBranch, err = s.setHead(ctx, dir, v.remote.DefaultBranch, parseRemote(string(head)).DefaultBranch); err != nil {
		return nil, err
	}
	_, err = s.local(ctx, dir, "pack-refs", "--all", "--prune")
	return fetched, err
}

// setHead lets the first of the wanted branches that exists stand for the repository; failing all, the usual names and
// then the one with the newest commit. An empty repository has none.
func (s *Service) setHead(ctx context.Context, dir string, wanted ...string) (string, error) {
	newest, err := s.local(ctx, dir, "for-each-ref", "--sort=-committerdate", "--count=1", "--format=%(refname:lstrip=2)", "refs/heads")
	if err != nil {
		return "", err
	}
	for _, branch := range append(wanted, "main", "master", strings.TrimSpace(string(newest))) {
		if !ValidRef(branch) {
			continue
		}
		if _, err := s.local(ctx, dir, "rev-parse", "--verify", "--quiet", "--end-of-options", "refs/heads/"+branch); err != nil {
			continue
		}
		_, err := s.local(ctx, dir, "symbolic-ref", "HEAD", "refs/heads/"+branch)
		return branch, err
	}
	return "", nil
}

// prepare makes the mirror or clears what a killed fetch left in it.
func (s *Service) prepare(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
		sweep(dir)
		return nil
	}
	_, err := s.local(ctx, dir, "init", "--bare", "--quiet", "--template=", "--initial-branch=main", "--", dir)
	return err
}

// sweep removes the locks and half-received packs of a fetch that was killed; only the holder of the lock may call it.
func sweep(dir string) {
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		name := entry.Name()
		if strings.HasSuffix(name, ".lock") || strings.HasPrefix(name, "tmp_") || strings.HasPrefix(name, "incoming-") {
			_ = os.RemoveAll(path)
			if entry.IsDir() {
				return filepath.SkipDir
			}
		}
		return nil
	})
}

// damage matches what git says of a mirror that a full or failing disk has spoiled.
var damage = regexp.MustCompile(`object file .* is empty|loose object .* is corrupt|packfile .* (cannot be accessed|does not match index|is too small)|index file .* is too small|not a git repository: '/|unable to read (tree|sha1)|bad object refs/|missing necessary objects|did not send all necessary objects`)

// pullAgain pulls, and where the mirror turns out to be damaged, makes it anew and pulls once more.
func (s *Service) pullAgain(ctx context.Context, v *visit, dir string, held *os.File) error {
	err := s.pull(ctx, v, dir, held)
	var failed *failure
	if !errors.As(err, &failed) || !damage.MatchString(failed.stderr) {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := s.prepare(ctx, dir); err != nil {
		return err
	}
	return s.pull(ctx, v, dir, held)
}

func (s *Service) pull(ctx context.Context, v *visit, dir string, held *os.File) error {
	c := v.command("fetch", "--quiet", "--prune", "--force", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
		"--no-recurse-submodules", "--", v.address.String(), "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
	c.dir, c.lock = dir, held
	return s.limited(ctx, c, dir)
}

// limited runs a fetch into the mirror and stops it when the mirror is over its limit.
func (s *Service) limited(ctx context.Context, c command, dir string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go s.watchSize(ctx, dir, cancel)
	if _, err := s.run(ctx, c); err != nil {
		return err
	}
	if diskSize(dir) > s.Limits.mirrorBytes() {
		_ = os.RemoveAll(dir)
		return &failure{err: errTooBig}
	}
	return nil
}

// watchSize stops a fetch as soon as the mirror is over its limit.
func (s *Service) watchSize(ctx context.Context, dir string, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if diskSize(dir) > s.Limits.mirrorBytes() {
				cancel(errTooBig)
				return
			}
		}
	}
}

func diskSize(dir string) int64 {
	var total int64
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil
		}
		if info, err := entry.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total
}
