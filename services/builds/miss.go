package builds

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"slipway.dev/models"
)

const (
	missFiles    = 5      // that are named
	changedFiles = 20_000 // of a diff that are looked at
)

// stepForm takes the name of a Dockerfile's step apart: "[builder 2/5] RUN make".
var stepForm = regexp.MustCompile(`^\[(?:(\S+) )?(?:stage-\d+ )?\d+/\d+\] (.*)$`)

// work names what a step does, whatever its place in the Dockerfile.
func work(s models.BuildStep) string {
	if s.ID == StepCheckout || s.ID == StepPush {
		return s.ID
	}
	if m := stepForm.FindStringSubmatch(s.Name); m != nil {
		return m[1] + " " + m[2]
	}
	return s.Name
}

// instruction is a step's command without its place, "" for steps that are no instruction or a FROM.
func instruction(s models.BuildStep) string {
	m := stepForm.FindStringSubmatch(s.Name)
	if m == nil || strings.HasPrefix(m[2], "FROM ") {
		return ""
	}
	return m[2]
}

// miss finds the first instruction that did not come from the cache, though
// everything before it did, and why.
func (s *Service) miss(ctx context.Context, b, good *models.Build) *models.CacheMiss {
	step := firstMiss(b.Steps)
	if step == nil {
		return nil
	}
	m := &models.CacheMiss{StepID: step.ID, StepName: step.Name, Line: step.Line}
	s.explainMiss(ctx, m, missed{b: b, good: good, step: step})
	return m
}

// firstMiss is the instruction that ran first of those that waited for no other that ran.
func firstMiss(steps []models.BuildStep) *models.BuildStep {
	ran := map[string]bool{}
	for _, s := range steps {
		ran[s.ID] = instruction(s) != "" && s.StartedAt != nil && !s.Cached
	}
	var first *models.BuildStep
	for i, s := range steps {
		waited := slices.ContainsFunc(s.Inputs, func(id string) bool { return ran[id] })
		if !ran[s.ID] || waited {
			continue
		}
		if first == nil || s.StartedAt.Before(*first.StartedAt) {
			first = &steps[i]
		}
	}
	return first
}

// missed is a step that missed the cache, in its build, and the build that it is compared with.
type missed struct {
	b, good  *models.Build
	step     *models.BuildStep
	now, old *recipe // the Dockerfiles; nil where they can't be read
}

// explainMiss goes through the causes from the surest to the one that is left.
func (s *Service) explainMiss(ctx context.Context, m *models.CacheMiss, at missed) {
	since := at.good.Title()
	switch {
	case at.b.NoCache:
		m.Cause, m.Reason = models.MissNoCache, "The build was asked to use no cache."
		return
	case at.b.Dockerfile != at.good.Dockerfile || at.b.Context != at.good.Context:
		m.Cause, m.Reason = models.MissSettings, fmt.Sprintf("The app builds another Dockerfile or context than in build %s.", since)
		return
	}
	repo := at.b.App.RepositoryID
	at.now, at.old = s.recipe(ctx, repo, at.b), s.recipe(ctx, repo, at.good)
	switch {
	case at.editedBefore(m), s.filesBefore(ctx, m, at), at.argumentBefore(m), at.baseBefore(m):
		return
	}
	m.Cause = models.MissUnknown
	m.Reason = fmt.Sprintf("Nothing that this step reads is known to have changed since build %s. Its result was not in this engine's cache any more, or the base image was replaced under the same name.", since)
	if at.now == nil || at.old == nil {
		m.Reason = fmt.Sprintf("Why is not known: this server has no copy of the repository that holds the commits of this build and of build %s.", since)
	}
}

// editedBefore tells whether the Dockerfile was edited at the step or before it in its stage.
func (at missed) editedBefore(m *models.CacheMiss) bool {
	if at.now == nil || at.old == nil {
		return false
	}
	line, text := at.now.firstEdit(at.old, at.step.Line)
	if line == 0 {
		return false
	}
	m.Cause, m.Changed = models.MissDockerfile, line
	m.Reason = fmt.Sprintf("Line %d of %s is new or was changed since build %s: %s", line, at.b.Dockerfile, at.good.Title(), brief(text))
	return true
}

// filesBefore tells whether files differ between the commits that the step
// copies, or one before it whose own result was still in the cache.
func (s *Service) filesBefore(ctx context.Context, m *models.CacheMiss, at missed) bool {
	if at.now == nil || at.b.Commit == at.good.Commit {
		return false
	}
	copies := at.now.copies(at.step.Line)
	if len(copies) == 0 {
		return false
	}
	all, _, err := s.Git.ChangedFiles(ctx, at.b.App.RepositoryID, at.good.Commit, at.b.Commit, changedFiles)
	if err != nil {
		return false
	}
	ignored := s.ignored(ctx, at.b)
	for _, c := range copies {
		var files []string
		for _, name := range all {
			if inside, ok := within(at.b.Context, name); ok && c.takes(inside) && !ignored(inside) {
				files = append(files, name)
			}
		}
		if len(files) > 0 {
			m.Cause, m.Files = models.MissFiles, files[:min(len(files), missFiles)]
			m.More = len(files) - len(m.Files)
			m.Reason = fmt.Sprintf("%s in line %d copies what changed since build %s: %s.", c.name, c.line, at.good.Title(), fileNames(m.Files, m.More))
			return true
		}
	}
	return false
}

// argumentBefore tells whether the step is called otherwise although its line is the same: BuildKit writes the values of arguments into names.
func (at missed) argumentBefore(m *models.CacheMiss) bool {
	mine := instruction(*at.step)
	same := func(s models.BuildStep) bool { return instruction(s) == mine }
	if at.now == nil || at.old == nil || at.step.Line == 0 || slices.ContainsFunc(at.good.Steps, same) {
		return false
	}
	m.Cause = models.MissArgument
	m.Reason = fmt.Sprintf("The line is the same as in build %s, but a build argument in it has another value.", at.good.Title())
	return true
}

// baseBefore tells whether the image that the step's stage begins with is another one than before.
func (at missed) baseBefore(m *models.CacheMiss) bool {
	byID := map[string]models.BuildStep{}
	for _, s := range at.b.Steps {
		byID[s.ID] = s
	}
	known := map[string]bool{}
	for _, s := range at.good.Steps {
		known[s.ID] = true
	}
	base := baseOf(byID, at.step)
	if base == nil || known[base.ID] {
		return false
	}
	named := slices.ContainsFunc(at.good.Steps, func(s models.BuildStep) bool { return work(s) == work(*base) })
	if !named {
		return false
	}
	_, image, _ := strings.Cut(work(*base), "FROM ")
	m.Cause = models.MissBase
	m.Reason = fmt.Sprintf("The base image %s was replaced since build %s: its name is the same, its content is not.", image, at.good.Title())
	return true
}

// baseOf walks from a step to the image that its stage begins with.
func baseOf(byID map[string]models.BuildStep, step *models.BuildStep) *models.BuildStep {
	for range maxSteps {
		if strings.Contains(step.Name, "] FROM ") {
			return step
		}
		var next *models.BuildStep
		for _, id := range step.Inputs {
			if s, ok := byID[id]; ok && !internal(s.Name) {
				next = &s
				break
			}
		}
		if next == nil {
			return nil
		}
		step = next
	}
	return nil
}

// within is the path of a file relative to the build context.
func within(context, name string) (string, bool) {
	context = path.Clean(context)
	if context == "." {
		return name, true
	}
	return strings.CutPrefix(name, strings.Trim(context, "/")+"/")
}

func fileNames(files []string, more int) string {
	text := strings.Join(files, ", ")
	if more > 0 {
		text += fmt.Sprintf(" and %s more", count(int64(more), "file"))
	}
	return text
}

func brief(text string) string {
	if runes := []rune(text); len(runes) > 120 {
		return string(runes[:120]) + "…"
	}
	return text
}
