package builds_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/blobs"
	"slipway.dev/services/builds"
	"slipway.dev/services/git"
	"slipway.dev/services/jobs"
	"slipway.dev/services/outbound"
)

// victimVariable has the test program be a worker that stops at a boundary, to
// be killed there. It holds the boundary, the registry, the folder and the database.
const victimVariable = "SLIPWAY_TEST_BUILD_WORKER"

// boundaries are where a worker can die between two steps of a build.
var boundaries = []string{"claim", "checkout", "build", "push", "tag", "record"}

func TestMain(m *testing.M) {
	if what := os.Getenv(victimVariable); what != "" {
		parts := strings.SplitN(what, " ", 4)
		log.Fatal((&victim{at: parts[0], registry: parts[1]}).work(parts[2], parts[3]))
	}
	os.Exit(m.Run())
}

// victim is a worker that gets no further than to a boundary.
type victim struct {
	at       string
	registry string
	asked    int // for credentials
}

// reach says that the worker has come to the boundary, and waits to be killed where it is the chosen one.
func (v *victim) reach(boundary string) {
	if boundary == v.at {
		fmt.Println("at", boundary)
		select {}
	}
}

func (v *victim) work(dir, database string) error {
	ctx := context.Background()
	db, err := models.Open(ctx, database)
	if err != nil {
		return err
	}
	q, err := jobs.New(db, jobs.Config{Builds: 1, DeadAfter: time.Hour}) // the others that were killed are left alone
	if err != nil {
		return err
	}
	s := assemble(db, q, dir)
	s.Registry, s.Builders = v, map[models.BuilderKind]builds.Builder{models.BuilderBuildKit: v}
	if s.Logs.Blobs, err = blobs.Open(ctx, filepath.Join(dir, "blobs")); err != nil {
		return err
	}
	s.Git.Guard = &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	s.Git.Proxy = &outbound.Proxy{Guard: s.Git.Guard}
	if err := s.Git.Proxy.Listen(); err != nil {
		return err
	}
	remotely := s.Remote
	s.Remote = func(ctx context.Context, r *models.Repository) (git.Remote, error) {
		v.reach("claim")
		return remotely(ctx, r)
	}
	err = db.Callback().Update().After("gorm:update").Register("victim", func(tx *gorm.DB) {
		if b, ok := tx.Statement.Dest.(*models.Build); ok && b.State == models.BuildSucceeded {
			v.reach("record")
		}
	})
	if err != nil {
		return err
	}
	jobs.Register(q, s.Turn)
	if err := q.Start(ctx); err != nil {
		return err
	}
	select {} // until it is killed
}

// Host and Credential make the victim the builds' registry.
func (v *victim) Host() string { return v.registry }

func (v *victim) Credential(context.Context, string, []string, time.Duration) (string, string, error) {
	if v.asked++; v.asked == 2 {
		v.reach("tag")
	}
	return "slipway", registryPassword, nil
}

func (v *victim) Capabilities(context.Context) (builds.Capabilities, error) {
	return builds.Capabilities{Engine: "victim"}, nil
}

func (v *victim) Build(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
	v.reach("checkout")
	emit(builds.Event{At: time.Now(), Step: "half", State: models.StepRunning, Name: "RUN half of it"})
	v.reach("build")
	emit(builds.Event{At: time.Now(), Step: "half", State: models.StepSucceeded, Name: "RUN half of it"})
	made, err := pushSomething(ctx, r, emit)
	v.reach("push")
	return made, err
}

// kill starts a worker in a process of its own and kills it (SIGKILL) when it has come to the boundary.
func (w *world) kill(t *testing.T, boundary, database string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimVariable+"="+strings.Join([]string{boundary, w.registry, w.dir, database}, " "))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
		return
	}
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	late := time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "at "+boundary+"\n" {
		t.Errorf("the worker said %q (%v), not that it is at %s", line, err, boundary)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
}

// Each boundary is met ten times: five on each database.
func TestABuildIsMadeOnceWhereverItsWorkerIsKilled(t *testing.T) {
	t.Parallel()
	const times = 5
	modelstest.EachURL(t, func(t *testing.T, url string) {
		w := newWorld(t, modelstest.Open(t, url))
		all := w.queueFor(t, w.App, models.TriggerManual, times*len(boundaries))
		w.killEverywhere(t, times, url)

		q, err := jobs.New(w.db, jobs.Config{Builds: 4, DeadAfter: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		w.builds = w.service(t, q)
		start(t, q)
		w.idle(t, 5*time.Minute)
		for _, b := range all {
			w.isMadeOnce(t, b.ID)
		}
		if err := w.builds.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(w.builds.Dir); err != nil || len(left) > 0 {
			t.Errorf("the builds' folder holds %v, error %v", left, err)
		}
	})
}

// killEverywhere kills a worker at each boundary, so many times, two at once.
func (w *world) killEverywhere(t *testing.T, times int, database string) {
	t.Helper()
	var killers sync.WaitGroup
	turns := make(chan string)
	for range 2 {
		killers.Go(func() {
			for boundary := range turns {
				w.kill(t, boundary, database)
			}
		})
	}
	for range times {
		for _, boundary := range boundaries {
			turns <- boundary
		}
	}
	close(turns)
	killers.Wait()
}

// isMadeOnce checks all that is stored of a build whose first worker was killed.
func (w *world) isMadeOnce(t *testing.T, id string) {
	t.Helper()
	b, err := w.builds.Get(w.as(t, w.Viewer), id)
	if err != nil {
		t.Fatal(err)
	}
	if b.State != models.BuildSucceeded || b.Attempt != 2 || b.Error != nil {
		t.Errorf("build %d is %s after %d attempts: %+v", b.Number, b.State, b.Attempt, b.Error)
		return
	}
	ref, err := name.ParseReference(b.ImageRepository + ":" + fmt.Sprintf("build-%d", b.Number))
	if err != nil {
		t.Fatal(err)
	}
	if have, err := remote.Head(ref); err != nil || have.Digest.String() != b.ImageDigest {
		t.Errorf("the tag of build %d is of %+v, error %v, not of %s", b.Number, have, err, b.ImageDigest)
	}
	for _, s := range b.Steps {
		if s.State != models.StepSucceeded {
			t.Errorf("a step of build %d is %s: %s", b.Number, s.State, s.Name)
		}
	}
	var ends int64
	if err := w.db.Model(&models.Event{}).Where("topic = ? AND kind = 'build.succeeded'", builds.Topic(id)).Count(&ends).Error; err != nil || ends != 1 {
		t.Errorf("the end of build %d was published %d times, error %v", b.Number, ends, err)
	}
	if text := w.ended(t, id); !strings.Contains(text, "attempt 2 of 3") || strings.Count(text, fmt.Sprintf("Build #%d succeeded", b.Number)) != 1 {
		t.Errorf("the log of build %d is %q", b.Number, text)
	}
}
