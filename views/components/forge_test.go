package components

import (
	"testing"

	"slipway.dev/models"
)

func TestThePullRequestOfACommitIsReadFromItsSubject(t *testing.T) {
	t.Parallel()
	at := func(url string, kind models.ForgeKind) *models.Repository {
		r := &models.Repository{CloneURL: url}
		if kind != "" {
			r.Connection = &models.Connection{Kind: kind}
		}
		return r
	}
	github := at("https://github.com/acme/shop.git", "")
	for _, c := range []struct {
		repository *models.Repository
		subject    string
		number     int
		page       string
	}{
		{github, "Round totals half up (#12)", 12, "https://github.com/acme/shop/pull/12"},
		{github, "Merge pull request #7 from acme/round", 7, "https://github.com/acme/shop/pull/7"},
		{github, "Fix #12 at last", 0, ""},
		{github, "Round (#0)", 0, ""},
		{github, "Round (#99999999999999999999)", 0, ""},
		{at("https://git.acme.test/acme/shop", models.ForgeGitea), "Merge pull request 'Round' (#3) from round into main", 3, "https://git.acme.test/acme/shop/pulls/3"},
		{at("https://gitlab.acme.test/acme/shop.git", models.ForgeGitLab), "Round totals (!5)", 5, "https://gitlab.acme.test/acme/shop/-/merge_requests/5"},
		{at("https://git.acme.test/acme/shop.git", ""), "Round (#12)", 12, ""},
		{at("ssh://git@github.com/acme/shop.git", models.ForgeGitHub), "Round (#12)", 12, ""},
		{nil, "Round (#12)", 12, ""},
	} {
		if number, page := PullOf(c.repository, c.subject); number != c.number || page != c.page {
			t.Errorf("%q is of %d, %q; want %d, %q", c.subject, number, page, c.number, c.page)
		}
	}
	if got := CommitURL(github, "abc"); got != "https://github.com/acme/shop/commit/abc" {
		t.Errorf("the commit is at %q", got)
	}
	if got := CommitURL(at("javascript:alert(1)", models.ForgeGitHub), "abc"); got != "" {
		t.Errorf("the commit is at %q", got)
	}
}
