package images_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/images"
)

// many fills the registry with 10,000 tags in payments/checkout and 90,000 in
// repositories of another team, each of an image of its own, without pushing them.
func (f *fixture) many(t *testing.T) {
	t.Helper()
	f.push(t, "payments/checkout:seed", some(t))
	for i := range 9 {
		f.push(t, fmt.Sprintf("search/index-%d:seed", i), some(t))
	}
	hex, second := "printf('%064x', i)", "strftime('%Y-%m-%d %H:%M:%S+00:00', 1700000000 + i, 'unixepoch')"
	if f.db.Dialect() == "postgres" {
		hex, second = "lpad(to_hex(i), 64, '0')", "to_timestamp(1700000000 + i)"
	}
	repository := "CASE WHEN i < 10000 THEN 'payments/checkout' ELSE 'search/index-' || (i % 9) END"
	numbers := "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999) "
	for _, statement := range []string{
		`INSERT INTO registry_manifests (repository, digest, push_id, media_type, content, image_size, platforms, pushed_at) ` + numbers +
			`SELECT ` + repository + `, 'sha256:' || ` + hex + `, ` + hex + `, 'application/vnd.oci.image.manifest.v1+json', '{}', (i * 7919) % 100003, '["linux/amd64"]', ` + second + ` FROM n`,
		`INSERT INTO registry_tags (repository, name, digest, moved_at) ` + numbers +
			`SELECT ` + repository + `, 'v1.' || (i % 100) || '.' || i, 'sha256:' || ` + hex + `, ` + second + ` FROM n`,
		"ANALYZE",
	} {
		if err := f.db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
}

// spy notes what is asked of the database.
type spy struct {
	mu         sync.Mutex
	statements []string
}

func watch(t *testing.T, db *models.Database) *spy {
	t.Helper()
	s := &spy{}
	note := func(q *gorm.DB) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.statements = append(s.statements, q.Dialector.Explain(q.Statement.SQL.String(), q.Statement.Vars...))
	}
	for _, register := range []func(string, func(*gorm.DB)) error{db.Callback().Query().After("gorm:query").Register, db.Callback().Row().After("gorm:row").Register, db.Callback().Raw().After("gorm:raw").Register} {
		if err := register("spy", note); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// take returns what was asked since it was called last.
func (s *spy) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.statements
	s.statements = nil
	return out
}

// plan is how the database would answer the first of the statements that reads the table.
func plan(t *testing.T, db *models.Database, statements []string, table string) string {
	t.Helper()
	k := slices.IndexFunc(statements, func(s string) bool {
		return strings.Contains(s, "FROM "+table) || strings.Contains(s, `FROM "`+table+`"`) || strings.Contains(s, "FROM `"+table+"`")
	})
	if k < 0 {
		t.Fatalf("nothing reads %s: %q", table, statements)
	}
	explain := "EXPLAIN QUERY PLAN "
	if db.Dialect() == "postgres" {
		explain = "EXPLAIN "
	}
	rows, err := db.SQL.Query(explain + statements[k])
	if err != nil {
		t.Fatalf("%v: %s", err, statements[k])
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for rows.Next() {
		cells := make([]any, len(columns))
		for i := range cells {
			cells[i] = new(any)
		}
		if err := rows.Scan(cells...); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&out, *cells[len(cells)-1].(*any))
	}
	return out.String()
}

func TestTagsAndSearchesReadByAnIndexWhateverThereIs(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		f.many(t)
		seen := watch(t, db)
		viewer, admin := modelstest.As(t, db, f.Viewer), modelstest.As(t, db, f.Admin)
		tags := func(sort images.TagSort, text string) func(context.Context, string) (models.List[models.Image], error) {
			return func(ctx context.Context, cursor string) (models.List[models.Image], error) {
				return f.images.Tags(ctx, images.TagQuery{Repository: "payments/checkout", Sort: sort, Text: text, Page: models.Page{Cursor: cursor, Limit: models.MaxLimit}})
			}
		}
		search := func(text string) func(context.Context, string) (models.List[models.Image], error) {
			return func(ctx context.Context, cursor string) (models.List[models.Image], error) {
				return f.images.Search(ctx, images.Query{Text: text, Page: models.Page{Cursor: cursor}})
			}
		}
		for _, c := range []struct {
			name  string
			ask   func(context.Context, string) (models.List[models.Image], error)
			table string
			index string // that must be in the plan; "sqlite|postgres" where they differ
			total int
			first string
			whole bool // all pages are turned
		}{
			{"newest", tags(images.TagsNewest, ""), "registry_tags", "registry_tags_newest", 10_001, "seed", false},
			{"name", tags(images.TagsByName, ""), "registry_tags", "sqlite_autoindex_registry_tags_1|registry_tags_name", 10_001, "seed", false},
			{"size", tags(images.TagsBySize, ""), "registry_tags", "registry_manifests_size", 10_001, "", true},
			{"narrowed", tags(images.TagsNewest, "V1.7."), "registry_tags", "registry_tags_", 100, "v1.7.9907", true},
			{"none", tags(images.TagsNewest, "%"), "registry_tags", "registry_tags_", 0, "", true},
			{"prefix", search("v1.7.99"), "registry_tags", "registry_tags_prefix", 1, "v1.7.9907", true},
			{"digest", search("sha256:" + strings.Repeat("0", 60) + "00ff"), "registry_manifests", "registry_manifests_", 1, "v1.55.255", true},
			{"word", search("checkout v1.7.1"), "registry_tags", "registry_tags_", 11, "v1.7.1007", true},
		} {
			items, queries := f.walk(t, viewer, seen, c.ask, c.whole)
			if len(items) != c.total && (c.whole || c.total < 300) || c.first != "" && c.total > 0 && items[0].Tags[0].Name != c.first && c.name != "name" {
				t.Errorf("%s finds %d, first %+v", c.name, len(items), items[:min(1, len(items))])
			}
			if len(queries) > 14 {
				t.Errorf("%s takes %d queries for a page", c.name, len(queries))
			}
			index := c.index
			if lite, other, differ := strings.Cut(index, "|"); differ {
				if index = other; db.Dialect() == "sqlite" {
					index = lite
				}
			}
			if p := plan(t, db, queries, c.table); !strings.Contains(p, index) || strings.Contains(p, "Seq Scan on registry_tags") || strings.Contains(p, "SCAN registry_tags\n") {
				t.Errorf("%s is answered without %s:\n%s", c.name, index, p)
			}
		}
		if list, err := f.images.Search(viewer, images.Query{Text: "v1.7.10007"}); err != nil || len(list.Items) != 0 {
			t.Errorf("another team's tag is found: %+v, %v", list.Items, err)
		}
		if list, err := f.images.Search(admin, images.Query{Text: "index-4 v1"}); err != nil || len(list.Items) != models.DefaultLimit || list.Items[0].Repository != "search/index-4" {
			t.Errorf("an admin finds %d, %v", len(list.Items), err)
		}
		for name, ask := range map[string]func(context.Context, string) (models.List[models.Image], error){
			"newest": tags(images.TagsNewest, ""), "name": tags(images.TagsByName, ""), "size": tags(images.TagsBySize, ""), "narrowed": tags("", "77"), "search a tag": search("v1.7"), "search a name": search("checkout"),
		} {
			var slowest time.Duration
			for range 5 {
				start := time.Now()
				if _, err := ask(viewer, ""); err != nil {
					t.Fatal(err)
				}
				slowest = max(slowest, time.Since(start))
			}
			t.Logf("%s takes at most %s", name, slowest)
		}
	})
}

// walk turns all pages, or a few, and returns what the first asked the database.
func (f *fixture) walk(t *testing.T, ctx context.Context, seen *spy, ask func(context.Context, string) (models.List[models.Image], error), whole bool) (all []models.Image, queries []string) {
	t.Helper()
	seen.take()
	known := map[string]bool{}
	for cursor := ""; ; {
		list, err := ask(ctx, cursor)
		if err != nil {
			t.Fatal(err)
		}
		if cursor == "" {
			queries = seen.take()
		}
		for _, i := range list.Items {
			at := i.Repository + ":" + i.Tags[0].Name
			if known[at] {
				t.Fatalf("%s is on two pages", at)
			}
			known[at] = true
			all = append(all, i)
		}
		if cursor = list.Next; cursor == "" || len(all) > 20_000 || !whole && len(all) >= 300 {
			return all, queries
		}
	}
}
