package builds_test

import (
	"strings"
	"sync"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/git/gittest"
)

func TestFiftyBuildsQueuedAtOnceReadTheRepositoryAFewTimesAndGetWhatIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	server := gittest.New(t)
	repo := server.Repository(t, "shop.git", gittest.Files{"Dockerfile": "FROM scratch\n"})
	if err := w.db.Model(w.Repository).Update("clone_url", repo.URL).Error; err != nil {
		t.Fatal(err)
	}
	start(t, w.builds.Jobs)
	newest := repo.Commit(t, "main", "The newest", gittest.Files{"a": "1"})
	var all sync.WaitGroup
	var lock sync.Mutex
	var ids []string
	for range 50 {
		all.Go(func() {
			b, err := w.builds.Queue(w.as(t, w.Developer), builds.QueueInput{AppID: w.App.ID, Ref: "main"})
			if err != nil {
				t.Error(err)
				return
			}
			if b.Commit != newest {
				t.Errorf("build %s is of %s, not of the newest commit", b.Title(), b.Commit)
			}
			lock.Lock()
			defer lock.Unlock()
			ids = append(ids, b.ID)
		})
	}
	all.Wait()
	for _, id := range ids {
		w.wait(t, id, models.BuildSucceeded)
	}
	visits := 0
	for _, r := range server.Requests() {
		if strings.HasSuffix(r.URL.Path, "/info/refs") {
			visits++
		}
	}
	if fetches := visits / 2; fetches > 10 { // one visit for HEAD, one for the objects
		t.Errorf("50 builds made %d fetches", fetches)
	} else {
		t.Logf("50 builds made %d fetches", fetches)
	}
}
