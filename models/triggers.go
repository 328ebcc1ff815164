package models

// PullRequestTrigger says which pull requests are built by themselves.
type PullRequestTrigger string

// What may build pull requests.
const (
	PullRequestsOff   PullRequestTrigger = "off"
	PullRequestsSame  PullRequestTrigger = "same"  // those of branches of the repository itself
	PullRequestsForks PullRequestTrigger = "forks" // those of forks too, each commit after approval
)

// Triggers say what builds an app by itself. Patterns are globs in which * stays
// within a part of the name and ** does not; one that begins with ! excludes.
type Triggers struct {
	Push         bool               `json:"push" doc:"Build what is pushed."`
	Branches     []string           `gorm:"serializer:json" json:"branches" nullable:"false" doc:"Patterns of branches; none: the default branch. Of pull requests, the branch that they go into."`
	Tags         []string           `gorm:"serializer:json" json:"tags" nullable:"false" doc:"Patterns of tags; none: no tag is built."`
	Paths        []string           `gorm:"serializer:json" json:"paths" nullable:"false" doc:"Patterns of files of which one must have changed; none: every change counts."`
	SkipMarkers  bool               `json:"skip_markers" doc:"A commit whose message holds [skip ci], [ci skip] or [skip slipway] is not built."`
	PullRequests PullRequestTrigger `json:"pull_requests" enum:"off,same,forks" doc:"same: those of branches of the repository itself; forks: those of forks too, each commit after approval and without secrets."`
}

// DefaultTriggers are those of a new app: what is pushed to the default branch is built.
func DefaultTriggers() Triggers {
	return Triggers{Push: true, SkipMarkers: true, PullRequests: PullRequestsOff}
}

// PullRequest is what a build of a pull request, or merge request, knows about it.
type PullRequest struct {
	Number int64  // 0: the build is of none
	Title  string // as it was when the build was queued
	URL    string
	Source string // the branch that it comes from
	Fork   bool   // that branch is in another repository
}
