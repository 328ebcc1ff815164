package actions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// The ids of the steps before the run's own.
const (
	StepDispatch = "dispatch"
	StepRunner   = "runner"
)

// start asks GitHub for a run, once: whoever writes down that it will, does.
func (f *following) start(ctx context.Context) error {
	if f.row.RunID != 0 {
		return nil
	}
	name := "Start " + path.Base(f.row.Path) + " at GitHub"
	f.change(StepDispatch, name, "", models.StepRunning, time.Now(), "")
	if f.row.DispatchedAt != nil {
		return nil // find looks for what came of it
	}
	if err := f.checkFile(ctx); err != nil {
		return f.failDispatch(name, err)
	}
	now := f.DB.NowFunc()
	mine := f.DB.WithContext(ctx).Model(&models.WorkflowRun{}).Where("build_id = ? AND dispatched_at IS NULL AND run_id = 0", f.build.ID).Update("dispatched_at", now)
	if mine.Error != nil {
		return fmt.Errorf("writing down that a run is started: %w", mine.Error)
	}
	f.row.DispatchedAt = &now
	if mine.RowsAffected == 0 {
		return f.reload(ctx)
	}
	if err := f.dispatch(ctx); err != nil {
		return f.failDispatch(name, err)
	}
	return nil
}

func (f *following) failDispatch(name string, err error) error {
	if failed, ok := errors.AsType[*builds.Error](err); ok {
		failed.Step = StepDispatch
		f.change(StepDispatch, name, "", models.StepFailed, time.Now(), failed.Message)
	}
	return err
}

// checkFile looks whether GitHub knows the workflow, so that the usual mistakes have words of their own.
func (f *following) checkFile(ctx context.Context) error {
	var w *github.Workflow
	err := f.ask(ctx, func(ctx context.Context) (err error) {
		w, _, err = f.client.Actions.GetWorkflowByFileName(ctx, f.owner, f.name, path.Base(f.row.Path))
		return err
	})
	var answered *github.ErrorResponse
	switch {
	case errors.As(err, &answered) && answered.Response != nil && answered.Response.StatusCode == http.StatusNotFound:
		return builds.Failure(builds.ClassUser, fmt.Sprintf("The file %s is not on the default branch of %s, or the connection may not see it. Open the pull request on the app's Actions page and merge it.", f.row.Path, f.row.Repository), err)
	case err != nil:
		return refused(err, "look at the workflow "+f.row.Path, "The connection needs the right to read and write actions.")
	case w.GetState() != "active":
		return builds.Failure(builds.ClassUser, fmt.Sprintf("The workflow %s is switched off at GitHub (%s). Enable it there, then retry the build.", f.row.Path, w.GetState()), nil)
	}
	return nil
}

// dispatch makes the one call that starts a run. What fails so that nobody
// knows whether there is one is no failure yet: find looks.
func (f *following) dispatch(ctx context.Context) error {
	ref := f.build.Ref
	if f.build.RefKind == "commit" {
		ref = f.build.App.Repository.DefaultBranch
	}
	event := github.CreateWorkflowDispatchEventRequest{Ref: ref, ReturnRunDetails: github.Ptr(true), Inputs: map[string]any{
		"commit": f.build.Commit, "build": f.build.ID, "no_cache": fmt.Sprint(f.build.NoCache),
	}}
	var details *github.WorkflowDispatchRunDetails
	err := f.once(ctx, func(ctx context.Context) (err error) {
		details, _, err = f.client.Actions.CreateWorkflowDispatchEventByFileName(ctx, f.owner, f.name, path.Base(f.row.Path), event)
		return err
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var answered *github.ErrorResponse
	if errors.As(err, &answered) && answered.Response != nil && answered.Response.StatusCode < 500 {
		remedy := "The connection needs the right to write actions."
		if answered.Response.StatusCode == http.StatusUnprocessableEntity {
			remedy = fmt.Sprintf("The file at %s takes no workflow_dispatch with Slipway's inputs, or there is no such ref: compare the file on the app's Actions page.", ref)
		}
		return refused(err, "start the workflow", remedy)
	}
	if err == nil && details != nil && details.GetWorkflowRunID() != 0 {
		return f.found(ctx, details.GetWorkflowRunID(), 1, details.GetHTMLURL())
	}
	return nil
}

// found writes down which run it is, unless somebody was quicker.
func (f *following) found(ctx context.Context, id, attempt int64, url string) error {
	err := f.DB.WithContext(ctx).Model(&models.WorkflowRun{}).Where("build_id = ? AND run_id = 0", f.build.ID).
		Updates(map[string]any{"run_id": id, "run_attempt": max(attempt, 1), "url": safeURL(url)}).Error
	if err != nil {
		return fmt.Errorf("writing down which run it is: %w", err)
	}
	return f.reload(ctx)
}

// safeURL is an address that a page may link to; anything else is none.
func safeURL(url string) string {
	if len(url) > 500 || !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "http://") {
		return ""
	}
	return url
}

// find waits until it is known which run GitHub started.
func (f *following) find(ctx context.Context) error {
	for f.row.RunID == 0 {
		if err := f.ask(ctx, f.look); err != nil {
			return refused(err, "list the workflow's runs", "The connection needs the right to read actions.")
		}
		if f.row.RunID != 0 {
			break
		}
		if time.Since(*f.row.DispatchedAt) > f.grace() {
			return f.failDispatch(f.names[StepDispatch], builds.Failure(builds.ClassInfrastructure,
				"GitHub was asked to start the workflow, and no run of it appeared. It is not asked twice; look at the repository's Actions there, then retry the build.", nil))
		}
		if err := f.pause(ctx); err != nil {
			return err
		}
	}
	if f.steps[StepDispatch] == models.StepRunning {
		f.change(StepDispatch, f.names[StepDispatch], "", models.StepSucceeded, time.Now(), "")
	}
	return nil
}

// look searches for the run among those that were dispatched since: the
// generated file writes the build's id into the run's name.
func (f *following) look(ctx context.Context) error {
	if f.client == nil {
		return nil
	}
	runs, _, err := f.client.Actions.ListWorkflowRunsByFileName(ctx, f.owner, f.name, path.Base(f.row.Path), &github.ListWorkflowRunsOptions{
		Event: "workflow_dispatch", Created: ">=" + f.row.DispatchedAt.Add(-time.Minute).UTC().Format(time.RFC3339), ListOptions: github.ListOptions{PerPage: 100},
	})
	if err != nil {
		return err
	}
	for _, r := range runs.WorkflowRuns {
		if strings.Contains(r.GetDisplayTitle(), f.build.ID) {
			return f.found(ctx, r.GetID(), int64(r.GetRunAttempt()), r.GetHTMLURL())
		}
	}
	return f.reload(ctx)
}
