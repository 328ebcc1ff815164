package actions_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/actions/actionstest"
)

func step(b *models.Build, name string) *models.BuildStep {
	for i := range b.Steps {
		if strings.Contains(b.Steps[i].Name, name) {
			return &b.Steps[i]
		}
	}
	return nil
}

func TestABuildIsARunInGitHubActions(t *testing.T) {
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.worker(15 * time.Second)
		b := w.queue()
		run := w.run()
		if run.Inputs["build"] != b.ID || run.Inputs["commit"] != b.Commit || run.Ref != "main" || run.Inputs["no_cache"] != "false" {
			t.Errorf("the run was started with %v at %s", run.Inputs, run.Ref)
		}
		w.until(b.ID, "waiting for a runner", func(b *models.Build) bool {
			s := step(b, "Wait for a runner")
			return s != nil && s.State == models.StepRunning
		})
		job := run.AddJob("Image", "Set up job", "Build the image", "Push the image")
		run.EndStep(job, "success", "a machine")
		w.until(b.ID, "building", func(b *models.Build) bool {
			s := step(b, "Build the image")
			return s != nil && s.State == models.StepRunning
		})
		run.EndStep(job, "success", "\x1b[32mgreen\x1b[0m", "##[warning]careful", "##[command]/usr/bin/docker build")
		digest := w.report(b.ID)
		run.EndStep(job, "success", "pushed")
		run.End("success")
		b = w.state(b.ID, models.BuildSucceeded)
		if b.ImageDigest != digest || b.ImageSize == 0 || fmt.Sprint(b.ImageTags) != "[main build-1]" || b.Builder != models.BuilderActions {
			t.Errorf("the image is %s %d %v of %s", b.ImageDigest, b.ImageSize, b.ImageTags, b.Builder)
		}
		if b.WorkflowRun == nil || b.WorkflowRun.RunID != run.ID || !strings.HasSuffix(b.WorkflowRun.URL, "/acme/shop/actions/runs/9000") {
			t.Errorf("the run is %+v", b.WorkflowRun)
		}
		for _, s := range b.Steps {
			if s.State != models.StepSucceeded || s.StartedAt == nil || s.FinishedAt == nil {
				t.Errorf("%s is %s", s.Name, s.State)
			}
		}
		if s := step(b, "Build the image"); s == nil || s.Stage != "Image" {
			t.Errorf("the step is %+v", s)
		}
		text := w.ended(b.ID)
		for _, want := range []string{"|a machine\n", "|\x1b[32mgreen\x1b[0m\n", "Warning: careful", "/usr/bin/docker build"} {
			if !strings.Contains(text, want) {
				t.Errorf("the log lacks %q:\n%s", want, text)
			}
		}
		if strings.Contains(text, "##[") || strings.Contains(text, "0000Z ") || strings.Contains(text, w.hub.Token) || w.hub.Leaked() {
			t.Errorf("the log, or the store of logs, holds what it should not:\n%s", text)
		}
		if w.hub.Calls("dispatch") != 1 || w.hub.Unchanged() == 0 {
			t.Errorf("%d dispatches, %d answers unchanged", w.hub.Calls("dispatch"), w.hub.Unchanged())
		}
	})
}

func TestAFailureNamesTheStepWithItsLastLines(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.worker(15 * time.Second)
	b := w.queue()
	run := w.run()
	job := run.AddJob("Image", "Set up job", "Build the image", "Push the image")
	run.EndStep(job, "success", "fine")
	run.EndStep(job, "failure", "go: no such module", "##[error]Process completed with exit code 1.")
	run.End("failure")
	b = w.state(b.ID, models.BuildFailed)
	if b.Error.Class != builds.ClassUser || !strings.Contains(b.Error.Message, "“Build the image” of the job “Image” failed") {
		t.Errorf("%+v", b.Error)
	}
	if out := strings.Join(b.Error.Output, "\n"); !strings.Contains(out, "no such module") {
		t.Errorf("the last lines are %q", out)
	}
	if s := step(b, "Push the image"); s != nil && s.State != models.StepCanceled {
		t.Errorf("a step that never ran is %s", s.State)
	}
}

func TestConclusionsOfRunsHaveWordsOfTheirOwn(t *testing.T) {
	t.Parallel()
	for conclusion, c := range map[string]struct {
		state models.BuildState
		word  string
	}{
		"cancelled":       {models.BuildCanceled, "canceled at GitHub"},
		"startup_failure": {models.BuildFailed, "can't run the file"},
		"timed_out":       {models.BuildFailed, "longer than GitHub"},
		"action_required": {models.BuildFailed, "action_required"},
		"success":         {models.BuildFailed, "reported no image"}, // without a report
	} {
		t.Run(conclusion, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, modelstest.DB(t))
			w.builder.Grace = 300 * time.Millisecond
			w.worker(15 * time.Second)
			b := w.queue()
			w.run().End(conclusion)
			b = w.state(b.ID, c.state)
			if !strings.Contains(b.Error.Message, c.word) {
				t.Errorf("%+v", b.Error)
			}
		})
	}
}

func TestCancelCancelsTheRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.worker(15 * time.Second)
	b := w.queue()
	run := w.run()
	run.AddJob("Image", "Build the image")
	w.until(b.ID, "building", func(b *models.Build) bool { return step(b, "Build the image") != nil })
	if _, err := w.builds.Cancel(w.as(w.Developer), b.ID); err != nil {
		t.Fatal(err)
	}
	b = w.state(b.ID, models.BuildCanceled)
	wait(t, "the run is canceled", run.IsCanceled)
	for _, s := range b.Steps {
		if s.State == models.StepRunning || s.State == models.StepPending {
			t.Errorf("%s is %s", s.Name, s.State)
		}
	}
}

func TestACancelReachesARunWhenGitHubIsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.worker(15 * time.Second)
	b := w.queue()
	run := w.run()
	w.until(b.ID, "known", func(b *models.Build) bool { return b.WorkflowRun != nil && b.WorkflowRun.RunID != 0 })
	w.hub.Fail(func(*http.Request) (int, map[string]string) { return http.StatusBadGateway, nil })
	if _, err := w.builds.Cancel(w.as(w.Developer), b.ID); err != nil {
		t.Fatal(err)
	}
	w.state(b.ID, models.BuildCanceled)
	w.hub.Fail(nil)
	wait(t, "the run is canceled", run.IsCanceled)
}

func TestATimeLimitEndsTheRunToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	if err := w.db.Model(w.App).Update("build_timeout", 10).Error; err != nil {
		t.Fatal(err)
	}
	w.worker(15 * time.Second)
	b := w.queue()
	run := w.run()
	run.AddJob("Image", "Build the image")
	b = w.state(b.ID, models.BuildFailed)
	if b.Error.Class != builds.ClassTimeout {
		t.Errorf("%+v", b.Error)
	}
	wait(t, "the run is canceled", run.IsCanceled)
}

func wait(t *testing.T, what string, good func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !good(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func TestGitHubThatIsAwayDoesNotFailABuild(t *testing.T) {
	t.Parallel()
	for what, status := range map[string]int{"down": http.StatusServiceUnavailable, "limited": http.StatusForbidden} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, modelstest.DB(t))
			w.worker(15 * time.Second)
			b := w.queue()
			run := w.run()
			job := run.AddJob("Image", "Build the image")
			w.until(b.ID, "building", func(b *models.Build) bool { return step(b, "Build the image") != nil })
			w.hub.Fail(func(*http.Request) (int, map[string]string) {
				return status, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Limit": "5000", "X-RateLimit-Reset": fmt.Sprint(time.Now().Add(time.Second).Unix())}
			})
			b = w.until(b.ID, "waiting with a reason", func(b *models.Build) bool {
				s := step(b, "does not answer")
				if s == nil {
					s = step(b, "limit of calls")
				}
				return s != nil && s.State == models.StepRunning
			})
			if s := step(b, "The build goes on by itself"); s == nil {
				t.Errorf("%+v", b.Steps)
			}
			digest := w.report(b.ID)
			run.EndStep(job, "success", "ok")
			run.End("success")
			w.hub.Fail(nil)
			if b = w.state(b.ID, models.BuildSucceeded); b.ImageDigest != digest {
				t.Errorf("%+v", b)
			}
		})
	}
}

func TestAnotherWorkerFollowsTheSameRun(t *testing.T) {
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		stop := w.worker(15 * time.Second)
		b := w.queue()
		run := w.run()
		first := run.AddJob("Test", "Run the tests")
		run.EndStep(first, "success", "tested once")
		run.Change(func(*actionstest.Run) {
			first.Status, first.Conclusion, first.Ended = "completed", "success", time.Now()
		})
		w.until(b.ID, "logged", func(b *models.Build) bool { return b.WorkflowRun != nil && len(b.WorkflowRun.Logged) == 1 })
		stop()
		if run.IsCanceled() {
			t.Fatal("a worker that stopped canceled the run")
		}
		w.worker(15 * time.Second)
		second := run.AddJob("Image", "Build the image")
		w.until(b.ID, "building", func(b *models.Build) bool {
			s := step(b, "Build the image")
			return s != nil && s.State == models.StepRunning
		})
		digest := w.report(b.ID)
		run.EndStep(second, "success", "built once")
		run.End("success")
		if b = w.state(b.ID, models.BuildSucceeded); b.ImageDigest != digest || step(b, "Run the tests") == nil {
			t.Errorf("%+v", b)
		}
		if text := w.ended(b.ID); strings.Count(text, "|tested once") != 1 || strings.Count(text, "|built once") != 1 {
			t.Errorf("a job's log is there twice, or not at all:\n%s", text)
		}
		if n := w.hub.Calls("dispatch"); n != 1 || len(w.hub.Runs()) != 1 {
			t.Errorf("%d dispatches", n)
		}
	})
}

// A worker may die at any moment; these are the moments at which what it had
// written down differs.
func TestABuildWhoseWorkerDiedIsNeverStartedTwice(t *testing.T) {
	t.Parallel()
	for what, dies := range map[string]func(w *world, b *models.Build) (runs int, word string){
		"before GitHub was asked": func(*world, *models.Build) (int, string) { return 1, "" },
		"after GitHub was asked, before it answered": func(w *world, b *models.Build) (int, string) {
			now := w.db.NowFunc()
			w.set(b, map[string]any{"dispatched_at": now})
			run := w.hub.Start(path, "workflow_dispatch", "main", b.Commit)
			run.Change(func(r *actionstest.Run) { r.Title = "Build checkout for Slipway (" + b.ID + ")" })
			return 1, ""
		},
		"when it had said that it would ask": func(w *world, b *models.Build) (int, string) {
			w.set(b, map[string]any{"dispatched_at": w.db.NowFunc()})
			return 0, "not asked twice"
		},
		"after GitHub had answered": func(w *world, b *models.Build) (int, string) {
			run := w.hub.Start(path, "workflow_dispatch", "main", b.Commit)
			w.set(b, map[string]any{"dispatched_at": w.db.NowFunc(), "run_id": run.ID})
			return 1, ""
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, modelstest.DB(t))
			w.builder.Grace = time.Second
			stop := w.worker(time.Second)
			stop() // nobody takes jobs while the state is prepared
			b := w.queue()
			if err := w.db.Model(b).Updates(map[string]any{"state": models.BuildRunning, "worker": models.NewID(), "attempt": 1, "started_at": w.db.NowFunc()}).Error; err != nil {
				t.Fatal(err)
			}
			runs, word := dies(w, b)
			w.worker(time.Second)
			if word != "" {
				if b = w.state(b.ID, models.BuildFailed); !strings.Contains(b.Error.Message, word) {
					t.Errorf("%+v", b.Error)
				}
			} else {
				run := w.run()
				w.until(b.ID, "following", func(b *models.Build) bool { return b.WorkflowRun != nil && b.WorkflowRun.RunID == run.ID })
				w.report(b.ID)
				run.End("success")
				w.state(b.ID, models.BuildSucceeded)
			}
			if got := len(w.hub.Runs()); got != runs {
				t.Errorf("%d runs, not %d", got, runs)
			}
		})
	}
}

func (w *world) set(b *models.Build, values map[string]any) {
	w.t.Helper()
	if err := w.db.Model(&models.WorkflowRun{}).Where("build_id = ?", b.ID).Updates(values).Error; err != nil {
		w.t.Fatal(err)
	}
}

func TestARunIsFoundWhereGitHubDoesNotSayWhichItIs(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*actionstest.GitHub){"an older server": (*actionstest.GitHub).Old, "a lost answer": (*actionstest.GitHub).LoseAnswers} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, modelstest.DB(t))
			change(w.hub)
			w.hub.Start(path, "workflow_dispatch", "main", strings.Repeat("a", 40)) // somebody else's
			w.worker(15 * time.Second)
			b := w.queue()
			b = w.until(b.ID, "found", func(b *models.Build) bool { return b.WorkflowRun != nil && b.WorkflowRun.RunID == 9001 })
			w.report(b.ID)
			w.hub.Runs()[1].End("success")
			w.state(b.ID, models.BuildSucceeded)
			if w.hub.Calls("dispatch") != 1 {
				t.Errorf("%d dispatches", w.hub.Calls("dispatch"))
			}
		})
	}
}

func TestTheUsualMistakesHaveWords(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		change func(w *world)
		word   string
	}{
		"no file":             {func(w *world) { w.hub = actionstest.New(w.t) }, "not on the default branch"},
		"a disabled workflow": {func(w *world) { w.hub.Disable() }, "switched off"},
		"a wrong token": {func(w *world) {
			w.hub.Token = "other"
			w.hub.Fail(func(*http.Request) (int, map[string]string) { return 401, nil })
		}, "refuses the credential"},
		"no right": {func(w *world) {
			w.hub.Fail(func(r *http.Request) (int, map[string]string) {
				if r.Method == http.MethodPost {
					return 403, nil
				}
				return 0, nil
			})
		}, "right to write actions"},
		"an old file": {func(w *world) {
			w.hub.Fail(func(r *http.Request) (int, map[string]string) {
				if r.Method == http.MethodPost {
					return 422, nil
				}
				return 0, nil
			})
		}, "workflow_dispatch"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, modelstest.DB(t))
			c.change(w)
			w.worker(15 * time.Second)
			b := w.queue()
			b = w.state(b.ID, models.BuildFailed)
			if !strings.Contains(b.Error.Message, c.word) || strings.Contains(b.Error.Message, "script>") {
				t.Errorf("%+v", b.Error)
			}
		})
	}
}

func TestAnAppWithoutAWorkflowOrAConnectionQueuesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.worker(15 * time.Second)
	for _, c := range []struct{ sql, word string }{
		{"UPDATE repositories SET connection_id = NULL", "no connection with GitHub"},
		{"DELETE FROM workflows", "by which workflow"},
	} {
		if err := w.db.Exec(c.sql).Error; err != nil {
			t.Fatal(err)
		}
		_, err := w.builds.Queue(w.as(w.Developer), builds.QueueInput{AppID: w.App.ID, Ref: "main"})
		if !models.IsCode(err, models.Conflict) || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v", c.sql, err)
		}
	}
	var n int64
	if err := w.db.Model(&models.Build{}).Count(&n).Error; err != nil || n != 0 {
		t.Errorf("%d builds, %v", n, err)
	}
}

func TestARunWithoutAConnectionIsKnownByItsReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.builder.GitHub = func(context.Context, *models.Repository) (*github.Client, error) {
		return nil, models.Errorf(models.Conflict, "No connection.")
	}
	w.worker(15 * time.Second)()
	unstarted, b := w.queue(), w.queue()
	w.set(b, map[string]any{"run_id": 5})
	w.worker(15 * time.Second)
	w.until(b.ID, "waiting", func(b *models.Build) bool { return step(b, "report") != nil })
	if unstarted = w.state(unstarted.ID, models.BuildFailed); !strings.Contains(unstarted.Error.Message, "has no credential") {
		t.Errorf("a build that nothing can start: %+v", unstarted.Error)
	}
	digest := w.report(b.ID)
	if b = w.state(b.ID, models.BuildSucceeded); b.ImageDigest != digest || w.hub.Calls("dispatch") != 0 {
		t.Errorf("%+v", b)
	}
}

func TestADigestThatTheRegistryDoesNotHaveFailsTheBuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.worker(15 * time.Second)
	b := w.queue()
	run := w.run()
	w.set(b, map[string]any{"reported_at": w.db.NowFunc(), "image_repository": w.registry.Host() + "/payments/checkout",
		"image_digest": "sha256:" + strings.Repeat("0", 64), "image_tags": `["main"]`})
	run.End("success")
	if b = w.state(b.ID, models.BuildFailed); b.ImageSize != 0 {
		t.Errorf("%+v", b)
	}
}

func TestLogsThatAreLateAreWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	var refused atomic.Int64
	w.hub.Fail(func(r *http.Request) (int, map[string]string) {
		if strings.HasSuffix(r.URL.Path, "/logs") && refused.Add(1) <= 2 {
			return http.StatusNotFound, nil
		}
		return 0, nil
	})
	w.worker(15 * time.Second)
	b := w.queue()
	run := w.run()
	job := run.AddJob("Image", "Build the image")
	run.EndStep(job, "success", "here at last")
	w.report(b.ID)
	run.End("success")
	w.state(b.ID, models.BuildSucceeded)
	if text := w.ended(b.ID); !strings.Contains(text, "here at last") {
		t.Error(text)
	}
}
