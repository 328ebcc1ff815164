package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	maxStderr  = 64 << 10
	maxOutput  = 64 << 20
	localLimit = 2 * time.Minute
)

// command is one run of git: argv, never a shell, with nothing of this process's environment.
type command struct {
	args   []string
	dir    string      // the bare repository, or empty
	lock   *os.File    // the mirror's lock, which then outlives this process if git does
	env    []string    // in addition to the fixed environment
	config [][2]string // in addition to the fixed configuration
	stdin  io.Reader
	stdout io.Writer // nil: collected and returned
}

// failure is a git command that ended badly, with what it said; explain turns it into words for people.
type failure struct {
	stderr string
	err    error
}

func (f *failure) Error() string { return fmt.Sprintf("git: %v: %s", f.err, f.stderr) }
func (f *failure) Unwrap() error { return f.err }

// fixedConfig closes every way in which a repository or its server could make git run or reach something.
var fixedConfig = [][2]string{
	{"core.hooksPath", "/dev/null"},
	{"core.attributesFile", "/dev/null"},
	{"core.excludesFile", "/dev/null"},
	{"core.fsmonitor", "false"},
	{"core.askPass", ""},
	{"core.protectHFS", "true"},
	{"core.protectNTFS", "true"},
	{"core.autocrlf", "false"},
	{"credential.helper", ""},
	{"protocol.allow", "never"},
	{"submodule.recurse", "false"},
	{"fetch.recurseSubmodules", "false"},
	{"fetch.fsckObjects", "true"},
	{"fetch.writeCommitGraph", "false"},
	{"fetch.unpackLimit", "1"},
	{"gc.auto", "0"},
	{"maintenance.auto", "false"},
	{"http.lowSpeedLimit", "100"},
	{"http.lowSpeedTime", "60"},
	{"http.maxRequestBuffer", "1048576"},
	{"advice.detachedHead", "false"},
}

// harmlessFlaws are the old sins of honest histories; fsck doesn't refuse a repository for them.
var harmlessFlaws = []string{
	"badDate", "badEmail", "badTagName", "badTimezone", "missingEmail", "missingNameBeforeEmail", "missingSpaceBeforeDate",
	"missingSpaceBeforeEmail", "missingTaggerEntry", "zeroPaddedDate", "zeroPaddedFilemode",
}

func (s *Service) run(ctx context.Context, c command) ([]byte, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("the git program is not installed: %w", err)
	}
	cmd := exec.CommandContext(ctx, git, c.args...)
	cmd.Env = s.environment(c, git)
	cmd.Dir = s.Dir
	cmd.Stdin = c.stdin
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if c.lock != nil {
		cmd.ExtraFiles = []*os.File{c.lock}
	}
	var stdout, stderr capped
	stdout.limit, stderr.limit = maxOutput, maxStderr
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, &failure{stderr: stderr.buf.String(), err: err}
	}
	if stdout.over {
		return nil, errors.New("git's answer is over the size limit")
	}
	return stdout.buf.Bytes(), nil
}

// environment is all that git sees: env -i, and configuration by variables that no file can override.
func (s *Service) environment(c command, git string) []string {
	env := []string{
		"PATH=" + searchPath(git), "HOME=/nonexistent", "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=", "GIT_LFS_SKIP_SMUDGE=1", "GIT_LITERAL_PATHSPECS=1",
		"GIT_NO_REPLACE_OBJECTS=1", "GIT_OPTIONAL_LOCKS=0", "GIT_PROTOCOL_FROM_USER=0",
		"GIT_DIR=" + or(c.dir, "/nonexistent"),
	}
	config := slices.Concat(fixedConfig, c.config)
	for _, flaw := range harmlessFlaws {
		config = append(config, [2]string{"fetch.fsck." + flaw, "ignore"})
	}
	env = append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(config)))
	for i, pair := range config {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, pair[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, pair[1]))
	}
	return append(env, c.env...)
}

// searchPath lets git find its helpers and ssh, wherever they were found for this process.
func searchPath(git string) string {
	dirs := []string{filepath.Dir(git), "/usr/local/bin", "/usr/bin", "/bin"}
	if ssh, err := exec.LookPath("ssh"); err == nil {
		dirs = append(dirs, filepath.Dir(ssh))
	}
	return strings.Join(dirs, ":")
}

// local runs a command on a mirror, which needs no network.
func (s *Service) local(ctx context.Context, dir string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, localLimit)
	defer cancel()
	return s.run(ctx, command{args: args, dir: dir})
}

// capped keeps the first bytes of a stream and counts the rest as too many, so that the writer never blocks.
type capped struct {
	buf   bytes.Buffer
	limit int
	over  bool
}

func (c *capped) Write(p []byte) (int, error) {
	room := c.limit - c.buf.Len()
	if len(p) > room {
		c.over = true
		c.buf.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return c.buf.Write(p)
}
