package builds_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/porttest"
)

// cluster is a PostgreSQL of the test's own, which the test may stop.
type cluster struct {
	t      *testing.T
	folder string
	port   string
	secret string
}

// newCluster makes and starts a cluster that goes when the test ends.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	folder, err := os.MkdirTemp("", "slipway-cluster-")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, folder: folder, port: porttest.Port(t), secret: models.NewID()}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	secret := filepath.Join(folder, "password")
	if err := os.WriteFile(secret, []byte(c.secret), 0o600); err != nil {
		t.Fatal(err)
	}
	c.own(folder, secret)
	c.run("initdb", "-D", c.data(), "-U", "slipway", "-A", "scram-sha-256", "--pwfile="+secret, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	c.run("pg_ctl", c.start()...)
	t.Cleanup(func() { c.run("pg_ctl", "-D", c.data(), "-m", "immediate", "-s", "-w", "stop") })
	return c
}

func (c *cluster) data() string { return filepath.Join(c.folder, "data") }

func (c *cluster) url() string {
	return fmt.Sprintf("postgres://slipway:%s@127.0.0.1:%s/postgres?sslmode=disable", c.secret, c.port)
}

func (c *cluster) start() []string {
	return []string{"-D", c.data(), "-w", "-s", "-l", filepath.Join(c.folder, "log"), "start", "-o",
		"-p " + c.port + " -c listen_addresses=127.0.0.1 -c unix_socket_directories=" + c.folder + " -c fsync=off -c shared_buffers=32MB"}
}

// crash ends the cluster as a power cut would, and starts it again.
func (c *cluster) crash() {
	c.t.Helper()
	c.run("pg_ctl", "-D", c.data(), "-m", "immediate", "-s", "-w", "stop")
	c.run("pg_ctl", c.start()...)
}

// run runs one of PostgreSQL's programs. It refuses to be root, so root lends it the user that its package made.
func (c *cluster) run(program string, arguments ...string) {
	c.t.Helper()
	arguments = append([]string{postgresProgram(c.t, program)}, arguments...)
	if os.Getuid() == 0 {
		arguments = append([]string{"runuser", "-u", "postgres", "--"}, arguments...)
	}
	cmd := exec.Command(arguments[0], arguments[1:]...)
	cmd.Dir = c.folder
	said, err := os.CreateTemp(c.t.TempDir(), "said") // a pipe would stay open for as long as the server runs
	if err != nil {
		c.t.Fatal(err)
	}
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(said.Name())
		c.t.Fatalf("%s: %v\n%s", program, err, text)
	}
}

// own gives the files to the user that PostgreSQL runs as.
func (c *cluster) own(files ...string) {
	c.t.Helper()
	if os.Getuid() != 0 {
		return
	}
	postgres, err := user.Lookup("postgres")
	if err != nil {
		c.t.Fatal(err)
	}
	uid, _ := strconv.Atoi(postgres.Uid)
	for _, f := range files {
		if err := os.Chown(f, uid, -1); err != nil {
			c.t.Fatal(err)
		}
	}
}

// postgresProgram is the newest of the program; Debian keeps them out of PATH.
func postgresProgram(t *testing.T, program string) string {
	t.Helper()
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if err != nil || len(found) == 0 {
		t.Fatalf("there is no %s: install the package postgresql, or run the tests with make test, which does (%v)", program, err)
	}
	return slices.Max(found)
}

func TestBuildsOutliveADatabaseThatCrashesUnderLoad(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	w := newWorld(t, modelstest.Open(t, c.url()))
	w.counted(t)
	apps := []*models.App{w.team(t, "one", 0), w.team(t, "two", 0), w.team(t, "three", 1)}
	for _, app := range apps {
		w.queueFor(t, app, models.TriggerManual, 15)
	}
	second := w.queue(t)
	w.service(t, second)
	start(t, w.builds.Jobs)
	start(t, second)
	for _, made := range []int64{5, 15, 25} {
		w.until(t, 3*time.Minute, fmt.Sprintf("%d builds are made", made), func() bool {
			var n int64
			return w.db.Model(&models.Build{}).Where("state = ?", models.BuildSucceeded).Count(&n).Error == nil && n >= made
		})
		c.crash()
	}
	w.allEnd(t, 5*time.Minute)

	var rows []models.Build
	if err := w.db.Find(&rows).Error; err != nil || len(rows) != 45 {
		t.Fatalf("there are %d builds, error %v", len(rows), err)
	}
	for _, b := range rows {
		var ends int64
		if err := w.db.Model(&models.Event{}).Where("topic = ? AND kind = 'build.succeeded'", "build:"+b.ID).Count(&ends).Error; err != nil {
			t.Fatal(err)
		}
		if b.State != models.BuildSucceeded || b.ImageDigest == "" || ends != 1 {
			t.Errorf("build %s is %s after %d attempts, its end was published %d times: %+v", b.ID, b.State, b.Attempt, ends, b.Error)
		}
		if text := w.ended(t, b.ID); !strings.Contains(text, " succeeded in ") {
			t.Errorf("the log of build %s is %q", b.ID, text)
		}
	}
}

// allEnd waits until no build is open.
func (w *world) allEnd(t *testing.T, within time.Duration) {
	t.Helper()
	w.until(t, within, "all builds ended", func() bool {
		var open int64
		err := w.db.Model(&models.Build{}).Where("state IN ?", []string{"queued", "running"}).Count(&open).Error
		return err == nil && open == 0
	})
}
