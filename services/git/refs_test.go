package git_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/git"
	"slipway.dev/services/git/gittest"
)

func TestRefsCarryTheirCommits(t *testing.T) {
	repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{"a": "1"})
	first := repo.Git(t, "rev-parse", "main")
	second := repo.Commit(t, "feature/cart", "Add <b>the cart</b>\n\nand more", gittest.Files{"b": "1"})
	repo.Tag(t, "v1.0", first)
	repo.Git(t, "tag", "light", second)
	repo.Git(t, "tag", "of-a-tree", first+"^{tree}")
	refs, err := fetched(t, repo).Refs(t.Context(), "r1")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ref := range refs {
		got = append(got, string(ref.Kind)+" "+ref.Name+" "+ref.Commit+" "+ref.Author+" "+ref.Subject)
		if ref.RepositoryID != "r1" || ref.CommittedAt.Year() != 2023 {
			t.Errorf("got %+v", ref)
		}
	}
	slices.Sort(got)
	want := []string{
		"branch feature/cart " + second + " Ada Lovelace Add <b>the cart</b>",
		"branch main " + first + " Ada Lovelace First commit",
		"tag light " + second + " Ada Lovelace Add <b>the cart</b>",
		"tag v1.0 " + first + " Ada Lovelace First commit",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestARefIsFoundByItsNameOrItsCommit(t *testing.T) {
	repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{"a": "1"})
	first := repo.Git(t, "rev-parse", "main")
	repo.Tag(t, "v1.0", first)
	second := repo.Commit(t, "main", "Second", gittest.Files{"a": "2"})
	repo.Branch(t, "v1.0", second)
	s := fetched(t, repo)
	tests := []struct {
		ref    string
		kind   models.RefKind
		commit string
	}{
		{"", models.RefBranch, second}, {"main", models.RefBranch, second}, {"refs/heads/main", models.RefBranch, second},
		{"v1.0", models.RefBranch, second}, {"refs/tags/v1.0", models.RefTag, first},
		{first, git.RefCommit, first}, {first[:8], git.RefCommit, first},
	}
	for _, test := range tests {
		got, err := s.Resolve(t.Context(), "r1", test.ref)
		if err != nil || got.Kind != test.kind || got.Commit.ID != test.commit {
			t.Errorf("%q: got %+v, %v", test.ref, got, err)
		}
	}
}

func TestHostileRefsAreRefused(t *testing.T) {
	s := fetched(t, gittest.New(t).Repository(t, "shop.git", gittest.Files{"a": "1"}))
	pwned := filepath.Join(t.TempDir(), "pwned")
	for _, ref := range []string{
		"-", "--upload-pack=touch " + pwned, "--output=" + pwned, "-o" + pwned, "--exec=x", "@", "@{u}", "main@{1}", "main..main", "main...x", "main^", "main~1",
		"main:a", "^main", ":/First", "refs/../main", "a//b", "/main", "main/", ".main", "x.lock", "main\n", "main\x00", "a b", "a\\b", "*", "[a", "HEAD^{tree}",
		"$(touch " + pwned + ")", "`touch " + pwned + "`", "; touch " + pwned, "'", "\"", "nothing-here", strings.Repeat("a", 300), "0000000000000000000000000000000000000000",
	} {
		if got, err := s.Resolve(t.Context(), "r1", ref); !models.IsCode(err, models.Invalid) {
			t.Errorf("%q: got %+v, %v", ref, got, err)
		}
	}
	for _, commit := range []string{"--all", "main", "HEAD", "-p", strings.Repeat("g", 40)} {
		if _, err := s.Commit(t.Context(), "r1", commit); !models.IsCode(err, models.Invalid) {
			t.Errorf("commit %q: %v", commit, err)
		}
	}
	if _, err := os.Stat(pwned); err == nil {
		t.Error("a ref was run as a program or option")
	}
}

func TestLogListsWhatIsNew(t *testing.T) {
	repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{"a": "1"})
	first := repo.Git(t, "rev-parse", "main")
	var last string
	for _, message := range []string{"Second", "Third", "Fourth"} {
		last = repo.Commit(t, "main", message, gittest.Files{"a": message})
	}
	s := fetched(t, repo)
	commits, more, err := s.Log(t.Context(), "r1", first, last, 2)
	if err != nil || !more || len(commits) != 2 || commits[0].Subject != "Fourth" || commits[1].Subject != "Third" {
		t.Errorf("got %+v, more %v, %v", commits, more, err)
	}
	all, more, err := s.Log(t.Context(), "r1", "", last, 50)
	if err != nil || more || len(all) != 4 {
		t.Errorf("got %d, more %v, %v", len(all), more, err)
	}
	back, _, err := s.Log(t.Context(), "r1", last, first, 50)
	if err != nil || len(back) != 0 {
		t.Errorf("got %+v, %v", back, err)
	}
}

func TestACommitThatIsNotThereIsNotFound(t *testing.T) {
	s := fetched(t, gittest.New(t).Repository(t, "shop.git", gittest.Files{"a": "1"}))
	absent := strings.Repeat("ab", 20)
	_, err := s.Commit(t.Context(), "r1", absent)
	wantError(t, err, models.NotFound, "no commit abababababab")
	if s.HasCommit(t.Context(), "r1", absent) || s.HasCommit(t.Context(), "r2", absent) {
		t.Error("an absent commit is there")
	}
	_, err = s.Refs(t.Context(), "r2")
	wantError(t, err, models.Unavailable, "not been read yet")
	for _, id := range []string{"", "../r1", "a/b", "-x", ".", strings.Repeat("a", 99)} {
		if _, err := s.Refs(t.Context(), id); err == nil {
			t.Errorf("id %q was taken", id)
		}
	}
}
