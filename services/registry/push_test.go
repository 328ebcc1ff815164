package registry_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/registry"
)

const checkout = "/v2/payments/checkout"

// begin starts an upload and returns its path.
func (f *fixture) begin(t *testing.T, access string) string {
	t.Helper()
	a := f.ask(t, http.MethodPost, checkout+"/blobs/uploads/", "", bearer(access))
	if a.status != http.StatusAccepted {
		t.Fatalf("beginning an upload: %d %s", a.status, a.body)
	}
	return a.header.Get("Location")
}

func (f *fixture) pusher(t *testing.T) string {
	t.Helper()
	return f.access(t, f.token(t, f.Maintainer, models.ScopeRegistryWrite), "repository:payments/checkout:pull,push,delete")
}

// blob pushes content in one request and returns its digest.
func (f *fixture) blob(t *testing.T, access, content string) string {
	t.Helper()
	d := digest.FromString(content).String()
	if a := f.ask(t, http.MethodPost, checkout+"/blobs/uploads/?digest="+d, content, bearer(access)); a.status != http.StatusCreated {
		t.Fatalf("pushing a blob: %d %s", a.status, a.body)
	}
	return d
}

func (f *fixture) put(t *testing.T, access, reference, mediaType, body string) answer {
	t.Helper()
	return f.ask(t, http.MethodPut, checkout+"/manifests/"+reference, body, func(r *http.Request) {
		bearer(access)(r)
		r.Header.Set("Content-Type", mediaType)
	})
}

func TestAPushIsSeenAtOnceByPeoplePagesAndTheAuditLog(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		first := digestOf(t, f.push(t, "payments/checkout:main", 2, f.writer(t, f.Developer)))
		second := digestOf(t, f.push(t, "payments/checkout:main", 2, f.writer(t, f.Maintainer)))

		var event models.Event
		if err := db.Where("kind = ?", "image.pushed").Order("id DESC").Take(&event).Error; err != nil {
			t.Fatal(err)
		}
		if event.Topic != "image:payments/checkout" || event.Parent != "app:"+f.App.ID || event.TeamID != f.Team.ID || event.Data["digest"] != second || event.Data["tag"] != "main" {
			t.Errorf("the event is %+v", event)
		}
		var entry models.AuditEntry
		if err := db.Where("action = ?", "image.push").Order("id DESC").Take(&entry).Error; err != nil {
			t.Fatal(err)
		}
		if entry.ActorID != f.Maintainer.ID || entry.TeamID != f.Team.ID || entry.Name != "payments/checkout:main" || entry.IP == "" {
			t.Errorf("the audit entry is %+v", entry)
		}
		var moves []models.RegistryTagEvent
		if err := db.Order("id").Find(&moves).Error; err != nil {
			t.Fatal(err)
		}
		if len(moves) != 2 || moves[0].Digest != first || moves[0].Previous != "" || moves[0].ActorName != "developer" ||
			moves[1].Digest != second || moves[1].Previous != first || moves[1].ActorName != "maintainer" {
			t.Errorf("the tag moved %+v", moves)
		}
	})
}

func TestAPushThatFailsLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		access := f.pusher(t)
		config := f.blob(t, access, "{}")
		missing := digest.FromString("never pushed").String()
		const oci = "application/vnd.oci.image.manifest.v1+json"
		image := func(layer string) string {
			return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":2}]}`, oci, config, layer)
		}
		both := strings.Replace(image(config), `"layers"`, `"manifests":[{"mediaType":"x","digest":"`+config+`","size":2}],"layers"`, 1)
		for what, c := range map[string]struct {
			reference, mediaType, body string
			status                     int
			code                       string
		}{
			"a layer that was not pushed": {"v1", oci, image(missing), 404, "MANIFEST_BLOB_UNKNOWN"},
			"another digest":              {missing, oci, image(config), 400, "DIGEST_INVALID"},
			"an unknown algorithm":        {"md5:d41d8cd98f00b204e9800998ecf8427e", oci, image(config), 400, "DIGEST_INVALID"},
			"a bad tag":                   {"-v1", oci, image(config), 400, "TAG_INVALID"},
			"an image and an index":       {"v1", oci, both, 400, "MANIFEST_INVALID"},
			"an index with layers":        {"v1", "application/vnd.oci.image.index.v1+json", strings.Replace(image(config), oci, "application/vnd.oci.image.index.v1+json", 1), 400, "MANIFEST_INVALID"},
			"another type":                {"v1", "application/vnd.docker.distribution.manifest.v2+json", image(config), 400, "MANIFEST_INVALID"},
			"a path for a digest":         {"v1", oci, image("sha256:../../../../etc/passwd"), 400, "MANIFEST_INVALID"},
			"no JSON":                     {"v1", oci, "hello", 400, "MANIFEST_INVALID"},
			"schema 1":                    {"v1", oci, `{"schemaVersion":1}`, 400, "MANIFEST_INVALID"},
			"5 MiB":                       {"v1", oci, strings.Repeat(" ", 5<<20) + image(config), 413, "SIZE_INVALID"},
		} {
			a := f.put(t, access, c.reference, c.mediaType, c.body)
			if a.status != c.status || !strings.Contains(a.body, c.code) {
				t.Errorf("%s is answered %d %s", what, a.status, a.body)
			}
		}
		for _, m := range []any{&models.RegistryManifest{}, &models.RegistryTag{}, &models.RegistryTagEvent{}, &models.RegistryReference{}, &models.AuditEntry{}} {
			var n int64
			q := db.Model(m)
			if _, ok := m.(*models.AuditEntry); ok {
				q = q.Where("action = ?", "image.push")
			}
			if err := q.Count(&n).Error; err != nil || n != 0 {
				t.Errorf("%d rows of %T stayed: %v", n, m, err)
			}
		}
		if a := f.put(t, access, "v1", oci, image(config)); a.status != 201 {
			t.Errorf("the right manifest is answered %d %s", a.status, a.body)
		}
	})
}

func TestAnUploadGoesOnInAnotherProcessAfterTheConnectionBroke(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		other := f.process(t)
		access := f.pusher(t)
		content := make([]byte, 300_000)
		rand.Read(content)
		upload := f.begin(t, access)

		conn, err := net.Dial("tcp", f.host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", upload, f.host, access, len(content))
		if _, err := conn.Write(content[:100_000]); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		have := 0
		for have == 0 { // until the first process has noticed
			a := f.ask(t, http.MethodGet, other.External+upload, "", bearer(access))
			if _, err := fmt.Sscanf(a.header.Get("Range"), "0-%d", &have); err != nil {
				t.Fatalf("%d %v", a.status, err)
			}
		}
		have++
		if have != 100_000 {
			t.Errorf("%d bytes were kept of 100000", have)
		}
		ranged := func(from, to int) func(*http.Request) {
			return func(r *http.Request) {
				bearer(access)(r)
				r.Header.Set("Content-Range", fmt.Sprintf("%d-%d", from, to-1))
			}
		}
		// What the first process kept is seen a moment before it lets go of the upload.
		if a := f.whenFree(t, func() answer {
			return f.ask(t, http.MethodPatch, other.External+upload, string(content[200_000:]), ranged(200_000, 300_000))
		}); a.status != 416 || a.header.Get("Range") != "0-99999" {
			t.Errorf("a chunk out of order is answered %d %s", a.status, a.header.Get("Range"))
		}
		if a := f.ask(t, http.MethodPatch, other.External+upload, string(content[have:200_000]), ranged(have, 200_000)); a.status != 202 {
			t.Fatalf("the next chunk is answered %d %s", a.status, a.body)
		}
		d := digest.FromBytes(content).String()
		if a := f.ask(t, http.MethodPut, upload+"?digest="+d, string(content[200_000:]), bearer(access)); a.status != 201 {
			t.Fatalf("the end is answered %d %s", a.status, a.body)
		}
		if a := f.ask(t, http.MethodGet, other.External+checkout+"/blobs/"+d, "", bearer(access)); a.body != string(content) {
			t.Errorf("the blob has %d bytes, or others", len(a.body))
		}
	})
}

func TestBytesThatACrashLeftBehindAreNotKept(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	access := f.pusher(t)
	upload := f.begin(t, access)
	if a := f.ask(t, http.MethodPatch, upload, "first,", bearer(access)); a.status != http.StatusAccepted {
		t.Fatalf("the first chunk is answered %d", a.status)
	}
	file, err := os.OpenFile(filepath.Join(f.folder, "uploads", filepath.Base(upload)), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("half of a chunk that nobody wrote down"); err != nil {
		t.Fatal(err)
	}
	file.Close()
	d := digest.FromString("first,second").String()
	if a := f.ask(t, http.MethodPut, upload+"?digest="+d, "second", bearer(access)); a.status != http.StatusCreated {
		t.Fatalf("the end is answered %d %s", a.status, a.body)
	}
	if a := f.ask(t, http.MethodGet, checkout+"/blobs/"+d, "", bearer(access)); a.body != "first,second" {
		t.Errorf("the blob is %q", a.body)
	}
}

func TestALayerThatAnImageNeedsCanNotBeDeleted(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		img := f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		access := f.pusher(t)
		if a := f.ask(t, http.MethodDelete, checkout+"/blobs/"+digestOf(t, layers[0]), "", bearer(access)); a.status != http.StatusConflict {
			t.Errorf("deleting a layer of an image is answered %d", a.status)
		}
		if a := f.ask(t, http.MethodDelete, checkout+"/blobs/"+f.blob(t, access, "loose"), "", bearer(access)); a.status != http.StatusAccepted {
			t.Errorf("deleting a loose blob is answered %d", a.status)
		}
	})
}

func TestTwoWritersOfOneUploadDoNotMixTheirBytes(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		other := f.process(t)
		access := f.pusher(t)
		upload := f.begin(t, access)
		body, writer := io.Pipe()
		slow, err := http.NewRequest(http.MethodPatch, f.registry.External+upload, body)
		if err != nil {
			t.Fatal(err)
		}
		bearer(access)(slow)
		done := make(chan int)
		go func() {
			res, err := http.DefaultClient.Do(slow)
			if err != nil {
				done <- 0
				return
			}
			res.Body.Close()
			done <- res.StatusCode
		}()
		if _, err := writer.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		for begun := false; !begun; { // until the first process writes
			info, err := os.Stat(filepath.Join(f.folder, "uploads", filepath.Base(upload)))
			if err != nil {
				t.Fatal(err)
			}
			begun = info.Size() > 0
		}
		if a := f.ask(t, http.MethodPatch, other.External+upload, "other", bearer(access)); a.status != http.StatusConflict {
			t.Errorf("a second writer is answered %d %s", a.status, a.body)
		}
		writer.Close()
		if status := <-done; status != http.StatusAccepted {
			t.Errorf("the first writer is answered %d", status)
		}
		d := digest.FromBytes(make([]byte, 1<<20)).String()
		if a := f.ask(t, http.MethodPut, upload+"?digest="+d, "", bearer(access)); a.status != http.StatusCreated {
			t.Errorf("the end is answered %d %s", a.status, a.body)
		}
	})
}

func TestContentWithAnotherDigestIsRefusedAndForgotten(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	access := f.pusher(t)
	upload := f.begin(t, access)
	d := digest.FromString("right").String()
	if a := f.ask(t, http.MethodPut, upload+"?digest="+d, "wrong", bearer(access)); a.status != 400 || !strings.Contains(a.body, "DIGEST_INVALID") {
		t.Errorf("wrong content is answered %d %s", a.status, a.body)
	}
	if a := f.ask(t, http.MethodHead, checkout+"/blobs/"+d, "", bearer(access)); a.status != 404 {
		t.Errorf("the blob is answered %d", a.status)
	}
	f.ask(t, http.MethodPost, checkout+"/blobs/uploads/?digest="+d, "wrong", bearer(access))
	if files, err := os.ReadDir(filepath.Join(f.folder, "uploads")); err != nil || len(files) != 0 {
		t.Errorf("%d files of uploads stayed: %v", len(files), err)
	}
}

func TestAFullDiskAndALargeLayerAreRefusedWithAReasonThatDockerShows(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	access := f.pusher(t)
	small := f.process(t, func(s *registry.Service) { s.MaxBlob = 1000 })
	full := f.process(t, func(s *registry.Service) { s.MinFree = math.MaxInt64 / 2 })
	if a := f.ask(t, http.MethodPost, full.External+checkout+"/blobs/uploads/", "", bearer(access)); a.status != 403 || !strings.Contains(a.body, "disk of the Slipway server is full") {
		t.Errorf("a full disk is answered %d %s", a.status, a.body)
	}
	large := strings.Repeat("x", 2000)
	d := digest.FromString(large).String()
	if a := f.ask(t, http.MethodPost, small.External+checkout+"/blobs/uploads/?digest="+d, large, bearer(access)); a.status != 413 || !strings.Contains(a.body, "larger than this registry takes") {
		t.Errorf("a large layer is answered %d %s", a.status, a.body)
	}
	upload := f.begin(t, access)
	unknown := func(r *http.Request) {
		bearer(access)(r)
		r.ContentLength = -1
		r.Body = io.NopCloser(strings.NewReader(large))
	}
	if a := f.ask(t, http.MethodPatch, small.External+upload, "", unknown); a.status != 413 {
		t.Errorf("a large layer of unknown size is answered %d %s", a.status, a.body)
	}
}

// pushPlatforms pushes an index of images for two platforms and returns it.
func (f *fixture) pushPlatforms(t *testing.T, image string) v1.ImageIndex {
	t.Helper()
	var index v1.ImageIndex = empty.Index
	for _, arch := range []string{"amd64", "arm64"} {
		img := layered(t, 2)
		file, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		file = file.DeepCopy()
		file.OS, file.Architecture = "linux", arch
		if img, err = mutate.ConfigFile(img, file); err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	if err := remote.WriteIndex(f.ref(t, image), index, f.writer(t, f.Developer)); err != nil {
		t.Fatal(err)
	}
	return index
}

func TestAnIndexHasThePlatformsAndTheSizeOfItsImages(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		f.pushPlatforms(t, "payments/checkout:multi")
		var rows []models.RegistryManifest
		if err := db.Order("push_id").Find(&rows).Error; err != nil || len(rows) != 3 {
			t.Fatalf("%d manifests: %v", len(rows), err)
		}
		whole := rows[2]
		if fmt.Sprint(whole.Platforms) != "[linux/amd64 linux/arm64]" || whole.ImageSize != rows[0].ImageSize+rows[1].ImageSize || whole.ImageSize == 0 {
			t.Errorf("the index has %v and %d bytes", whole.Platforms, whole.ImageSize)
		}
	})
}

func TestAnImageThatRunsCanNotBeDeleted(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		d := digestOf(t, f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer)))
		now := db.NowFunc()
		running := models.Deployment{ID: models.NewID(), TeamID: f.Team.ID, AppID: f.App.ID, EnvironmentID: f.Environment.ID, Number: 1,
			State: models.DeploymentSucceeded, Active: true, ImageRepository: f.host + "/payments/checkout", ImageDigest: d, CreatedAt: now}
		if err := db.Create(&running).Error; err != nil {
			t.Fatal(err)
		}
		access := f.pusher(t)
		if a := f.ask(t, http.MethodDelete, checkout+"/manifests/"+d, "", bearer(access)); a.status != 409 || !strings.Contains(a.body, "runs in dev") {
			t.Errorf("deleting what runs is answered %d %s", a.status, a.body)
		}
		if err := db.Model(&running).Update("active", false).Error; err != nil {
			t.Fatal(err)
		}
		if a := f.ask(t, http.MethodDelete, checkout+"/manifests/"+d, "", bearer(access)); a.status != 202 {
			t.Errorf("deleting what runs no more is answered %d %s", a.status, a.body)
		}
		var moves []models.RegistryTagEvent
		if err := db.Order("id DESC").Limit(1).Find(&moves).Error; err != nil || len(moves) != 1 || moves[0].Digest != "" || moves[0].Previous != d {
			t.Errorf("the tag's end is %+v: %v", moves, err)
		}
		var list struct{ Tags []string }
		a := f.ask(t, http.MethodGet, checkout+"/tags/list", "", bearer(access))
		if err := json.Unmarshal([]byte(a.body), &list); err != nil || len(list.Tags) != 0 {
			t.Errorf("the tags are %s", a.body)
		}
	})
}

func TestManyPushesAtOnceThroughSeveralProcessesAreAllThere(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		login := f.writer(t, f.Developer)
		hosts := []string{f.host, f.process(t).Host()}
		shared, err := random.Layer(50_000, "application/vnd.docker.image.rootfs.diff.tar.gzip")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				img, err := random.Image(5000, 2)
				if err == nil {
					img, err = mutate.AppendLayers(img, shared)
				}
				if err == nil {
					here := *f
					here.host = hosts[i%2]
					err = remote.Write(here.ref(t, fmt.Sprintf("payments/checkout:n%d", i)), img, login)
				}
				if err != nil {
					t.Errorf("push %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		for i := range 8 {
			img, err := remote.Image(f.ref(t, fmt.Sprintf("payments/checkout:n%d", i)), login)
			if err != nil {
				t.Fatal(err)
			}
			layers, err := img.Layers()
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range layers {
				content, err := l.Compressed()
				if err != nil {
					t.Fatal(err)
				}
				var b bytes.Buffer
				if _, err := b.ReadFrom(content); err != nil || digest.FromBytes(b.Bytes()).String() != digestOf(t, l) {
					t.Errorf("a layer of image %d is not what was pushed: %v", i, err)
				}
			}
		}
	})
}

// recordingListener remembers the last deadlines of its connections.
type recordingListener struct {
	net.Listener
	mu          sync.Mutex
	read, write time.Time
}

type recordingConn struct {
	net.Conn
	l *recordingListener
}

func (l *recordingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &recordingConn{c, l}, err
}

func (c *recordingConn) SetReadDeadline(t time.Time) error {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.read = t
	return c.Conn.SetReadDeadline(t)
}

func (c *recordingConn) SetWriteDeadline(t time.Time) error {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.write = t
	return c.Conn.SetWriteDeadline(t)
}

func TestTheDeadlineOfARequestDoesNotStayWithTheConnection(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	access := f.pusher(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &recordingListener{Listener: listener}
	server := &http.Server{Handler: f.registry}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	base := "http://" + listener.Addr().String() + checkout
	d := digest.FromString("content").String()
	for _, r := range []struct{ method, path, body string }{
		{http.MethodPost, "/blobs/uploads/?digest=" + d, "content"},
		{http.MethodGet, "/blobs/" + d, ""},
		{http.MethodPut, "/manifests/v1", "{}"},
	} {
		f.ask(t, r.method, base+r.path, r.body, bearer(access))
		l.mu.Lock()
		if !l.write.IsZero() {
			t.Errorf("%s %s leaves the write deadline %s", r.method, r.path, l.write)
		}
		l.mu.Unlock()
	}
}
