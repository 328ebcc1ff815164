package builds_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
)

// queries are what a database was asked, to be explained.
type queries struct {
	mu  sync.Mutex
	all []query
}

type query struct {
	sql  string
	vars []any
}

// watch remembers every query about builds from now on.
func watch(t *testing.T, db *models.Database) *queries {
	t.Helper()
	q := &queries{}
	remember := func(tx *gorm.DB) {
		if sql := tx.Statement.SQL.String(); !tx.DryRun && strings.Contains(sql, "builds") && !strings.HasPrefix(sql, "EXPLAIN") {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.all = append(q.all, query{sql, tx.Statement.Vars})
		}
	}
	for _, err := range []error{db.Callback().Query().After("gorm:query").Register("watch", remember), db.Callback().Row().After("gorm:row").Register("watch", remember)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return q
}

// reads matches the plans that read all of the table, or all of an index of it.
var reads = map[string]*regexp.Regexp{
	"sqlite":   regexp.MustCompile(`(?m)^SCAN builds\b`),
	"postgres": regexp.MustCompile(`Seq Scan on builds\b`),
}

// explained fails the test where a query reads all builds.
func (q *queries) explained(t *testing.T, db *models.Database, what string) {
	t.Helper()
	q.mu.Lock()
	all := q.all
	q.all = nil
	q.mu.Unlock()
	if len(all) == 0 {
		t.Errorf("%s asked nothing", what)
	}
	explain := map[string]string{"sqlite": "EXPLAIN QUERY PLAN ", "postgres": "EXPLAIN "}[db.Dialect()]
	for _, one := range all {
		rows, err := db.SQL.QueryContext(t.Context(), explain+one.sql, one.vars...)
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, one.sql)
		}
		plan := read(t, rows, db.Dialect())
		// The newest of all teams are read from the end of the primary key, which ends with the page.
		if reads[db.Dialect()].MatchString(plan) && !strings.Contains(plan, "USING INDEX sqlite_autoindex_builds_1") {
			t.Errorf("%s reads all builds:\n%s\n%s", what, one.sql, plan)
		}
	}
}

func read(t *testing.T, rows interface {
	Next() bool
	Scan(...any) error
	Close() error
}, dialect string) string {
	t.Helper()
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var line string
		var a, b, c int
		into := []any{&line}
		if dialect == "sqlite" {
			into = []any{&a, &b, &c, &line}
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&plan, line)
	}
	return plan.String()
}

// many fills the table with builds that have ended, and a few that have not.
func (w *world) many(t *testing.T, n int) {
	t.Helper()
	series := fmt.Sprintf("WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < %d)", n)
	padded := "substr('000000000000' || n, -12)"
	if w.db.Pool != nil {
		series = fmt.Sprintf("WITH series AS (SELECT generate_series(1, %d) AS n)", n)
		padded = "lpad(n::text, 12, '0')"
	}
	apps := []*models.App{w.App}
	for i := range 19 {
		apps = append(apps, w.team(t, fmt.Sprintf("team-%d", i), 0))
	}
	var cases strings.Builder
	for i, app := range apps {
		fmt.Fprintf(&cases, "SELECT %d AS k, '%s' AS app_id, '%s' AS team_id UNION ALL ", i, app.ID, app.TeamID)
	}
	owners := strings.TrimSuffix(cases.String(), " UNION ALL ")
	err := w.db.Exec(series + `, owners AS (` + owners + `)
		INSERT INTO builds (id, team_id, app_id, number, state, ref, ref_kind, "commit", dockerfile, context, timeout_seconds, queued_at, started_at, finished_at, created_at)
		SELECT '00000000-0000-7000-8000-' || ` + padded + `, team_id, app_id, n + 1000, CASE WHEN n % 7 = 0 THEN 'failed' WHEN n % 1000 = 1 THEN 'queued' ELSE 'succeeded' END,
			'main', 'branch', '0123456789abcdef0123456789abcdef01234567', 'Dockerfile', '.', 1800, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP
		FROM series JOIN owners ON owners.k = n % 20`).Error
	if err != nil {
		t.Fatal(err)
	}
	if err := w.db.Exec("ANALYZE").Error; err != nil {
		t.Fatal(err)
	}
}

func TestNoQuestionAboutBuildsReadsThemAll(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.many(t, 50_000)
		waiting := w.queueBuild(t, "main")
		w.worker(t, models.Worker{})
		q := watch(t, db)
		admin, member := w.as(t, w.Admin), w.as(t, w.Viewer)
		filters := map[string]builds.Filter{
			"all": {}, "of an app": {AppID: w.App.ID}, "of a state": {State: models.BuildFailed}, "of a rare state": {State: models.BuildQueued},
			"of a team": {Team: "team-3"}, "of an app in a state": {AppID: w.App.ID, State: models.BuildFailed}, "of a team in a state": {Team: "team-3", State: models.BuildFailed},
			"of a repository": {RepositoryID: w.Repository.ID}, "of a state that nobody is in": {State: models.BuildCanceled},
		}
		for name, f := range filters {
			if _, err := w.builds.List(admin, f); err != nil {
				t.Fatal(err)
			}
			q.explained(t, db, "the admin's list of builds "+name)
			if _, err := w.builds.List(member, f); err != nil {
				t.Fatal(err)
			}
			q.explained(t, db, "a member's list of builds "+name)
		}
		for what, ask := range map[string]func() error{
			"why a build waits": func() error { _, err := w.builds.WhyWaiting(member, waiting); return err },
			"the newest builds": func() error { _, err := w.builds.Newest(admin, []string{w.App.ID}); return err },
			"the queue":         func() error { _, err := w.builds.Board(admin); return err },
			"the workers":       func() error { _, err := w.builds.Workers(admin); return err },
			"the sweep":         func() error { return w.builds.Sweep(t.Context()) },
		} {
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			q.explained(t, db, what)
		}
	})
}
