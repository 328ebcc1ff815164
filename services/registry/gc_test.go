package registry_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/registry"
)

// age makes everything look as if nobody had wanted it for a day.
func (f *fixture) age(t *testing.T) {
	t.Helper()
	yesterday := f.db.NowFunc().Add(-24 * time.Hour)
	for _, m := range []any{&models.RegistryBlob{}, &models.RegistryLink{}, &models.RegistryUpload{}} {
		if err := f.db.Model(m).Where("1 = 1").UpdateColumn("touched_at", yesterday).Error; err != nil {
			t.Fatal(err)
		}
	}
}

func (f *fixture) collect(t *testing.T) {
	t.Helper()
	if err := f.registry.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) blobFile(d string) string {
	parsed := digest.Digest(d)
	return filepath.Join(f.folder, "blobs", string(parsed.Algorithm()), parsed.Encoded()[:2], parsed.Encoded())
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestTheCollectorTakesWhatNobodyNeedsAndNothingElse(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db, func(s *registry.Service) { s.Undo = -1 })
		login := f.writer(t, f.Maintainer)
		kept := f.push(t, "payments/checkout:kept", 2, login)
		doomed := f.push(t, "payments/checkout:doomed", 2, login)
		access := f.pusher(t)
		loose := f.blob(t, access, "loose")
		f.collect(t)
		if !exists(f.blobFile(loose)) {
			t.Fatal("a fresh blob was collected")
		}
		if a := f.ask(t, http.MethodDelete, checkout+"/manifests/"+digestOf(t, doomed), "", bearer(access)); a.status != 202 {
			t.Fatalf("deleting an image: %d", a.status)
		}
		f.age(t)
		f.collect(t)
		if exists(f.blobFile(loose)) {
			t.Error("the loose blob stayed")
		}
		got, err := remote.Image(f.ref(t, "payments/checkout:kept"), login)
		if err != nil {
			t.Fatal(err)
		}
		if err := whole(got); err != nil || digestOf(t, got) != digestOf(t, kept) {
			t.Errorf("the kept image is damaged: %v", err)
		}
		layers, err := doomed.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			if exists(f.blobFile(digestOf(t, l))) {
				t.Error("a layer of the deleted image stayed")
			}
		}
		if err := remote.Write(f.ref(t, "payments/checkout:doomed"), doomed, login); err != nil {
			t.Errorf("pushing the deleted image again: %v", err)
		}
	})
}

func TestABlobThatAClientAskedForIsKeptForItsManifest(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		access := f.pusher(t)
		d := f.blob(t, access, "{}")
		f.age(t)
		if a := f.ask(t, http.MethodHead, checkout+"/blobs/"+d, "", bearer(access)); a.status != 200 {
			t.Fatalf("HEAD: %d", a.status)
		}
		f.collect(t)
		const oci = "application/vnd.oci.image.manifest.v1+json"
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.example","digest":%q,"size":2},"layers":[]}`, oci, d)
		if a := f.put(t, access, "v1", oci, body); a.status != 201 {
			t.Errorf("the manifest is answered %d %s", a.status, a.body)
		}
	})
}

func TestAMountKeepsTheBlobForItsManifest(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		d := f.blob(t, f.pusher(t), "shared")
		f.age(t)
		access := f.access(t, f.token(t, f.Developer, models.ScopeRegistryWrite), "repository:payments/other:pull,push repository:payments/checkout:pull")
		if a := f.ask(t, http.MethodPost, "/v2/payments/other/blobs/uploads/?from=payments/checkout&mount="+d, "", bearer(access)); a.status != 201 {
			t.Fatalf("mount: %d %s", a.status, a.body)
		}
		f.collect(t)
		if a := f.ask(t, http.MethodGet, "/v2/payments/other/blobs/"+d, "", bearer(access)); a.body != "shared" {
			t.Errorf("the mounted blob is answered %d", a.status)
		}
		if a := f.ask(t, http.MethodGet, checkout+"/blobs/"+d, "", bearer(access)); a.status != 404 {
			t.Errorf("the blob that its own repository does not need is answered %d", a.status)
		}
	})
}

func TestACollectionThatCrashedIsGoneOnWithAndAPushComesBeforeIt(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		access := f.pusher(t)
		halfway, again := f.blob(t, access, "file gone, row not"), f.blob(t, access, "pushed again")
		if err := db.Where("1 = 1").Delete(&models.RegistryLink{}).Error; err != nil {
			t.Fatal(err)
		}
		if err := db.Model(&models.RegistryBlob{}).Where("1 = 1").Update("deleting_at", db.NowFunc()).Error; err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(f.blobFile(halfway)); err != nil {
			t.Fatal(err)
		}
		f.blob(t, access, "pushed again")
		f.collect(t)
		var left []string
		if err := db.Model(&models.RegistryBlob{}).Pluck("digest", &left).Error; err != nil || len(left) != 1 || left[0] != again {
			t.Errorf("the rows that stayed are %v: %v", left, err)
		}
		if a := f.ask(t, http.MethodGet, checkout+"/blobs/"+again, "", bearer(access)); a.body != "pushed again" {
			t.Errorf("the blob that was pushed again is answered %d", a.status)
		}
	})
}

func TestStaleUploadsGoAndThoseInUseStay(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		access := f.pusher(t)
		stale := f.begin(t, access)
		f.age(t)
		fresh := f.begin(t, access)
		orphan := filepath.Join(f.folder, "uploads", models.NewID()) // of a crash before its row was written
		if err := os.WriteFile(orphan, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		yesterday := time.Now().Add(-24 * time.Hour)
		if err := os.Chtimes(orphan, yesterday, yesterday); err != nil {
			t.Fatal(err)
		}
		f.collect(t)
		if exists(orphan) || exists(filepath.Join(f.folder, "uploads", filepath.Base(stale))) {
			t.Error("the file of a stale upload stayed")
		}
		if a := f.ask(t, http.MethodGet, stale, "", bearer(access)); a.status != 404 {
			t.Errorf("the stale upload is answered %d", a.status)
		}
		if a := f.ask(t, http.MethodGet, fresh, "", bearer(access)); a.status != 204 {
			t.Errorf("the fresh upload is answered %d", a.status)
		}
	})
}

func files(t *testing.T, folder string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(folder, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// whole reads every byte of the image; the client compares the digests.
func whole(img v1.Image) error {
	if _, err := img.RawConfigFile(); err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		content, err := l.Compressed()
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, content)
		if err := errors.Join(err, content.Close()); err != nil {
			return err
		}
	}
	return nil
}
