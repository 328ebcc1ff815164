package hooks

import (
	"context"
	"log/slog"

	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/git"
)

const (
	maxFiles   = 100_000 // that a comparison looks at; with more, everything counts as changed
	maxMessage = 64 << 10
)

// forRepository decides for each app of the repository.
func (s *Service) forRepository(ctx context.Context, d *models.Delivery, e *event, r *models.Repository) ([]step, error) {
	var apps []models.App
	if err := s.DB.WithContext(ctx).Preload("Team").Preload("Repository").Where("repository_id = ?", r.ID).Order("id").Find(&apps).Error; err != nil {
		return nil, err
	}
	if why := wholly(e, len(apps)); why != "" {
		return []step{{outcome: outcomeOf(r, nil, why)}}, nil
	}
	var steps []step
	look := &look{service: s, event: e, repository: r}
	for i := range apps {
		if e.kind == eventPull && e.pull.step == pullClosed {
			steps = append(steps, step{outcome: outcomeOf(r, &apps[i], ""), cancel: e.pull.ref, closed: e.pull.Number, by: first(d.RedeliveryOf, d.ID)})
			continue
		}
		why, err := s.elsewhere(ctx, &apps[i], e)
		if err != nil {
			return nil, err
		}
		if why == "" {
			why = refusal(apps[i].Triggers, e, first(r.DefaultBranch, e.repo.defaultBranch))
		}
		if why == "" {
			why = look.refusal(ctx, apps[i].Triggers)
		}
		if why != "" {
			steps = append(steps, step{outcome: outcomeOf(r, &apps[i], why)})
			continue
		}
		steps = append(steps, step{outcome: outcomeOf(r, &apps[i], ""), build: look.build(d, &apps[i])})
	}
	return steps, nil
}

// elsewhere says why the forge builds the app by itself; empty where Slipway has to ask for it.
func (s *Service) elsewhere(ctx context.Context, app *models.App, e *event) (string, error) {
	if s.Elsewhere == nil {
		return "", nil
	}
	if e.kind == eventPull {
		return s.Elsewhere(ctx, app, models.TriggerPullRequest)
	}
	return s.Elsewhere(ctx, app, models.TriggerPush)
}

// wholly says why the event builds nothing of the repository, whatever its apps want.
func wholly(e *event, apps int) string {
	switch {
	case apps == 0:
		return "the repository has no app"
	case e.kind == eventPush && e.push.after == "" && e.push.kind == models.RefTag:
		return "tag deleted"
	case e.kind == eventPush && e.push.after == "":
		return "branch deleted"
	case e.kind == eventPull && e.pull.step == pullSame:
		return "no new commit"
	}
	return ""
}

// outcomeOf is an outcome about the app, or about the repository as a whole.
func outcomeOf(r *models.Repository, app *models.App, why string) models.DeliveryOutcome {
	o := models.DeliveryOutcome{Kind: models.OutcomeIgnored, RepositoryID: r.ID, Repository: r.Name}
	if app != nil {
		o.AppID, o.App = app.ID, app.Name
	}
	if why != "" {
		o.Message = "ignored: " + why
	}
	return o
}

// look is what the event's repository shows of its commit. The repository is read once, and only where an app may be
// built. Where it can't be read the payload has to do: rather one build too many than one too few, and the build itself
// says what is wrong with the repository.
type look struct {
	service    *Service
	event      *event
	repository *models.Repository

	done   bool
	commit commit
	files  []string
	whole  bool // files is all that changed
}

// refusal says why the commit builds nothing of an app with the triggers; empty where it does.
func (l *look) refusal(ctx context.Context, t models.Triggers) string {
	l.read(ctx)
	if m := marker(l.commit.message); m != "" && t.SkipMarkers {
		return "skip marker " + m
	}
	if len(t.Paths) > 0 && l.whole && !anyMatches(t.Paths, l.files) {
		return "no file of the app's paths changed"
	}
	return ""
}

func (l *look) read(ctx context.Context) {
	if l.done {
		return
	}
	l.done = true
	l.commit, l.files, l.whole = l.event.push.commit, l.event.push.files, l.event.push.whole
	if l.event.kind == eventPull {
		l.commit = l.event.pull.commit
	}
	if err := l.fetch(ctx); err != nil {
		slog.InfoContext(ctx, "a webhook's repository could not be read; its payload has to do", "repository", l.repository.ID, "error", err)
		return
	}
	l.describe(ctx)
	if !l.whole {
		l.compare(ctx)
	}
}

// fetch brings the commit into the mirror, and the branches and tags that people see up to date.
func (l *look) fetch(ctx context.Context) error {
	s := l.service
	if err := s.Refresh(ctx, l.repository.ID); err != nil {
		return err
	}
	if l.event.kind != eventPull || s.Git.HasCommit(ctx, l.repository.ID, l.commit.id) {
		return nil
	}
	remote, err := s.Remote(ctx, l.repository)
	if err != nil {
		return err
	}
	return s.Git.FetchRef(ctx, l.repository.ID, remote, l.event.pull.ref)
}

// describe takes from the repository what the commit says of itself; a tag that is an object of its own becomes the
// commit that it names.
func (l *look) describe(ctx context.Context) {
	c, err := l.service.Git.Commit(ctx, l.repository.ID, l.commit.id)
	if err != nil {
		return
	}
	l.commit.id, l.commit.author = c.ID, c.Author
	if message, err := l.service.Git.Message(ctx, l.repository.ID, c.ID, maxMessage); err == nil {
		l.commit.message = message
	}
}

// compare finds what changed where the payload does not tell all of it: between before and after, for a new branch and
// for a pull request since they left the branch that they come from.
func (l *look) compare(ctx context.Context) {
	from, sinceFork := l.event.push.before, false
	if l.event.kind == eventPull {
		from, sinceFork = l.base(ctx, l.event.pull.target, l.event.pull.base), true
	} else if from == "" {
		from, sinceFork = l.base(ctx, first(l.repository.DefaultBranch, l.event.repo.defaultBranch), ""), true
	}
	if from == "" || sinceFork && from == l.commit.id {
		return // nothing to compare with: everything is new
	}
	files, whole, err := l.service.Git.Changed(ctx, l.repository.ID, from, l.commit.id, sinceFork, maxFiles)
	if err != nil {
		slog.InfoContext(ctx, "two commits could not be compared; everything counts as changed", "repository", l.repository.ID, "error", err)
		return
	}
	l.files, l.whole = files, whole
}

// base is the commit of the branch, or the one that the payload names where the mirror does not have the branch.
func (l *look) base(ctx context.Context, branch, named string) string {
	at, err := l.service.Git.Resolve(ctx, l.repository.ID, "refs/heads/"+branch)
	if err != nil {
		return named
	}
	return at.Commit.ID
}

// build is the build that the event asks for.
func (l *look) build(d *models.Delivery, app *models.App) *builds.Triggered {
	e := l.event
	t := &builds.Triggered{App: app, DeliveryID: first(d.RedeliveryOf, d.ID), Again: d.RedeliveryOf != "", By: e.sender,
		Commit: l.commit.id, CommitSubject: subject(l.commit.message), CommitAuthor: l.commit.author}
	if e.kind == eventPull {
		t.Trigger, t.Ref, t.RefKind, t.PullRequest = models.TriggerPullRequest, e.pull.ref, models.RefPullRequest, e.pull.PullRequest
		t.CommitSubject = first(t.CommitSubject, e.pull.Title)
		return t
	}
	t.Trigger, t.Ref, t.RefKind = models.TriggerPush, e.push.name, string(e.push.kind)
	if !git.ValidCommit(t.Commit) {
		t.Commit = e.push.after
	}
	return t
}

// subject is the first line of a commit's message.
func subject(message string) string {
	for i, r := range message {
		if r == '\n' {
			return oneLine(message[:i], 200)
		}
	}
	return oneLine(message, 200)
}
