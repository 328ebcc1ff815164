package registry_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/registry"
)

// signed is an index of two platforms with two tags and an artifact about it.
type signed struct {
	index    v1.ImageIndex
	digest   string
	platform string // of its first image
	artifact string
}

func (f *fixture) pushSigned(t *testing.T, login remote.Option, tags ...string) signed {
	t.Helper()
	var index v1.ImageIndex = empty.Index
	out := signed{}
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := random.Image(1000, 2)
		if err != nil {
			t.Fatal(err)
		}
		if out.platform == "" {
			out.platform = digestOf(t, img)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	for _, tag := range tags {
		if err := remote.WriteIndex(f.ref(t, "payments/checkout:"+tag), index, login); err != nil {
			t.Fatal(err)
		}
	}
	out.index, out.digest = index, digestOf(t, index)
	subject, err := remote.Head(f.ref(t, "payments/checkout@"+out.digest), login)
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	about := mutate.Subject(img, *subject).(v1.Image)
	out.artifact = digestOf(t, about)
	if err := remote.Write(f.ref(t, "payments/checkout@"+out.artifact), about, login); err != nil {
		t.Fatal(err)
	}
	return out
}

// inspection is all that clients see of a repository.
func (f *fixture) inspection(t *testing.T, login remote.Option, s signed) string {
	t.Helper()
	repo, err := name.NewRepository(f.host+"/payments/checkout", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	tags, err := remote.List(repo, login)
	if err != nil {
		t.Fatal(err)
	}
	out := strings.Join(tags, ",")
	for _, tag := range tags {
		got, err := remote.Get(f.ref(t, "payments/checkout:"+tag), login)
		if err != nil {
			t.Fatal(err)
		}
		out += "\n" + tag + " " + got.Digest.String() + " " + string(got.Manifest)
	}
	for _, d := range []string{s.platform, s.artifact} {
		img, err := remote.Image(f.ref(t, "payments/checkout@"+d), login)
		if err != nil {
			return out + "\n" + d + " is gone"
		}
		if err := whole(img); err != nil {
			t.Errorf("%s is damaged: %v", d, err)
		}
		raw, _ := img.RawManifest()
		out += "\n" + string(raw)
	}
	referrers, err := remote.Referrers(repo.Digest(s.digest), login)
	if err != nil {
		t.Fatal(err)
	}
	m, err := referrers.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range m.Manifests {
		out += "\nabout " + r.Digest.String()
	}
	return out
}

func TestADeletedImageIsGoneForClientsAndComesBackExactlyAsItWas(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		login, maintainer := f.writer(t, f.Maintainer), modelstest.As(t, db, f.Maintainer)
		s := f.pushSigned(t, login, "v1", "latest")
		f.push(t, "payments/checkout:other", 2, login)
		auth := filepath.Join(t.TempDir(), "auth.json")
		skopeo(t, f.token(t, f.Maintainer, models.ScopeRegistryRead), "login", "--authfile", auth, "--tls-verify=false", "-u", "x", "--password-stdin", f.host)
		look := func() string {
			return skopeo(t, "", "inspect", "--raw", "--authfile", auth, "--tls-verify=false", "docker://"+f.host+"/payments/checkout:v1")
		}
		before, seen := f.inspection(t, login, s), look()

		d, err := f.registry.DeleteImage(maintainer, "payments/checkout", s.digest)
		if err != nil {
			t.Fatal(err)
		}
		if d.Manifests != 4 || d.Tags != 2 || d.Size == 0 || d.DeletedByName != f.Maintainer.Name {
			t.Errorf("the deletion is %+v", d)
		}
		for _, ref := range []string{":v1", ":latest", "@" + s.digest, "@" + s.platform, "@" + s.artifact} {
			if _, err := remote.Get(f.ref(t, "payments/checkout"+ref), login); !isStatus(err, 404) {
				t.Errorf("%s is answered %v", ref, err)
			}
		}
		f.age(t)
		f.collect(t)
		restored, err := f.registry.Restore(maintainer, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(restored.Tags, []string{"latest", "v1"}) || len(restored.LeftOut) != 0 {
			t.Errorf("restored %v, left out %v", restored.Tags, restored.LeftOut)
		}
		if after := f.inspection(t, login, s); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		if after := look(); after != seen {
			t.Errorf("skopeo saw %s and sees %s", seen, after)
		}
		if _, err := f.registry.Restore(maintainer, d.ID); !models.IsCode(err, models.NotFound) {
			t.Errorf("restoring twice: %v", err)
		}
	})
}

func TestWhatIsDeletedForGoodIsCollectedAndCountsNoMore(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		login, maintainer := f.writer(t, f.Maintainer), modelstest.As(t, db, f.Maintainer)
		img := f.push(t, "payments/checkout:v1", 2, login)
		d, err := f.registry.DeleteRepository(maintainer, "payments/checkout")
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		f.age(t)
		f.collect(t)
		if !exists(f.blobFile(digestOf(t, layers[0]))) {
			t.Fatal("a layer that can be restored was collected")
		}
		if err := f.registry.Purge(modelstest.As(t, db, f.Developer), d.ID); !models.IsCode(err, models.Denied) {
			t.Errorf("a developer deletes for good: %v", err)
		}
		if err := f.registry.Purge(maintainer, d.ID); err != nil {
			t.Fatal(err)
		}
		f.collect(t)
		if exists(f.blobFile(digestOf(t, layers[0]))) {
			t.Error("the layer stayed")
		}
	})
}

func TestADeletedTagComesBackUnlessItsNameIsTaken(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		login, maintainer := f.writer(t, f.Maintainer), modelstest.As(t, db, f.Maintainer)
		first := digestOf(t, f.push(t, "payments/checkout:v1", 1, login))
		remove := func() string {
			d, err := f.registry.DeleteTag(maintainer, "payments/checkout", "v1")
			if err != nil {
				t.Fatal(err)
			}
			return d.ID
		}
		if _, err := f.registry.Restore(maintainer, remove()); err != nil {
			t.Fatal(err)
		}
		if got, err := remote.Head(f.ref(t, "payments/checkout:v1"), login); err != nil || got.Digest.String() != first {
			t.Errorf("the tag names %v, %v", got, err)
		}
		id := remove()
		f.push(t, "payments/checkout:v1", 1, login)
		if _, err := f.registry.Restore(maintainer, id); !models.IsCode(err, models.Conflict) || !strings.Contains(err.Error(), "names") {
			t.Errorf("the name is taken: %v", err)
		}
	})
}

func TestAPushOfADeletedImageTakesItOutOfWhatIsDeleted(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		login := f.writer(t, f.Maintainer)
		img := f.push(t, "payments/checkout:v1", 2, login)
		access := f.pusher(t)
		if a := f.ask(t, http.MethodDelete, checkout+"/manifests/"+digestOf(t, img), "", bearer(access)); a.status != 202 {
			t.Fatalf("deleting: %d %s", a.status, a.body)
		}
		list := func() []models.RegistryDeletion {
			l, err := f.registry.Deletions(modelstest.As(t, db, f.Viewer), registry.DeletionFilter{Repository: "payments/checkout"})
			if err != nil {
				t.Fatal(err)
			}
			return l.Items
		}
		if l := list(); len(l) != 1 || l[0].Digest != digestOf(t, img) {
			t.Fatalf("deleted: %+v", l)
		}
		if err := remote.Write(f.ref(t, "payments/checkout:v1"), img, login); err != nil {
			t.Fatal(err)
		}
		if l := list(); len(l) != 0 {
			t.Errorf("still deleted: %+v", l)
		}
	})
}

func TestNoDeletionTakesWhatRunsOrIsProtected(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		if err := db.Model(&models.Team{}).Where("id = ?", f.Team.ID).Select("immutable_tags").Updates(&models.Team{ImmutableTags: []string{"release"}}).Error; err != nil {
			t.Fatal(err)
		}
		login, maintainer := f.writer(t, f.Maintainer), modelstest.As(t, db, f.Maintainer)
		s := f.pushSigned(t, login, "v1")
		loose := digestOf(t, f.push(t, "payments/checkout:release", 1, login))
		now := db.NowFunc()
		running := models.Deployment{ID: models.NewID(), TeamID: f.Team.ID, AppID: f.App.ID, EnvironmentID: f.Environment.ID, Number: 1, State: models.DeploymentSucceeded, Active: true,
			ImageRepository: "old.example:8080/payments/checkout", ImageDigest: s.platform, Action: models.ActionDeploy, CreatedAt: now}
		if err := db.Create(&running).Error; err != nil {
			t.Fatal(err)
		}
		for what, run := range map[string]func() error{
			"runs in " + f.Environment.Name: func() error { _, err := f.registry.DeleteImage(maintainer, "payments/checkout", s.digest); return err },
			"runs in":                       func() error { _, err := f.registry.DeleteRepository(maintainer, "payments/checkout"); return err },
			"is a part of": func() error {
				_, err := f.registry.DeleteImage(maintainer, "payments/checkout", s.platform)
				return err
			},
			"immutable":          func() error { _, err := f.registry.DeleteImage(maintainer, "payments/checkout", loose); return err },
			"The tag release of": func() error { _, err := f.registry.DeleteTag(maintainer, "payments/checkout", "release"); return err },
		} {
			if err := run(); !models.IsCode(err, models.Conflict) || !strings.Contains(err.Error(), what) {
				t.Errorf("%s: %v", what, err)
			}
		}
		access := f.pusher(t)
		for _, reference := range []string{s.digest, s.platform, loose, "release"} {
			if a := f.ask(t, http.MethodDelete, checkout+"/manifests/"+reference, "", bearer(access)); a.status != 409 {
				t.Errorf("%s: %d %s", reference, a.status, a.body)
			}
		}
	})
}

func TestRestoredImagesAreWholeWhileTheCollectionRuns(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db, func(s *registry.Service) { s.Grace = 3 * time.Second })
		login, maintainer := f.writer(t, f.Maintainer), modelstest.As(t, db, f.Maintainer)
		done := make(chan struct{})
		var collecting, working sync.WaitGroup
		collecting.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if err := f.registry.Collect(t.Context()); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
		for n := range 4 {
			working.Go(func() {
				for k := range 4 {
					f.deleteAndRestore(t, maintainer, login, fmt.Sprintf("payments/app%d:v%d", n, k))
				}
			})
		}
		working.Wait()
		close(done)
		collecting.Wait()
	})
}

func TestADeletionIsEndedBetweenPushesThatWantItsLayersAndNotAcrossThem(t *testing.T) {
	t.Parallel()
	db := modelstest.Postgres(t) // SQLite has one writer at a time
	f := serve(t, db)
	d := models.RegistryDeletion{ID: models.NewID(), TeamID: f.Team.ID, Repository: "payments/checkout", Kind: models.DeletionImage, Name: "sha256:0"}
	var links []models.RegistryLink
	var references []models.RegistryDeletedReference
	for n := range 9 {
		child := fmt.Sprintf("sha256:%d", (n+4)%9) // the first to be released is the fifth that a push wants
		links = append(links, models.RegistryLink{Repository: d.Repository, Digest: child, TouchedAt: time.Now()})
		references = append(references, models.RegistryDeletedReference{DeletionID: d.ID, Manifest: d.Name, Child: child, Repository: d.Repository})
		must(t, db.Create(&models.RegistryBlob{Digest: child, TouchedAt: time.Now()}).Error)
	}
	must(t, db.Create(&models.RegistryRepository{Name: d.Repository, TeamID: f.Team.ID, CreatedAt: time.Now()}).Error)
	must(t, errors.Join(db.Create(links).Error, db.Create(&d).Error, db.Create(references).Error))
	collected := make(chan error, 1)
	must(t, db.Transaction(func(push *gorm.DB) error { // as one that stores a manifest
		if err := push.Exec("SELECT 1 FROM registry_repositories WHERE name = ? FOR UPDATE", d.Repository).Error; err != nil {
			return err
		}
		go func() { collected <- f.registry.Collect(t.Context()) }()
		f.await(t, "the collector to wait for the push", func() bool {
			var waiting int64
			must(t, db.Raw("SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waiting).Error)
			return waiting > 0
		})
		return push.Exec("SELECT 1 FROM registry_links WHERE repository = ? ORDER BY digest FOR SHARE NOWAIT", d.Repository).Error
	}))
	if err := <-collected; err != nil {
		t.Errorf("collecting after the push: %v", err)
	}
	if err := db.Take(&models.RegistryDeletion{}, "id = ?", d.ID).Error; !errors.Is(err, gorm.ErrRecordNotFound) {
		t.Errorf("the deletion is still there: %v", err)
	}
}

// deleteAndRestore pushes an image, deletes it until the grace is over, restores it and reads all of it.
func (f *fixture) deleteAndRestore(t *testing.T, ctx context.Context, login remote.Option, ref string) {
	img, err := random.Image(1000, 2)
	for range 20 { // a push slower than the short grace is begun again, as clients do
		if err == nil {
			err = remote.Write(f.ref(t, ref), img, login)
		}
		if err == nil || !isStatus(err, 404) {
			break
		}
		err = nil
	}
	if err != nil {
		t.Error(err)
		return
	}
	repository, _, _ := strings.Cut(ref, ":")
	d, err := f.registry.DeleteImage(ctx, repository, digestOf(t, img))
	if err != nil {
		t.Error(err)
		return
	}
	if err := f.db.Exec("UPDATE registry_links SET touched_at = ? WHERE repository = ?", f.db.NowFunc().Add(-time.Hour), repository).Error; err != nil {
		t.Error(err)
	}
	if _, err := f.registry.Restore(ctx, d.ID); err != nil {
		t.Error(err)
		return
	}
	got, err := remote.Image(f.ref(t, ref), login)
	if err == nil {
		err = whole(got)
	}
	if err != nil {
		t.Errorf("%s after it was restored: %v", ref, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
