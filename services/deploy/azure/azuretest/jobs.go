package azuretest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"github.com/docker/docker/api/types/container"
)

// job is a Container Apps job with a manual trigger.
type job struct {
	model  aca.Job
	state  aca.JobProvisioningState
	runs   []*execution
	events []event
	cancel context.CancelFunc
	ctx    context.Context
}

// execution is one run of a job.
type execution struct {
	name    string
	began   time.Time
	status  aca.JobExecutionRunningState
	replica *replica
}

func (s *Server) jobRoutes(on func(pattern, action string, do http.HandlerFunc)) {
	const path, action = provider + "/jobs/{job}", "Microsoft.App/jobs"
	on("GET "+provider+"/jobs", action+"/read", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		out := aca.JobsCollection{Value: []*aca.Job{}}
		for _, j := range s.jobs {
			shown := s.shownJob(j)
			out.Value = append(out.Value, &shown)
		}
		answer(w, http.StatusOK, out)
	})
	on("PUT "+path, action+"/write", s.putJob)
	on("GET "+path, action+"/read", s.withJob(func(w http.ResponseWriter, _ *http.Request, j *job) { answer(w, http.StatusOK, s.shownJob(j)) }))
	on("DELETE "+path, action+"/delete", s.withJob(func(w http.ResponseWriter, r *http.Request, j *job) {
		name := r.PathValue("job")
		s.accepted(w, s.begin(func() (string, string) {
			j.cancel()
			s.set(func() { delete(s.jobs, name) })
			return "", ""
		}, nil))
	}))
	on("POST "+path+"/start", action+"/start/action", s.withJob(s.startJob))
	on("POST "+path+"/getAuthToken", action+"/getAuthToken/action", func(w http.ResponseWriter, r *http.Request) {
		s.streamToken(w, s.streamPath("jobs", r.PathValue("job")))
	})
	on("GET "+path+"/executions", action+"/executions/read", s.withJob(func(w http.ResponseWriter, _ *http.Request, j *job) {
		out := aca.ContainerAppJobExecutions{Value: []*aca.JobExecution{}}
		for _, e := range j.runs {
			out.Value = append(out.Value, &aca.JobExecution{Name: to.Ptr(e.name), Properties: &aca.JobExecutionProperties{Status: to.Ptr(e.status), StartTime: to.Ptr(e.began)}})
		}
		answer(w, http.StatusOK, out)
	}))
	on("GET "+path+"/executions/{execution}/replicas", action+"/executions/read", s.withJob(func(w http.ResponseWriter, r *http.Request, j *job) {
		out := aca.ReplicaCollection{Value: []*aca.Replica{}}
		for _, e := range j.runs {
			if e.name == r.PathValue("execution") && r.URL.Query().Get("api-version") == "2023-11-02-preview" {
				out.Value = append(out.Value, s.shownReplica(s.streamPath("jobs", *j.model.Name)+"/executions/"+e.name, e.replica))
			}
		}
		answer(w, http.StatusOK, out)
	}))
}

func (s *Server) withJob(do func(http.ResponseWriter, *http.Request, *job)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		j := s.jobs[r.PathValue("job")]
		if j == nil {
			refuse(w, http.StatusNotFound, "ResourceNotFound", "The Resource 'Microsoft.App/jobs/%s' under resource group '%s' was not found.", r.PathValue("job"), Group)
			return
		}
		do(w, r, j)
	}
}

func (s *Server) shownJob(j *job) aca.Job {
	var out aca.Job
	_ = convert(j.model, &out)
	for _, secret := range out.Properties.Configuration.Secrets {
		secret.Value = nil
	}
	out.Properties.ProvisioningState = to.Ptr(j.state)
	out.Properties.EventStreamEndpoint = to.Ptr(s.URL() + s.streamPath("jobs", *out.Name) + "/eventstream")
	return out
}

func (s *Server) putJob(w http.ResponseWriter, r *http.Request) {
	var want aca.Job
	if _, err := read(r, &want); err != nil {
		refuse(w, http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: %v.", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("job")
	p := want.Properties
	if len(name) > 32 || !names.MatchString(name) || strings.Contains(name, "--") || value(want.Location) != Location || value(p.EnvironmentID) != s.environmentID() ||
		value(p.Configuration.TriggerType) != aca.TriggerTypeManual || value(p.Configuration.ReplicaTimeout) < 1 {
		refuse(w, http.StatusBadRequest, "ContainerAppJobInvalid", "The job is invalid.")
		return
	}
	if code, text := validContainer(p.Template.Containers[0], p.Configuration.Secrets, p.Configuration.Registries); code != "" {
		refuse(w, http.StatusBadRequest, code, "%s", text)
		return
	}
	want.Name, want.ID = to.Ptr(name), to.Ptr("/subscriptions/"+s.Subscription+"/resourceGroups/"+Group+"/providers/Microsoft.App/jobs/"+name)
	ctx, cancel := context.WithCancel(s.ctx)
	j := &job{model: want, state: aca.JobProvisioningStateInProgress, ctx: ctx, cancel: cancel}
	s.jobs[name] = j
	id := s.begin(func() (string, string) {
		s.set(func() { j.state = aca.JobProvisioningStateSucceeded })
		return "", ""
	}, nil)
	w.Header().Set("Azure-AsyncOperation", s.at("Statuses", id))
	answer(w, http.StatusCreated, s.shownJob(j))
}

func (s *Server) startJob(w http.ResponseWriter, r *http.Request, j *job) {
	if j.state != aca.JobProvisioningStateSucceeded {
		refuse(w, http.StatusConflict, "JobOperationInProgress", "The job is being changed.")
		return
	}
	e := &execution{name: fmt.Sprintf("%s-%07x", *j.model.Name, rand.Uint32()>>4), began: time.Now().UTC(), status: aca.JobExecutionRunningStateRunning}
	values := map[string]string{}
	for _, secret := range j.model.Properties.Configuration.Secrets {
		values[*secret.Name] = value(secret.Value)
	}
	c := j.model.Properties.Template.Containers[0]
	e.replica = &replica{name: e.name + "-abcde", made: e.began, container: c, env: environment(c, values), login: loginOf(*c.Image, j.model.Properties.Configuration.Registries, values), state: aca.ContainerAppContainerRunningStateWaiting}
	e.replica.happen = func(kind, reason, text string) {
		s.set(func() { j.events = append(j.events, newEvent(*j.model.Name, "", e.replica.name, kind, reason, text)) })
	}
	j.runs = append(j.runs, e)
	s.beside(func() { s.execute(j, e) })
	s.accepted(w, s.begin(func() (string, string) { return "", "" }, func() any { return aca.JobExecutionBase{Name: to.Ptr(e.name)} }))
}

// execute runs the job's container once.
func (s *Server) execute(j *job, e *execution) {
	r := e.replica
	if !s.pull(j.ctx, r) || s.create(j.ctx, r) != nil {
		return
	}
	defer func() { // its log stays as long as the job
		<-j.ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = s.docker.ContainerRemove(end, r.id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	}()
	if s.docker.ContainerStart(j.ctx, r.id, container.StartOptions{}) != nil {
		return
	}
	for s.wait(j.ctx, 1) {
		state, err := s.docker.ContainerInspect(j.ctx, r.id)
		if err != nil {
			return
		}
		if state.State.Running {
			continue
		}
		s.set(func() {
			e.status, r.state = aca.JobExecutionRunningStateSucceeded, aca.ContainerAppContainerRunningStateTerminated
			if state.State.ExitCode != 0 {
				e.status = aca.JobExecutionRunningStateFailed
			}
		})
		s.wait(j.ctx, 1) // the system log comes later
		r.happen("Warning", "ContainerTerminated", fmt.Sprintf("Container '%s' was terminated with exit code '%d' and reason 'ProcessExited'", *r.container.Name, state.State.ExitCode))
		return
	}
}
