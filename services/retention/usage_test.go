package retention_test

import (
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
)

func TestUsageCountsEachBlobOnceForEveryoneWhoHasIt(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		a, b := w.repository("payments/a"), w.repository("payments/b")
		shared := w.blob(a, "shared", 1000)
		w.blob(b, "shared", 1000)
		w.push(a, image{age: 9, tags: []string{"v1", "v2"}, children: []string{shared, w.blob(a, "a", 10)}})
		w.push(b, image{age: 9, tags: []string{"v1"}, children: []string{shared, w.blob(b, "b", 5)}})
		gone := w.push(b, image{age: 8, children: []string{shared, w.blob(b, "gone", 3)}})
		_, err := w.registry.DeleteImage(modelstest.As(t, db, w.Maintainer), b, gone)
		w.must(err)
		w.must(w.service.Count(t.Context()))
		w.must(db.Exec("UPDATE registry_usage_days SET day = ?, bytes = bytes - 7", db.NowFunc().AddDate(0, 0, -20).Format(time.DateOnly)).Error)
		w.must(w.service.Count(t.Context()))

		got, err := w.service.OfTeam(modelstest.As(t, db, w.Viewer), w.Team.Slug, models.Page{})
		w.must(err)
		total := got.Total
		if total.Bytes != 1018 || total.Tags != 3 || total.Images != 2 || total.DeletedBytes != 3 || total.Growth != 7 {
			t.Errorf("the team: %+v", total)
		}
		if l := got.Repositories.Items; len(l) != 2 || l[0].Repository != a || l[0].Bytes != 1010 || l[1].Bytes != 1008 || l[1].DeletedBytes != 3 || l[1].Growth != 7 {
			t.Errorf("the repositories: %+v", l)
		}
		first, err := w.service.OfTeam(modelstest.As(t, db, w.Viewer), w.Team.Slug, models.Page{Limit: 1})
		w.must(err)
		second, err := w.service.OfTeam(modelstest.As(t, db, w.Viewer), w.Team.Slug, models.Page{Limit: 1, Cursor: first.Repositories.Next})
		w.must(err)
		if l := second.Repositories; len(l.Items) != 1 || l.Items[0].Repository != b || l.Next != "" {
			t.Errorf("the second page: %+v", l)
		}
		limit := int64(1200)
		w.must(w.registry.SetQuota(modelstest.As(t, db, w.Admin), "", &limit))
		site, err := w.service.OfSite(modelstest.As(t, db, w.Admin), models.Page{})
		w.must(err)
		if l := site.Items; len(l) != 1 || l[0].Team != w.Team.Slug || l[0].Quota != 1200 || l[0].OwnQuota || !l[0].Nearly() {
			t.Errorf("the site: %+v", l)
		}
		if _, err := w.service.OfSite(modelstest.As(t, db, w.Maintainer), models.Page{}); !models.IsCode(err, models.Denied) {
			t.Errorf("a maintainer: %v", err)
		}
	})
}

func TestTenThousandTagsArePlannedAndCountedInAMoment(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		r := w.repository("payments/checkout")
		const n = 10_000
		w.fill(r, n)
		w.policy(r, 1, 10, models.RetentionRule{Last: 100})
		begun := time.Now()
		p := w.preview(r)
		planned := time.Since(begun)
		begun = time.Now()
		w.must(w.service.Count(t.Context()))
		t.Logf("planned in %s, counted in %s", planned, time.Since(begun))
		if p.GoesTags != n-100 || p.Goes != n-100 || len(p.Entries.Items) != 100 {
			t.Errorf("%d tags go, %d are on the page", p.GoesTags, len(p.Entries.Items))
		}
	})
}

// fill gives the repository n tagged images of four layers, of which the neighbours share some, by the database's own means.
func (w *world) fill(repository string, n int) {
	w.t.Helper()
	old := w.db.NowFunc().AddDate(0, 0, -40)
	const numbers = " WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
	digest := func(kind, i string) string {
		text := "'" + kind + "' || CAST(" + i + " AS TEXT)"
		return "'sha256:' || SUBSTR('" + strings.Repeat("0", 64) + "' || " + text + ", LENGTH(" + text + ") + 1, 64)"
	}
	for sql, args := range map[string][]any{
		"INSERT INTO registry_blobs (digest, size, touched_at)" + numbers + "SELECT " + digest("b", "i") + ", 10, ? FROM n": {n - 1, old},
		"INSERT INTO registry_manifests (repository, digest, push_id, media_type, content, pushed_at)" + numbers +
			"SELECT CAST(? AS TEXT), " + digest("a", "i") + ", " + digest("", "i") + ", 'm', ?, ? FROM n": {n - 1, repository, []byte(strings.Repeat(" ", 700)), old},
	} {
		w.must(w.db.Exec(sql, args...).Error)
	}
	for sql, args := range map[string][]any{
		"INSERT INTO registry_links (repository, digest, touched_at)" + numbers + "SELECT CAST(? AS TEXT), " + digest("b", "i") + ", ? FROM n": {n - 1, repository, old},
		"INSERT INTO registry_tags (repository, name, digest, moved_at)" + numbers +
			"SELECT CAST(? AS TEXT), 'v' || CAST(i AS TEXT), " + digest("a", "i") + ", ? FROM n": {n - 1, repository, old},
		"INSERT INTO registry_references (repository, manifest, child)" + numbers +
			", k(j) AS (SELECT 0 UNION ALL SELECT j + 1 FROM k WHERE j < 3) SELECT CAST(? AS TEXT), " + digest("a", "i") + ", " + digest("b", "(i + j * 7) % ?") + " FROM n, k": {n - 1, repository, n, n},
	} {
		w.must(w.db.Exec(sql, args...).Error)
	}
}
