package handlers

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
)

func TestAnAdminSeesWhereTheLayersAreAndWhatWasFreed(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	cookie := f.cookie(f.Admin)
	now := f.db.NowFunc()
	f.must(f.db.Create(&models.RegistryBlob{Digest: "sha256:a", Size: 2 << 30, TouchedAt: now}).Error)
	f.must(f.db.Create(&models.RegistryUpload{ID: "u", Repository: "payments/checkout", Size: 1 << 20, TouchedAt: now}).Error)
	for i := range 60 {
		end := now.Add(time.Duration(i) * time.Minute)
		f.must(f.db.Create(&models.RegistryCollection{ID: models.NewID(), StartedAt: end, AliveAt: end, FinishedAt: &end, Blobs: 7, Bytes: 5 << 30}).Error)
	}
	page := words(t, f.send(ask{path: "/admin/registry", cookie: cookie}).Body.String())
	for _, want := range []string{"/data/registry", "1 upload with", "7 blobs"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q: %s", want, page)
		}
	}
	var storage struct {
		Kind, Place          string
		Bytes                int64
		Uploads, UploadBytes int64 `json:"-"`
	}
	f.must(json.Unmarshal(f.send(ask{path: "/api/v1/registry/storage", cookie: cookie}).Body.Bytes(), &storage))
	if storage.Kind != "folder" || storage.Place != "/data/registry" || storage.Bytes < 2<<30 {
		t.Errorf("the API says %+v", storage)
	}
	var list struct {
		Items []struct{ Bytes, Blobs int64 }
		Next  string
	}
	f.must(json.Unmarshal(f.send(ask{path: "/api/v1/registry/collections", cookie: cookie}).Body.Bytes(), &list))
	if len(list.Items) != 50 || list.Next == "" || list.Items[0].Bytes != 5<<30 {
		t.Errorf("the API says %+v", list)
	}
	if w := f.send(ask{method: "POST", path: "/admin/registry/collections", cookie: cookie}); w.Code != 303 {
		t.Errorf("collecting is answered %d", w.Code)
	}
	f.must(f.db.Create(&models.RegistryCollection{ID: models.NewID(), Running: true, StartedAt: now, AliveAt: now}).Error)
	if w := f.send(ask{method: "POST", path: "/api/v1/registry/collections", cookie: cookie}); w.Code != 409 {
		t.Errorf("collecting while it runs is answered %d", w.Code)
	}
}
