package registry_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/registry"
)

// soak is how long make soak wants a test to go on; 0 where the short form will do.
func soak(t *testing.T) time.Duration {
	t.Helper()
	value := os.Getenv("SLIPWAY_TEST_SOAK")
	if value == "" {
		return 0
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		t.Fatalf("SLIPWAY_TEST_SOAK: %v", err)
	}
	return d
}

// crowd pushes to one registry while it is collected.
type crowd struct {
	*fixture
	login    remote.Option
	shared   []v1.Layer // of many images, so that they are often wanted at the moment when they are collected
	until    time.Time
	least    int // rounds of each, however long they take
	pushed   atomic.Int64
	refused  atomic.Int64
	unwanted atomic.Int64 // images that were deleted
}

func TestSoakPushesWhileTheCollectorsRunLeaveEveryImageWhole(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		pushers, grace := 8, 300*time.Millisecond
		if soak(t) > 0 {
			pushers, grace = 50, 5*time.Second // so that most pushes of a busy machine come to their end
		}
		short := func(s *registry.Service) { s.Grace, s.Undo = grace, -1 } // what is deleted is to be collected, not kept
		c := &crowd{fixture: serve(t, db, short), least: 3, until: time.Now().Add(soak(t))}
		c.login = c.writer(t, c.Maintainer)
		for range 4 {
			layer, err := random.Layer(20_000, types.DockerLayer)
			if err != nil {
				t.Fatal(err)
			}
			c.shared = append(c.shared, layer)
		}
		ctx, end := context.WithCancel(t.Context())
		var collectors, pushing sync.WaitGroup
		for _, s := range []*registry.Service{c.registry, c.process(t, short)} {
			collectors.Go(func() { collectUntil(t, ctx, s) })
		}
		images := make([]v1.Image, pushers)
		for i := range images {
			pushing.Go(func() { images[i] = c.push(t, i) })
		}
		pushing.Wait()
		end()
		collectors.Wait()
		t.Logf("%d pushes, %d refused because they took longer than the grace, %d images deleted", c.pushed.Load(), c.refused.Load(), c.unwanted.Load())
		if !t.Failed() {
			c.settle(t, images)
		}
	})
}

func collectUntil(t *testing.T, ctx context.Context, s *registry.Service) {
	for ctx.Err() == nil {
		if err := s.Collect(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("collecting: %v", err)
			return
		}
	}
}

// push pushes one image after another under a tag of its own, reads each, and
// deletes two of three. It returns the last one.
func (c *crowd) push(t *testing.T, i int) v1.Image {
	ref := c.ref(t, fmt.Sprintf("payments/n%d:n%d", i%10, i))
	var img v1.Image
	for round := 0; round < c.least || time.Now().Before(c.until); round++ {
		var err error
		if round%3 != 2 || img == nil { // else the one that was just deleted, again
			if img, err = c.image(); err != nil {
				t.Error(err)
				return nil
			}
		}
		if err := remote.Write(ref, img, c.login); err != nil {
			if !isRefusal(err) {
				t.Errorf("a push failed: %v", err)
			}
			c.refused.Add(1) // one that fails is fine; one that succeeds and is broken is not
			continue
		}
		c.pushed.Add(1)
		got, err := remote.Image(ref, c.login)
		if err == nil {
			err = whole(got)
		}
		if err != nil {
			t.Errorf("an image that was pushed is not whole: %v", err)
		}
		if round%3 == 0 {
			continue
		}
		if err := remote.Delete(ref.Context().Digest(digestOf(t, img)), c.login); err != nil {
			t.Errorf("deleting: %v", err)
		}
		c.unwanted.Add(1)
	}
	return img
}

// isRefusal tells whether a blob or an upload was collected because the push took longer than the grace.
func isRefusal(err error) bool {
	refused, ok := errors.AsType[*transport.Error](err)
	return ok && len(refused.Errors) > 0 && slices.Contains([]transport.ErrorCode{transport.ManifestBlobUnknownErrorCode,
		transport.BlobUploadUnknownErrorCode, transport.BlobUnknownErrorCode}, refused.Errors[0].Code)
}

// image is a new one, of two layers of its own and two that others have too.
func (c *crowd) image() (v1.Image, error) {
	img, err := random.Image(5000, 2)
	if err != nil {
		return nil, err
	}
	first := rand.IntN(len(c.shared))
	return mutate.AppendLayers(img, c.shared[first], c.shared[(first+1)%len(c.shared)])
}

// settle pushes the last image of each once more, lets the collector take
// everything else, and reads every byte that is left.
func (c *crowd) settle(t *testing.T, images []v1.Image) {
	blobs := map[string]bool{}
	refs := map[string]v1.Image{}
	for i, img := range images {
		ref := c.ref(t, fmt.Sprintf("payments/n%d:n%d", i%10, i))
		if err := remote.Write(ref, img, c.login); err != nil {
			t.Fatalf("the last push: %v", err)
		}
		refs[ref.String()] = img
	}
	c.age(t)
	c.collect(t)
	var manifests []models.RegistryManifest
	if err := c.db.Find(&manifests).Error; err != nil {
		t.Fatal(err)
	}
	for _, m := range manifests {
		got, err := remote.Image(c.ref(t, m.Repository+"@"+m.Digest), c.login)
		if err == nil {
			err = whole(got)
		}
		if err != nil {
			t.Errorf("%s@%s at the end: %v", m.Repository, m.Digest, err)
			continue
		}
		layers, err := got.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			blobs[digestOf(t, l)] = true
		}
		blobs[m.ConfigDigest] = true
	}
	for ref, img := range refs {
		if got, err := remote.Image(c.ref(t, ref[len(c.host)+1:]), c.login); err != nil || digestOf(t, got) != digestOf(t, img) {
			t.Errorf("%s is not what was pushed last: %v", ref, err)
		}
	}
	c.await(t, "the collector has taken what got lost within the last grace too", func() bool {
		c.collect(t)
		return files(t, filepath.Join(c.folder, "blobs")) <= len(blobs)
	})
	if n := files(t, filepath.Join(c.folder, "blobs")); n != len(blobs) {
		t.Errorf("%d blobs are left of %d", n, len(blobs))
	}
}
