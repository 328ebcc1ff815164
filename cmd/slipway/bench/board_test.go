package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
)

// BenchmarkBoardOnSQLite measures the board of 500 apps in three environments: each page of it for people, with and
// without its filters, and all its rows by the API.
func BenchmarkBoardOnSQLite(b *testing.B) {
	measureBoard(b, "sqlite:"+filepath.Join(b.TempDir(), "slipway.db"))
}

// BenchmarkBoardOnPostgreSQL does the same on PostgreSQL.
func BenchmarkBoardOnPostgreSQL(b *testing.B) { measureBoard(b, modelstest.PostgresURL(b)) }

func measureBoard(b *testing.B, database string) {
	p := slipwaytest.Launch(b, slipwaytest.Settings{"DATABASE_URL": database, "WORKERS": "false"})
	person := p.SignIn(b)
	fillBoard(b, database)
	cursors := []string{""}
	client := &slipwaytest.Client{URL: p.URL, Token: p.NewToken(b, person)}
	whole := func(each func(next string)) {
		for cursor := ""; ; {
			l := slipwaytest.Get[slipwaytest.List[json.RawMessage]](b, client, "/api/v1/board?limit=50&cursor="+cursor)
			if len(l.Items) != 50 {
				b.Fatalf("a page of the board has %d apps", len(l.Items))
			}
			if cursor = l.Next; cursor == "" {
				return
			}
			if each != nil {
				each(cursor)
			}
		}
	}
	whole(func(next string) { cursors = append(cursors, next) })

	var pages, narrowed, calls []time.Duration
	for range 30 {
		for _, cursor := range cursors {
			pages = append(pages, took(func() { home(b, person, p.URL+"/environments?cursor="+cursor) }))
		}
	}
	for range 60 {
		for _, filter := range []string{"differs=true", "unhealthy=true", "q=app-2", "team=team-3"} {
			narrowed = append(narrowed, took(func() { home(b, person, p.URL+"/environments?"+filter) }))
		}
	}
	for range 3 { // a token may make only so many calls at once
		client.Token = p.NewToken(b, person)
		for range 4 {
			before := time.Now()
			whole(func(string) { calls = append(calls, time.Since(before)); before = time.Now() })
		}
	}
	b.ReportMetric(quantile(pages, 0.5), "ms_page_p50")
	b.ReportMetric(quantile(pages, 0.99), "ms_page_p99(goal_50)")
	b.ReportMetric(quantile(narrowed, 0.99), "ms_narrowed_p99(goal_50)")
	b.ReportMetric(quantile(calls, 0.99), "ms_api_p99(goal_50)")
	b.ReportMetric(size(b, person, p.URL+"/environments"), "kB_page")
	only(b)
}

// size is how much a page is, as it is sent to those who can't unpack.
func size(b *testing.B, person *http.Client, address string) float64 {
	b.Helper()
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Accept-Encoding", "identity")
	response, err := person.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	n := 0
	for buffer := make([]byte, 1<<16); ; {
		read, err := response.Body.Read(buffer)
		if n += read; err != nil {
			return float64(n) / 1000
		}
	}
}

// fillBoard makes 500 apps of ten teams, which run in three environments of each: every fourth is ahead in the first one,
// each 50th is not well. In each place ten deployments went before.
func fillBoard(b *testing.B, database string) {
	b.Helper()
	db, err := models.Open(context.Background(), database)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	create := func(rows any) {
		b.Helper()
		if err := db.CreateInBatches(rows, 200).Error; err != nil {
			b.Fatal(err)
		}
	}
	now := db.NowFunc()
	target := models.Target{ID: models.NewID(), Name: "bench", Kind: "docker", AllTeams: true, CreatedAt: now, UpdatedAt: now}
	create([]models.Target{target})
	for t := range 10 {
		team := models.Team{ID: models.NewID(), Slug: fmt.Sprintf("team-%d", t), Name: fmt.Sprintf("Team %d", t), CreatedAt: now}
		repository := models.Repository{ID: models.NewID(), TeamID: team.ID, Name: "shop", CloneURL: "https://git.example.test/shop.git", CredentialKind: models.CredentialNone, State: models.RepositoryReady, CreatedAt: now, UpdatedAt: now}
		create([]models.Team{team})
		create([]models.Repository{repository})
		var environments []models.Environment
		for i, name := range []string{"dev", "staging", "prod"} {
			environments = append(environments, models.Environment{ID: models.NewID(), TeamID: team.ID, TargetID: target.ID, Name: name, Position: i, CreatedAt: now, UpdatedAt: now})
		}
		create(environments)
		create([]models.CommitRange{{RepositoryID: repository.ID, Base: commitOf(0), Head: commitOf(1), Ahead: 3, CountedAt: now}})
		f := boardRows{team: team.ID, now: now}
		for i := range 50 {
			f.add(models.App{ID: models.NewID(), TeamID: team.ID, RepositoryID: repository.ID, Name: fmt.Sprintf("app-%03d", i), Dockerfile: "Dockerfile", Context: ".", Builder: models.BuilderBuildKit, Health: models.HealthTCP, BuildTimeout: 1800, CreatedAt: now, UpdatedAt: now}, environments, i)
		}
		create(f.apps)
		create(f.builds)
		create(f.deployments)
		create(f.instances)
	}
	if db.Pool == nil { // nobody looks after SQLite; PostgreSQL does it by itself, some time later
		return
	}
	if err := db.Exec("VACUUM ANALYZE").Error; err != nil {
		b.Fatal(err)
	}
}

func commitOf(n int) string { return fmt.Sprintf("%040d", n) }

// boardRows are what one team's board is made of.
type boardRows struct {
	team        string
	now         time.Time
	apps        []models.App
	builds      []models.Build
	deployments []models.Deployment
	instances   []models.Instance
}

// add makes an app with two builds and its deployments.
func (f *boardRows) add(app models.App, environments []models.Environment, n int) {
	f.apps = append(f.apps, app)
	for k := range 2 {
		f.builds = append(f.builds, models.Build{ID: models.NewID(), TeamID: f.team, AppID: app.ID, Number: int64(k + 1), State: models.BuildSucceeded, Ref: "main", RefKind: "branch", Commit: commitOf(k), CommitSubject: "Round totals half up",
			Dockerfile: "Dockerfile", Context: ".", TimeoutSeconds: 1800, QueuedAt: f.now, CreatedAt: f.now, ImageDigest: fmt.Sprintf("sha256:%064d", 2*n+k), ImageSize: 48_000_000})
	}
	fresh, old := &f.builds[len(f.builds)-1], &f.builds[len(f.builds)-2]
	number := int64(0)
	for i, e := range environments {
		for k := range 11 {
			b := old
			if i == 0 && n%4 == 0 {
				b = fresh
			}
			number++
			d := models.Deployment{ID: models.NewID(), TeamID: f.team, AppID: app.ID, EnvironmentID: e.ID, Number: number, State: models.DeploymentSucceeded, Active: k == 10, ImageRepository: "bench.test/x/" + app.Name, ImageDigest: b.ImageDigest, BuildID: &b.ID,
				Action: models.ActionDeploy, CreatedByName: "Mira Kovač", CreatedAt: f.now, StartedAt: &f.now, FinishedAt: &f.now,
				Config: models.DeploymentConfig{Port: 8080, Health: models.HealthTCP, Variables: map[string]string{"LOG_LEVEL": "info", "URL": e.Name}, Secrets: map[string]string{"API_KEY": "1f2e3d"}}}
			f.deployments = append(f.deployments, d)
			if !d.Active {
				continue
			}
			state := models.InstanceHealthy
			if n%50 == 49 {
				state = models.InstanceFailing
			}
			for range 2 {
				f.instances = append(f.instances, models.Instance{ID: models.NewID(), DeploymentID: d.ID, RuntimeID: models.NewID(), Name: "i", State: state, UpdatedAt: f.now, CreatedAt: f.now})
			}
		}
	}
}
