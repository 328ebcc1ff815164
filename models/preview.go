package models

import (
	"fmt"
	"time"
)

// EnvironmentKind tells the stages that people make from the previews that Slipway makes.
type EnvironmentKind string

// The kinds of environments.
const (
	EnvironmentStage   EnvironmentKind = ""        // made by people; on the board
	EnvironmentPreview EnvironmentKind = "preview" // of a pull request; Slipway makes it and removes it
)

// OfPeople refuses what people may do with stages and not with previews.
func (e *Environment) OfPeople() error {
	if e.Kind == EnvironmentPreview {
		return Errorf(Conflict, "%s is the preview of a pull request: its builds go there by themselves, with the settings of the app's previews, and it goes with the pull request.", e.Name)
	}
	return nil
}

// PreviewSettings say whether an app's pull requests get previews, and what those are made of.
type PreviewSettings struct {
	AppID      string `gorm:"primaryKey"`
	TeamID     string
	Enabled    bool
	TargetID   string // where previews run
	TemplateID string // the environment whose variables and scale they take, as these are at each deployment; empty: none
	Secrets    bool   // they get that environment's secrets too; those of forks never do
	Hours      int    // that a preview lives after the last push
	AtMost     int    // previews of the app at once; 0: as many as the team may have
	UpdatedBy  string
	UpdatedAt  time.Time
}

// PreviewState is where a preview stands.
type PreviewState string

// The states of a preview.
const (
	PreviewBuilding PreviewState = "building" // no good build yet
	PreviewQueued   PreviewState = "queued"   // until a place is free
	PreviewLive     PreviewState = "live"     // it has an environment
	PreviewEnding   PreviewState = "ending"   // what runs is being removed
	PreviewEnded    PreviewState = "ended"    // nothing is left of it but this record
)

// PreviewsGoing are the states of previews that have not been told to end.
var PreviewsGoing = []PreviewState{PreviewBuilding, PreviewQueued, PreviewLive}

// PreviewEnd says why a preview ended.
type PreviewEnd string

// The reasons for which previews end.
const (
	PreviewClosed  PreviewEnd = "closed"  // the pull request was merged or closed
	PreviewExpired PreviewEnd = "expired" // nothing was pushed for so long
	PreviewRemoved PreviewEnd = "removed" // by a person
	PreviewOff     PreviewEnd = "off"     // the app has no previews any more
)

// Preview is an app at the head of a pull request, in an environment of its own
// that Slipway makes, updates on each push, and removes. There is one for each
// app and pull request; it can end and begin again.
type Preview struct {
	ID            string `gorm:"primaryKey"`
	TeamID        string
	AppID         string
	RepositoryID  string
	EnvironmentID *string // while it is live or ending
	Number        int64   // of the pull request
	Title         string
	Branch        string
	PullURL       string
	Author        string // who opened it, or pushed to it first, as the forge calls them
	Fork          bool   // it comes from another repository: it never gets a secret
	State         PreviewState

	HeadID     string // the newest build of the pull request, and what is known of it
	HeadNumber int64
	HeadCommit string
	HeadState  BuildState

	BuildID      string // the newest good build
	BuildNumber  int64
	Commit       string // of it
	Wanted       bool   // it is to be deployed
	WantedBy     string // user id, where a person asked for it
	WantedByName string
	WaitingSince *time.Time // of those that wait for a place the one that waits longest gets it
	NextAt       *time.Time // not tried before
	Note         string     // why it waits, or was not deployed

	DeploymentID    string // the newest one in its environment
	DeploymentState DeploymentState
	ServingID       string // the deployment that serves; empty: none
	Stopped         bool   // a person stopped it
	URL             string // its address

	ExpiresAt time.Time
	StartedAt *time.Time
	EndedAt   *time.Time
	EndReason PreviewEnd
	Closed    bool   // the pull request is; builds asked for before that start nothing
	ClosedBy  string // id of the delivery that said so
	CreatedAt time.Time
	UpdatedAt time.Time

	Team        *Team        `gorm:"foreignKey:TeamID"`
	App         *App         `gorm:"foreignKey:AppID"`
	Environment *Environment `gorm:"foreignKey:EnvironmentID"`
	Deployment  *Deployment  `gorm:"foreignKey:DeploymentID"`
}

// Name is what people call the preview's pull request.
func (p *Preview) Name() string { return fmt.Sprintf("#%d", p.Number) }

// Going tells whether the preview has not been told to end.
func (p *Preview) Going() bool {
	return p.State == PreviewBuilding || p.State == PreviewQueued || p.State == PreviewLive
}

// Status is where the preview stands with what its builds and deployments say, in one word.
func (p *Preview) Status() string {
	switch p.State {
	case PreviewBuilding:
		if p.HeadState == BuildWaiting || p.HeadState == BuildFailed || p.HeadState == BuildCanceled {
			return string(p.HeadState)
		}
		return "building"
	case PreviewLive:
		return p.running()
	case PreviewEnding:
		return "removing"
	}
	return string(p.State)
}

// running is the status of a live preview.
func (p *Preview) running() string {
	switch {
	case p.Stopped:
		return "stopped"
	case p.Wanted, p.DeploymentState == DeploymentPending, p.DeploymentState == DeploymentRunning, p.DeploymentState == DeploymentWaiting:
		return "deploying"
	case p.DeploymentState == DeploymentFailed, p.ServingID == "":
		return "failed"
	}
	return "ready"
}

// PreviewUsage is how many previews of a team there are, and how many there may be.
type PreviewUsage struct {
	Team   Team
	Limit  int // that holds; 0: any number
	Live   int // with those that are being removed
	Queued int // that wait for a place
}

// Full tells whether there is no place for another one.
func (u PreviewUsage) Full() bool { return u.Limit > 0 && u.Live >= u.Limit }
