package buildkit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/services/builds"
)

func TestLookingAtADockerfileIsQuickHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for what, text := range map[string]string{
		"commands":  "FROM scratch\n" + many(990, "RUN echo %d\n"),
		"stages":    "FROM scratch AS s0\n" + many(990, "FROM scratch AS t%d\n"),
		"chains":    "FROM scratch AS s0\n" + chain(490),
		"variables": "FROM scratch\n" + many(990, "ENV v%d=$PATH$PATH\n"),
		"copies":    "FROM scratch AS a\n" + many(900, "COPY --from=a /x%d /\n"),
		"mounts":    "FROM scratch\nRUN " + strings.Repeat("--mount=type=cache,target=/x ", 20000) + "true\n",
		"a line":    "FROM scratch\nRUN echo " + strings.Repeat("x ", 500_000) + "\n",
		"comments":  "FROM scratch\n" + strings.Repeat("# x\n", 200_000),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err := open(builds.Request{Dir: dir, Context: ".", Dockerfile: "Dockerfile", Platforms: []string{"linux/amd64", "linux/arm64"}})
		if took := time.Since(began); took > time.Minute {
			t.Errorf("%s: %v (%v)", what, took, err)
		}
	}
}

func chain(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "FROM s%d AS s%d\nRUN echo\n", i, i+1)
	}
	return b.String()
}
