package registry_test

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
)

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
)

// descriptor is the JSON of one, with more behind its size.
func descriptor(mediaType, d string, size any, more string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%v%s}`, mediaType, d, size, more)
}

// manifest is the JSON of an image's, with more at its end.
func manifest(config, layers, more string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]%s}`, ociManifest, config, layers, more)
}

func index(children, more string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]%s}`, ociIndex, children, more)
}

func TestHostileManifestsAreRefusedWithAReasonAndNothingIsStored(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		access := f.pusher(t)
		blob := f.blob(t, access, "{}")
		const image = "application/vnd.oci.image.config.v1+json"
		config := descriptor(image, blob, 2, "")
		absent := digest.FromString("absent").String()
		for what, c := range map[string]struct {
			mediaType, body string
			status          int
			code, says      string
		}{
			"deep JSON":                  {ociManifest, manifest(config, "", `,"x":`+strings.Repeat(`{"x":`, 5000)+"1"+strings.Repeat("}", 5000)), 400, "MANIFEST_INVALID", "32 deep"},
			"lists without end":          {ociManifest, strings.Repeat("[", 1<<20), 400, "MANIFEST_INVALID", "32 deep"},
			"a million layers":           {ociManifest, manifest(config, strings.Repeat("null,", 800_000)+"null", ""), 400, "MANIFEST_INVALID", "more than 20000 things"},
			"a million keys":             {ociManifest, manifest(config, "", `,"annotations":{`+keys(300_000)+`}`), 400, "MANIFEST_INVALID", "more than 100000 keys"},
			"layers twice":               {ociManifest, manifest(config, "", `,"layers":[`+config+`]`), 400, "MANIFEST_INVALID", `"layers" twice`},
			"layers in other letters":    {ociManifest, manifest(config, "", `,"Layers":[`+config+`]`), 400, "MANIFEST_INVALID", `"Layers" where "layers" is meant`},
			"a digest twice":             {ociManifest, manifest(descriptor(image, blob, 2, `,"digest":"`+absent+`"`), "", ""), 400, "MANIFEST_INVALID", `"digest" twice`},
			"a negative size":            {ociManifest, manifest(descriptor(image, blob, -1, ""), "", ""), 400, "MANIFEST_INVALID", "not valid"},
			"a size of no number":        {ociManifest, manifest(descriptor(image, blob, "1e999", ""), "", ""), 400, "MANIFEST_INVALID", "not the JSON"},
			"a wrong size":               {ociManifest, manifest(config, descriptor("x/y", blob, 3, ""), ""), 400, "SIZE_INVALID", "has 3 bytes; it has 2"},
			"an unknown algorithm":       {ociManifest, manifest(descriptor(image, "md5:d41d8cd98f00b204e9800998ecf8427e", 2, ""), "", ""), 400, "MANIFEST_INVALID", "not valid"},
			"a digest in upper case":     {ociManifest, manifest(descriptor(image, strings.ToUpper(blob), 2, ""), "", ""), 400, "MANIFEST_INVALID", "not valid"},
			"an index said to be image":  {ociManifest, `{"schemaVersion":2,"manifests":[` + config + `]}`, 400, "MANIFEST_INVALID", "no config"},
			"an image without config":    {ociManifest, `{"schemaVersion":2,"layers":[]}`, 400, "MANIFEST_INVALID", "no config"},
			"an image and an index":      {"application/vnd.example+json", `{"schemaVersion":2,"config":` + config + `,"manifests":[` + config + `]}`, 400, "MANIFEST_INVALID", "not both"},
			"a page for browsers":        {"text/html", `{"schemaVersion":2,"annotations":{"x":"<script>"}}`, 400, "MANIFEST_INVALID", "Content-Type"},
			"no UTF-8":                   {ociManifest, manifest(config, "", `,"annotations":{"x":"`+"\xff"+`"}`), 400, "MANIFEST_INVALID", "UTF-8"},
			"two documents":              {ociManifest, manifest(config, "", "") + manifest(config, "", ""), 400, "MANIFEST_INVALID", "not the JSON"},
			"an artifact type of zeros":  {ociManifest, manifest(config, "", `,"artifactType":"\u0000"`), 400, "MANIFEST_INVALID", "media type"},
			"an index of what is absent": {ociIndex, index(descriptor(ociIndex, absent, 2, ""), ""), 404, "MANIFEST_BLOB_UNKNOWN", absent},
		} {
			for _, tag := range []string{"v1", digest.FromString(c.body).String()} {
				a := f.put(t, access, tag, c.mediaType, c.body)
				if a.status != c.status || !strings.Contains(a.body, `"code":"`+c.code+`"`) || !strings.Contains(strings.ReplaceAll(a.body, `\"`, `"`), c.says) {
					t.Errorf("%s is answered %d %s", what, a.status, a.body)
				}
			}
		}
		for _, m := range []any{&models.RegistryManifest{}, &models.RegistryTag{}, &models.RegistryTagEvent{}, &models.RegistryReference{}} {
			var n int64
			if err := db.Model(m).Count(&n).Error; err != nil || n != 0 {
				t.Errorf("%d rows of %T stayed: %v", n, m, err)
			}
		}
	})
}

// keys are so many members of an object.
func keys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%x":"",`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func TestWhatIsOnlyStrangeIsTaken(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		access := f.pusher(t)
		blob := f.blob(t, access, "{}")
		config := descriptor("application/vnd.example", blob, 2, "")
		elsewhere := descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", digest.FromString("elsewhere").String(),
			math.MaxInt64, `,"urls":["http://169.254.169.254/latest/meta-data/","http://127.0.0.1:1/"]`)
		draft := `{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"application/vnd.example","blobs":[` + config + `]}`
		for what, c := range map[string]struct{ mediaType, body string }{
			"layers at private addresses, which nobody fetches": {ociManifest, manifest(config, elsewhere+","+elsewhere, "")},
			"an index of nothing":                               {ociIndex, index("", "")},
			"an index of blobs, which BuildKit makes":           {ociIndex, index(config, "")},
			"an artifact of a draft":                            {"application/vnd.oci.artifact.manifest.v1+json", draft},
			"keys that differ in letters only":                  {ociManifest, manifest(config, "", `,"annotations":{"Size":"1","size":"2","":""}`)},
			"a parameter of the type":                           {ociManifest + "; charset=utf-8", manifest(config, "", "")},
		} {
			if a := f.put(t, access, "v1", c.mediaType, c.body); a.status != 201 {
				t.Errorf("%s: %d %s", what, a.status, a.body)
			}
		}
		f.age(t)
		f.collect(t)
		if a := f.ask(t, http.MethodGet, checkout+"/blobs/"+blob, "", bearer(access)); a.body != "{}" {
			t.Errorf("the blob of the artifact and of the index is answered %d", a.status)
		}
	})
}

func TestIndexesOfIndexesEndSomewhereAndTheirSizesDoNotOverflow(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		access := f.pusher(t)
		config := descriptor("application/vnd.example", f.blob(t, access, "{}"), 2, "")
		elsewhere := descriptor("x/y", digest.FromString("elsewhere").String(), math.MaxInt64-10, `,"urls":["https://example.com/"]`)
		body := manifest(config, elsewhere, "")
		mediaType := ociManifest
		depth := 0
		for ; depth < 100; depth++ {
			a := f.put(t, access, fmt.Sprintf("n%d", depth), mediaType, body)
			if a.status == 400 && strings.Contains(a.body, "at most 8 deep") {
				break
			}
			if a.status != 201 {
				t.Fatalf("depth %d: %d %s", depth, a.status, a.body)
			}
			// Two ways to the same index double the sum with each step.
			child := descriptor(mediaType, a.header.Get("Docker-Content-Digest"), len(body), "")
			twin := index(child, fmt.Sprintf(`,"annotations":{"twin":"%d"}`, depth))
			if b := f.put(t, access, "twin", ociIndex, twin); b.status == 201 && depth < 7 {
				child += "," + descriptor(ociIndex, digest.FromString(twin).String(), len(twin), "")
			}
			body, mediaType = index(child, ""), ociIndex
		}
		if depth < 2 || depth > 9 {
			t.Errorf("indexes nest %d deep", depth)
		}
		var sizes []int64
		if err := db.Model(&models.RegistryManifest{}).Pluck("image_size", &sizes).Error; err != nil {
			t.Fatal(err)
		}
		for _, size := range sizes {
			if size < 0 {
				t.Errorf("an index has %d bytes", size)
			}
		}
	})
}

func TestNamesTagsDigestsAndPagesWithTricksAreRefused(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
		token := f.token(t, f.Maintainer, models.ScopeRegistryWrite)
		access := f.pusher(t)
		for path, want := range map[string]string{
			"GET /v2/payments/../search/tags/list":                                                         "400 NAME_INVALID",
			"GET /v2/payments/%2e%2e/search/tags/list":                                                     "400 NAME_INVALID",
			"GET /v2/payments//checkout/tags/list":                                                         "400 NAME_INVALID",
			"GET /v2/Payments/checkout/tags/list":                                                          "400 NAME_INVALID",
			"GET /v2/payments/chéckout/tags/list":                                                          "400 NAME_INVALID",
			"GET /v2/payments/checkout%00/tags/list":                                                       "400 NAME_INVALID",
			"GET /v2/payments/checkout%0a/tags/list":                                                       "400 NAME_INVALID",
			"GET /v2/payments/" + strings.Repeat("a", 255) + "/tags/list":                                  "400 NAME_INVALID",
			"GET /v2/search%2findex/tags/list":                                                             "401 DENIED",
			"GET /v2/payments%2fcheckout/tags/list":                                                        "200 ",
			"GET /v2/payments/checkout/tags/list?last=%00":                                                 "400 PAGINATION_NUMBER_INVALID",
			"GET /v2/payments/checkout/tags/list?last=%ff":                                                 "400 PAGINATION_NUMBER_INVALID",
			"GET /v2/payments/checkout/tags/list?n=-1":                                                     "400 PAGINATION_NUMBER_INVALID",
			"GET /v2/payments/checkout/tags/list?n=99999999999999999999":                                   "400 PAGINATION_NUMBER_INVALID",
			"GET /v2/payments/checkout/manifests/%00":                                                      "400 TAG_INVALID",
			"GET /v2/payments/checkout/manifests/-v1":                                                      "400 TAG_INVALID",
			"GET /v2/payments/checkout/manifests/" + strings.Repeat("a", 129):                              "400 TAG_INVALID",
			"PUT /v2/payments/checkout/manifests/..":                                                       "400 TAG_INVALID",
			"DELETE /v2/payments/checkout/manifests/é":                                                     "400 TAG_INVALID",
			"GET /v2/payments/checkout/manifests/sha256:..%2f..%2fkeys":                                    "404 UNSUPPORTED",
			"GET /v2/payments/checkout/manifests/md5:d41d8cd98f00b204e9800998ecf8":                         "400 DIGEST_INVALID",
			"GET /v2/payments/checkout/blobs/sha256:%00":                                                   "400 DIGEST_INVALID",
			"GET /v2/payments/checkout/blobs/sha256:" + strings.Repeat("A", 64):                            "400 DIGEST_INVALID",
			"GET /v2/payments/checkout/referrers/sha256:0":                                                 "400 DIGEST_INVALID",
			"GET /v2/payments/checkout/referrers/" + digest.FromString("x").String() + "?artifactType=%00": "400 PAGINATION_NUMBER_INVALID",
			"POST /v2/payments/checkout/blobs/uploads/?digest=sha999:0":                                    "400 DIGEST_INVALID",
			"POST /v2/payments/checkout/blobs/uploads/?digest-algorithm=md5":                               "400 DIGEST_INVALID",
			"POST /v2/payments/checkout/blobs/uploads/?mount=x&from=payments/checkout":                     "400 DIGEST_INVALID",
			"PATCH /v2/payments/checkout/blobs/uploads/..%2f..%2fblobs":                                    "404 UNSUPPORTED",
			"PATCH /v2/payments/checkout/blobs/uploads/{6ba7b810-9dad-11d1-80b4-00c04fd430c8}":             "404 BLOB_UPLOAD_UNKNOWN",
			"POST /v2/payments/checkout/tags/list":                                                         "405 UNSUPPORTED",
		} {
			method, address, _ := strings.Cut(path, " ")
			a := f.ask(t, method, address, "", bearer(access))
			status, code, _ := strings.Cut(want, " ")
			if fmt.Sprint(a.status) != status || !strings.Contains(a.body, code) {
				t.Errorf("%s is answered %d %s", path, a.status, a.body)
			}
			if a.status == 405 && a.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("405 allows %q", a.header.Get("Allow"))
			}
		}
		if got := f.access(t, token, "repository:\x00/x:pull repository:payments/\xff:pull"); got == "" {
			t.Error("a scope that can't be stored is answered with no token")
		}
	})
}

// raw sends a request as it is written and returns the status of the answer, 0 where there is none.
func (f *fixture) raw(t *testing.T, access, head, body string) int {
	t.Helper()
	conn, err := net.Dial("tcp", f.host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n%s", head, f.host, access, body)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}

func TestLengthsThatLieStoreNothing(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	access := f.pusher(t)
	f.blob(t, access, "{}")
	d := digest.FromString("0123456789").String()
	put := "PUT " + checkout + "/manifests/v1 HTTP/1.1\r\nContent-Type: " + ociManifest
	post := "POST " + checkout + "/blobs/uploads/?digest=" + d + " HTTP/1.1"
	for what, c := range map[string]struct {
		head, body string
		status     int
	}{
		"a manifest of 5 MiB, which is not read": {put + "\r\nContent-Length: 5242880", "", 413},
		"a manifest shorter than it says":        {put + "\r\nContent-Length: 100", "{}", 400},
		"a manifest in chunks without end":       {put + "\r\nTransfer-Encoding: chunked", chunks(5 << 20), 413},
		"a manifest of a negative length":        {put + "\r\nContent-Length: -1", "{}", 400},
		"a blob shorter than it says":            {post + "\r\nContent-Length: 20", "0123456789", 400},
		"a blob longer than it says":             {post + "\r\nContent-Length: 5", "0123456789", 400},
		"a blob of 1 EB":                         {post + "\r\nContent-Length: 1152921504606846976", "0123456789", 413},
		"two lengths":                            {post + "\r\nContent-Length: 10\r\nContent-Length: 11", "0123456789", 400},
	} {
		if status := f.raw(t, access, c.head, c.body); status != c.status {
			t.Errorf("%s is answered %d, not %d", what, status, c.status)
		}
	}
	if a := f.ask(t, http.MethodHead, checkout+"/blobs/"+d, "", bearer(access)); a.status != 404 {
		t.Errorf("the blob is answered %d", a.status)
	}
	if files, err := os.ReadDir(filepath.Join(f.folder, "uploads")); err != nil || len(files) != 0 {
		t.Errorf("%d files of uploads stayed: %v", len(files), err)
	}
	upload := f.begin(t, access)
	for _, header := range []string{"5-1", "0-0", "-1-9", "0-99999999999999999999", "x", "bytes=0-9", "0-10"} {
		a := f.ask(t, http.MethodPatch, upload, "0123456789", func(r *http.Request) {
			bearer(access)(r)
			r.Header.Set("Content-Range", header)
		})
		if a.status != 416 {
			t.Errorf("ten bytes at %q are answered %d", header, a.status)
		}
	}
}

// chunks is a body of so many bytes in chunked encoding.
func chunks(size int) string {
	chunk := "10000\r\n" + strings.Repeat("[", 1<<16) + "\r\n"
	return strings.Repeat(chunk, size>>16) + "0\r\n\r\n"
}

// TestHostileManifestsTakeLittleMemory is not parallel: it looks at all that the process has.
func TestHostileManifestsTakeLittleMemory(t *testing.T) {
	f := serve(t, modelstest.DB(t))
	access := f.pusher(t)
	layers := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":null,"layers":[%snull]}`, ociManifest, strings.Repeat("null,", 800_000))
	blobs := index(strings.TrimSuffix(strings.Repeat(descriptor("x/y", digest.FromString("absent").String(), 1, "")+",", 19_000), ","), "")
	annotations := `{"schemaVersion":2,"annotations":{` + keys(300_000) + `}}`
	runtime.GC()
	base := heap()
	var most atomic.Uint64
	stop := make(chan struct{})
	var sampler, clients sync.WaitGroup
	sampler.Go(func() {
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			most.Store(max(most.Load(), heap()))
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	})
	for i := range 24 {
		body := []string{layers, blobs, annotations}[i%3]
		clients.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.registry.External+checkout+"/manifests/v1", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			bearer(access)(r)
			r.Header.Set("Content-Type", ociManifest)
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			_, _ = io.Copy(io.Discard, res.Body)
			if res.StatusCode != 400 {
				t.Errorf("a hostile manifest is answered %d", res.StatusCode)
			}
		})
	}
	clients.Wait()
	close(stop)
	sampler.Wait()
	grown := (int64(most.Load()) - int64(base)) >> 20
	t.Logf("24 manifests of up to 4 MiB at once took %d MiB", grown)
	if grown > 160 { // what is not yet collected is part of it
		t.Errorf("24 hostile manifests took %d MiB", grown)
	}
}

// heap is the bytes of objects, those included that nobody needs and that were not collected yet.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
