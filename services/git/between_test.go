package git_test

import (
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/git/gittest"
)

func TestCommitsBetweenTwoAreCountedInBothDirections(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t).Repository(t, "acme/shop.git", gittest.Files{"a": "1"})
	root := repo.Git(t, "rev-parse", "main")
	one := repo.Commit(t, "main", "One", gittest.Files{"a": "2"})
	two := repo.Commit(t, "main", "Two", gittest.Files{"a": "3"})
	repo.Branch(t, "side", one)
	side := repo.Commit(t, "side", "Side", gittest.Files{"b": "1"})
	s := fetched(t, repo)
	for _, c := range []struct {
		name, base, head string
		ahead, behind    int
		subjects         string
	}{
		{"forward", strings.TrimSpace(root), two, 2, 0, "Two One"},
		{"back", two, strings.TrimSpace(root), 0, 2, "Two One"},
		{"apart", two, side, 1, 1, "Side"},
		{"the same", two, two, 0, 0, ""},
	} {
		b, err := s.Between(t.Context(), "r1", c.base, c.head, 5)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var subjects []string
		for _, commit := range b.Commits {
			subjects = append(subjects, commit.Subject)
		}
		if b.Ahead != c.ahead || b.Behind != c.behind || strings.Join(subjects, " ") != c.subjects {
			t.Errorf("%s: %d ahead, %d behind, %v", c.name, b.Ahead, b.Behind, subjects)
		}
	}
	if b, err := s.Between(t.Context(), "r1", strings.TrimSpace(root), two, 1); err != nil || len(b.Commits) != 1 || b.Ahead != 2 {
		t.Errorf("with a limit: %+v (%v)", b, err)
	}
	if _, err := s.Between(t.Context(), "r1", strings.Repeat("0", 40), two, 1); !models.IsCode(err, models.NotFound) {
		t.Errorf("of a commit that is not there: %v", err)
	}
	if _, err := s.Between(t.Context(), "r1", "--all", two, 1); !models.IsCode(err, models.Invalid) {
		t.Errorf("of an option: %v", err)
	}
}
