package retention_test

import (
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm/clause"
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
		now := db.NowFunc()
		var manifests []models.RegistryManifest
		var tags []models.RegistryTag
		var references []models.RegistryReference
		var blobs []models.RegistryBlob
		var links []models.RegistryLink
		for i := range n {
			d, layer := fmt.Sprintf("sha256:%064x", i), fmt.Sprintf("sha256:%064x", n+i)
			manifests = append(manifests, models.RegistryManifest{Repository: r, Digest: d, PushID: fmt.Sprintf("%08d", i), MediaType: "m", Content: make([]byte, 700), PushedAt: now.AddDate(0, 0, -40)})
			tags = append(tags, models.RegistryTag{Repository: r, Name: fmt.Sprintf("v%d", i), Digest: d, MovedAt: now.AddDate(0, 0, -40)})
			blobs = append(blobs, models.RegistryBlob{Digest: layer, Size: 10, TouchedAt: now})
			links = append(links, models.RegistryLink{Repository: r, Digest: layer, TouchedAt: now})
			for k := range 4 {
				references = append(references, models.RegistryReference{Repository: r, Manifest: d, Child: fmt.Sprintf("sha256:%064x", n+max(i-k*7, k))})
			}
		}
		w.must(db.CreateInBatches(manifests, 1000).Error)
		w.must(db.CreateInBatches(tags, 1000).Error)
		w.must(db.CreateInBatches(blobs, 1000).Error)
		w.must(db.CreateInBatches(links, 1000).Error)
		w.must(db.Clauses(clause.OnConflict{DoNothing: true}).CreateInBatches(references, 1000).Error)
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
