package actions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// follow looks at the run until it has ended, and returns what it made.
func (f *following) follow(ctx context.Context) (*builds.Result, error) {
	for {
		if err := f.refresh(ctx); err != nil {
			return nil, err
		}
		f.showJobs()
		if err := f.takeLogs(ctx); err != nil {
			return nil, err
		}
		if f.run.value.GetStatus() == "completed" && f.logsDone() {
			return f.conclude(ctx)
		}
		if err := f.pause(ctx); err != nil {
			return nil, err
		}
	}
}

// refresh reads the run and its jobs; what did not change costs no call of the limit.
func (f *following) refresh(ctx context.Context) error {
	at := fmt.Sprintf("repos/%s/%s/actions/runs/%d/attempts/%d", f.owner, f.name, f.row.RunID, f.row.RunAttempt)
	err := f.ask(ctx, func(ctx context.Context) error { return f.run.get(ctx, f.client, at) })
	if err == nil {
		err = f.ask(ctx, func(ctx context.Context) error {
			return f.jobs.get(ctx, f.client, fmt.Sprintf("%s/jobs?per_page=%d", at, maxJobs))
		})
	}
	var answered *github.ErrorResponse
	if errors.As(err, &answered) && answered.Response != nil && answered.Response.StatusCode == http.StatusNotFound {
		return builds.Failure(builds.ClassInfrastructure, fmt.Sprintf("Run %d of %s is gone: it was deleted at GitHub, or the connection may not see it any more.", f.row.RunID, f.row.Repository), err)
	}
	if err != nil {
		return refused(err, "look at the run", "The connection needs the right to read actions.")
	}
	if f.row.URL == "" {
		if url := safeURL(f.run.value.GetHTMLURL()); url != "" {
			f.row.URL = url
			return f.DB.WithContext(ctx).Model(&models.WorkflowRun{}).Where("build_id = ?", f.build.ID).Update("url", url).Error
		}
	}
	return nil
}

// showJobs turns each job's steps into steps of the build.
func (f *following) showJobs() {
	f.showRunner()
	for _, job := range f.jobs.value.Jobs {
		for _, s := range job.Steps {
			f.showStep(job, s)
		}
	}
}

// showRunner is the step that is open while no machine has taken a job.
func (f *following) showRunner() {
	begun := false
	var at time.Time
	for _, job := range f.jobs.value.Jobs {
		if len(job.Steps) > 0 || job.GetStatus() == "in_progress" || job.GetStatus() == "completed" {
			begun, at = true, job.GetStartedAt().Time
			break
		}
	}
	switch {
	case begun && f.steps[StepRunner] == models.StepRunning:
		f.change(StepRunner, f.names[StepRunner], "", models.StepSucceeded, at, "")
	case begun || f.run.value.GetStatus() == "completed" || f.steps[StepRunner] != "":
	case f.run.value.GetStatus() == "waiting":
		f.change(StepRunner, "Wait for an approval at GitHub: "+f.row.URL, "", models.StepRunning, f.run.value.GetRunStartedAt().Time, "")
	default:
		f.change(StepRunner, "Wait for a runner at GitHub", "", models.StepRunning, f.run.value.GetRunStartedAt().Time, "")
	}
}

func stepID(job *github.WorkflowJob, number int64) string {
	return fmt.Sprintf("job-%d-%d", job.GetID(), number)
}

func (f *following) showStep(job *github.WorkflowJob, s *github.TaskStep) {
	id, name := stepID(job, s.GetNumber()), s.GetName()
	began := s.GetStartedAt().Time
	switch {
	case s.GetConclusion() == "skipped":
	case s.GetStatus() == "in_progress":
		f.change(id, name, job.GetName(), models.StepRunning, began, "")
	case s.GetStatus() == "completed":
		if f.steps[id] == "" || f.steps[id] == models.StepPending {
			f.change(id, name, job.GetName(), models.StepRunning, began, "")
		}
		if f.steps[id] == models.StepRunning {
			state, failure := ended(s.GetConclusion())
			f.change(id, name, job.GetName(), state, s.GetCompletedAt().Time, failure)
		}
	default:
		if f.steps[id] == "" {
			f.change(id, name, job.GetName(), models.StepPending, time.Now(), "")
		}
	}
}

// ended is the state of a step with the conclusion.
func ended(conclusion string) (models.StepState, string) {
	switch conclusion {
	case "success", "neutral":
		return models.StepSucceeded, ""
	case "cancelled", "skipped":
		return models.StepCanceled, ""
	}
	return models.StepFailed, "GitHub says: " + conclusion
}

// conclude is what the ended run means for the build.
func (f *following) conclude(ctx context.Context) (*builds.Result, error) {
	switch conclusion := f.run.value.GetConclusion(); conclusion {
	case "success":
		return f.reported(ctx)
	case "cancelled":
		return nil, builds.Failure(builds.ClassCanceled, "The run was canceled at GitHub.", nil)
	case "startup_failure":
		return nil, builds.Failure(builds.ClassUser, fmt.Sprintf("GitHub can't run the file %s. Compare it with Slipway's on the app's Actions page; the run's page says what is wrong.", f.row.Path), nil)
	case "timed_out":
		return nil, f.blame(builds.ClassTimeout, "The run took longer than GitHub lets it.")
	default:
		return nil, f.blame(builds.ClassUser, "The run failed at GitHub ("+conclusion+").")
	}
}

// blame names the step that failed. Its last lines are in the log.
func (f *following) blame(class, fallback string) error {
	for _, job := range f.jobs.value.Jobs {
		for _, s := range job.Steps {
			if state, _ := ended(s.GetConclusion()); s.GetStatus() == "completed" && s.GetConclusion() != "skipped" && state == models.StepFailed {
				failed := builds.Failure(class, fmt.Sprintf("The step “%s” of the job “%s” failed at GitHub.", s.GetName(), job.GetName()), nil)
				failed.Step = stepID(job, s.GetNumber())
				return failed
			}
		}
	}
	return builds.Failure(class, fallback, nil)
}

// reported waits a little for the run's report, which comes before its end but
// may be a moment late where the database was away.
func (f *following) reported(ctx context.Context) (*builds.Result, error) {
	for late := time.Now().Add(f.grace()); f.row.ReportedAt == nil; {
		if err := f.reload(ctx); err != nil {
			return nil, err
		}
		if f.row.ReportedAt != nil {
			break
		}
		if time.Now().After(late) {
			return nil, builds.Failure(builds.ClassUser, "The run succeeded and reported no image. Its last step has to tell Slipway the digest: compare the file on the app's Actions page.", nil)
		}
		if err := sleep(ctx, min(lookEvery, f.every())); err != nil {
			return nil, err
		}
	}
	return f.result(), nil
}

func (f *following) result() *builds.Result {
	return &builds.Result{Digest: f.row.ImageDigest, Repository: f.row.ImageRepository, Tags: f.row.ImageTags}
}

// await waits for the report of a run that can't be looked at.
func (f *following) await(ctx context.Context) (*builds.Result, error) {
	const name = "Wait for the run's report; without a connection Slipway can't look at GitHub"
	for f.row.ReportedAt == nil {
		f.change(StepRunner, name, "", models.StepRunning, time.Now(), "")
		if err := f.pause(ctx); err != nil {
			return nil, err
		}
	}
	if f.steps[StepRunner] == models.StepRunning {
		f.change(StepRunner, name, "", models.StepSucceeded, time.Now(), "")
	}
	return f.result(), nil
}
