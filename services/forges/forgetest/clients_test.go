package forgetest_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"slipway.dev/services/forges/forgetest"
)

// clients builds the program that calls forges with their official clients.
func clients(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "clients")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	build.Dir = filepath.Join("testdata", "clients")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the official clients: %v\n%s", err, out)
	}
	return program
}

func TestTheOfficialClientsUnderstandTheForgesOfTheTests(t *testing.T) {
	t.Parallel()
	program := clients(t)
	gitlab, gitea := forgetest.NewGitLab(t, "acme/back-end/shop"), forgetest.NewGitea(t, "acme/shop")
	for _, call := range [][]string{
		{"gitlab", gitlab.URL, gitlab.Token, "acme/back-end/shop"},
		{"gitea", gitea.URL, gitea.Token, "acme/shop"},
	} {
		if out, err := exec.CommandContext(t.Context(), program, call...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", call[0], err, out)
		}
	}
	if told := gitlab.Statuses(); len(told) != 2 || told[1].State != "running" {
		t.Errorf("the GitLab was told %+v", told)
	}
	if told := gitea.Statuses(); len(told) != 4 {
		t.Errorf("the Gitea was told %+v", told)
	}
}
