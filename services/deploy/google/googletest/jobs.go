package googletest

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/api/logging/v2"
	"google.golang.org/api/run/v2"
)

// job is a job with its executions.
type job struct {
	run.GoogleCloudRunV2Job
	executions []*execution
}

type execution struct {
	run.GoogleCloudRunV2Execution
	end    *run.GoogleCloudRunV2TaskAttemptResult
	cancel context.CancelFunc
}

func (c *Cloud) createJob(q *call) (any, error) {
	in := &run.GoogleCloudRunV2Job{}
	if err := q.into(in); err != nil {
		return nil, err
	}
	name := q.URL.Query().Get("jobId")
	if in.Template == nil || in.Template.Template == nil || len(in.Template.Template.Containers) != 1 || in.Template.Template.ServiceAccount != RunAs {
		return nil, refuse(400, "INVALID_ARGUMENT", "The job %q is not valid.", name)
	}
	k := in.Template.Template.Containers[0]
	if err := checkContainer(k, false); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.jobs[name] != nil {
		return nil, refuse(409, "ALREADY_EXISTS", "Resource '%s' already exists.", name)
	}
	in.Name = "projects/" + Project + "/locations/" + Region + "/jobs/" + name
	in.TerminalCondition = &run.GoogleCloudRunV2Condition{Type: "Ready", State: succeeded}
	if _, known := c.images[k.Image]; !known {
		in.TerminalCondition = &run.GoogleCloudRunV2Condition{Type: "Ready", State: failed, Reason: "CONTAINER_MISSING", Message: "Image '" + k.Image + "' not found."}
	}
	c.jobs[name] = &job{GoogleCloudRunV2Job: *in}
	return c.operation(), nil
}

func (c *Cloud) job(q *call) (*job, error) {
	if j := c.jobs[q.PathValue("name")]; j != nil {
		return j, nil
	}
	return nil, refuse(404, "NOT_FOUND", "Resource '%s' of kind 'JOB' in region '%s' does not exist.", q.PathValue("name"), Region)
}

func (c *Cloud) getJob(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j, err := c.job(q)
	if err != nil {
		return nil, err
	}
	return seen(&j.GoogleCloudRunV2Job), nil
}

func (c *Cloud) deleteJob(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j, err := c.job(q)
	if err != nil {
		return nil, err
	}
	for _, e := range j.executions {
		e.cancel()
	}
	delete(c.jobs, q.PathValue("name"))
	return c.operation(), nil
}

func (c *Cloud) runJob(q *call) (any, error) {
	in := &run.GoogleCloudRunV2RunJobRequest{}
	if err := q.into(in); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	j, err := c.job(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(c.ctx)
	e := &execution{cancel: cancel}
	e.Name = fmt.Sprintf("%s/executions/%s-%d", j.Name, q.PathValue("name"), c.number())
	e.CreateTime, e.RunningCount, e.TaskCount = now(), 1, 1
	j.executions = append([]*execution{e}, j.executions...)
	c.work.Go(func() { c.execute(ctx, q.PathValue("name"), j, e) })
	return c.operation(), nil
}

// execute runs the execution's one task to its end.
func (c *Cloud) execute(ctx context.Context, name string, j *job, e *execution) {
	k := j.Template.Template.Containers[0]
	of := &logging.MonitoredResource{Type: "cloud_run_job", Labels: map[string]string{"project_id": Project, "location": Region, "job_name": name}}
	env, err := c.environment(k)
	code := 0
	if err == nil {
		var i *instance
		if i, err = c.run(ctx, c.images[k.Image], k.Args, append(env, "CLOUD_RUN_JOB="+name), k, of); err == nil {
			limit, _ := time.ParseDuration(j.Template.Template.Timeout)
			select {
			case <-i.ended:
				code = i.code
			case <-ctx.Done():
			case <-time.After(limit):
			}
			i.remove()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.CompletionTime, e.RunningCount = now(), 0
	if err == nil && ctx.Err() == nil && code == 0 {
		e.SucceededCount = 1
		return
	}
	e.FailedCount = 1
	e.end = &run.GoogleCloudRunV2TaskAttemptResult{ExitCode: int64(code), Status: &run.GoogleRpcStatus{Code: 2, Message: fmt.Sprintf("The container exited with the code %d.", code)}}
	e.Conditions = []*run.GoogleCloudRunV2Condition{{Type: "Completed", State: failed, ExecutionReason: "NON_ZERO_EXIT_CODE", Message: "Task failed with message: The container exited with an error."}}
}

func (c *Cloud) listExecutions(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j, err := c.job(q)
	if err != nil {
		return nil, err
	}
	out := &run.GoogleCloudRunV2ListExecutionsResponse{}
	for _, e := range j.executions {
		out.Executions = append(out.Executions, &e.GoogleCloudRunV2Execution)
	}
	return seen(out), nil
}

func (c *Cloud) execution(q *call) (*execution, error) {
	j, err := c.job(q)
	if err != nil {
		return nil, err
	}
	for _, e := range j.executions {
		if e.Name == j.Name+"/executions/"+q.PathValue("execution") {
			return e, nil
		}
	}
	return nil, refuse(404, "NOT_FOUND", "Resource '%s' of kind 'EXECUTION' does not exist.", q.PathValue("execution"))
}

func (c *Cloud) cancelExecution(q *call) (any, error) {
	in := &run.GoogleCloudRunV2CancelExecutionRequest{}
	if err := q.into(in); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, err := c.execution(q)
	if err != nil {
		return nil, err
	}
	e.cancel()
	return c.operation(), nil
}

func (c *Cloud) listTasks(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, err := c.execution(q)
	if err != nil {
		return nil, err
	}
	return seen(&run.GoogleCloudRunV2ListTasksResponse{Tasks: []*run.GoogleCloudRunV2Task{{Name: e.Name + "/tasks/0", LastAttemptResult: e.end}}}), nil
}
