package git

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestALockLivesAsLongAsTheGitThatWasStartedUnderIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r1.git.lock")
	first, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	orphan := exec.Command("sleep", "60")
	orphan.ExtraFiles = []*os.File{first}
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	first.Close() // as the kernel does when the process is killed
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the orphan runs: %v", err)
	}
	_ = orphan.Process.Kill()
	_ = orphan.Wait()
	second, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	unlock(second)
}
