package deploy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/git"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/outbound"
)

// pipeline is a team with dev, staging and prod, and with what was deployed there; no target is asked.
type pipeline struct {
	*modelstest.World
	t       *testing.T
	db      *models.Database
	service *deploy.Service
	viewer  context.Context
	stages  []*models.Environment
	numbers int64
}

func newPipeline(t *testing.T, db *models.Database) *pipeline {
	t.Helper()
	guard := &outbound.Guard{Allow: gittest.Loopback}
	proxy := &outbound.Proxy{Guard: guard}
	if err := proxy.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	p := &pipeline{World: modelstest.Seed(t, db), t: t, db: db, service: &deploy.Service{DB: db, Git: &git.Service{Dir: t.TempDir(), Guard: guard, Proxy: proxy}}}
	p.viewer = modelstest.As(t, db, p.Viewer)
	p.stages = []*models.Environment{p.Environment, p.environment(p.Team, "staging", 1), p.environment(p.Team, "prod", 2)}
	return p
}

func (p *pipeline) create(rows ...any) {
	p.t.Helper()
	for _, row := range rows {
		if err := p.db.Create(row).Error; err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *pipeline) environment(team *models.Team, name string, position int) *models.Environment {
	p.t.Helper()
	now := p.db.NowFunc()
	e := &models.Environment{ID: models.NewID(), TeamID: team.ID, TargetID: p.Target.ID, Name: name, Position: position, CreatedAt: now, UpdatedAt: now}
	p.create(e)
	return e
}

func (p *pipeline) app(name string) *models.App {
	p.t.Helper()
	now := p.db.NowFunc()
	a := &models.App{ID: models.NewID(), TeamID: p.Team.ID, RepositoryID: p.Repository.ID, Name: name, Dockerfile: "Dockerfile", Context: ".",
		Builder: models.BuilderBuildKit, Health: models.HealthTCP, Triggers: models.DefaultTriggers(), BuildTimeout: 60, CreatedAt: now, UpdatedAt: now}
	p.create(a)
	return a
}

// build records a good build of the app at the commit.
func (p *pipeline) build(a *models.App, commit string) *models.Build {
	p.t.Helper()
	p.numbers++
	now := p.db.NowFunc()
	b := &models.Build{ID: models.NewID(), TeamID: a.TeamID, AppID: a.ID, Number: 100 + p.numbers, State: models.BuildSucceeded, Trigger: models.TriggerManual, Ref: "main", RefKind: "branch", Commit: commit,
		Dockerfile: "Dockerfile", Context: ".", TimeoutSeconds: 60, QueuedAt: now, CreatedAt: now, ImageDigest: fmt.Sprintf("sha256:%064d", p.numbers), ImageSize: 1000 * p.numbers}
	p.create(b)
	return b
}

// serves records that the build serves in the environment, instead of what did before.
func (p *pipeline) serves(e *models.Environment, a *models.App, b *models.Build, change ...func(*models.Deployment)) *models.Deployment {
	p.t.Helper()
	var before models.Deployment
	if err := p.db.Where("environment_id = ? AND app_id = ? AND active", e.ID, a.ID).Limit(1).Find(&before).Error; err != nil {
		p.t.Fatal(err)
	}
	d := p.attempt(e, a, b, models.DeploymentSucceeded, func(d *models.Deployment) {
		if before.ID != "" {
			d.PreviousID = &before.ID
			if err := p.db.Model(&before).Update("active", false).Error; err != nil {
				p.t.Fatal(err)
			}
		}
		d.Active = true
		for _, c := range change {
			c(d)
		}
	})
	p.create(&models.Instance{ID: models.NewID(), DeploymentID: d.ID, RuntimeID: d.ID, Name: "i", State: models.InstanceHealthy, UpdatedAt: d.CreatedAt, CreatedAt: d.CreatedAt})
	return d
}

func (p *pipeline) attempt(e *models.Environment, a *models.App, b *models.Build, state models.DeploymentState, change func(*models.Deployment)) *models.Deployment {
	p.t.Helper()
	p.numbers++
	now := p.db.NowFunc()
	d := &models.Deployment{ID: models.NewID(), TeamID: a.TeamID, AppID: a.ID, EnvironmentID: e.ID, Number: p.numbers, State: state, ImageRepository: "r.test/payments/" + a.Name, ImageDigest: b.ImageDigest,
		BuildID: &b.ID, Action: models.ActionDeploy, CreatedByName: "Mira", CreatedAt: now, StartedAt: &now, Config: models.DeploymentConfig{Port: 8080, Health: models.HealthTCP, Variables: map[string]string{}, Secrets: map[string]string{}}}
	if state.Ended() {
		d.FinishedAt = &now
	}
	if change != nil {
		change(d)
	}
	p.create(d)
	return d
}

func (p *pipeline) board(f deploy.BoardFilter) *deploy.Board {
	p.t.Helper()
	b, err := p.service.Board(p.viewer, f)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

func names(b *deploy.Board) string {
	var list []string
	for _, a := range b.Apps {
		list = append(list, a.Name)
	}
	return strings.Join(list, " ")
}

// history makes a repository with a commit for each subject and fetches it as the pipeline's.
func (p *pipeline) history(subjects ...string) (repo *gittest.Repo, commits []string) {
	p.t.Helper()
	repo = gittest.New(p.t).Repository(p.t, "acme/shop.git", gittest.Files{"a": "0"})
	for i, s := range subjects {
		commits = append(commits, repo.Commit(p.t, "main", s, gittest.Files{"a": fmt.Sprint(i + 1)}))
	}
	p.fetch(repo)
	return repo, commits
}

func (p *pipeline) fetch(repo *gittest.Repo) {
	p.t.Helper()
	if _, err := p.service.Git.Fetch(p.t.Context(), p.Repository.ID, git.Remote{URL: repo.URL}); err != nil {
		p.t.Fatal(err)
	}
}

func TestTheBoardTellsHowEachPlaceDiffersFromTheOneToItsLeft(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPipeline(t, db)
		repo, commits := p.history("One", "Two", "Three")
		dev, staging, prod := p.stages[0], p.stages[1], p.stages[2]
		old, fresh := p.build(p.App, commits[0]), p.build(p.App, commits[2])
		p.serves(dev, p.App, fresh, func(d *models.Deployment) { d.Config.Variables = map[string]string{"FEATURE": "1", "URL": "a"} })
		p.serves(staging, p.App, old, func(d *models.Deployment) {
			d.Config.Variables = map[string]string{"URL": "b"}
			d.Config.Scale.Replicas = 3
		})
		running := p.attempt(prod, p.App, old, models.DeploymentRunning, nil)
		p.create(&models.DeploymentPhase{DeploymentID: running.ID, Seq: 1, Name: "pull", State: models.StepSucceeded}, &models.DeploymentPhase{DeploymentID: running.ID, Seq: 2, Name: "health", State: models.StepRunning},
			&models.AutoDeploy{EnvironmentID: staging.ID, AppID: p.App.ID, Branch: "main", SeenAt: db.NowFunc(), HeldAt: &running.CreatedAt, HeldWhy: "went back", UpdatedAt: db.NowFunc()})
		now := db.NowFunc()
		start, end := now.Add(-time.Hour), now.Add(time.Hour)
		prod.Protection.Freezes = []models.Freeze{{Name: "Weekend", Start: &start, End: &end}}
		if err := db.Save(prod).Error; err != nil {
			t.Fatal(err)
		}

		b := p.board(deploy.BoardFilter{TeamID: p.Team.ID})
		if got := b.Stages(p.Team.ID); len(got) != 3 || got[0].Name != "dev" || got[2].Name != "prod" {
			t.Fatalf("the environments are %v", got)
		}
		if f, frozen := b.Frozen(prod.ID); !frozen || f.Name != "Weekend" {
			t.Errorf("prod is frozen: %v %v", f, frozen)
		}
		first, second, third := b.Cell(dev.ID, p.App.ID), b.Cell(staging.ID, p.App.ID), b.Cell(prod.ID, p.App.ID)
		if first.Step != nil || deploy.HealthOf(first.Active) != (deploy.Health{State: models.InstanceHealthy, Ready: 1, Wanted: 1}) {
			t.Errorf("dev is %+v", first)
		}
		if s := second.Step; s == nil || !s.Counting() || !s.Promote || s.From.ID != dev.ID || !slices.Equal(s.Config, []string{"FEATURE"}) {
			t.Errorf("before they are counted staging is %+v", s)
		}
		if second.Held == nil || deploy.HealthOf(second.Active).Reason != "1 of 3 instances are ready." {
			t.Errorf("staging is %+v, %+v", second, deploy.HealthOf(second.Active))
		}
		if third.Phase != "health" || third.Latest.ID != running.ID || third.Step == nil || third.Step.Promote {
			t.Errorf("prod, to which the very image is on its way, is %+v", third)
		}

		if err := p.service.CountCommits(t.Context()); err != nil {
			t.Fatal(err)
		}
		var told int64
		if err := db.Model(&models.Event{}).Where("topic = ? AND kind = 'environment.commits'", "environment:"+staging.ID).Count(&told).Error; err != nil || told != 1 {
			t.Errorf("the pages were told %d times (%v)", told, err)
		}
		if s := p.board(deploy.BoardFilter{}).Cell(staging.ID, p.App.ID).Step; !s.Counted || s.Ahead != 2 || s.Behind != 0 || !s.Promote {
			t.Errorf("counted, staging is %+v", s)
		}
		p.serves(dev, p.App, old) // rolled back by hand
		p.serves(staging, p.App, fresh)
		if err := p.service.CountCommits(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := p.board(deploy.BoardFilter{}).Cell(staging.ID, p.App.ID).Step; s.Ahead != 0 || s.Behind != 2 || s.Promote {
			t.Errorf("with an older one to the left staging is %+v", s)
		}
		p.serves(dev, p.App, p.build(p.App, strings.Repeat("e", 40)))
		refreshed := 0
		p.service.Refresh = func(context.Context, string) error { refreshed++; p.fetch(repo); return nil }
		for range 2 { // what failed is tried again later, not at once
			if err := p.service.CountCommits(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if s := p.board(deploy.BoardFilter{}).Cell(staging.ID, p.App.ID).Step; s.Counted || s.Counting() || s.Note == "" || refreshed != 1 {
			t.Errorf("of a commit that is not there staging is %+v, fetched %d times", s, refreshed)
		}
		if err := db.Model(&models.CommitRange{}).Where("note <> ''").Update("counted_at", now.Add(-2*time.Hour)).Error; err != nil {
			t.Fatal(err)
		}
		if err := p.service.CountCommits(t.Context()); err != nil || refreshed != 2 {
			t.Errorf("hours later it was fetched %d times (%v)", refreshed, err)
		}
		if _, err := p.service.Board(modelstest.As(t, db, p.Stranger), deploy.BoardFilter{TeamID: p.Team.ID}); !models.IsCode(err, models.NotFound) {
			t.Errorf("a stranger is told %v", err)
		}
		if b, err := p.service.Board(modelstest.As(t, db, p.Stranger), deploy.BoardFilter{}); err != nil || len(b.Apps) != 0 || len(b.Environments) != 0 {
			t.Errorf("a stranger sees %+v (%v)", b, err)
		}
	})
}

func TestTheBoardIsNarrowedAndPagedByTheDatabase(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPipeline(t, db)
		dev, staging := p.stages[0], p.stages[1]
		same, apart, only, sick := p.app("same"), p.app("apart"), p.app("only-dev"), p.app("sick_1")
		for _, a := range []*models.App{same, apart, only, sick} {
			b := p.build(a, strings.Repeat("a", 40))
			d := p.serves(dev, a, b)
			if a == sick {
				if err := db.Model(&models.Instance{}).Where("deployment_id = ?", d.ID).Updates(map[string]any{"state": models.InstanceFailing, "message": "no database"}).Error; err != nil {
					t.Fatal(err)
				}
			}
			switch a {
			case apart:
				p.serves(staging, a, p.build(a, strings.Repeat("b", 40)))
			case same, sick:
				p.serves(staging, a, b)
				p.serves(p.stages[2], a, b)
			}
		}
		lonely := &models.Team{ID: models.NewID(), Slug: "zoo", Name: "Zoo", CreatedAt: db.NowFunc()}
		p.create(lonely, &models.Member{TeamID: lonely.ID, UserID: p.Viewer.ID, Role: models.RoleViewer, CreatedAt: db.NowFunc()})
		p.viewer = modelstest.As(t, db, p.Viewer)
		p.environment(lonely, "live", 0)
		for _, c := range []struct {
			filter deploy.BoardFilter
			want   string
		}{
			{deploy.BoardFilter{}, "apart checkout only-dev same sick_1"},
			{deploy.BoardFilter{Differs: true}, "apart only-dev"},
			{deploy.BoardFilter{Differs: true, TeamID: p.Team.ID}, "apart only-dev"},
			{deploy.BoardFilter{Unhealthy: true}, "sick_1"},
			{deploy.BoardFilter{Unhealthy: true, Differs: true}, ""},
			{deploy.BoardFilter{Text: "A"}, "apart same"},
			{deploy.BoardFilter{Text: "k_1"}, "sick_1"},
			{deploy.BoardFilter{Text: "%"}, ""},
			{deploy.BoardFilter{AppIDs: []string{same.ID}}, "same"},
			{deploy.BoardFilter{TeamID: lonely.ID}, ""},
		} {
			if got := names(p.board(c.filter)); strings.TrimSpace(got) != strings.TrimSpace(c.want) {
				t.Errorf("%+v finds %q, want %q", c.filter, got, c.want)
			}
		}
		if b := p.board(deploy.BoardFilter{}); len(b.Stages(lonely.ID)) != 1 {
			t.Error("the environments of a team without apps are missing")
		}
		if h := deploy.HealthOf(p.board(deploy.BoardFilter{Unhealthy: true}).Cell(dev.ID, sick.ID).Active); h.State != models.InstanceFailing || h.Reason != "no database" {
			t.Errorf("the sick one is %+v", h)
		}
		var seen []string
		for f := (deploy.BoardFilter{Page: models.Page{Limit: 2}}); ; {
			b := p.board(f)
			seen = append(seen, names(b))
			if f.Cursor = b.Next; f.Cursor == "" {
				break
			}
			if len(b.Stages(lonely.ID)) != 0 {
				t.Error("a team without apps stands on a page before the last")
			}
		}
		if got := strings.Join(seen, "|"); got != "apart checkout|only-dev same|sick_1" {
			t.Errorf("the pages are %s", got)
		}
		if _, err := p.service.Board(p.viewer, deploy.BoardFilter{Page: models.Page{Cursor: "x"}}); !models.IsCode(err, models.Invalid) {
			t.Errorf("a cursor that is none: %v", err)
		}
	})
}

func TestTheBoardTakesTheSameQueriesForAnyNumberOfApps(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPipeline(t, db)
		p.environment(p.Team, "canary", 3)
		for i := range 30 {
			a := p.app(fmt.Sprintf("app-%02d", i))
			b := p.build(a, strings.Repeat("a", 40))
			for _, e := range p.stages {
				p.serves(e, a, b)
			}
			p.attempt(p.stages[2], a, p.build(a, strings.Repeat("b", 40)), models.DeploymentRunning, nil)
		}
		p.serves(p.stages[0], p.App, p.build(p.App, strings.Repeat("c", 40)))
		var queries atomic.Int64
		count := func(*gorm.DB) { queries.Add(1) }
		for _, register := range []func(string, func(*gorm.DB)) error{db.Callback().Query().Register, db.Callback().Row().Register, db.Callback().Raw().Register} {
			if err := register("count", count); err != nil {
				t.Fatal(err)
			}
		}
		measure := func(f deploy.BoardFilter) int64 {
			queries.Store(0)
			p.board(f)
			return queries.Load()
		}
		few, many := measure(deploy.BoardFilter{Page: models.Page{Limit: 2}}), measure(deploy.BoardFilter{Page: models.Page{Limit: 30}})
		if few != many || many > 14 {
			t.Errorf("two apps take %d queries, thirty %d", few, many)
		}
		if n := measure(deploy.BoardFilter{Whole: true, Differs: true, Unhealthy: true}); n > 14 {
			t.Errorf("the narrowed board takes %d queries", n)
		}
		news := func(limit int) int64 {
			queries.Store(0)
			if _, err := p.service.News(p.viewer, deploy.NewsFilter{EnvironmentID: p.stages[0].ID, Page: models.Page{Limit: limit}}); err != nil {
				t.Fatal(err)
			}
			return queries.Load()
		}
		if one, thirty := news(2), news(30); one != thirty || thirty > 12 {
			t.Errorf("two changes take %d queries, thirty %d", one, thirty)
		}
	})
}
