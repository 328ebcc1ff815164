package builds_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/google/go-containerregistry/pkg/registry"
	"slipway.dev/models"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

// silent swallows the access log of registries.
var silent = log.New(io.Discard, "", 0)

// goneWithin is how soon after a cancel nothing of the build may be left, on a machine that does much else.
const goneWithin = 3 * time.Minute

// cancelAndWatch cancels the build and waits until nothing is left, by each of
// the questions and of the build's own folder.
func (w *world) cancelAndWatch(t *testing.T, id string, left map[string]func() bool) {
	t.Helper()
	began := time.Now()
	if _, err := w.builds.Cancel(w.as(t, w.Developer), id); err != nil {
		t.Fatal(err)
	}
	w.wait(t, id, models.BuildCanceled)
	left["its folder"] = func() bool {
		entries, err := os.ReadDir(w.builds.Dir)
		return err == nil && len(entries) > 0
	}
	for what, is := range left {
		for is() {
			if time.Since(began) > goneWithin {
				t.Fatalf("%s is still there %v after the cancel", what, goneWithin)
			}
			<-time.After(20 * time.Millisecond)
		}
	}
	t.Logf("gone after %v", time.Since(began).Round(time.Millisecond))
}

// processes tells whether a process of this machine has the word in its command line or environment.
func processes(word string) bool {
	for _, kind := range []string{"cmdline", "environ"} {
		files, _ := filepath.Glob("/proc/[0-9]*/" + kind) // the pattern is right
		for _, f := range files {
			if strings.HasPrefix(f, "/proc/"+self+"/") {
				continue
			}
			if text, err := os.ReadFile(f); err == nil && strings.Contains(string(text), word) {
				return true
			}
		}
	}
	return false
}

var self = filepath.Base(must(os.Readlink("/proc/self")))

func must(s string, _ error) string { return s }

func TestCancelDuringTheCheckoutLeavesNoGitAndNoHalfReceivedPack(t *testing.T) {
	t.Parallel()
	w := real(t)
	noise := make([]byte, 4<<20)
	_, _ = rand.Read(noise) // never fails
	w.commit(t, "FROM scratch\n", gittest.Files{"noise": hex.EncodeToString(noise)})
	behind, err := url.Parse(strings.TrimSuffix(w.repo.URL, "/"+w.repo.Name))
	if err != nil {
		t.Fatal(err)
	}
	stalled := make(chan struct{}, 10)
	slow := httptest.NewServer(stalling(behind, 512<<10, stalled))
	t.Cleanup(slow.Close)
	b := w.queueBuild(t, "main")
	w.wait(t, b.ID, models.BuildSucceeded)
	if err := w.builds.Git.Remove(w.Repository.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.db.Model(w.Repository).Update("clone_url", slow.URL+"/"+w.repo.Name).Error; err != nil {
		t.Fatal(err)
	}
	again, err := w.builds.Retry(w.as(t, w.Developer), b.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.reaches(t, again.ID, stalled)
	if !processes(slow.URL) {
		t.Error("no git works for the build, so the test shows nothing")
	}
	w.cancelAndWatch(t, again.ID, map[string]func() bool{
		"a git process":        func() bool { return processes(slow.URL) },
		"a half-received pack": func() bool { return hasFile(w.builds.Git.Dir, "tmp_pack") },
	})
}

// stalling passes requests on, and stops in the middle of a large answer until the client goes away.
func stalling(to *url.URL, after int, stalled chan<- struct{}) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(to)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(&staller{ResponseWriter: w, room: after, r: r, stalled: stalled}, r)
	})
}

type staller struct {
	http.ResponseWriter
	room    int
	r       *http.Request
	stalled chan<- struct{}
}

func (s *staller) Write(p []byte) (int, error) {
	if s.room -= len(p); s.room < 0 {
		_ = http.NewResponseController(s.ResponseWriter).Flush() // what came so far
		s.stalled <- struct{}{}
		<-s.r.Context().Done()
		return 0, s.r.Context().Err()
	}
	return s.ResponseWriter.Write(p)
}

func (s *staller) Flush() { _ = http.NewResponseController(s.ResponseWriter).Flush() }

// reaches waits for the signal; a build that ends before it ends the test.
func (w *world) reaches(t *testing.T, id string, signal <-chan struct{}) {
	t.Helper()
	late := time.After(3 * time.Minute)
	for {
		select {
		case <-signal:
			return
		case <-late:
			t.Fatalf("the build never came so far:\n%s", w.log(t, id))
		case <-time.After(100 * time.Millisecond):
			if b, err := w.builds.Get(w.as(t, w.Viewer), id); err != nil || b.State.Ended() {
				t.Fatalf("the build ended, error %v:\n%s", err, w.log(t, id))
			}
		}
	}
}

// slowly reads next to nothing until the build is canceled, so that no upload
// ends before. Then it takes what lies in the connection's buffers at once, so
// that a client which is gone is noticed, and goes on at 800 kB a second, for a
// minute or until the client goes away.
func slowly(body io.Reader, canceled <-chan struct{}) {
	buf := make([]byte, 1<<10)
	for range 3000 {
		if _, err := io.ReadFull(body, buf); err != nil {
			return
		}
		select {
		case <-canceled:
			_, _ = io.Copy(io.Discard, io.LimitReader(body, 4<<20)) // the client may be gone
			canceled, buf = nil, make([]byte, 16<<10)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func hasFile(dir, part string) (found bool) {
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		found = found || err == nil && strings.Contains(filepath.Base(path), part)
		return nil
	})
	return found
}

func TestCancelDuringACommandLeavesNoProcessOfItsTree(t *testing.T) {
	t.Parallel()
	w := real(t)
	marker := "6000." + strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, models.NewID())
	w.commit(t, "FROM "+dockertest.BaseImage(t)+"\nRUN trap '' TERM INT HUP; (sleep "+marker+" & sleep "+marker+" & wait) & echo begun "+marker+"; sleep "+marker+"\n", nil)
	b := w.queueBuild(t, "main")
	for text := ""; !strings.Contains(text, "\nbegun "); <-time.After(20 * time.Millisecond) {
		if text = w.log(t, b.ID); strings.Contains(text, "FAILED") {
			t.Fatal(text)
		}
	}
	if !processes(marker) {
		t.Error("no command runs, so the test shows nothing")
	}
	w.cancelAndWatch(t, b.ID, map[string]func() bool{"a process of the command": func() bool { return processes(marker) }})
	for _, s := range w.wait(t, b.ID, models.BuildCanceled).Steps {
		if s.State == models.StepRunning || s.State == models.StepPending {
			t.Errorf("the step %q is still %s", s.Name, s.State)
		}
	}
}

func TestCancelDuringThePushLeavesNoUploadNoTagAndNoImage(t *testing.T) {
	t.Parallel()
	w := real(t)
	docker := dockertest.Engine(t)
	inner := registry.New(registry.Logger(silent))
	var uploads, manifests atomic.Int32
	uploading, canceled := make(chan struct{}, 100), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPatch, r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/"):
			uploads.Add(1)
			defer uploads.Add(-1)
			uploading <- struct{}{}
			slowly(r.Body, canceled)
		case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/"):
			manifests.Add(1)
			inner.ServeHTTP(rw, r)
		default:
			inner.ServeHTTP(rw, r)
		}
	}))
	t.Cleanup(slow.Close)
	w.moveRegistry(strings.TrimPrefix(slow.URL, "http://"), nil)
	w.commit(t, "FROM "+dockertest.BaseImage(t)+"\nRUN head -c 9000000 /dev/urandom > /noise\n", nil)
	b := w.queueBuild(t, "main")
	w.reaches(t, b.ID, uploading)
	name := w.Host() + "/payments/checkout"
	close(canceled)
	w.cancelAndWatch(t, b.ID, map[string]func() bool{
		"an upload": func() bool { return uploads.Load() > 0 },
		"the image in the engine": func() bool {
			left, err := docker.ImageList(context.WithoutCancel(t.Context()), image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", name+":*"))})
			return err != nil || len(left) > 0
		},
	})
	if n := manifests.Load(); n > 0 {
		t.Errorf("%d tags were written", n)
	}
}
