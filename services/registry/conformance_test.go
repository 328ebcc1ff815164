package registry_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
)

// conformance builds the official suite of the distribution specification,
// from a module of its own, so that the server's module stays clean.
func conformance(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "conformance")
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/opencontainers/distribution-spec/conformance")
	build.Dir = filepath.Join("testdata", "conformance")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the conformance suite: %v\n%s", err, out)
	}
	return program
}

func TestTheOfficialConformanceSuitePassesWithAuthenticationOn(t *testing.T) {
	t.Parallel()
	program := conformance(t)
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		runConformance(t, program, serve(t, db), "1.1", 800)
	})
	t.Run("in a bucket", func(t *testing.T) {
		t.Parallel()
		runConformance(t, program, serve(t, modelstest.Postgres(t), inBucket(t, s3Place(s3Address(t)))), "1.1", 800)
	})
	t.Run("draft of the next version", func(t *testing.T) {
		t.Parallel()
		runConformance(t, program, serve(t, modelstest.DB(t)), "dev", 900)
	})
}

// runConformance fails where a test of the suite does, or where fewer than least of them ran.
func runConformance(t *testing.T, program string, f *fixture, version string, least int) {
	t.Helper()
	run := exec.CommandContext(t.Context(), program)
	run.Dir = t.TempDir()
	run.Env = append(os.Environ(), "OCI_REGISTRY="+f.host, "OCI_TLS=disabled", "OCI_VERSION="+version,
		"OCI_REPO1=payments/repo1", "OCI_REPO2=payments/repo2", "OCI_RESULTS_DIR="+run.Dir,
		"OCI_USERNAME=anything", "OCI_PASSWORD="+f.token(t, f.Maintainer, models.ScopeRegistryRead, models.ScopeRegistryWrite))
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("the conformance suite failed: %v\n%s", err, out)
	}
	passed, failed := bytes.Count(out, []byte(": Pass\n")), bytes.Count(out, []byte(": FAIL\n"))+bytes.Count(out, []byte(": Error\n"))
	t.Logf("%d passed, %d failed; skipped: %q", passed, failed, skipped.FindAllString(string(out), -1))
	if passed < least || failed > 0 {
		t.Errorf("the conformance suite did less than it should:\n%s", out)
	}
}

var skipped = regexp.MustCompile(`(?m)^.*: Skip$`)
