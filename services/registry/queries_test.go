package registry_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"slipway.dev/models/modelstest"
)

// counted counts the statements that reach the database, those that begin and end transactions aside.
func counted(t *testing.T, db *gorm.DB) *atomic.Int64 {
	t.Helper()
	n := &atomic.Int64{}
	count := func(*gorm.DB) { n.Add(1) }
	c := db.Callback()
	for _, err := range []error{
		c.Query().Before("gorm:query").Register("count", count), c.Row().Before("gorm:row").Register("count", count),
		c.Raw().Before("gorm:raw").Register("count", count), c.Create().Before("gorm:create").Register("count", count),
		c.Update().Before("gorm:update").Register("count", count), c.Delete().Before("gorm:delete").Register("count", count),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// A push of many small layers is as quick as its requests, and those are as quick as their statements. Whoever adds
// one to each request raises the number here, and knows what for.
func TestRequestsTakeFewStatements(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	f := serve(t, db)
	access := f.pusher(t)
	f.blob(t, access, "the first of the repository")
	n := counted(t, db.DB)
	var upload string
	d := digest.FromString("layer").String()
	image := manifest(descriptor("application/vnd.example", d, 5, ""), "", "")
	for _, r := range []struct {
		what string
		most int64
		do   func() answer
	}{
		{"HEAD of a blob that is missing", 2, func() answer { return f.ask(t, http.MethodHead, checkout+"/blobs/"+d, "", bearer(access)) }},
		{"POST that begins an upload", 2, func() answer {
			a := f.ask(t, http.MethodPost, checkout+"/blobs/uploads/", "", bearer(access))
			upload = a.header.Get("Location")
			return a
		}},
		{"PATCH with a layer", 3, func() answer { return f.ask(t, http.MethodPatch, upload, "layer", bearer(access)) }},
		{"PUT that ends an upload", 7, func() answer { return f.ask(t, http.MethodPut, upload+"?digest="+d, "", bearer(access)) }},
		{"HEAD of a blob", 2, func() answer { return f.ask(t, http.MethodHead, checkout+"/blobs/"+d, "", bearer(access)) }},
		{"GET of a blob", 2, func() answer { return f.ask(t, http.MethodGet, checkout+"/blobs/"+d, "", bearer(access)) }},
		{"PUT of a manifest", 16, func() answer { return f.put(t, access, "v1", ociManifest, image) }},
		{"GET of a manifest", 3, func() answer { return f.ask(t, http.MethodGet, checkout+"/manifests/v1", "", bearer(access)) }},
	} {
		n.Store(0)
		a := r.do()
		if a.status >= 300 && !strings.Contains(r.what, "missing") {
			t.Fatalf("%s: %d %s", r.what, a.status, a.body)
		}
		t.Logf("%s: %d", r.what, n.Load())
		if n.Load() > r.most {
			t.Errorf("%s takes %d statements, more than %d", r.what, n.Load(), r.most)
		}
	}
}
