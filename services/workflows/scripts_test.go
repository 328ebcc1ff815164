package workflows_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
)

// script is the shell of the step.
func script(t *testing.T, text, name string) string {
	t.Helper()
	for _, s := range parse(t, text).Jobs["image"].Steps {
		if s.Name == name {
			return s.Run
		}
	}
	t.Fatalf("there is no step %q", name)
	return ""
}

// bash runs a script as GitHub's runners do (docs.github.com, "shell": bash).
func bash(t *testing.T, dir, text string, env ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "step.sh")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "output")
	cmd := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", path)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), append(env, "GITHUB_OUTPUT="+output)...)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	written, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	return string(written)
}

// checkout is a repository with one commit.
func checkout(t *testing.T) (dir, commit string) {
	t.Helper()
	dir = t.TempDir()
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.test"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	git("commit", "-q", "--allow-empty", "-m", "one")
	return dir, git("rev-parse", "HEAD")
}

func TestTheStepThatNamesTheImageAgreesWithThePortalsTags(t *testing.T) {
	t.Parallel()
	dir, commit := checkout(t)
	text := script(t, render(t, workflowTo(models.DestinationPortal), newApp()), "Name the image")
	for _, c := range []struct{ kind, ref, head, want string }{
		{"branch", "main", commit, "main"},
		{"branch", "feature/new $(touch pwned)", commit, "feature-new-touch-pwned-"},
		{"branch", "build-7", commit, "branch-build-7"},
		{"branch", "buildcache", commit, "branch-buildcache"},
		{"tag", strings.Repeat("a", 40), commit, "tag-" + strings.Repeat("a", 40)},
		{"branch", "-.x", commit, "x"},
		{"branch", "main", strings.Repeat("0", 40), ""}, // an older commit does not take the branch's name
	} {
		out := bash(t, dir, text, "IMAGE=portal.example.test/payments/checkout", "GITHUB_SHA="+c.head, "GITHUB_REF_NAME="+c.ref, "GITHUB_REF_TYPE="+c.kind)
		want := []string{"sha-" + commit[:12], commit}
		if c.want != "" {
			want = append(want, c.want)
		}
		var got []string
		for line := range strings.Lines(out) {
			if tag, ok := strings.CutPrefix(strings.TrimSpace(line), "portal.example.test/payments/checkout:"); ok {
				got = append(got, tag)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s %s: %v, not %v\n%s", c.kind, c.ref, got, want, out)
		}
		if !strings.Contains(out, "commit="+commit+"\n") {
			t.Errorf("the commit is missing: %s", out)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("something was run: %v %v", entries, err)
	}
}
