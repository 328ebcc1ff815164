package retention_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/registry"
)

// histories is how many the property test makes on each database.
const histories = 12

// history is a repository with everything that may have happened to it, and what must never go, found
// without the code that is tested.
type history struct {
	*world
	r          *rand.Rand
	repository string
	digests    []string
	images     map[string]image
	sacred     map[string]string // digest → why it must stay
	rollbacks  int
	minAge     int
}

func TestNoCleanUpTakesWhatIsNeeded(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.registry.Grace = 1
		if err := db.Model(&models.Team{}).Where("id = ?", w.Team.ID).Select("immutable_tags").Updates(&models.Team{ImmutableTags: []string{"locked"}}).Error; err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(histories) {
			h := &history{world: w, r: rand.New(rand.NewPCG(seed, 7)), images: map[string]image{}, sacred: map[string]string{}}
			h.make(fmt.Sprintf("app%d", seed))
			h.check(seed)
		}
	})
}

// make writes images, indexes, signatures, deployments and builds of all ages.
func (h *history) make(name string) {
	h.repository = h.world.repository("payments/" + name)
	other := h.world.repository("payments/" + name + "-other")
	app := h.app(name)
	h.rollbacks, h.minAge = 1+h.r.IntN(4), h.r.IntN(5)
	for n := range 30 {
		i := image{age: 60 - 2*n}
		for range 1 + h.r.IntN(3) {
			content := fmt.Sprintf("%s layer %d", name, h.r.IntN(40))
			i.children = append(i.children, h.blob(h.repository, content, int64(100+h.r.IntN(900))))
			if chosen(h.r, 8) {
				h.blob(other, content, 1)
			}
		}
		h.shape(&i, n)
		d := h.world.push(h.repository, i)
		h.digests, h.images[d] = append(h.digests, d), i
	}
	h.use(app)
}

func (h *history) shape(i *image, n int) {
	switch {
	case len(h.digests) > 2 && chosen(h.r, 4): // an index of two images
		i.children = []string{h.any(), h.any()}
	case len(h.digests) > 0 && chosen(h.r, 4): // a signature
		i.subject = h.any()
	}
	for _, t := range []string{"main", "pr-1", "locked", "buildcache", fmt.Sprintf("v1.%d", n), fmt.Sprintf("build-%d", n)} {
		if chosen(h.r, 5) {
			i.tags = append(i.tags, t)
		}
	}
}

func (h *history) any() string { return h.digests[h.r.IntN(len(h.digests))] }

// use deploys and builds, and writes down what must stay by that.
func (h *history) use(app *models.App) {
	for _, env := range []*models.Environment{h.Environment, h.prod} {
		var ran []string
		for n := range 8 {
			d := h.any()
			state := models.DeploymentSucceeded
			if chosen(h.r, 3) {
				state = models.DeploymentFailed
			}
			number := int64(n + 1)
			if env == h.prod {
				number += 100
			}
			h.deploy(app, env, number, d, state, state == models.DeploymentSucceeded)
			if state == models.DeploymentSucceeded {
				ran = append(ran, d)
			}
		}
		for k, d := range ran {
			if k >= len(ran)-h.rollbacks {
				h.sacred[d] = "it ran in one of the last deployments of " + env.Name
			}
		}
	}
	pending := h.any()
	h.deploy(app, h.prod, 300, pending, models.DeploymentPending, false)
	h.sacred[pending] = "a deployment waits for it"
	asked := h.any()
	h.deploy(app, h.prod, 301, asked, models.DeploymentWaiting, false)
	h.sacred[asked] = "a deployment of it waits for approval"
	built := h.any()
	b := *h.Build
	b.ID, b.AppID, b.App, b.Number, b.State, b.ImageDigest = models.NewID(), app.ID, nil, 900, models.BuildRunning, built
	h.create(&b)
	h.sacred[built] = "a build names it"
	for d, i := range h.images {
		if i.age < h.minAge {
			h.sacred[d] = "it is young"
		}
	}
	var tags []models.RegistryTag
	h.must(h.db.Where("repository = ? AND name IN ?", h.repository, []string{"locked", "buildcache"}).Find(&tags).Error)
	for _, t := range tags {
		h.sacred[t.Digest] = "its tag is " + t.Name
	}
}

func (h *history) check(seed uint64) {
	h.t.Helper()
	rules := []models.RetentionRule{{Tags: []string{"v*"}, Last: 1 + h.r.IntN(3)}}
	if chosen(h.r, 2) {
		rules = append(rules, models.RetentionRule{Tags: []string{"{main,pr-*}"}, Days: 1 + h.r.IntN(20)})
	}
	h.policy(h.repository, h.minAge, h.rollbacks, rules...)
	before := h.there(h.repository)
	h.collect() // what no image has needed from the beginning
	preview := h.preview(h.repository)
	stored := h.stored()
	run := h.clean(h.repository)
	after := h.there(h.repository)

	if gone := len(before) - len(after); gone != preview.Goes || run.Deleted != int64(gone) || run.Spared != 0 {
		h.t.Errorf("seed %d: %d went, the preview said %d, the run %d", seed, gone, preview.Goes, run.Deleted)
	}
	for _, e := range preview.Entries.Items {
		if e.Goes == after[e.Digest] || !e.Goes && e.Reason == "" {
			h.t.Errorf("seed %d: %s%s: the preview says %t %q, it is there: %t", seed, e.Tag, e.Digest, e.Goes, e.Reason, after[e.Digest])
		}
	}
	for d, why := range h.sacred {
		if !after[d] {
			h.t.Errorf("seed %d: %s went although %s", seed, d, why)
		}
	}
	for d := range before {
		i := h.images[d]
		for _, c := range i.children {
			_, isImage := h.images[c]
			if isImage && after[d] && !after[c] {
				h.t.Errorf("seed %d: %s stays without its image %s", seed, d, c)
			}
			why, needed := h.sacred[c]
			if needed && runs(why) && !after[d] {
				h.t.Errorf("seed %d: the index %s went although of its image %s", seed, d, why)
			}
		}
		if i.subject != "" && after[i.subject] && !after[d] {
			h.t.Errorf("seed %d: the signature %s went before its image", seed, d)
		}
	}
	h.free(seed, stored, preview.Bytes)
}

func runs(why string) bool { return why != "it is young" && why[:10] != "its tag is" }

// free ends the deletions for good, collects, and compares what that freed with what was promised.
func (h *history) free(seed uint64, stored, promised int64) {
	h.t.Helper()
	h.must(h.db.Model(&models.RegistryDeletion{}).Where("1 = 1").Update("expires_at", h.db.NowFunc().AddDate(0, 0, -1)).Error)
	h.collect()
	if freed := stored - h.stored(); freed != promised {
		h.t.Errorf("seed %d: %d bytes were promised, %d are free", seed, promised, freed)
	}
	var left int64
	h.must(h.db.Model(&models.RegistryDeletion{}).Count(&left).Error)
	if left != 0 {
		h.t.Errorf("seed %d: %d deletions are left", seed, left)
	}
	list, err := h.registry.Deletions(modelstest.As(h.t, h.db, h.Viewer), registry.DeletionFilter{TeamID: h.Team.ID})
	if err != nil || len(list.Items) != 0 {
		h.t.Errorf("seed %d: %v, %v", seed, list.Items, err)
	}
}

// collect runs the collection. The links of the other repository, which has no images, stay all the same.
func (h *history) collect() {
	h.t.Helper()
	h.must(h.db.Exec("UPDATE registry_links SET touched_at = ? WHERE repository LIKE '%-other'", h.db.NowFunc().AddDate(1, 0, 0)).Error)
	h.must(h.registry.Collect(models.WithPrincipal(h.t.Context(), models.System("worker"))))
}
