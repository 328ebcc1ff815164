package views_test

import (
	"slices"
	"strings"
	"time"

	"github.com/a-h/templ"
	"slipway.dev/models"
	"slipway.dev/static"
	"slipway.dev/views/apps"
	"slipway.dev/views/builds"
	"slipway.dev/views/components"
	"slipway.dev/views/home"
	"slipway.dev/views/layout"
	"slipway.dev/views/problem"
	"slipway.dev/views/repositories"
	"slipway.dev/views/search"
)

// sample is a page with data like that of a real team.
type sample struct {
	name string
	page templ.Component
}

var (
	now      = time.Now().UTC()
	payments = &models.Team{ID: "t1", Slug: "payments", Name: "Payments"}
	shop     = &models.Repository{
		ID: "r1", TeamID: "t1", Name: "checkout", CloneURL: "https://git.acme.example/payments/checkout.git", DefaultBranch: "main",
		CredentialKind: models.CredentialToken, CredentialUser: "slipway", State: models.RepositoryReady, FetchedAt: before(3 * time.Minute), Team: payments,
	}
	checkout = models.App{
		ID: "a1", TeamID: "t1", RepositoryID: "r1", Name: "checkout-api", Dockerfile: "Dockerfile", Context: ".", Port: 8080,
		Health: models.HealthHTTP, HealthPath: "/healthz", BuildTimeout: 1800, BuildCount: 143, DeploymentCount: 31, Team: payments, Repository: shop,
	}
	dev     = models.Environment{ID: "e1", TeamID: "t1", Name: "development"}
	staging = models.Environment{ID: "e2", TeamID: "t1", Name: "staging"}
	prod    = models.Environment{ID: "e3", TeamID: "t1", Name: "production"}
)

func before(d time.Duration) *time.Time {
	t := now.Add(-d)
	return &t
}

func testPage(title string) layout.Page {
	return layout.Page{Title: title, User: "Mira Kovač", Admin: true, Path: "/", BaseURL: "https://slipway.acme.example", Assets: assets}
}

var assets = func() *static.Assets {
	a, err := static.Load()
	if err != nil {
		panic(err)
	}
	return a
}()

// aBuild makes a build with steps of the seconds given; the last step has the build's state.
func aBuild(number int64, state models.BuildState, subject, ref, who string, age time.Duration, seconds ...float64) models.Build {
	names := []string{
		"Check out", "[builder 1/5] FROM docker.io/library/golang:1.26", "[builder 2/5] WORKDIR /src", "[builder 3/5] COPY go.mod go.sum ./",
		"[builder 4/5] RUN go mod download", "[builder 5/5] RUN CGO_ENABLED=0 go build -trimpath -o /out/api ./cmd/api", "[stage-1 2/2] COPY --from=builder /out/api /api", "Push to the registry",
	}
	b := models.Build{
		ID: "b" + ref + subject[:3], AppID: "a1", Number: number, State: state, Ref: ref, RefKind: "branch", Commit: "9f3c2ab41be0d4c07e511aa0b81d9aa5d20c9e03",
		CommitSubject: subject, CreatedByName: who, QueuedAt: now.Add(-age), App: &checkout,
	}
	at := now.Add(-age)
	if state != models.BuildQueued && state != models.BuildWaiting {
		began := at
		b.StartedAt = &began
	}
	for i, s := range seconds {
		started := at
		at = at.Add(time.Duration(s * float64(time.Second)))
		finished := at
		step := models.BuildStep{ID: names[i], Seq: i, Name: names[i], State: models.StepSucceeded, StartedAt: &started, FinishedAt: &finished, DurationMS: int64(s * 1000)}
		if s < .2 {
			step.State, step.Cached = models.StepCached, true
		}
		if i == len(seconds)-1 && state != models.BuildSucceeded {
			step.State = models.StepState(state)
			if state == models.BuildRunning {
				step.FinishedAt = nil
			}
		}
		b.Steps = append(b.Steps, step)
	}
	if state == models.BuildRunning {
		for _, name := range names[len(seconds):] {
			b.Steps = append(b.Steps, models.BuildStep{ID: name, Seq: len(b.Steps), Name: name, State: models.StepPending})
		}
	}
	if state.Ended() {
		b.FinishedAt = &at
	}
	return b
}

func sampleBuilds() []models.Build {
	good := aBuild(142, models.BuildSucceeded, "Add SEPA mandate lookup", "main", "Mira Kovač", 6*time.Minute, 2, .1, .1, .1, 12, 71, 1.2, 14)
	good.ImageRepository, good.ImageDigest, good.ImageSize = "localhost:8080/payments/checkout-api", "sha256:8d41c0be77f2a9118d41c0be77f2a9118d41c0be77f2a9118d41c0be77f2a911", 48_213_004
	good.ImageTags = []string{"build-142", "main", "9f3c2ab"}
	bad := aBuild(140, models.BuildFailed, "Split cart totals into their own service", "feat/cart-totals", "Jonas Weiß", 3*time.Hour, 2, .1, .1, .1, 11, 26)
	bad.Error = &models.BuildError{
		Class: "user", Message: "RUN CGO_ENABLED=0 go build failed with exit code 1.", Dockerfile: "Dockerfile", Line: 9, EndLine: 10, ExitCode: 1,
		Source: []string{`RUN CGO_ENABLED=0 go build -trimpath \`, `      -o /out/api ./cmd/api`},
		Output: []string{"go: downloading github.com/labstack/echo/v4 v4.16.0", "\x1b[31m# acme/checkout/cart\x1b[0m", "cart/totals.go:41:9: undefined: money.Round", "cart/totals.go:58:2: too many return values", "\thave (money.Amount, error)", "\twant (money.Amount)"},
	}
	canceled := aBuild(138, models.BuildCanceled, "WIP: try a distroless base", "exp/distroless", "Ana Lima", 30*time.Hour, 2, .1, .1, .1, 13)
	pushed := aBuild(145, models.BuildQueued, "Say who pushed", "main", "mira", 10*time.Second)
	pushed.Trigger = models.TriggerPush
	return []models.Build{
		aBuild(143, models.BuildRunning, "Retry idempotency keys on 409", "main", "Mira Kovač", 54*time.Second, 2, .1, .1, .1, 6.8, 45),
		good,
		aBuild(141, models.BuildSucceeded, "Bump otel to 1.38", "main", "", time.Hour, 1, 3, .1, .1, 9, 76, 1, 14),
		bad,
		aBuild(139, models.BuildSucceeded, "Fix rounding on multi-currency refunds", "main", "Jonas Weiß", 26*time.Hour, 2, .1, .1, .1, 9, 80, 1, 15),
		canceled,
		aBuild(137, models.BuildQueued, "Queue me", "main", "Ana Lima", 20*time.Second),
		pushed, ofAFork(),
	}
}

func deployment(id string, b models.Build, e models.Environment, state models.DeploymentState, age time.Duration) *models.Deployment {
	return &models.Deployment{
		ID: id, Number: 31, AppID: "a1", EnvironmentID: e.ID, Environment: &e, State: state, Active: state == models.DeploymentSucceeded, ImageDigest: b.ImageDigest, Build: &b,
		URL: "http://checkout-api-" + e.Name + ".localhost:8080", CreatedByName: b.CreatedByName, CreatedAt: now.Add(-age), StartedAt: before(age), FinishedAt: before(age - 4*time.Second),
	}
}

func stages() []apps.Stage {
	list := sampleBuilds()
	trying := deployment("d4", list[2], staging, models.DeploymentRunning, 5*time.Second)
	trying.FinishedAt = nil
	return []apps.Stage{
		{Environment: dev, Serving: deployment("d1", list[1], dev, models.DeploymentSucceeded, 4*time.Minute), State: "healthy"},
		{Environment: staging, Serving: deployment("d2", list[4], staging, models.DeploymentSucceeded, time.Hour), Latest: trying, State: "deploying", Behind: "3 builds behind", Promote: "/apps/a1/deploy?environment=e2&build=b1"},
		{Environment: prod, Serving: deployment("d3", list[4], prod, models.DeploymentSucceeded, 28*time.Hour), State: "healthy", Behind: "up to date"},
	}
}

// formerly is a deployment that one can roll back to.
func formerly() models.Deployment {
	d := deployment("d0", sampleBuilds()[4], dev, models.DeploymentSucceeded, 48*time.Hour)
	d.Active = false
	return *d
}

func header() apps.Header {
	return apps.Header{App: checkout, CanBuild: true, CanEdit: true, CanDelete: true, Build: newView()}
}

func newView() builds.NewView {
	return builds.NewView{App: checkout, Branch: "main", Refs: refs(), Curl: testPage("").Curl("POST", "/api/v1/apps/a1/builds", `{"ref": "main"}`)}
}

func refs() []models.Ref {
	return []models.Ref{
		{Kind: models.RefBranch, Name: "main", Commit: "9f3c2ab41be0d4", Subject: "Add SEPA mandate lookup", Author: "Mira Kovač", CommittedAt: now.Add(-6 * time.Minute)},
		{Kind: models.RefBranch, Name: "feat/cart-totals", Commit: "03aa7fe41be0d4", Subject: "Split cart totals into their own service", Author: "Jonas Weiß", CommittedAt: now.Add(-3 * time.Hour)},
		{Kind: models.RefTag, Name: "v2.4.0", Commit: "c07e51141be0d4", Subject: "Fix rounding on multi-currency refunds", Author: "Jonas Weiß", CommittedAt: now.Add(-26 * time.Hour)},
	}
}

func logLines() []components.Line {
	return components.Lines(1, []string{
		"\x1b[2m#7 [builder 2/5] WORKDIR /src\x1b[0m", "\x1b[32m#7 CACHED\x1b[0m", "\x1b[1m#8 [builder 3/5]\x1b[0m COPY go.mod go.sum ./", "\x1b[32m#8 DONE 0.1s\x1b[0m",
		"\x1b[1m#9 [builder 4/5]\x1b[0m RUN go mod download", "\x1b[2m#9 1.204\x1b[0m go: downloading github.com/labstack/echo/v4 v4.16.0", "\x1b[2m#9 2.377\x1b[0m go: downloading golang.org/x/crypto v0.58.0",
		"\x1b[32m#9 DONE 6.8s\x1b[0m", "\x1b[1m#11 [builder 5/5]\x1b[0m RUN CGO_ENABLED=0 go build -trimpath -o /out/api ./cmd/api", "\x1b[2m#11 12.08\x1b[0m \x1b[33mwarning:\x1b[0m package internal/legacy is deprecated",
		"\x1b[2m#11 21.77\x1b[0m \x1b[31mvet: ./handlers/refund.go:88: error: result of fmt.Errorf call not used\x1b[0m", "\x1b[2m#11 23.02\x1b[0m linking \x1b[36m/out/api\x1b[0m",
	})
}

// parallel gives the build two stages that ran side by side, cached steps, and lines.
func parallel(b models.Build) models.Build {
	begin := *b.StartedAt
	at := func(s float64) *time.Time { t := begin.Add(time.Duration(s * float64(time.Second))); return &t }
	b.Steps = nil
	add := func(id, name string, line int, from, to float64, state models.StepState, inputs ...string) {
		b.Steps = append(b.Steps, models.BuildStep{
			ID: id, Seq: len(b.Steps), Name: name, Line: line, State: state, Cached: state == models.StepCached,
			StartedAt: at(from), FinishedAt: at(to), DurationMS: int64((to - from) * 1000), Inputs: inputs,
		})
	}
	add("checkout", "Check out main at 9f3c2ab41be0", 0, 0, 1.8, models.StepSucceeded)
	add("s1", "[builder 1/6] FROM docker.io/library/golang:1.26", 1, 1.9, 2, models.StepCached)
	add("s2", "[builder 2/6] WORKDIR /src", 2, 2, 2, models.StepCached, "s1")
	add("s3", "[builder 3/6] COPY go.mod go.sum ./", 3, 2, 2, models.StepCached, "s2")
	add("s4", "[builder 4/6] RUN go mod download", 4, 2, 2, models.StepCached, "s3")
	add("s5", "[builder 5/6] COPY . .", 5, 2, 2.4, models.StepSucceeded, "s4")
	add("s6", "[builder 6/6] RUN CGO_ENABLED=0 go build -trimpath -o /out/api ./cmd/api", 6, 2.4, 24.1, models.StepSucceeded, "s5")
	add("t1", "[assets 2/3] COPY web/package.json web/package-lock.json ./", 9, 2, 2.3, models.StepSucceeded)
	add("t2", "[assets 3/3] RUN npm ci && npm run build", 10, 2.3, 16.9, models.StepSucceeded, "t1")
	add("s7", "[stage-2 2/3] COPY --from=builder /out/api /api", 14, 24.1, 24.5, models.StepSucceeded, "s6")
	add("s8", "[stage-2 3/3] COPY --from=assets /dist /www", 15, 24.5, 24.7, models.StepSucceeded, "t2", "s7")
	add("push", "Push the image", 0, 24.8, 29.6, models.StepSucceeded)
	end := begin.Add(29700 * time.Millisecond)
	b.FinishedAt = &end
	return b
}

// compared is what changed since the build before.
func compared(b, since models.Build) *models.BuildChanges {
	return &models.BuildChanges{
		Since: &since, Duration: models.Difference{Now: 29700, Before: 18200}, Size: models.Difference{Now: 48_213_004, Before: 47_100_000},
		Commits: []models.ChangeCommit{
			{ID: b.Commit, Subject: "Add SEPA mandate lookup", Author: "Mira Kovač", Time: now.Add(-7 * time.Minute)},
			{ID: "71be0d4aa1", Subject: "Bump otel to 1.38", Author: "renovate", Time: now.Add(-time.Hour)},
		},
		Steps: []models.StepChange{{ID: "s6", Name: b.Steps[6].Name, Difference: models.Difference{Now: 21700, Before: 9300}}, {Name: "[assets 3/3] RUN yarn build", Difference: models.Difference{Before: 900}}},
		Miss: &models.CacheMiss{StepID: "s5", StepName: "[builder 5/6] COPY . .", Line: 5, Cause: models.MissFiles, Files: []string{"cmd/api/main.go"},
			Reason: "COPY in line 5 copies what changed since build #141: cmd/api/main.go, internal/sepa/mandate.go and 3 files more."},
	}
}

// dockerfileSample is the Dockerfile of a build.
func dockerfileSample(b models.Build) sample {
	p := testPage("Dockerfile")
	p.Nav = "builds"
	b.Dockerfile = "Dockerfile"
	b.Error = &models.BuildError{Line: 6, EndLine: 6}
	return sample{"build-dockerfile", builds.Dockerfile(p, builds.DockerfileView{Build: b, File: models.BuildDockerfile{Path: "Dockerfile", Text: strings.Join([]string{
		"FROM golang:1.26 AS builder", "WORKDIR /src", "COPY go.mod go.sum ./", "RUN go mod download", "COPY . .",
		"RUN CGO_ENABLED=0 go build -trimpath -o /out/api ./cmd/api", "", "FROM node:24 AS assets", "COPY web/package.json web/package-lock.json ./",
		"RUN npm ci && npm run build", "", "FROM scratch", "", "COPY --from=builder /out/api /api", "COPY --from=assets /dist /www", `CMD ["/api"]`,
	}, "\n"), Findings: []models.Finding{{Line: 8, Rule: "StageNameCasing", Message: "Stage name 'assets' should be lowercase", URL: "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/"}}}})}
}

// searched is a long log in which somebody looks for something.
func searched(name string, b models.Build) sample {
	p := testPage(builds.Subject(b))
	p.State, p.Nav, p.Meta = string(b.State), "builds", builds.Meta(b)
	lines := components.Lines(79_997, []string{"compile pkg79997", "compile pkg79998", "compile pkg79999", "\x1b[33mwarning:\x1b[0m package internal/legacy is deprecated", "compile pkg80001"})
	lines[3].Found = true
	return sample{name, builds.Page(p, builds.PageView{Build: b, CanBuild: true, Log: components.LogView{
		ID: "log", Title: "Log", Lines: lines, Raw: "/builds/b/log.txt",
		Window: components.LogWindow{Page: "/builds/b", Lines: "/builds/b/log/lines", Step: "s6", Name: b.Steps[6].Name, Total: 100_000, Earlier: true, Later: true},
		Search: &components.LogSearch{Text: "deprecated", Total: 214, Index: 2, Prev: 60_001, Next: 80_500, Hits: []components.LogHit{{Number: 80_000, Lines: lines[2:]}, {Number: 80_500, Lines: components.Lines(80_499, []string{"compile pkg", "package internal/older is deprecated"})}}},
	}})}
}

func buildSample(name string, b models.Build, reason models.Wait) sample {
	var changes *models.BuildChanges
	if b.State == models.BuildSucceeded {
		b = parallel(b)
		changes = compared(b, sampleBuilds()[2])
	}
	p := testPage(builds.Subject(b))
	p.State, p.Nav, p.Meta = string(b.State), "builds", builds.Meta(b)
	p.Crumbs = []layout.Link{{Label: "Apps", Href: "/apps"}, {Label: "checkout-api", Href: "/apps/a1"}, {Label: "Builds", Href: "/apps/a1/builds"}}
	return sample{name, builds.Page(p, builds.PageView{
		Build: b, Reason: reason, CanBuild: true, Changes: changes, Told: sampleTold(b),
		Log:       components.LogView{ID: "log", Title: "Log", Lines: logLines(), Raw: "/builds/b/log.txt", Running: !b.State.Ended(), Waiting: "The log appears as soon as the build starts."},
		LogCurl:   p.Curl("GET", "/api/v1/builds/b/logs", "").For("Read the log"),
		BuildCurl: p.Curl("POST", "/api/v1/apps/a1/builds", `{"ref": "main"}`).For("Build"),
	})}
}

// ofAFork is a build that waits for somebody to approve it.
func ofAFork() models.Build {
	b := aBuild(144, models.BuildWaiting, "Round refunds up", "refs/pull/7/head", "stranger", 3*time.Minute)
	b.RefKind, b.Trigger, b.Untrusted = models.RefPullRequest, models.TriggerPullRequest, true
	b.PullRequest = models.PullRequest{Number: 7, Title: "Round refunds up", URL: "https://github.com/acme/checkout/pull/7", Source: "refunds", Fork: true}
	return b
}

func sampleTold(b models.Build) *builds.Told {
	t := &builds.Told{Forge: "GitHub", Word: "success", ForgeReport: models.ForgeReport{Sent: "success"}}
	switch b.State {
	case models.BuildFailed:
		t.Error = "GitHub does not accept the credential: it is wrong, was revoked or has expired. Give another one in the connection's settings."
	case models.BuildQueued:
		return nil
	}
	return t
}

func appPage(tab string) layout.Page {
	p := testPage("checkout-api")
	p.Nav, p.Meta, p.Tabs = "apps", apps.Meta(checkout), apps.Tabs(header(), tab)
	p.Crumbs = []layout.Link{{Label: "Apps", Href: "/apps"}}
	return p
}

func repositorySample(name string, r models.Repository, proposals []repositories.Proposal, list []models.App) sample {
	p := testPage("checkout")
	p.State, p.Nav, p.Meta = string(r.State), "repositories", repositories.Meta(r)
	p.Crumbs = []layout.Link{{Label: "Repositories", Href: "/repositories"}}
	r.Refs = refs()
	if r.State == models.RepositoryFailed {
		r.Refs = nil
	}
	return sample{name, repositories.Page(p, repositories.PageView{Repository: r, Apps: list, Proposals: proposals, CanEdit: true, CanBuild: true, AppCurl: p.Curl("POST", "/api/v1/apps", `{"repository_id": "r1", "name": "checkout-api", "dockerfile": "Dockerfile"}`)})}
}

func images(b models.Build) []models.Image {
	return []models.Image{
		{Digest: b.ImageDigest, Size: b.ImageSize, PushedAt: now.Add(-4 * time.Minute), Build: &b, Tags: []models.ImageTag{{Name: "build-142"}, {Name: "main"}}, Running: []models.ImageDeployment{{DeploymentID: "d1", EnvironmentName: "development"}}},
		{Digest: "sha256:11ba7e9f4403cd11ba7e9f4403cd11ba7e9f4403cd11ba7e9f4403cd11ba7e9f", Size: 51_700_000, PushedAt: now.Add(-49 * time.Hour), PushedByName: "ci", Tags: []models.ImageTag{{Name: "nightly"}}},
	}
}

// sampleActions is an app that GitHub Actions builds; its last run was refused, and somebody changed the file.
func sampleActions() apps.ActionsView {
	h := header()
	h.App.Builder = models.BuilderActions
	run := func(id string, number int64, granted bool, reason string, ago time.Duration) models.Exchange {
		return models.Exchange{ID: id, Granted: granted, Reason: reason, Repository: "acme/shop", GitHubID: 42, Ref: "refs/heads/main", Event: "push", Actor: "mira", RunID: number, CreatedAt: time.Now().Add(-ago)}
	}
	return apps.ActionsView{
		Header: h, Saved: true, Connected: true, Image: "localhost:8080/payments/checkout-api", File: "name: \"Build checkout-api\"\non:\n  workflow_dispatch:\n",
		Workflow: models.Workflow{Repository: "acme/shop", GitHubID: 42, Path: ".github/workflows/slipway-checkout-api.yml", Refs: []string{"main", "release/*"}, Destination: models.DestinationECR,
			Image: "123456789012.dkr.ecr.eu-central-1.amazonaws.com/checkout", Cache: models.WorkflowCacheActions, OnPush: true, PullURL: "https://github.com/acme/shop/pull/7"},
		Logins: []apps.Login{{Destination: models.DestinationECR, Title: "For Amazon ECR", Fields: []components.Field{{Name: "role", Label: "IAM role", Value: "arn:aws:iam::123456789012:role/slipway", Mono: true, Optional: true}, {Name: "region", Label: "Region", Value: "eu-central-1", Mono: true, Optional: true}}}},
		Exchanges: []models.Exchange{
			run("x3", 7341, false, "The run is of refs/heads/feature/prices-with-a-very-long-name-that-does-not-end. Trusted are only: main, release/*.", 5*time.Minute),
			run("x2", 7340, true, "", time.Hour), run("x1", 7339, true, "", 26*time.Hour),
		},
		Compared: &apps.Compared{There: true, Diff: "--- in the repository\n+++ by Slipway\n@@ -1,3 +1,3 @@\n name: \"Build checkout-api\"\n-runs-on: self-hosted\n+runs-on: ubuntu-latest\n"},
		Curl:     appPage("").Curl("PUT", "/api/v1/apps/a1/workflow", `{"repository": "acme/shop", "on_push": true}`),
		FileCurl: appPage("").Curl("POST", "/api/v1/apps/a1/workflow/pull-request", "").For("Open the pull request"),
	}
}

func sampleSchedules() []apps.Schedule {
	berlin := time.FixedZone("CET", 3600)
	first := time.Date(2026, 11, 26, 2, 0, 0, 0, berlin)
	at := now.Add(-9 * time.Hour)
	return []apps.Schedule{
		{Schedule: models.Schedule{ID: "s1", AppID: "a1", Cron: "0 2 * * 1-5", TimeZone: "Europe/Berlin", Enabled: true, OnlyNew: true, NextAt: &first, LastAt: &at, LastOutcome: models.ScheduleQueued, LastBuildID: "b1"},
			Coming: []time.Time{first, first.AddDate(0, 0, 1), first.AddDate(0, 0, 4)}},
		{Schedule: models.Schedule{ID: "s2", AppID: "a1", Cron: "0 4 * * SUN", TimeZone: "Europe/Berlin", Ref: "release/2.4", NoCache: true, Enabled: true, NextAt: &first, LastAt: &at, LastOutcome: models.ScheduleFailed,
			Error: "The repository has no branch, tag or commit release/2.4."}, Coming: []time.Time{first.AddDate(0, 0, 3), first.AddDate(0, 0, 10), first.AddDate(0, 0, 17)}},
		{Schedule: models.Schedule{ID: "s3", AppID: "a1", Cron: "@hourly", TimeZone: "UTC"}},
	}
}

// samples are the pages of this folder, filled and empty.
func samples() []sample {
	list := sampleBuilds()
	items := []apps.ListItem{{App: checkout, Last: &list[0], Stages: stages()}}
	for i, name := range []string{"invoice-worker", "storefront", "ledger"} {
		a := checkout
		a.ID, a.Name = name, name
		items = append(items, apps.ListItem{App: a, Last: &list[1+i], Stages: stages()[:2]})
	}
	items[3].Last, items[3].Stages = nil, []apps.Stage{{Environment: dev}}
	filters := []components.FilterLink{{Label: "All", Href: "/builds", Current: true}, {Label: "Running", Href: "/builds?state=running", Count: "1"}, {Label: "Failed", Href: "/builds?state=failed"}}
	failed := *shop
	failed.ID = "r2"
	failed.State, failed.Error = models.RepositoryFailed, "git.acme.example did not accept the token. It may be wrong, expired or not allowed to read this repository. Git says: Authentication failed."
	way := []home.Step{
		{Title: "Create a team", Text: "Repositories and environments belong to a team.", Href: "/teams/new", Verb: "Create team", Done: true},
		{Title: "Register a repository", Text: "Slipway finds its Dockerfiles and offers an app for each.", Href: "/repositories/new", Verb: "Register"},
		{Title: "Build", Text: "Choose a branch and watch it become an image.", Href: "/apps", Verb: "Build"},
		{Title: "Deploy and open", Text: "Choose an environment; the app gets an address of its own.", Href: "/environments", Verb: "Deploy"},
	}
	homePage := testPage("Home")
	homePage.Nav = "home"
	buildsPage := testPage("Builds")
	buildsPage.Nav = "builds"
	form := components.Form{Values: map[string][]string{"clone_url": {"git.acme.example/checkout"}}, Err: models.InvalidField("clone_url", "This is not a clone URL. It begins with https://, ssh:// or git@.").(*models.Error)}
	return slices.Concat(peopleSamples(), imageSamples(), fileSamples(), cleanUpSamples(), runningSamples(), variableSamples(), buildingSamples(), registrySamples(), copySamples(), previewSamples(), visitorSamples(), trustSamples(), []sample{
		{"home", home.Page(homePage, home.View{
			Waiting: []home.Wait{{State: "failed", Name: "checkout-api #140", Text: "failed: RUN go build ended with exit code 1.", Href: "/builds/b", Verb: "See why"}},
			Apps:    items, Builds: list[:6],
		})},
		{"home-empty", home.Page(homePage, home.View{Way: way, Curl: homePage.Curl("GET", "/api/v1/me", "")})},
		{"apps", apps.List(testPage("Apps"), apps.ListView{Items: items, CanMake: true})},
		{"apps-empty", apps.List(testPage("Apps"), apps.ListView{CanMake: true})},
		{"app", apps.Overview(appPage("overview"), apps.OverviewView{Header: header(), Stages: stages(), Builds: list[:6], Registry: "localhost:8080/payments/checkout-api"})},
		{"app-empty", apps.Overview(appPage("overview"), apps.OverviewView{Header: header(), Stages: []apps.Stage{{Environment: dev}, {Environment: staging}}, Registry: "localhost:8080/payments/checkout-api"})},
		{"app-builds", apps.Builds(appPage("builds"), apps.BuildsView{Header: header(), List: builds.ListView{Builds: list, App: &checkout, Filters: filters, Next: "/apps/a1/builds?cursor=x"}})},
		{"app-images", apps.Images(appPage("images"), apps.ImagesView{Header: header(), Registry: "localhost:8080/payments/checkout-api", Images: images(list[1]), Bad: apps.Bad{images(list[1])[0].Digest: {Reason: "It loses orders"}}})},
		{"app-deployments", apps.Deployments(appPage("deployments"), apps.DeploymentsView{Header: header(), Deployments: []models.Deployment{*stages()[1].Latest, *stages()[0].Serving, *stages()[2].Serving, formerly()}})},
		{"app-schedules", apps.Schedules(appPage("schedules"), apps.SchedulesView{Header: header(), Schedules: sampleSchedules(), Curl: appPage("").Curl("POST", "/api/v1/apps/a1/schedules", `{"cron": "0 2 * * 1-5"}`)})},
		{"app-schedules-empty", apps.Schedules(appPage("schedules"), apps.SchedulesView{Header: header(), Form: components.Form{Values: map[string][]string{"cron": {"* * * * *"}}, Err: models.InvalidField("cron", "Leave at least 5 minutes between two turns, such as */5 * * * *.").(*models.Error)}})},
		{"schedule", apps.EditSchedule(testPage("Schedule of checkout-api"), apps.ScheduleView{Header: header(), Schedule: sampleSchedules()[0]})},
		{"app-actions", apps.Actions(appPage("actions"), sampleActions())},
		{"app-actions-empty", apps.Actions(appPage("actions"), apps.ActionsView{Header: header(), Workflow: models.Workflow{Repository: "acme/shop", Path: ".github/workflows/slipway-checkout-api.yml", Destination: models.DestinationPortal, Cache: models.WorkflowCacheActions, OnPush: true},
			Logins: sampleActions().Logins, Form: components.Form{Err: models.InvalidField("repository_id", "Enter GitHub's number of the repository.").(*models.Error), Values: map[string][]string{"repository": {"acme/shop"}}}})},
		{"app-settings", apps.Settings(appPage("settings"), apps.SettingsView{Header: header()})},
		{"builds", builds.List(buildsPage, builds.ListView{Builds: list, ShowApp: true, Filters: filters, Next: "/builds?cursor=x"})},
		{"builds-empty", builds.List(buildsPage, builds.ListView{Filters: filters})},
		buildSample("build-waiting", ofAFork(), models.Wait{{Text: "Pull request #7 comes from a fork, so nothing of it runs before somebody of the team has looked at commit 9f3c2ab41be0 and approved it. The approval is for this commit alone."}}),
		buildSample("build-running", list[0], nil),
		buildSample("build-succeeded", list[1], nil),
		dockerfileSample(parallel(list[1])),
		searched("build-log-search", parallel(list[1])),
		buildSample("build-failed", list[3], nil),
		buildSample("build-queued", list[6], models.Wait{{Text: "1 build goes before this one: "}, {Text: "checkout-api #141", BuildID: "b"}, {Text: "; workers take them in a moment."}}),
		{"build-new", builds.New(testPage("Build checkout-api"), newView())},
		{"repositories", repositories.List(testPage("Repositories"), repositories.ListView{Repositories: []models.Repository{*shop, failed}, Apps: map[string]int{"r1": 2}, CanMake: true})},
		{"repositories-empty", repositories.List(testPage("Repositories"), repositories.ListView{CanMake: true})},
		{"repository-new", repositories.New(testPage("Register a repository"), repositories.NewView{Teams: []models.Team{*payments}, Form: form})},
		repositorySample("repository", *shop, []repositories.Proposal{
			{Dockerfile: models.DetectedDockerfile{Path: "Dockerfile", Name: "checkout-api", Context: ".", Port: 8080}},
			{Dockerfile: models.DetectedDockerfile{Path: "worker/Dockerfile", Name: "checkout-worker", Context: "worker", Port: 0}},
		}, nil),
		repositorySample("repository-failed", failed, nil, nil),
		repositorySample("repository-apps", *shop, nil, []models.App{checkout}),
		{"search", search.Page(testPage("Search"), search.View{Term: "che", Groups: []search.Group{{Name: "Apps", Hits: []search.Hit{{Icon: "box", Name: "checkout-api", Sub: "Payments", Href: "/apps/a1"}}}}})},
		{"problem", problem.Page(testPage("Not found"), problem.View{Status: 404, Title: "Not found", Message: "No such build. It may have been deleted, or you may not be a member of its team.", RequestID: "01HX", SignedIn: true})},
		{"problem-outside", problem.Page(layout.Page{Title: "Not found", Assets: assets}, problem.View{Status: 404, Title: "Not found", Message: "There is no such page.", RequestID: "01HX"})},
	})
}
