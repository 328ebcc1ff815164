package builds

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"slipway.dev/models"
)

const maxNamed = 3 // builds in one sentence

// WhyWaiting says in one sentence what a queued build waits for, behind what,
// and what would end the wait, or which approval one of a fork waits for. Only
// builds that the principal may see are named. It is empty for any other build.
func (s *Service) WhyWaiting(ctx context.Context, b *models.Build) (models.Wait, error) {
	if b.State == models.BuildWaiting {
		return waitingForApproval(b), nil
	}
	if b.State != models.BuildQueued {
		return nil, nil
	}
	l, err := s.line(s.DB.WithContext(ctx), allPlaces)
	if err != nil {
		return nil, err
	}
	if _, elsewhere := s.remote(b.Builder); elsewhere && len(l.workers) > 0 {
		return text("A worker asks %s to run this build in a moment.", b.Builder.Title()), nil
	}
	return l.whyOf(b.ID, models.PrincipalFrom(ctx)), nil
}

func (l *line) whyOf(id string, p *models.Principal) models.Wait {
	order := l.order()
	at := slices.IndexFunc(order, func(w *waiting) bool { return w.ID == id })
	if at < 0 {
		return text("More than %d builds of the team wait before this one.", allPlaces)
	}
	return l.why(order, at, p)
}

// why says what the build at the place waits for.
func (l *line) why(order []*waiting, at int, p *models.Principal) models.Wait {
	b := order[at]
	switch {
	case len(l.workers) == 0:
		return text("No worker is running, so nothing takes this build: start one with slipway worker, or slipway serve without --workers=false.")
	case l.capable(b) == 0:
		return l.whyNobody(b)
	case l.full(b.TeamID, l.byTeam()):
		return l.whyFull(b, p)
	case at > 0:
		return l.whyBehind(order, at, p)
	case !l.idle(b):
		return text("The workers are busy with %s; this build is next, %s.", count(int64(len(l.running)), "build"), l.atLatest())
	}
	return text("A worker takes this build in a moment.")
}

// text is a sentence that names no build.
func text(format string, args ...any) models.Wait {
	return models.Wait{{Text: fmt.Sprintf(format, args...)}}
}

// whyNobody is why no worker could run the build even if it had nothing else to do.
func (l *line) whyNobody(b *waiting) models.Wait {
	labels := labelled(b.Labels)
	if !slices.ContainsFunc(l.workers, func(w models.Worker) bool { return w.Labels.Has(b.Labels) }) {
		return text("No running worker has the %s that the app asks for: start one with SLIPWAY_WORKER_LABELS=%s, or change the app's settings.", labels, b.Labels)
	}
	if len(b.Labels) > 0 {
		return text("Every worker with the %s drains, so nothing takes this build until an admin resumes one or starts another.", labels)
	}
	return text("Every worker drains, so nothing takes this build until an admin resumes one or starts another.")
}

func labelled(l models.Labels) string {
	if len(l) == 1 {
		return "label " + l[0]
	}
	return "labels " + list(l)
}

// whyFull names the team's builds that have to end first.
func (l *line) whyFull(b *waiting, p *models.Principal) models.Wait {
	var running []models.WaitPart
	for _, r := range l.running {
		if r.TeamID == b.TeamID {
			running = append(running, models.WaitPart{Text: fmt.Sprintf("%s #%d", r.App, r.Number), BuildID: r.ID})
		}
	}
	limit := l.limits[b.TeamID]
	w := text("The team runs %d of at most %s at once", len(running), count(int64(limit), "build"))
	if p != nil && p.RoleIn(b.TeamID) != "" {
		w = append(w, models.WaitPart{Text: ", "})
		w = append(w, named(running, len(running))...)
	}
	return append(w, text("; this build waits until one of them ends.")...)
}

// whyBehind names the builds that go first.
func (l *line) whyBehind(order []*waiting, at int, p *models.Principal) models.Wait {
	b := order[at]
	var seen []models.WaitPart
	for _, other := range slices.Backward(order[:at]) { // the nearest first
		if p != nil && p.RoleIn(other.TeamID) != "" && len(seen) < maxNamed {
			seen = append(seen, models.WaitPart{Text: other.name(), BuildID: other.ID})
		}
	}
	slices.Reverse(seen)
	w := text("%s before this one", going(at))
	if len(seen) > 0 {
		w = append(w, models.WaitPart{Text: ": "})
		w = append(w, named(seen, at)...)
	}
	if l.peopleFirst(b, order[:at]) {
		w = append(w, text(", because people's builds go before %s for the first %s", pushed(b), duration(patience))...)
	}
	if l.idle(b) {
		return append(w, text("; workers take them in a moment.")...)
	}
	return append(w, text("; the workers are busy with %s, %s.", count(int64(len(l.running)), "build"), l.atLatest())...)
}

// peopleFirst tells whether the build would be first but for builds that people asked for later.
func (l *line) peopleFirst(b *waiting, ahead []*waiting) bool {
	return b.class(l.now) > classPeople && !slices.ContainsFunc(ahead, func(other *waiting) bool {
		return other.class(l.now) >= b.class(l.now) || other.class(l.now) == classFront || other.ID < b.ID
	})
}

func pushed(b *waiting) string {
	if b.Trigger == models.TriggerSchedule {
		return "scheduled ones"
	}
	return "those of pushes"
}

// idle tells whether a worker could take the build now.
func (l *line) idle(b *waiting) bool {
	return slices.ContainsFunc(l.workers, func(w models.Worker) bool {
		return l.mayRun(&w, b, nil) == nothing
	})
}

// atLatest says when the first of the running builds reaches its time limit.
func (l *line) atLatest() string {
	var first time.Time
	for _, r := range l.running {
		if r.StartedAt == nil {
			continue
		}
		if end := r.StartedAt.Add(time.Duration(r.TimeoutSeconds) * time.Second); first.IsZero() || end.Before(first) {
			first = end
		}
	}
	left := first.Sub(l.now)
	if left <= 0 {
		return "and one of them ends in a moment"
	}
	return "and the first of them ends within " + count(int64((left+time.Minute-1)/time.Minute), "minute")
}

// named lists builds, of so many in all.
func named(builds []models.WaitPart, all int) (w models.Wait) {
	builds = builds[:min(len(builds), maxNamed)]
	rest := all - len(builds)
	for i, b := range builds {
		switch {
		case i == 0:
		case i == len(builds)-1 && rest == 0:
			w = append(w, models.WaitPart{Text: " and "})
		default:
			w = append(w, models.WaitPart{Text: ", "})
		}
		w = append(w, b)
	}
	if rest > 0 {
		w = append(w, text(" and %d more", rest)...)
	}
	return w
}

func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func waitingForApproval(b *models.Build) models.Wait {
	return text("Pull request #%d comes from a fork, so nothing of it runs before somebody of the team has looked at commit %s and approved it. The approval is for this commit alone.",
		b.PullRequest.Number, short(b.Commit))
}

func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func going(n int) string {
	if n == 1 {
		return "1 build goes"
	}
	return fmt.Sprintf("%d builds go", n)
}
