package models

import "time"

// Board is the queue of builds as admins see it.
type Board struct {
	Waiting []WaitingBuild // in the order they will be taken in, as far as it can be known; at most 100
	Total   int64          // of all that wait
	Running []RunningBuild // the oldest first
	Limits  []TeamLimit    // of all teams, by slug
}

// WaitingBuild is a build that waits, and why.
type WaitingBuild struct {
	ID       string
	Name     string // such as checkout #12
	Team     string // slug
	Trigger  BuildTrigger
	QueuedAt time.Time
	Front    bool // an admin moved it to the front
	Reason   Wait
}

// RunningBuild is a build that a worker carries.
type RunningBuild struct {
	ID        string
	Name      string
	Team      string
	WorkerID  string
	Host      string // of the worker; empty where it is dead
	StartedAt *time.Time
}

// TeamLimit is how many builds of a team run at once, and how many may.
type TeamLimit struct {
	Team    Team
	Limit   int // 0: any number
	Running int
}

// WorkerInfo is a worker as admins see it.
type WorkerInfo struct {
	Worker
	State   WorkerState
	Running int // builds that it carries
}
