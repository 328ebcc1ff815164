package bench

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
)

// BenchmarkBuildsListOnSQLite compares the lists of builds of a portal with a million of them with those of one with a thousand.
func BenchmarkBuildsListOnSQLite(b *testing.B) {
	compareLists(b, func() string { return "sqlite:" + filepath.Join(b.TempDir(), "slipway.db") })
}

// BenchmarkBuildsListOnPostgreSQL does the same on PostgreSQL.
func BenchmarkBuildsListOnPostgreSQL(b *testing.B) {
	compareLists(b, func() string { return modelstest.PostgresURL(b) })
}

// stocked is a portal with so many builds, and people who read their lists.
type stocked struct {
	database string
	portal   *slipwaytest.Portal
	person   *http.Client // in a browser
	app      string       // the one with most builds
	spare    []string     // tokens made while the person was an admin
}

// list is a list of builds, as one reads it.
type list struct {
	name string
	read func(s *stocked)
}

// compareLists measures each list in turns and reports the time with a million builds over that with a thousand.
func compareLists(b *testing.B, database func() string) {
	few, many := stock(b, database(), 1_000), stock(b, database(), 1_000_000)
	measure(b, many, few, []list{
		{"page", func(s *stocked) { home(b, s.person, s.portal.URL+"/builds") }},
		{"page_failed", func(s *stocked) { home(b, s.person, s.portal.URL+"/builds?state=failed") }},
		{"page_of_app", func(s *stocked) { home(b, s.person, s.portal.URL+"/apps/"+s.app+"/builds") }},
		{"api", func(s *stocked) { s.list(b, "") }},
		{"api_failed", func(s *stocked) { s.list(b, "?state=failed") }},
		{"api_of_app", func(s *stocked) { s.list(b, "?app_id="+s.app) }},
		{"api_of_app_failed", func(s *stocked) { s.list(b, "?state=failed&app_id="+s.app) }},
		{"api_of_team", func(s *stocked) { s.list(b, "?team=team-0") }},
		{"api_of_team_failed", func(s *stocked) { s.list(b, "?team=team-0&state=failed") }},
	})
	few.demote(b)
	many.demote(b)
	measure(b, many, few, []list{
		{"member_page", func(s *stocked) { home(b, s.person, s.portal.URL+"/builds") }},
		{"member_api", func(s *stocked) { s.list(b, "") }},
		{"member_api_failed", func(s *stocked) { s.list(b, "?state=failed") }},
	})
	only(b)
}

func measure(b *testing.B, many, few *stocked, lists []list) {
	b.Helper()
	for _, l := range lists {
		const at = 15 // once: what a single page takes is lost in the noise
		repeat := func(s *stocked) func() {
			return func() {
				for range at {
					l.read(s)
				}
			}
		}
		few.renew(b)
		many.renew(b)
		l.read(few)
		l.read(many)
		large, small := compare(11, repeat(many), repeat(few))
		b.ReportMetric(large/small, "x_"+l.name+"(goal_1.3)")
		b.ReportMetric(large/at*1000, "ms_"+l.name)
	}
}

// renew takes another token, for each may make only so many calls at once.
func (s *stocked) renew(b *testing.B) {
	b.Helper()
	s.portal.Client = &slipwaytest.Client{URL: s.portal.URL}
	if len(s.spare) > 0 {
		s.portal.Token, s.spare = s.spare[0], s.spare[1:]
		return
	}
	s.portal.Token = s.portal.NewToken(b, s.person)
}

func (s *stocked) list(b *testing.B, query string) {
	b.Helper()
	if l := slipwaytest.Get[slipwaytest.List[slipwaytest.Build]](b, s.portal.Client, "/api/v1/builds"+query); len(l.Items) != 50 {
		b.Fatalf("%s answers %d builds", query, len(l.Items))
	}
}

// demote makes the person a member of three teams who is no admin.
func (s *stocked) demote(b *testing.B) {
	b.Helper()
	for range 3 {
		s.spare = append(s.spare, s.portal.NewToken(b, s.person))
	}
	db, err := models.Open(context.Background(), s.database)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		"INSERT INTO members (team_id, user_id, role, created_at) SELECT teams.id, users.id, 'developer', CURRENT_TIMESTAMP FROM teams, users WHERE slug IN ('team-0', 'team-1', 'team-2')",
		"UPDATE users SET admin = FALSE",
	} {
		if err := db.Exec(statement).Error; err != nil {
			b.Fatal(err)
		}
	}
}

// stock starts a portal with a hundred apps of twenty teams and so many builds.
func stock(b *testing.B, database string, n int) *stocked {
	b.Helper()
	p := slipwaytest.Launch(b, slipwaytest.Settings{"DATABASE_URL": database, "WORKERS": "false"})
	s := &stocked{database: database, portal: p, person: p.SignIn(b)}
	db, err := models.Open(context.Background(), database)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	apps := seedApps(b, db)
	s.app = apps[0].ID
	fillBuilds(b, db, apps, n)
	return s
}

// seedApps makes twenty teams of five apps.
func seedApps(b *testing.B, db *models.Database) (apps []models.App) {
	b.Helper()
	now := db.NowFunc()
	create := func(row any) {
		b.Helper()
		if err := db.Create(row).Error; err != nil {
			b.Fatal(err)
		}
	}
	for i := range 20 {
		team := models.Team{ID: models.NewID(), Slug: fmt.Sprintf("team-%d", i), Name: fmt.Sprintf("Team %d", i), CreatedAt: now}
		create(&team)
		repository := models.Repository{ID: models.NewID(), TeamID: team.ID, Name: "shop", CloneURL: "https://git.example.test/shop.git", CredentialKind: models.CredentialNone,
			State: models.RepositoryReady, CreatedAt: now, UpdatedAt: now}
		create(&repository)
		for k := range 5 {
			app := models.App{ID: models.NewID(), TeamID: team.ID, RepositoryID: repository.ID, Name: fmt.Sprintf("app-%d", k), Dockerfile: "Dockerfile", Context: ".",
				Builder: models.BuilderBuildKit, Health: models.HealthTCP, BuildTimeout: 1800, CreatedAt: now, UpdatedAt: now}
			create(&app)
			apps = append(apps, app)
		}
	}
	return apps
}

// fillBuilds writes so many builds: two fifths of the first app, the others in turn; each seventh failed.
func fillBuilds(b *testing.B, db *models.Database, apps []models.App, n int) {
	b.Helper()
	series := fmt.Sprintf("WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < %d)", n)
	padded := "substr('000000000000' || n, -12)"
	if db.Pool != nil {
		series = fmt.Sprintf("WITH series AS (SELECT generate_series(1, %d) AS n)", n)
		padded = "lpad(n::text, 12, '0')"
	}
	owners := make([]string, len(apps))
	for i, app := range apps {
		owners[i] = fmt.Sprintf("SELECT %d AS k, '%s' AS app_id, '%s' AS team_id", i, app.ID, app.TeamID)
	}
	err := db.Exec(series + ", owners AS (" + strings.Join(owners, " UNION ALL ") + `)
		INSERT INTO builds (id, team_id, app_id, number, state, ref, ref_kind, "commit", commit_subject, dockerfile, context, timeout_seconds, queued_at, started_at, finished_at, created_at)
		SELECT '00000000-0000-7000-8000-' || ` + padded + `, team_id, app_id, n, CASE WHEN n % 7 = 0 THEN 'failed' ELSE 'succeeded' END, 'main', 'branch',
			'0123456789abcdef0123456789abcdef01234567', 'Round totals half up', 'Dockerfile', '.', 1800, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP
		FROM series JOIN owners ON owners.k = CASE WHEN n % 20 < 8 THEN 0 ELSE 1 + n % 99 END`).Error
	if err != nil {
		b.Fatal(err)
	}
	if db.Pool == nil {
		return // nobody looks after SQLite; PostgreSQL does it by itself, some time later
	}
	if err := db.Exec("VACUUM ANALYZE builds").Error; err != nil {
		b.Fatal(err)
	}
}
