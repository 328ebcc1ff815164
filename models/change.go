package models

import "time"

// BuildChanges is what differs between a build and the last good one before it.
type BuildChanges struct {
	Since       *Build         // the last build of the app before this one that succeeded, of the same ref where there is one; nil where there is none
	Commits     []ChangeCommit // that this build has and Since has not, newest first
	MoreCommits bool           // the list is cut
	CommitsNote string         // what the list does not tell, or why there is none
	Duration    Difference     // in milliseconds; zero while the build has not ended
	Steps       []StepChange   // that made most of the difference, the largest first
	Size        Difference     // of the image, in compressed bytes; zero where there is none
	Miss        *CacheMiss     // where the cache helped no further; nil where it helped to the end, or nothing was built
}

// ChangeCommit is a commit as lists show it.
type ChangeCommit struct {
	ID      string
	Subject string
	Author  string
	Email   string
	Time    time.Time
}

// Difference is a figure of a build and of the one it is compared with.
type Difference struct {
	Now, Before int64
}

// Known tells whether both figures are there.
func (d Difference) Known() bool { return d.Now > 0 && d.Before > 0 }

// Change is how much more it is now; negative: less.
func (d Difference) Change() int64 { return d.Now - d.Before }

// StepChange is a step that took longer or shorter than in the build before.
type StepChange struct {
	ID   string // of the step in this build; empty where only the one before had it
	Name string
	Difference
}

// MissCause is why a step did not come from the cache.
type MissCause string

// The causes of a cache miss.
const (
	MissNoCache    MissCause = "no_cache"   // the build was asked to use none
	MissSettings   MissCause = "settings"   // another Dockerfile or context is built
	MissDockerfile MissCause = "dockerfile" // an instruction was changed
	MissFiles      MissCause = "files"      // files that the step copies were changed
	MissArgument   MissCause = "argument"   // a build argument has another value
	MissBase       MissCause = "base"       // the base image was replaced
	MissUnknown    MissCause = "unknown"    // nothing that is known has changed: the entry is gone, or was another engine's
)

// CacheMiss is the first step that did not come from the cache, and why.
type CacheMiss struct {
	StepID   string
	StepName string
	Line     int // of the Dockerfile, 0 where unknown
	Cause    MissCause
	Reason   string   // one or two sentences
	Files    []string // with MissFiles: the files, some of them
	More     int      // how many files there are beyond Files
	Changed  int      // with MissDockerfile: the line that was changed
}
