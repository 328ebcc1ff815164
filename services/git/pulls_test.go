package git_test

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/git"
	"slipway.dev/services/git/gittest"
)

func TestTheHeadOfAPullRequestIsFetchedBesideTheBranches(t *testing.T) {
	repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{"a": "1"})
	head := repo.Commit(t, "tmp", "A stranger's\n\nwith a body", gittest.Files{"b": "1"})
	repo.Git(t, "update-ref", "refs/pull/7/head", head)
	repo.Git(t, "update-ref", "refs/merge-requests/8/head", head)
	repo.DeleteBranch(t, "tmp")
	for name, s := range map[string]*git.Service{"a mirror that is there": fetched(t, repo), "no mirror yet": newService(t)} {
		remote := git.Remote{URL: repo.URL}
		if s.HasCommit(t.Context(), "r1", head) {
			t.Fatal("the commit is there before it was fetched")
		}
		if err := s.FetchRef(t.Context(), "r1", remote, "refs/pull/7/head"); err != nil || !s.HasCommit(t.Context(), "r1", head) {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.FetchRef(t.Context(), "r1", remote, "refs/merge-requests/8/head"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Fetch(t.Context(), "r1", remote); err != nil || !s.HasCommit(t.Context(), "r1", head) {
			t.Errorf("%s: a fetch of the branches forgets it: %v", name, err)
		}
		refs, err := s.Refs(t.Context(), "r1")
		if err != nil || len(refs) != 1 || refs[0].Name != "main" {
			t.Errorf("%s: it shows as a branch: %+v, %v", name, refs, err)
		}
		message, err := s.Message(t.Context(), "r1", head, 100)
		if err != nil || strings.TrimSpace(message) != "A stranger's\n\nwith a body" {
			t.Errorf("%s: the message is %q, %v", name, message, err)
		}
	}
	err := fetched(t, repo).FetchRef(t.Context(), "r1", git.Remote{URL: repo.URL}, "refs/pull/9/head")
	if err == nil {
		t.Error("a pull request that is not there was fetched")
	}
}

func TestOnlyHeadsOfPullRequestsAreFetchedSo(t *testing.T) {
	s := newService(t)
	for _, ref := range []string{"", "refs/heads/main", "refs/pull/7/merge", "refs/pull/0/head", "refs/pull/-1/head", "refs/pull/7/head:refs/heads/main", "--upload-pack=touch x", "refs/pull/7/head\n", "refs/pull/99999999999999999999/head", "+refs/pull/7/head"} {
		wantError(t, s.FetchRef(t.Context(), "r1", git.Remote{URL: "https://git.example.test/x.git"}, ref), models.Invalid, "not the head of a pull request")
	}
}

func TestWhatChangedBetweenTwoCommitsIsListed(t *testing.T) {
	repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{"a": "1", "docs/übung.md": "1", "old": "1"})
	first := repo.Git(t, "rev-parse", "main")
	branch := repo.Commit(t, "branch", "Branch", gittest.Files{"new line": "1", "old": gittest.Delete(), "moved": "1"})
	second := repo.Commit(t, "main", "Main", gittest.Files{"a": "2", "docs/übung.md": "2"})
	s := fetched(t, repo)
	for _, test := range []struct {
		from, to  string
		sinceFork bool
		limit     int
		want      []string
		whole     bool
	}{
		{first, second, false, 10, []string{"a", "docs/übung.md"}, true}, {first, first, false, 10, nil, true}, {first, second, false, 1, []string{"a"}, false},
		{second, branch, true, 10, []string{"moved", "new line", "old"}, true}, {second, branch, false, 10, []string{"a", "docs/übung.md", "moved", "new line", "old"}, true},
	} {
		got, whole, err := s.Changed(t.Context(), "r1", test.from, test.to, test.sinceFork, test.limit)
		if err != nil || whole != test.whole || !slices.Equal(got, test.want) {
			t.Errorf("%+v: got %q, %v, %v", test, got, whole, err)
		}
	}
	for _, bad := range []string{"--output=/tmp/x", "main", strings.Repeat("a", 40)} {
		if _, _, err := s.Changed(t.Context(), "r1", first, bad, false, 10); err == nil {
			t.Errorf("%q was taken for a commit", bad)
		}
	}
}
