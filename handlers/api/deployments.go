package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Deployment is one attempt to run an app's image in an environment.
type Deployment struct {
	ID            string                  `json:"id"`
	Number        int64                   `json:"number" doc:"Counts per app."`
	AppID         string                  `json:"app_id"`
	App           string                  `json:"app" doc:"The app's name."`
	EnvironmentID string                  `json:"environment_id"`
	Environment   string                  `json:"environment" doc:"The environment's name."`
	TeamID        string                  `json:"team_id"`
	Action        models.DeploymentAction `json:"action" enum:"deploy,rollback,restart,start" doc:"What was asked for."`
	State         models.DeploymentState  `json:"state" enum:"waiting,pending,running,succeeded,failed,canceled,rolled_back"`
	WaitingFor    string                  `json:"waiting_for,omitempty" doc:"Why it waits, and what would end it."`
	Active        bool                    `json:"active" doc:"Whether this is what serves now."`
	Stopped       bool                    `json:"stopped" doc:"Whether a person stopped it."`
	Paused        bool                    `json:"paused" doc:"Whether it has stopped while a newer version starts: the app runs one version at a time."`
	Shift         *Shift                  `json:"shift" doc:"How far visitors have moved to it in steps; null: they don't move now."`
	Image         string                  `json:"image" doc:"Repository and digest." example:"localhost:8080/payments/checkout@sha256:9f86d081"`
	Digest        string                  `json:"digest"`
	Copied        string                  `json:"copied,omitempty" doc:"The repository that its target pulls from, where the image was copied there."`
	Tag           string                  `json:"tag,omitempty" doc:"The tag that was chosen; digest is what it named at that moment."`
	BuildID       *string                 `json:"build_id,omitempty" doc:"The build that made the image."`
	URL           string                  `json:"url"`
	Config        DeploymentConfig        `json:"config" doc:"Frozen when the deployment was asked for."`
	RollbackOf    *string                 `json:"rollback_of,omitempty" doc:"The deployment that this one repeats."`
	PreviousID    *string                 `json:"previous_id,omitempty" doc:"What served before."`
	Reason        string                  `json:"reason,omitempty" doc:"Why it was asked for."`
	Approvals     []Approval              `json:"approvals" nullable:"false" doc:"Empty in lists."`
	CreatedBy     string                  `json:"created_by" doc:"A name, for people."`
	Phases        []Phase                 `json:"phases" nullable:"false" doc:"Empty in lists."`
	Instances     []Instance              `json:"instances" nullable:"false"`
	Timings       Timings                 `json:"timings"`
	Error         *models.DeploymentError `json:"error" doc:"Why it failed, with evidence."`
	CreatedAt     time.Time               `json:"created_at"`
}

// Shift is how far visitors have moved to a deployment that does not serve all of them yet.
type Shift struct {
	Step    int        `json:"step" doc:"Of config.runtime.gradual, from 1."`
	Steps   int        `json:"steps"`
	Percent int        `json:"percent" doc:"Of the visitors that get it now."`
	Until   *time.Time `json:"until" doc:"When the next step begins, or all go to it."`
	Hurried bool       `json:"hurried" doc:"A person sent everyone: all go to it in a moment."`
	Answers *Answers   `json:"answers,omitempty" doc:"How both versions have answered since visitors began to move. Not in lists, and not where the target sends visitors itself."`
}

// Answers compares a new version with what serves beside it.
type Answers struct {
	New    Tally `json:"new"`
	Former Tally `json:"former"`
}

// Tally is how a version has answered.
type Tally struct {
	Answers int64 `json:"answers"`
	Errors  int64 `json:"errors" doc:"Of them: 5xx, or that none came."`
}

// DeploymentConfig is what runs beside the image.
type DeploymentConfig struct {
	Port       int               `json:"port"`
	Health     models.HealthKind `json:"health" enum:"http,tcp,image"`
	HealthPath string            `json:"health_path"`
	Replicas   int               `json:"replicas"`
	CPU        int64             `json:"cpu" doc:"Thousandths of a processor that each instance may take; 0: no limit."`
	Memory     int64             `json:"memory" doc:"Bytes that each instance may take; 0: no limit."`
	Max        int               `json:"max,omitempty" doc:"Instances that the target may run by the load."`
	CPUTarget  int               `json:"cpu_target,omitempty" doc:"Percent of its CPU that an instance takes on average before the target adds another one."`
	Protocol   models.Protocol   `json:"protocol" enum:",h2c" doc:"What it speaks on its port; empty: HTTP/1.1."`
	Command    []string          `json:"command,omitempty" doc:"Ran once before the switch."`
	Variables  map[string]string `json:"variables" nullable:"false"`
	Secrets    map[string]string `json:"secrets" nullable:"false" doc:"The fingerprint of each: it changes with the value."`
	Hash       string            `json:"hash"`
	Runtime    Runtime           `json:"runtime"`
}

// Phase is one line of a deployment's story.
type Phase struct {
	Name       string           `json:"name"`
	State      models.StepState `json:"state" enum:"pending,running,succeeded,cached,failed,canceled"`
	Message    string           `json:"message,omitempty"`
	Detail     []string         `json:"detail,omitempty" doc:"Such as the health check's transcript."`
	StartedAt  *time.Time       `json:"started_at"`
	FinishedAt *time.Time       `json:"finished_at"`
}

// Instance is one container of a deployment.
type Instance struct {
	ID        string               `json:"id"`
	RuntimeID string               `json:"runtime_id" doc:"The container's id."`
	Name      string               `json:"name"`
	State     models.InstanceState `json:"state" enum:"starting,healthy,failing,stopped,unknown"`
	Message   string               `json:"message,omitempty"`
	Restarts  int                  `json:"restarts"`
	ExitCode  *int                 `json:"exit_code,omitempty"`
	LastLogs  []string             `json:"last_logs,omitempty" doc:"Kept when the instance is gone."`
	StartedAt *time.Time           `json:"started_at"`
	CreatedAt time.Time            `json:"created_at"`
}

// NewDeployment says what to deploy: at most one of image, build_id and tag, or a tag with the digest that it named;
// none means the newest good build.
type NewDeployment struct {
	AppID      string `json:"app_id"`
	Image      string `json:"image,omitempty" maxLength:"500" doc:"A digest or a full reference. Beside a tag: the digest that it has to name, else nothing is deployed."`
	BuildID    string `json:"build_id,omitempty" maxLength:"100"`
	Tag        string `json:"tag,omitempty" maxLength:"200"`
	ConfigHash string `json:"config_hash,omitempty" maxLength:"100" doc:"Of the plan that was looked at: refuse where the image or the configuration is another one by now."`
	Reason     string `json:"reason,omitempty" maxLength:"500" doc:"Why it is asked for; a maintainer's is needed during a freeze."`
}

// DeploymentsQuery narrows lists of deployments.
type DeploymentsQuery struct {
	PageIn
	AppID  string                 `query:"app_id" maxLength:"100"`
	State  models.DeploymentState `query:"state" enum:"waiting,pending,running,succeeded,failed,canceled,rolled_back"`
	Digest string                 `query:"digest" maxLength:"200"`
	Active bool                   `query:"active" doc:"Only what serves now."`
}

func (a *API) deployments() {
	started := []option{status(http.StatusAccepted), repeatable}
	get(a, "/deployments", "list-deployments", "Deployments of your teams", a.listDeployments)
	get(a, "/environments/{id}/deployments", "list-environment-deployments", "Deployments to an environment", a.listEnvironmentDeployments)
	post(a, "/environments/{id}/deployments", "deploy", "Deploy an image", a.deploy, started...)
	get(a, "/deployments/{id}", "get-deployment", "A deployment with its phases and instances", a.getDeployment)
	get(a, "/deployments/{id}/logs", "get-deployment-logs", "What a deployment's instances print", a.deploymentLogs, logAnswer)
	a.places()
	post(a, "/deployments/{id}/cancel", "cancel-deployment", "Cancel a deployment that has not switched yet", a.act((*deploy.Service).Cancel), started...)
	post(a, "/deployments/{id}/everyone", "send-everyone", "Send all visitors to a deployment to which they move in steps", a.act((*deploy.Service).SendEveryone), status(http.StatusAccepted))
	post(a, "/deployments/{id}/rollback", "roll-back", "Deploy again what this deployment ran", a.act((*deploy.Service).Rollback), started...)
	post(a, "/deployments/{id}/restart", "restart-deployment", "Replace the instances by fresh ones, without a gap", a.act((*deploy.Service).Restart), started...)
	get(a, "/deployments/{id}/drift", "get-deployment-drift", "How what runs differs from what was deployed", a.drift,
		about("Of a deployment that serves on a target whose objects others can change. What others added is no drift."))
	post(a, "/deployments/{id}/apply", "apply-deployment-again", "Put back what others changed of what serves", a.act((*deploy.Service).ApplyAgain), started...)
	post(a, "/deployments/{id}/stop", "stop-deployment", "Stop what serves", a.act((*deploy.Service).Stop), started...)
	post(a, "/deployments/{id}/start", "start-deployment", "Run again what was stopped", a.act((*deploy.Service).Resume), started...)
	post(a, "/deployments/{id}/approve", "approve-deployment", "Approve a deployment that waits for it", a.decide((*deploy.Service).Approve), status(http.StatusAccepted))
	post(a, "/deployments/{id}/reject", "reject-deployment", "End a deployment that waits for approval", a.decide((*deploy.Service).Reject), status(http.StatusAccepted))
}

func (a *API) listDeployments(ctx context.Context, in *struct {
	DeploymentsQuery
	Team          string `query:"team" maxLength:"100" doc:"Slug of a team."`
	EnvironmentID string `query:"environment_id" maxLength:"100"`
}) (*answer[List[Deployment]], error) {
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	return a.findDeployments(ctx, team, in.EnvironmentID, in.DeploymentsQuery)
}

func (a *API) listEnvironmentDeployments(ctx context.Context, in *struct {
	IDIn
	DeploymentsQuery
}) (*answer[List[Deployment]], error) {
	if _, err := a.Deploy.Environment(ctx, in.ID); err != nil {
		return nil, err
	}
	return a.findDeployments(ctx, "", in.ID, in.DeploymentsQuery)
}

func (a *API) findDeployments(ctx context.Context, team, environment string, q DeploymentsQuery) (*answer[List[Deployment]], error) {
	l, err := a.Deploy.List(ctx, deploy.Filter{
		Page: q.page(), TeamID: team, EnvironmentID: environment, AppID: q.AppID, State: string(q.State), Digest: q.Digest, Active: q.Active,
	})
	if err != nil {
		return nil, err
	}
	return listOf(l, deploymentOf), nil
}

func (a *API) deploy(ctx context.Context, in *struct {
	IDIn
	Body NewDeployment
}) (*answer[Deployment], error) {
	b := in.Body
	d, err := a.Deploy.Deploy(ctx, deploy.Input{
		EnvironmentID: in.ID, AppID: b.AppID, Image: b.Image, BuildID: b.BuildID, Tag: b.Tag, ConfigHash: b.ConfigHash, Reason: b.Reason,
	})
	return replyWith(d, deploymentOf, err)
}

func (a *API) getDeployment(ctx context.Context, in *IDIn) (*answer[Deployment], error) {
	d, err := a.Deploy.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := deploymentOf(d)
	if out.WaitingFor, err = a.Deploy.WhyWaiting(ctx, d); err != nil {
		return nil, err
	}
	answers, err := a.Deploy.Answers(ctx, d)
	if err != nil {
		return nil, err
	}
	if answers.New.Answers > 0 {
		out.Shift.Answers = &Answers{Tally(answers.New), Tally(answers.Former)}
	}
	return reply(out), nil
}

// act makes a call of one of the service's actions on a deployment.
func (a *API) act(do func(*deploy.Service, context.Context, string) (*models.Deployment, error)) func(context.Context, *IDIn) (*answer[Deployment], error) {
	return func(ctx context.Context, in *IDIn) (*answer[Deployment], error) {
		d, err := do(a.Deploy, ctx, in.ID)
		return replyWith(d, deploymentOf, err)
	}
}

func deploymentOf(d *models.Deployment) Deployment {
	out := Deployment{
		ID: d.ID, Number: d.Number, AppID: d.AppID, EnvironmentID: d.EnvironmentID, TeamID: d.TeamID, Action: d.Action, State: d.State,
		Active: d.Active, Stopped: d.Stopped, Paused: d.Paused, Image: d.ImageRepository + "@" + d.ImageDigest, Digest: d.ImageDigest, Tag: d.ImageTag,
		BuildID: d.BuildID, URL: d.URL, Config: configOf(d), RollbackOf: d.RollbackOf, PreviousID: d.PreviousID, CreatedBy: d.CreatedByName, Reason: d.Reason, Approvals: sliceOf(d.Approvals, approvalOf),
		Phases: sliceOf(d.Phases, phaseOf), Instances: sliceOf(d.Instances, instanceOf),
		Timings: timingsOf(d.CreatedAt, d.StartedAt, d.FinishedAt), Error: d.Error, CreatedAt: d.CreatedAt.UTC(),
	}
	out.Shift = shiftOf(d)
	if d.Copied.Host != "" {
		out.Copied = d.Copied.Name()
	}
	if d.App != nil {
		out.App = d.App.Name
	}
	if d.Environment != nil {
		out.Environment = d.Environment.Name
	}
	return out
}

func shiftOf(d *models.Deployment) *Shift {
	if !d.Shifting() {
		return nil
	}
	return &Shift{d.Shift.Step, len(d.Config.Gradual), d.Shift.Percent, utc(d.Shift.Until), d.Shift.HurriedAt != nil, nil}
}

func configOf(d *models.Deployment) DeploymentConfig {
	scale := d.Config.Scale.OrOne()
	c := DeploymentConfig{d.Config.Port, d.Config.Health, d.Config.HealthPath, scale.Replicas, scale.CPU, scale.Memory, scale.Max, scale.CPUTarget, d.Config.Protocol, d.Config.Command, d.Config.Variables, d.Config.Secrets, d.ConfigHash, runtimeOf(d.Config.Runtime)}
	if c.Variables == nil {
		c.Variables = map[string]string{}
	}
	if c.Secrets == nil {
		c.Secrets = map[string]string{}
	}
	return c
}

func phaseOf(p *models.DeploymentPhase) Phase {
	return Phase{p.Name, p.State, p.Message, p.Detail, utc(p.StartedAt), utc(p.FinishedAt)}
}

func instanceOf(i *models.Instance) Instance {
	return Instance{i.ID, i.RuntimeID, i.Name, i.State, i.Message, i.Restarts, i.ExitCode, i.LastLogs, utc(i.StartedAt), i.CreatedAt.UTC()}
}
