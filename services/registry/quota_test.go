package registry_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/dockertest"
)

func isStatus(err error, status int) bool {
	var e *transport.Error
	return errors.As(err, &e) && e.StatusCode == status
}

func (f *fixture) quota(t *testing.T, bytes int64) {
	t.Helper()
	if err := f.registry.SetQuota(modelstest.As(t, f.db, f.Admin), f.Team.Slug, &bytes); err != nil {
		t.Fatal(err)
	}
}

// linked is what the team has, by the layers that its repositories have.
func (f *fixture) linked(t *testing.T) (bytes int64) {
	t.Helper()
	err := f.db.Raw("SELECT COALESCE(SUM(size), 0) FROM registry_blobs WHERE digest IN (SELECT digest FROM registry_links)").Scan(&bytes).Error
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

func TestDockerPushSaysThatTheTeamsQuotaIsUsedUp(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		f.quota(t, 6000)
		f.push(t, "payments/checkout:v1", 4, f.writer(t, f.Developer))
		config := t.TempDir()
		if out, err := docker(t, config, f.token(t, f.Developer, models.ScopeRegistryWrite), "login", "-u", "x", "--password-stdin", f.host); err != nil {
			t.Fatal(out)
		}
		engine, own := dockertest.Engine(t), f.host+"/payments/big:v1"
		tag(t, engine, dockertest.BaseImage(t), own)
		out, err := docker(t, config, "", "push", own)
		if err == nil || !strings.Contains(out, "denied: team payments has used ") || !strings.Contains(out, " of 6 kB; delete images or ask an admin") {
			t.Errorf("docker push: %v\n%s", err, out)
		}
		f.quota(t, -1)
		if out, err := docker(t, config, "", "push", own); err != nil {
			t.Errorf("without a limit: %s", out)
		}
	})
}

func TestParallelPushesDoNotPassTheQuota(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		hosts := []string{f.host, f.process(t).Host()}
		const limit = 40_000
		f.quota(t, limit)
		login := f.writer(t, f.Developer)
		var wg sync.WaitGroup
		for n := range 12 {
			ref, err := name.ParseReference(fmt.Sprintf("%s/payments/checkout:v%d", hosts[n%2], n), name.Insecure)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				img, err := random.Image(4000, 3)
				if err != nil {
					t.Error(err)
					return
				}
				if err := remote.Write(ref, img, login); err != nil && !isStatus(err, 403) {
					t.Errorf("a push: %v", err)
				}
			})
		}
		wg.Wait()
		if got := f.linked(t); got > limit || got < limit/4 {
			t.Errorf("the team has %d of %d bytes", got, limit)
		}
	})
}

func TestAnUploadOfUnknownSizeIsCutOffAtTheQuota(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	access := f.pusher(t)
	f.quota(t, 10_000)
	upload := f.begin(t, access)
	a := f.ask(t, http.MethodPatch, f.registry.External+upload, "", func(r *http.Request) {
		bearer(access)(r)
		r.ContentLength = -1
		r.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", 20_000)))
	})
	if a.status != 403 || !strings.Contains(a.body, "DENIED") || !strings.Contains(a.body, "of 10 kB; delete images or ask an admin") {
		t.Errorf("the chunk is answered %d %s", a.status, a.body)
	}
}

func TestWhatIsDeletedCountsUntilItIsGoneForGood(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		login, maintainer := f.writer(t, f.Maintainer), modelstest.As(t, db, f.Maintainer)
		f.quota(t, 6000)
		f.push(t, "payments/checkout:v1", 4, login)
		again := func() error {
			img, err := random.Image(1024, 4)
			if err != nil {
				t.Fatal(err)
			}
			return remote.Write(f.ref(t, "payments/checkout:v2"), img, login)
		}
		if err := again(); !isStatus(err, 403) {
			t.Fatalf("beyond the quota: %v", err)
		}
		d, err := f.registry.DeleteTag(maintainer, "payments/checkout", "v1")
		if err != nil {
			t.Fatal(err)
		}
		image, err := f.registry.DeleteImage(maintainer, "payments/checkout", d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if err := again(); !isStatus(err, 403) {
			t.Errorf("what can be restored counts no more: %v", err)
		}
		if err := f.registry.Purge(maintainer, image.ID); err != nil {
			t.Fatal(err)
		}
		f.release(t)
		if err := again(); err != nil {
			t.Errorf("after it is gone for good: %v", err)
		}
	})
}

// release forgets the layers of pushes that were refused, as the collector does hours later.
func (f *fixture) release(t *testing.T) {
	t.Helper()
	if err := f.db.Exec("DELETE FROM registry_links WHERE released_at IS NULL").Error; err != nil {
		t.Fatal(err)
	}
	f.quota(t, 6000) // has everything counted anew
}
