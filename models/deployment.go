package models

import (
	"fmt"
	"slices"
	"time"
)

// DeploymentState is where a deployment stands.
type DeploymentState string

// The states of a deployment.
const (
	DeploymentWaiting    DeploymentState = "waiting" // for approval
	DeploymentPending    DeploymentState = "pending"
	DeploymentRunning    DeploymentState = "running"
	DeploymentSucceeded  DeploymentState = "succeeded"
	DeploymentFailed     DeploymentState = "failed"
	DeploymentCanceled   DeploymentState = "canceled"
	DeploymentRolledBack DeploymentState = "rolled_back"
)

var deploymentMoves = map[DeploymentState][]DeploymentState{
	DeploymentWaiting:   {DeploymentPending, DeploymentCanceled},
	DeploymentPending:   {DeploymentRunning, DeploymentCanceled, DeploymentFailed},
	DeploymentRunning:   {DeploymentSucceeded, DeploymentFailed, DeploymentCanceled, DeploymentPending},
	DeploymentSucceeded: {DeploymentRolledBack},
}

// UnendedDeployments are the states of deployments that may still come to serve.
var UnendedDeployments = []DeploymentState{DeploymentWaiting, DeploymentPending, DeploymentRunning}

// Ended tells whether the rollout is over.
func (s DeploymentState) Ended() bool { return !slices.Contains(UnendedDeployments, s) }

// CanBecome tells whether a deployment may move from s to next.
func (s DeploymentState) CanBecome(next DeploymentState) bool {
	return slices.Contains(deploymentMoves[s], next)
}

// DeploymentConfig is what runs beside the image, frozen when the deployment was asked for.
type DeploymentConfig struct {
	Port       int               `json:"port"`
	Health     HealthKind        `json:"health"`
	HealthPath string            `json:"health_path"`
	Scale      Scale             `json:"scale"`
	Command    []string          `json:"command,omitempty"`  // runs once before the switch
	Protocol   Protocol          `json:"protocol,omitempty"` // what it speaks on its port
	Variables  map[string]string `json:"variables"`
	Secrets    map[string]string `json:"secrets"` // name → fingerprint
	Runtime
}

// DeploymentError says why a deployment failed, with evidence.
type DeploymentError struct {
	Stage    string   `json:"stage"` // check, image, command, start, health, shift, target, timeout
	Message  string   `json:"message"`
	ExitCode *int     `json:"exit_code,omitempty"`
	OOM      bool     `json:"oom,omitempty"`
	Logs     []string `json:"logs,omitempty"` // the container's last lines
}

// DeploymentAction says what a person asked for.
type DeploymentAction string

// The actions. All but the first repeat the image and the frozen configuration of an earlier deployment.
const (
	ActionDeploy   DeploymentAction = "deploy"
	ActionRollback DeploymentAction = "rollback"
	ActionRestart  DeploymentAction = "restart"
	ActionStart    DeploymentAction = "start" // after a stop
)

// Deployment is one attempt to run an app's image with a frozen configuration in an environment.
type Deployment struct {
	ID                string `gorm:"primaryKey"`
	TeamID            string
	AppID             string
	EnvironmentID     string
	Number            int64 // counts per app
	State             DeploymentState
	Active            bool // this is what serves now
	ImageRepository   string
	ImageDigest       string
	ImageTag          string         // the tag that was clicked, for people
	Copied            ImagePlaceName `gorm:"embedded;embeddedPrefix:copied_"` // to the registry of its target's own; without a host: it was not
	BuildID           *string
	Config            DeploymentConfig `gorm:"serializer:json"`
	ConfigHash        string
	SealedSecrets     []byte // encrypted JSON name → value, frozen
	Action            DeploymentAction
	RollbackOf        *string // the deployment whose image and configuration this repeats
	PreviousID        *string // what served before
	URL               string
	Stopped           bool   // stopped by a person after it succeeded
	Shift             Shift  `gorm:"embedded;embeddedPrefix:shift_"`
	Paused            bool   // its instances are away while a newer version starts in its place
	Reason            string // why it was asked for, where somebody said so
	CreatedBy         string
	CreatedByName     string
	StartedAt         *time.Time
	FinishedAt        *time.Time
	CancelRequestedAt *time.Time
	DrainUntil        *time.Time // serves no new requests; open ones are cut then
	RetiredAt         *time.Time // its instances are gone
	Lease             `gorm:"embedded"`
	Error             *DeploymentError `gorm:"serializer:json"`
	CreatedAt         time.Time
	App               *App              `gorm:"foreignKey:AppID"`
	Environment       *Environment      `gorm:"foreignKey:EnvironmentID"`
	Build             *Build            `gorm:"foreignKey:BuildID"`
	Phases            []DeploymentPhase `gorm:"foreignKey:DeploymentID"`
	Instances         []Instance        `gorm:"foreignKey:DeploymentID"`
	Approvals         []Approval        `gorm:"foreignKey:DeploymentID"`
}

// Move changes the state, or says why it can't.
func (d *Deployment) Move(next DeploymentState) error {
	if !d.State.CanBecome(next) {
		return Errorf(Conflict, "The deployment is %s and can't become %s.", d.State, next)
	}
	d.State = next
	return nil
}

// Shifting tells whether visitors are on their way to the deployment's release in steps.
func (d *Deployment) Shifting() bool {
	return d.State == DeploymentRunning && !d.Active && d.Shift.Step > 0
}

// Title is what people call the deployment.
func (d *Deployment) Title() string { return fmt.Sprintf("#%d", d.Number) }

// DeploymentPhase is one line of a deployment's story: pull, start, health, switch, drain.
type DeploymentPhase struct {
	DeploymentID string `gorm:"primaryKey"`
	Seq          int    `gorm:"primaryKey"`
	Name         string
	State        StepState
	Message      string
	Detail       []string `gorm:"serializer:json"` // such as the health check's transcript
	StartedAt    *time.Time
	FinishedAt   *time.Time
}

// InstanceState is where an instance stands, as its target last said.
type InstanceState string

// The states of an instance.
const (
	InstanceStarting InstanceState = "starting"
	InstanceHealthy  InstanceState = "healthy"
	InstanceFailing  InstanceState = "failing"
	InstanceStopped  InstanceState = "stopped"
	InstanceUnknown  InstanceState = "unknown"
)

// Instance is one container, pod, task or VM of a deployment.
type Instance struct {
	ID           string `gorm:"primaryKey"`
	DeploymentID string
	RuntimeID    string // the container's id
	Name         string
	Address      string // host:port that the proxy sends requests to
	State        InstanceState
	Message      string
	Restarts     int
	ExitCode     *int
	LastLogs     []string `gorm:"serializer:json"` // kept when the instance goes
	StartedAt    *time.Time
	UpdatedAt    time.Time
	CreatedAt    time.Time
}

// Route tells the proxy which deployment answers for a host name.
type Route struct {
	Host          string `gorm:"primaryKey"` // lower case, without port
	TeamID        string
	AppID         string
	EnvironmentID string
	DeploymentID  string
	Addresses     []string  `gorm:"serializer:json"` // empty: stopped, or never deployed where DeploymentID is empty
	Protocol      Protocol  // that the instances speak
	Next          NextRoute `gorm:"embedded;embeddedPrefix:next_"`
	UpdatedAt     time.Time
}

// NextRoute is the version to which a part of a route's visitors go already.
type NextRoute struct {
	DeploymentID string   // empty: there is none
	Addresses    []string `gorm:"serializer:json"`
	Protocol     Protocol
	Percent      int // of the visitors, by their address
}

// Proxy is a process that sends requests to instances, and when it last said so.
type Proxy struct {
	ID     string `gorm:"primaryKey"`
	SeenAt time.Time
}

// ProxyHold says that a proxy may send requests to a deployment's instances: a
// deployment may stop only when no living proxy holds it.
type ProxyHold struct {
	ProxyID      string `gorm:"primaryKey"`
	DeploymentID string `gorm:"primaryKey"`
	Serving      bool   // new requests go to it
	InFlight     int    // while it drains
	Tally               // while visitors are divided between it and another deployment
}

// Tally is how a deployment has answered requests.
type Tally struct {
	Answers int64
	Errors  int64 // of them: 5xx, or that none came
}

// Share is the share of errors, from 0 to 1; 0 where nothing was answered.
func (t Tally) Share() float64 {
	if t.Answers == 0 {
		return 0
	}
	return float64(t.Errors) / float64(t.Answers)
}

// ProxySilence is how long a proxy may be silent before it counts as gone: long
// enough for one whose machine has no time for it.
const ProxySilence = 15 * time.Second
