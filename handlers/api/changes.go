package api

import (
	"context"

	"slipway.dev/models"
	"slipway.dev/services/logs"
)

// BuildChanges is what differs between a build and the last good one before it.
type BuildChanges struct {
	Since       *BuildRef      `json:"since" doc:"The last build of the app that succeeded before this one; null where there is none."`
	Commits     []Commit       `json:"commits" nullable:"false" doc:"That this build has and the other has not, newest first; 20 at most."`
	MoreCommits bool           `json:"more_commits"`
	CommitsNote string         `json:"commits_note,omitempty" doc:"What the list does not tell, or why there is none."`
	Duration    *SecondsChange `json:"duration" doc:"In seconds; null while the build runs."`
	Steps       []StepChange   `json:"steps" nullable:"false" doc:"The steps that made most of it."`
	Size        *BytesChange   `json:"size" doc:"Of the image, in compressed bytes; null where the build made none."`
	CacheMiss   *CacheMiss     `json:"cache_miss" doc:"The first step that did not come from the cache; null where all did."`
}

// BuildRef names a build.
type BuildRef struct {
	ID     string `json:"id"`
	Number int64  `json:"number"`
	Commit string `json:"commit"`
}

// SecondsChange is a time then and now.
type SecondsChange struct {
	Before float64 `json:"before"`
	Now    float64 `json:"now"`
}

// BytesChange is a size then and now.
type BytesChange struct {
	Before int64 `json:"before"`
	Now    int64 `json:"now"`
}

// StepChange is a step that took longer or shorter, in seconds.
type StepChange struct {
	ID   string `json:"id,omitempty" doc:"Empty where only the build before had the step."`
	Name string `json:"name"`
	SecondsChange
}

// CacheMiss is the first step that did not come from the cache, and why.
type CacheMiss struct {
	StepID      string           `json:"step_id"`
	StepName    string           `json:"step_name"`
	Line        int              `json:"line,omitempty" doc:"In the Dockerfile."`
	Cause       models.MissCause `json:"cause" enum:"no_cache,settings,dockerfile,files,argument,base,unknown"`
	Reason      string           `json:"reason"`
	Files       []string         `json:"files,omitempty" doc:"That the step copies and that changed; some of them."`
	MoreFiles   int              `json:"more_files,omitempty"`
	ChangedLine int              `json:"changed_line,omitempty" doc:"Of the Dockerfile, where the cause is an edited instruction."`
}

func (a *API) buildChanges(ctx context.Context, in *IDIn) (*answer[BuildChanges], error) {
	c, err := a.Builds.Changes(ctx, in.ID)
	return replyWith(c, changesOf, err)
}

func changesOf(c *models.BuildChanges) BuildChanges {
	out := BuildChanges{
		MoreCommits: c.MoreCommits, CommitsNote: c.CommitsNote,
		Commits: sliceOf(c.Commits, func(c *models.ChangeCommit) Commit {
			return Commit{c.ID, c.Subject, c.Author, c.Email, c.Time.UTC()}
		}),
		Steps: sliceOf(c.Steps, func(s *models.StepChange) StepChange { return StepChange{s.ID, s.Name, secondsChange(s.Difference)} }),
	}
	if c.Since != nil {
		out.Since = &BuildRef{c.Since.ID, c.Since.Number, c.Since.Commit}
	}
	if c.Duration.Known() {
		d := secondsChange(c.Duration)
		out.Duration = &d
	}
	if c.Size.Known() {
		out.Size = &BytesChange{c.Size.Before, c.Size.Now}
	}
	if m := c.Miss; m != nil {
		out.CacheMiss = &CacheMiss{m.StepID, m.StepName, m.Line, m.Cause, m.Reason, m.Files, m.More, m.Changed}
	}
	return out
}

// secondsChange turns milliseconds into seconds.
func secondsChange(d models.Difference) SecondsChange {
	return SecondsChange{float64(d.Before) / 1000, float64(d.Now) / 1000}
}

// LogHits is what a search in a log found.
type LogHits struct {
	Total int      `json:"total" doc:"Lines that hold the text; 100,000 at most are counted."`
	Index int      `json:"index" doc:"How many of them come before the first one here."`
	Items []LogHit `json:"items" nullable:"false"`
	Next  int64    `json:"next,omitempty" doc:"Send it as ?from= for the hits after these; absent at the end."`
}

// LogHit is a line that holds the text, with those around it.
type LogHit struct {
	LogLine
	Before []LogLine `json:"before" nullable:"false"`
	After  []LogLine `json:"after" nullable:"false"`
}

func (a *API) searchBuildLog(ctx context.Context, in *struct {
	IDIn
	Q       string `query:"q" required:"true" maxLength:"200" doc:"The text to look for, whatever its case; no pattern."`
	Step    string `query:"step" maxLength:"200" doc:"The id of a step: look in its lines alone."`
	From    int64  `query:"from" minimum:"0" doc:"Show hits from this line on."`
	Context int    `query:"context" minimum:"0" maximum:"5" default:"2" doc:"Lines around each."`
	Limit   int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
}) (*answer[LogHits], error) {
	found, err := a.Builds.SearchLog(ctx, in.ID, logs.Search{Text: in.Q, Step: in.Step, From: in.From, Limit: in.Limit, Lines: in.Context})
	return replyWith(&found, hitsOf, err)
}

func hitsOf(h *logs.Hits) LogHits {
	line := func(l *logs.Line) LogLine { return LogLine(*l) }
	out := LogHits{Total: h.Total, Index: h.Index, Items: sliceOf(h.Shown, func(hit *logs.Hit) LogHit {
		return LogHit{LogLine(hit.Line), sliceOf(hit.Before, line), sliceOf(hit.After, line)}
	})}
	if n := len(h.Shown); n > 0 && h.Index+n < h.Total {
		out.Next = h.Shown[n-1].Line.N + 1
	}
	return out
}

// BuildDockerfile is the Dockerfile that a build used, with what its checks say.
type BuildDockerfile struct {
	Path     string           `json:"path"`
	Text     string           `json:"text" doc:"The first 256 KiB."`
	Findings []models.Finding `json:"findings" nullable:"false" doc:"What the checks say about its lines. Empty before the build has read it."`
}

func (a *API) buildDockerfile(ctx context.Context, in *IDIn) (*answer[BuildDockerfile], error) {
	_, f, err := a.Builds.Dockerfile(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return reply(BuildDockerfile{f.Path, f.Text, append([]models.Finding{}, f.Findings...)}), nil
}
