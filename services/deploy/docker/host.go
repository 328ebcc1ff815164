package docker

import (
	"context"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/system"
)

// plainPath is a path that means itself in a line of any shell.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9._/-]{1,200}$`)

// freeDisk returns how many bytes are free where the engine keeps images and volumes; 0 where nobody can say: an engine
// does not tell, so that Slipway looks itself, on this machine or through SSH.
func (t *target) freeDisk(ctx context.Context, has system.Info) int64 {
	switch {
	case !plainPath.MatchString(has.DockerRootDir):
		return 0
	case t.machine != nil:
		return parseFree(t.machine.output(ctx, "df -Pk -- "+has.DockerRootDir))
	case strings.HasPrefix(t.docker.DaemonHost(), "unix://") && onThisMachine(has.Name):
		var s syscall.Statfs_t
		if syscall.Statfs(has.DockerRootDir, &s) != nil {
			return 0
		}
		return int64(s.Bavail) * int64(s.Bsize) //nolint:unconvert // the types differ between systems
	}
	return 0
}

// onThisMachine tells whether the engine that calls its host so runs on this very machine, and not in one of its own or
// around the container that this process is in.
func onThisMachine(name string) bool {
	own, err := os.Hostname()
	return err == nil && own == name
}

// parseFree reads what df -Pk prints (POSIX): a head, and a line whose fourth column is the free kibibytes.
func parseFree(text string) int64 {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	columns := strings.Fields(lines[len(lines)-1])
	if len(lines) < 2 || len(columns) < 6 {
		return 0
	}
	n, err := strconv.ParseInt(columns[3], 10, 64)
	if err != nil || n < 0 || n > 1<<50 {
		return 0
	}
	return n << 10
}

// outputTime bounds a question to a machine, and outputMax its answer.
const (
	outputTime = 5 * time.Second
	outputMax  = 256 << 10 // bytes
)

// output runs a fixed line on the machine and returns what it prints; nothing where it can't, as for users whose only
// right is to forward connections. Nothing of anybody's goes into the line but what cannot mean something to a shell.
func (m *machine) output(ctx context.Context, line string) string {
	ctx, cancel := context.WithTimeout(ctx, outputTime)
	defer cancel()
	c, _, err := m.connection(ctx)
	if err != nil {
		return ""
	}
	c.use(1)
	defer c.use(-1)
	session, err := c.NewSession()
	if err != nil {
		return ""
	}
	defer session.Close()
	defer context.AfterFunc(ctx, func() { session.Close() })()
	out, err := session.StdoutPipe()
	if err != nil || session.Start(line) != nil {
		return ""
	}
	text, err := io.ReadAll(io.LimitReader(out, outputMax))
	if err != nil {
		return ""
	}
	return string(text)
}
