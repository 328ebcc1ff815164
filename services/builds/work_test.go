package builds_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/logs"
)

func TestABuildGoesFromTheQueueToATaggedAndAnnotatedImage(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		start(t, w.builds.Jobs)
		w.direct(func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
			if text, err := os.ReadFile(filepath.Join(r.Dir, "Dockerfile")); err != nil || string(text) != "FROM scratch\n" {
				t.Errorf("the checkout holds %q, error %v", text, err)
			}
			emit(builds.Event{At: time.Now(), Warning: "Line 1: something to think about"})
			return pushSomething(ctx, r, emit)
		})
		b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildSucceeded)
		text := w.ended(t, b.ID)
		want := []string{"sha-" + b.Commit[:12], b.Commit, "main", "build-2"}
		if !slices.Equal(b.ImageTags, want) || b.ImageRepository != w.registry+"/payments/checkout" || b.ImageSize < 2000 {
			t.Errorf("the image is %s %v with %d bytes", b.ImageRepository, b.ImageTags, b.ImageSize)
		}
		for _, tag := range want {
			m := manifest(t, b.ImageRepository+":"+tag)
			if m.digest != b.ImageDigest || m.Annotations["org.opencontainers.image.revision"] != b.Commit ||
				m.Annotations["org.opencontainers.image.source"] != w.repo.URL || m.Annotations["org.opencontainers.image.created"] == "" {
				t.Errorf("the tag %s is of %s, not of %s, with %v", tag, m.digest, b.ImageDigest, m.Annotations)
			}
		}
		if b.StartedAt == nil || b.FinishedAt == nil || b.Attempt != 1 || b.Error != nil || !slices.Equal(b.Warnings, []string{"Line 1: something to think about"}) {
			t.Errorf("the build is %+v", b)
		}
		var steps []string
		for _, s := range b.Steps {
			steps = append(steps, s.ID)
			if s.State != models.StepSucceeded || s.StartedAt == nil || s.FinishedAt == nil {
				t.Errorf("the step is %+v", s)
			}
		}
		if !slices.Equal(steps, []string{"checkout", "RUN true", "push"}) {
			t.Errorf("the steps are %v", steps)
		}
		if !strings.Contains(text, "some output\n") || !strings.Contains(text, "Build #2 succeeded in ") {
			t.Errorf("the log is %q", text)
		}
		if left, err := os.ReadDir(w.builds.Dir); err != nil || len(left) > 0 {
			t.Errorf("the builds' folder holds %v, error %v", left, err)
		}
		var kinds []string
		if err := db.Model(&models.Event{}).Where("topic = ?", builds.Topic(b.ID)).Order("id").Pluck("kind", &kinds).Error; err != nil {
			t.Fatal(err)
		}
		kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == "build.step" })
		if !slices.Equal(kinds, []string{"build.queued", "build.running", "build.succeeded"}) {
			t.Errorf("the events are %v", kinds)
		}
	})
}

type annotated struct {
	v1.Manifest
	digest string
}

func manifest(t *testing.T, image string) annotated {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	have, err := remote.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	m := annotated{digest: have.Digest.String()}
	if err := json.Unmarshal(have.Manifest, &m.Manifest); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAFailedBuildKeepsItsReasonAndNoSecret(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		start(t, w.builds.Jobs)
		w.direct(func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
			if _, _, err := r.Image.Credential(ctx); err != nil {
				return nil, err
			}
			leak := gitToken + " " + registryPassword
			emit(builds.Event{At: time.Now(), Step: "1", State: models.StepRunning, Name: "RUN echo " + leak})
			for _, piece := range []string{"one\ntwo " + gitToken[:9], gitToken[9:] + "\n"} {
				emit(builds.Event{At: time.Now(), Step: "1", Stream: logs.Stdout, Output: []byte(piece)})
			}
			emit(builds.Event{At: time.Now(), Step: "1", State: models.StepFailed, Name: "RUN echo " + leak, Error: leak})
			emit(builds.Event{At: time.Now(), Warning: "a warning with " + leak})
			return nil, &builds.Error{BuildError: models.BuildError{Class: builds.ClassUser, Message: "It failed: " + leak, Step: "1",
				Dockerfile: "Dockerfile", Line: 1, EndLine: 1, Source: []string{"RUN echo " + leak}, ExitCode: 7}}
		})
		b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildFailed)
		text := w.ended(t, b.ID)
		if b.Error == nil || b.Error.Class != builds.ClassUser || b.Error.Line != 1 || b.Error.ExitCode != 7 || !slices.Contains(b.Error.Output, "one") {
			t.Errorf("the error is %+v", b.Error)
		}
		all, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, canary := range []string{gitToken, registryPassword} {
			if strings.Contains(string(all), canary) || strings.Contains(text, canary) {
				t.Errorf("%s is shown:\n%s\n%s", canary, all, text)
			}
		}
	})
}

func TestCancelEndsABuildWhereverItIs(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		queued := w.queueBuild(t, "main")
		if b, err := w.builds.Cancel(w.as(t, w.Developer), queued.ID); err != nil || b.State != models.BuildCanceled || b.Error.Class != builds.ClassCanceled {
			t.Errorf("the queued build is %+v, error %v", b, err)
		}
		w.ended(t, queued.ID)
		_, err := w.builds.Cancel(w.as(t, w.Developer), queued.ID)
		wantCode(t, err, models.Conflict)

		start(t, w.builds.Jobs)
		begun := make(chan builds.Request, 1)
		w.direct(hang(begun))
		running := w.queueBuild(t, "main")
		request := <-begun
		w.cancelsInTime(t, running.ID)
		if _, err := os.Stat(request.Dir); !os.IsNotExist(err) {
			t.Errorf("the checkout is still there: %v", err)
		}
		b := w.wait(t, running.ID, models.BuildCanceled)
		for _, s := range b.Steps {
			if s.ID == "hang" && s.State != models.StepCanceled {
				t.Errorf("the step is %s", s.State)
			}
		}
		if text := w.ended(t, running.ID); !strings.Contains(text, "waiting\n") || !strings.Contains(text, "Build #3 canceled") {
			t.Errorf("the log is %q", text)
		}
		if b := w.wait(t, queued.ID, models.BuildCanceled); b.StartedAt != nil {
			t.Error("the build that was canceled in the queue was begun")
		}
	})
}

func (w *world) cancelsInTime(t *testing.T, id string) {
	t.Helper()
	began := time.Now()
	if _, err := w.builds.Cancel(w.as(t, w.Developer), id); err != nil {
		t.Fatal(err)
	}
	if _, err := w.builds.Cancel(w.as(t, w.Developer), id); err != nil && !models.IsCode(err, models.Conflict) {
		t.Errorf("canceling twice: %v", err)
	}
	w.wait(t, id, models.BuildCanceled)
	t.Logf("it took %v", time.Since(began).Round(time.Millisecond))
}

func TestCancelEndsACheckoutThatHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	contact := make(chan struct{}, 10)
	go func() {
		for {
			c, err := silent.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			contact <- struct{}{}
		}
	}()
	b := w.queueBuild(t, "main")
	if err := w.builds.Git.Remove(w.Repository.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.db.Model(w.Repository).Update("clone_url", "http://"+silent.Addr().String()+"/x.git").Error; err != nil {
		t.Fatal(err)
	}
	start(t, w.builds.Jobs)
	<-contact
	w.cancelsInTime(t, b.ID)
}

func TestABuildThatNeverEndsIsStoppedAtItsTimeLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	// It has to be enough for the checkout on a busy machine: the limit is to be met in the step.
	if err := w.db.Model(w.App).Update("build_timeout", 20).Error; err != nil {
		t.Fatal(err)
	}
	start(t, w.builds.Jobs)
	w.direct(hang(make(chan builds.Request, 1)))
	b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildFailed)
	if b.Error.Class != builds.ClassTimeout || !strings.Contains(b.Error.Message, "20 seconds") || b.Error.Step != "hang" || !slices.Contains(b.Error.Output, "waiting") {
		t.Errorf("the error is %+v", b.Error)
	}
}

func TestAWorkerThatStopsGivesItsBuildToAnother(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		first := w.builds.Jobs
		if err := first.Start(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		begun := make(chan builds.Request, 1)
		w.direct(hang(begun))
		b := w.queueBuild(t, "main")
		<-begun
		stop(t, first)
		if now := w.wait(t, b.ID, models.BuildQueued); now.Worker != "" || now.Attempt != 0 {
			t.Errorf("the build is still held: %+v", now.Lease)
		}
		w.direct(nil)
		second := w.queue(t)
		w.service(t, second)
		start(t, second)
		done := w.wait(t, b.ID, models.BuildSucceeded)
		text := w.ended(t, b.ID)
		if done.Attempt != 1 || !strings.Contains(text, "waiting\n") || !strings.Contains(text, "This worker stops") || !strings.Contains(text, "some output\n") {
			t.Errorf("the build took %d attempts; its log is %q", done.Attempt, text)
		}
	})
}

func TestTheBuildOfADeadWorkerIsBegunAgainAndAtMostThreeTimes(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		orphan := func(attempt int) *models.Build {
			b := w.queueBuild(t, "main")
			dead := map[string]any{"state": models.BuildRunning, "worker": models.NewID(), "attempt": attempt, "started_at": db.NowFunc()}
			if err := db.Model(&models.Build{}).Where("id = ?", b.ID).Updates(dead).Error; err != nil {
				t.Fatal(err)
			}
			if err := db.Create(&models.BuildStep{BuildID: b.ID, ID: "old", Seq: 1, Name: "of the dead", State: models.StepRunning}).Error; err != nil {
				t.Fatal(err)
			}
			return b
		}
		again, lost, canceled := orphan(1), orphan(3), orphan(1)
		if b, err := w.builds.Cancel(w.as(t, w.Developer), canceled.ID); err != nil || b.State != models.BuildCanceled {
			t.Errorf("the build of a dead worker is %+v after Cancel, error %v", b, err)
		}
		start(t, w.builds.Jobs)
		b := w.wait(t, again.ID, models.BuildSucceeded)
		if b.Attempt != 2 || slices.ContainsFunc(b.Steps, func(s models.BuildStep) bool { return s.ID == "old" }) {
			t.Errorf("the build is %+v", b)
		}
		if text := w.ended(t, again.ID); !strings.Contains(text, "attempt 2 of 3") {
			t.Errorf("the log is %q", text)
		}
		b = w.wait(t, lost.ID, models.BuildFailed)
		if b.Error.Class != builds.ClassInfrastructure || !strings.HasPrefix(b.Error.Message, "Worker lost") {
			t.Errorf("the error is %+v", b.Error)
		}
		for _, s := range b.Steps {
			if s.State == models.StepRunning {
				t.Errorf("the step still runs: %+v", s)
			}
		}
		w.ended(t, lost.ID)
		w.ended(t, canceled.ID)
	})
}

func TestAWorkerThatLostABuildRecordsNothingOfIt(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		start(t, w.builds.Jobs)
		begun, over := make(chan struct{}), make(chan struct{})
		w.direct(func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
			close(begun)
			<-over // a worker that was frozen notices nothing
			return pushSomething(context.WithoutCancel(ctx), r, emit)
		})
		b := w.queueBuild(t, "main")
		<-begun
		now := db.NowFunc()
		other := models.Worker{ID: models.NewID(), Host: "other", StartedAt: now, SeenAt: now.Add(time.Hour)}
		if err := db.Create(&other).Error; err != nil {
			t.Fatal(err)
		}
		if err := db.Model(&models.Build{}).Where("id = ?", b.ID).Updates(map[string]any{"worker": other.ID, "attempt": 2}).Error; err != nil {
			t.Fatal(err)
		}
		close(over)
		w.until(t, time.Minute, "the work has ended", func() bool {
			entries, err := os.ReadDir(w.builds.Dir)
			if err != nil {
				t.Fatal(err)
			}
			return len(entries) == 0
		})
		if now := w.wait(t, b.ID, models.BuildRunning); now.Worker != other.ID || now.ImageDigest != "" {
			t.Errorf("the build is %+v", now)
		}
		for _, tag := range []string{"main", b.Commit} {
			ref, err := name.ParseReference(w.registry + "/payments/checkout:" + tag)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := remote.Head(ref); err == nil {
				t.Errorf("the tag %s was moved", tag)
			}
		}
	})
}

func TestAWorkerWritesNothingOfABuildThatAnotherHolds(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		thief := w.builds.Jobs
		start(t, thief)
		begun, over, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
		w.direct(func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
			defer close(done)
			close(begun)
			<-over
			run(emit, "RUN forge", models.StepSucceeded, "forged output\n")
			emit(builds.Event{At: time.Now(), Warning: "a forged warning"})
			return &builds.Result{Digest: "sha256:" + strings.Repeat("f", 64)}, nil
		})
		b := w.queueBuild(t, "main")
		<-begun
		owner := w.worker(t, models.Worker{})
		w.set(t, b, map[string]any{"worker": owner.ID, "attempt": 2})
		log, err := w.builds.Logs.Open(t.Context(), b.ID, logs.KindBuild, &logs.Masker{}) // as the owner does
		if err != nil {
			t.Fatal(err)
		}
		before := w.stored(t, b.ID)
		var claimed bool
		err = db.Transaction(func(tx *gorm.DB) (err error) {
			claimed, err = thief.Claim(t.Context(), tx, &models.Build{}, b.ID)
			return err
		})
		if claimed || err != nil {
			t.Errorf("the build of a living worker was claimed, error %v", err)
		}
		close(over)
		<-done
		w.until(t, time.Minute, "the work has ended", func() bool {
			left, err := os.ReadDir(w.builds.Dir)
			return err == nil && len(left) == 0
		})
		if after := w.stored(t, b.ID); after != before {
			t.Errorf("the build was changed by a worker that does not hold it:\n%s\n%s", before, after)
		}
		log.Close(t.Context())
		if text := w.ended(t, b.ID); strings.Contains(text, "forged") {
			t.Errorf("the log is %q", text)
		}
	})
}

// stored is what is stored of a build.
func (w *world) stored(t *testing.T, id string) string {
	t.Helper()
	b, err := w.builds.Get(w.as(t, w.Admin), id)
	if err != nil {
		t.Fatal(err)
	}
	b.App = nil
	b.Steps = slices.DeleteFunc(b.Steps, func(s models.BuildStep) bool { return s.ID == builds.StepCheckout }) // it was running when the build was taken
	var ended int64
	if err := w.db.Model(&models.Event{}).Where("topic = ? AND kind IN ?", builds.Topic(id), []string{"build.succeeded", "build.failed", "build.queued"}).Count(&ended).Error; err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(string(text), ended)
}

func TestAnOlderBuildDoesNotMoveTheBranchTagBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	start(t, w.builds.Jobs)
	slow := make(chan struct{})
	w.direct(func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
		if r.Image.Tag == "build-2" {
			<-slow
		}
		return pushSomething(ctx, r, emit)
	})
	old := w.queueBuild(t, "main")
	w.repo.Commit(t, "main", "Newer", gittest.Files{"x": "y"})
	newer := w.wait(t, w.queueBuild(t, "main").ID, models.BuildSucceeded)
	close(slow)
	old = w.wait(t, old.ID, models.BuildSucceeded)
	if slices.Contains(old.ImageTags, "main") || !slices.Contains(old.ImageTags, "build-2") {
		t.Errorf("the older build's tags are %v", old.ImageTags)
	}
	if m := manifest(t, old.ImageRepository+":main"); m.digest != newer.ImageDigest {
		t.Errorf("main is %s, not the newer build's %s", m.digest, newer.ImageDigest)
	}
}

func TestWhatStopsABuildIsSaidInWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	start(t, w.builds.Jobs)
	fails := func(class string, parts ...string) {
		t.Helper()
		b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildFailed)
		if b.Error.Class != class {
			t.Errorf("the error is %+v", b.Error)
		}
		for _, p := range parts {
			if !strings.Contains(b.Error.Message, p) {
				t.Errorf("the message does not say %q: %s", p, b.Error.Message)
			}
		}
	}
	w.direct(func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
		r.Image.Repository = "127.0.0.1:1/payments/checkout"
		return nil, r.Image.Ping(ctx)
	})
	fails(builds.ClassInfrastructure, "registry 127.0.0.1:1", "can't be reached")
	w.direct(func(context.Context, builds.Request, func(builds.Event)) (*builds.Result, error) {
		return nil, &os.PathError{Op: "write", Path: "/somewhere", Err: syscall.EIO}
	})
	fails(builds.ClassInfrastructure, "inside Slipway", "server's log")
	if err := errors.Join(os.RemoveAll(w.builds.Dir), os.WriteFile(w.builds.Dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	fails(builds.ClassInfrastructure, "folder")
	if err := os.Remove(w.builds.Dir); err != nil {
		t.Fatal(err)
	}
	if err := w.db.Model(w.App).Update("builder", "github-actions").Error; err != nil {
		t.Fatal(err)
	}
	fails(builds.ClassInfrastructure, "no builder")
}
