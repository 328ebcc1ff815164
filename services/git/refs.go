package git

import (
	"context"
	"errors"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"slipway.dev/models"
)

// RefCommit is the kind of a ref that names a commit itself.
const RefCommit models.RefKind = "commit"

// maxRefs is how many branches and tags are listed, newest first; others can still be named.
const maxRefs = 5000

// Resolved is what a ref means now.
type Resolved struct {
	Ref    string // without refs/heads/ or refs/tags/
	Kind   models.RefKind
	Commit Commit
}

var commitPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

var shortPattern = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

// ValidCommit tells whether id is a full commit id.
func ValidCommit(id string) bool { return commitPattern.MatchString(id) }

// ValidRef tells whether a name may be a branch or tag. It follows git check-ref-format, and is stricter where a name could be read as an option or a revision.
func ValidRef(name string) bool {
	if name == "" || name == "@" || len(name) > 255 || !utf8.ValidString(name) || strings.HasPrefix(name, "-") {
		return false
	}
	if strings.ContainsAny(name, "~^:?*[\\ \x7f") || strings.ContainsFunc(name, unicode.IsControl) {
		return false
	}
	if strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.HasSuffix(name, ".") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

// Resolve finds the commit of a branch, a tag or a commit id (seven characters or more); an empty ref is the default
// branch. It knows what the last fetch has brought.
func (s *Service) Resolve(ctx context.Context, id, ref string) (*Resolved, error) {
	dir, err := s.existing(id)
	if err != nil {
		return nil, err
	}
	if ref == "" {
		if ref, err = s.defaultBranch(ctx, dir); err != nil {
			return nil, err
		}
	}
	if !ValidRef(ref) {
		return nil, models.InvalidField("ref", "%q is not the name of a branch, a tag or a commit.", ref)
	}
	for _, try := range candidates(ref) {
		out, err := s.local(ctx, dir, "rev-parse", "--verify", "--quiet", "--end-of-options", try.name+"^{commit}")
		if err != nil {
			if exit := new(exec.ExitError); errors.As(err, &exit) {
				continue
			}
			return nil, err
		}
		commit, err := s.Commit(ctx, id, strings.TrimSpace(string(out)))
		if err != nil {
			return nil, err
		}
		return &Resolved{Ref: try.short, Kind: try.kind, Commit: *commit}, nil
	}
	return nil, models.InvalidField("ref", "There is no branch, tag or commit %q. Fetch the repository again if it is new.", ref)
}

type candidate struct {
	name, short string
	kind        models.RefKind
}

func candidates(ref string) []candidate {
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		return []candidate{{ref, branch, models.RefBranch}}
	}
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		return []candidate{{ref, tag, models.RefTag}}
	}
	list := []candidate{{"refs/heads/" + ref, ref, models.RefBranch}, {"refs/tags/" + ref, ref, models.RefTag}}
	if shortPattern.MatchString(ref) {
		list = append(list, candidate{ref, ref, RefCommit})
	}
	return list
}

func (s *Service) defaultBranch(ctx context.Context, dir string) (string, error) {
	out, err := s.local(ctx, dir, "symbolic-ref", "--quiet", "HEAD")
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "refs/heads/"), nil
}

// Refs lists the branches and tags of the last fetch, newest commit first, with RepositoryID set.
func (s *Service) Refs(ctx context.Context, id string) ([]models.Ref, error) {
	dir, err := s.existing(id)
	if err != nil {
		return nil, err
	}
	const own, peeled = "%(objectname)%00%(committerdate:unix)%00%(authorname)%00%(contents:subject)",
		"%(*objectname)%00%(*committerdate:unix)%00%(*authorname)%00%(*contents:subject)"
	out, err := s.local(ctx, dir, "for-each-ref", "--sort=-creatordate", "--count="+strconv.Itoa(maxRefs),
		"--format=%(refname)%00%(if)%(*objectname)%(then)%(*objecttype)%00"+peeled+"%(else)%(objecttype)%00"+own+"%(end)", "refs/heads", "refs/tags")
	if err != nil {
		return nil, err
	}
	var refs []models.Ref
	for line := range strings.Lines(string(out)) {
		if ref, ok := parseRef(strings.TrimRight(line, "\n")); ok {
			ref.RepositoryID = id
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

func parseRef(line string) (models.Ref, bool) {
	fields := strings.Split(line, "\x00")
	if len(fields) != 6 || fields[1] != "commit" {
		return models.Ref{}, false
	}
	ref := models.Ref{Kind: models.RefBranch, Commit: fields[2], Author: shown(fields[4]), Subject: shown(fields[5]), CommittedAt: unix(fields[3])}
	name, isBranch := strings.CutPrefix(fields[0], "refs/heads/")
	if !isBranch {
		name, ref.Kind = strings.TrimPrefix(fields[0], "refs/tags/"), models.RefTag
	}
	ref.Name = name
	return ref, ValidRef(name)
}

const commitFormat = "%H%x00%ct%x00%an%x00%ae%x00%s"

// Commit describes a commit of the mirror by its full id.
func (s *Service) Commit(ctx context.Context, id, commit string) (*Commit, error) {
	commits, err := s.log(ctx, id, []string{commit}, 1, commit)
	if err != nil {
		return nil, err
	}
	return &commits[0], nil
}

// Log lists the commits that are in to and not in from, newest first, at most limit, and whether there are more. With
// an empty from it lists the history of to. Both are full ids.
func (s *Service) Log(ctx context.Context, id, from, to string, limit int) ([]Commit, bool, error) {
	ids, span := []string{to}, to
	if from != "" {
		ids, span = append(ids, from), from+".."+to
	}
	limit = min(max(limit, 1), 1000)
	commits, err := s.log(ctx, id, ids, limit+1, span)
	if err != nil {
		return nil, false, err
	}
	return commits[:min(limit, len(commits))], len(commits) > limit, nil
}

func (s *Service) log(ctx context.Context, id string, ids []string, limit int, span string) ([]Commit, error) {
	dir, err := s.existing(id)
	if err != nil {
		return nil, err
	}
	for _, commit := range ids {
		if err := s.needCommit(ctx, dir, commit); err != nil {
			return nil, err
		}
	}
	out, err := s.local(ctx, dir, "log", "-z", "--no-show-signature", "--no-mailmap", "--encoding=UTF-8", "--max-count="+strconv.Itoa(limit),
		"--format="+commitFormat, "--end-of-options", span, "--")
	if err != nil {
		return nil, err
	}
	return parseLog(string(out)), nil
}

// needCommit checks that the mirror has the commit, so that what fails later is not its absence.
func (s *Service) needCommit(ctx context.Context, dir, commit string) error {
	if !ValidCommit(commit) {
		return models.InvalidField("commit", "%q is not a full commit id.", commit)
	}
	if _, err := s.local(ctx, dir, "cat-file", "-e", commit+"^{commit}"); err != nil {
		return &models.Error{Code: models.NotFound, Message: "The repository has no commit " + commit[:12] + " here. Fetch it again if the commit is new.", Err: err}
	}
	return nil
}

// HasCommit tells whether this machine's mirror holds the commit.
func (s *Service) HasCommit(ctx context.Context, id, commit string) bool {
	dir, err := s.existing(id)
	return err == nil && s.needCommit(ctx, dir, commit) == nil
}

func parseLog(out string) []Commit {
	fields := strings.Split(out, "\x00")
	var commits []Commit
	for ; len(fields) >= 5; fields = fields[5:] {
		commits = append(commits, Commit{ID: fields[0], Time: unix(fields[1]), Author: shown(fields[2]), Email: shown(fields[3]), Subject: shown(fields[4])})
	}
	return commits
}

func unix(seconds string) time.Time {
	n, _ := strconv.ParseInt(strings.TrimSpace(seconds), 10, 64)
	return time.Unix(n, 0).UTC()
}

// shown cuts a text out of a repository to what a list can show.
func shown(text string) string {
	runes := []rune(plain(text))
	if len(runes) > 200 {
		return string(runes[:200]) + "…"
	}
	return string(runes)
}

// BranchesWith returns the branches whose history holds the commit, at most maxRefs of them.
func (s *Service) BranchesWith(ctx context.Context, id, commit string) ([]string, error) {
	dir, err := s.existing(id)
	if err != nil {
		return nil, err
	}
	if err := s.needCommit(ctx, dir, commit); err != nil {
		return nil, err
	}
	names, err := s.local(ctx, dir, "for-each-ref", "--count="+strconv.Itoa(maxRefs), "--format=%(refname:lstrip=2)", "--contains="+commit, "refs/heads")
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(names)), nil
}
