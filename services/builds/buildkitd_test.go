package builds_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/buildkit"
	"slipway.dev/services/builds/buildtest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/images"
)

// onDaemon is a world that builds on a buildkitd and pushes to the embedded registry.
func onDaemon(t *testing.T) (*world, *buildtest.Daemon) {
	t.Helper()
	w, d := real(t), buildtest.StartDaemon(t)
	script := `echo '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":{}}' > $BUILDKIT_SCAN_DESTINATION/x.spdx.json`
	scanner, err := mutate.Config(dockertest.Base(t), v1.Config{Entrypoint: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	w.direct((&buildkit.Builder{Engine: &buildkit.Daemon{Name: "test", Address: d.Address, TLS: d.Client()},
		Generator: buildtest.Push(t, buildtest.Registry(t)+"/scanner:1", scanner)}).Build)
	return w, d
}

func (w *world) settings(t *testing.T, s models.BuildSettings) {
	t.Helper()
	if err := w.db.Model(w.App).Select("BuildSettings").Updates(&models.App{BuildSettings: s}).Error; err != nil {
		t.Fatal(err)
	}
}

func TestAnImageOfSeveralPlatformsWithAttestationsAndACacheIsOneImage(t *testing.T) {
	t.Parallel()
	w, d := onDaemon(t)
	w.settings(t, models.BuildSettings{Platforms: []string{"linux/amd64", "linux/arm64"}, Provenance: true, SBOM: true, Cache: models.CacheRegistry})
	w.commit(t, "FROM --platform=$BUILDPLATFORM "+d.Base+" AS build\nARG TARGETARCH\nRUN echo $TARGETARCH-"+models.NewID()+" > /out\nFROM "+d.Base+"\nCOPY --from=build /out /out\n", nil)
	b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildSucceeded)
	if b.ImageSize < 1<<20 {
		t.Errorf("the image has %d bytes", b.ImageSize)
	}
	shown := &images.Service{DB: w.db.DB, Registry: w.images}
	list, err := shown.ForApp(w.as(t, w.Viewer), w.App.ID, models.Page{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Digest != b.ImageDigest {
		t.Fatalf("the app's images are %+v, error %v", list.Items, err)
	}
	if p := list.Items[0].Platforms; len(p) != 2 {
		t.Errorf("the image is for %v", p)
	}
	var cache models.RegistryTag
	if err := w.db.Where("name = 'buildcache'").Take(&cache).Error; err != nil || cache.Digest == b.ImageDigest {
		t.Errorf("the cache is %+v, error %v", cache, err)
	}
	again := w.wait(t, w.queueBuild(t, "main").ID, models.BuildSucceeded)
	if list, err = shown.ForApp(w.as(t, w.Viewer), w.App.ID, models.Page{}); err != nil || len(list.Items) != 2 || list.Items[0].Digest != again.ImageDigest {
		t.Errorf("after another build the images are %+v, error %v", list.Items, err)
	}
}

func TestABuildSecretIsNowhereAfterTheBuild(t *testing.T) {
	t.Parallel()
	w, d := onDaemon(t)
	canary := "canary-" + models.NewID()
	w.setSecret(t, "npm", builds.SecretInput{Value: canary})
	w.settings(t, models.BuildSettings{Provenance: true, SBOM: true, Cache: models.CacheRegistry})
	w.commit(t, "FROM "+d.Base+"\nRUN --mount=type=secret,id=npm,required=true echo it is $(cat /run/secrets/npm); echo begun; sleep 1\nRUN echo second\n", nil)
	queued := w.queueBuild(t, "main")
	w.sees(t, queued.ID, "begun")
	if where := commandLines(t, canary); where != "" {
		t.Errorf("a process has the secret in its command line: %s", where)
	}
	b := w.wait(t, queued.ID, models.BuildSucceeded)
	text := w.ended(t, b.ID)
	if !strings.Contains(text, "it is ••••••") {
		t.Errorf("the log is %q", text)
	}
	all, err := json.Marshal(b)
	if err != nil || strings.Contains(string(all)+text, canary) {
		t.Errorf("the build shows the secret: %s", all)
	}
	if where := d.Find(t, canary); where != "" {
		t.Errorf("the engine keeps it in %s", where)
	}
	for _, folder := range []string{w.images.Folder, w.dir} {
		if where := holds(t, folder, canary); where != "" {
			t.Errorf("it is in %s", where)
		}
	}
}

// holds returns the files below the folder that hold the text.
func holds(t *testing.T, folder, text string) (found string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), text) {
			found += path + " "
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// commandLines returns the processes of this machine that have the text in their command line or environment.
func commandLines(t *testing.T, text string) (found string) {
	t.Helper()
	for _, kind := range []string{"cmdline", "environ"} {
		files, err := filepath.Glob("/proc/[0-9]*/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if line, err := os.ReadFile(f); err == nil && strings.Contains(string(line), text) {
				found += f + " "
			}
		}
	}
	return found
}

// sees waits until the log of a build that runs holds the text.
func (w *world) sees(t *testing.T, id, text string) {
	t.Helper()
	ctx, cancel := context.WithCancel(w.as(t, w.Viewer))
	defer cancel()
	batches, err := w.builds.FollowLog(ctx, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	for batch := range batches {
		for _, l := range batch.Lines {
			if strings.Contains(l.Text, text) {
				return
			}
		}
	}
	t.Fatalf("the log ended without %q", text)
}
