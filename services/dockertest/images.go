package dockertest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const (
	baseRef = "slipway.test/base:1"
	appRef  = "slipway.test/app:"

	// busybox is where Debian's package busybox-static puts its one program.
	busybox = "/bin/busybox"
	// publicBase is what stands in for the base image on a machine whose own busybox can't run in a
	// container: macOS with Docker Desktop.
	publicBase = "docker.io/library/busybox:1.37-musl"
)

// BaseImage makes sure that the engine has the base image of test Dockerfiles and returns its name:
// FROM slipway.test/base:1.
func BaseImage(t testing.TB) string {
	t.Helper()
	if staticBusybox() {
		return load(t, baseRef, Base(t))
	}
	return pullBase(t)
}

// AppImage makes sure that the engine has an image of the test server (see the package app) with these
// variables, each NAME=value, baked in, and returns its name.
func AppImage(t testing.TB, env ...string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(strings.Join(env, "\x00")))
	return load(t, appRef+hex.EncodeToString(sum[:6]), App(t, env...))
}

// Base is the base image as a value: busybox and links for its programs.
func Base(t testing.TB) v1.Image {
	t.Helper()
	if !staticBusybox() {
		t.Fatalf("%s is missing or not static: run the tests with make test, which installs busybox-static", busybox)
	}
	img, err := makeBase()
	if err != nil {
		t.Fatalf("make the base image: %v", err)
	}
	return img
}

// App is the test server's image as a value. It listens on PORT, by default 8080, and may write to /data and to volumes there.
func App(t testing.TB, env ...string) v1.Image {
	t.Helper()
	layer, err := appLayer()
	if err != nil {
		t.Fatalf("compile the test server: %v", err)
	}
	img, err := assemble(layer, v1.Config{
		Entrypoint:   []string{"/app"},
		Env:          slices.Concat([]string{"PORT=8080"}, env),
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		User:         "65534:65534",
	})
	if err != nil {
		t.Fatalf("make the test server's image: %v", err)
	}
	return img
}

var makeBase = sync.OnceValues(func() (v1.Image, error) {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return nil, err
	}
	entries := []entry{
		{name: "bin/busybox", mode: 0o755, body: program},
		{name: "etc/passwd", mode: 0o644, body: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")},
		{name: "etc/group", mode: 0o644, body: []byte("root:x:0:\nnogroup:x:65534:\n")},
		{name: "tmp/", mode: 0o1777}, {name: "root/", mode: 0o700}, {name: "www/", mode: 0o755},
	}
	for _, applet := range strings.Fields(string(list)) {
		if applet != "busybox" {
			entries = append(entries, entry{name: "bin/" + applet, link: "busybox"})
		}
	}
	layer, err := layerOf(entries)
	if err != nil {
		return nil, err
	}
	return assemble(layer, v1.Config{Cmd: []string{"/bin/sh"}, Env: []string{"PATH=/bin"}})
})

// appLayer is what the images of the test server share: they differ in their variables alone, and the program is
// compressed once.
var appLayer = sync.OnceValues(func() (v1.Layer, error) {
	program, err := compileApp()
	if err != nil {
		return nil, err
	}
	return layerOf([]entry{{name: "app", mode: 0o755, body: program}, {name: "data/", mode: 0o777}})
})

func compileApp() ([]byte, error) {
	folder, err := os.MkdirTemp("", "slipway-test-app-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	program := filepath.Join(folder, "app")
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	compile := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=",
		"-o", program, "slipway.dev/services/dockertest/app")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH, "GOFLAGS=")
	if out, err := compile.CombinedOutput(); err != nil {
		return nil, &exec.Error{Name: string(bytes.TrimSpace(out)), Err: err}
	}
	return os.ReadFile(program)
}

// entry is one file of an image: a folder when its name ends in a slash, a link when it has a link target.
type entry struct {
	name string
	mode int64
	body []byte
	link string
}

// layerOf makes a layer whose bytes depend on nothing but its files.
func layerOf(entries []entry) (v1.Layer, error) {
	archive, err := pack(entries)
	if err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive)), nil
	}, tarball.WithCompressedCaching)
}

// assemble makes an image of one layer, the same on every run.
func assemble(layer v1.Layer, config v1.Config) (v1.Image, error) {
	img, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{CreatedBy: "COPY / / # dockertest", Created: v1.Time{Time: time.Unix(0, 0).UTC()}},
	})
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, configFile(img, config))
}

// configFile adds the platform and the run configuration to what img has.
func configFile(img v1.Image, config v1.Config) *v1.ConfigFile {
	file, err := img.ConfigFile()
	if err != nil {
		return nil
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	file.Config = config
	return file
}

// pack writes the entries and the folders above them, each once, as a tar archive of root's files from 1970.
func pack(entries []entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	seen := map[string]bool{}
	for _, e := range entries {
		if folder := path.Dir(strings.TrimSuffix(e.name, "/")); folder != "." && !seen[folder] {
			seen[folder] = true
			if err := w.WriteHeader(&tar.Header{Name: folder + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
				return nil, err
			}
		}
		header := &tar.Header{Name: e.name, Typeflag: tar.TypeReg, Mode: e.mode, Size: int64(len(e.body)), ModTime: time.Unix(0, 0)}
		switch {
		case e.link != "":
			header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, e.link, 0o777
		case strings.HasSuffix(e.name, "/"):
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.body); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}

// staticBusybox tells whether this machine has a busybox that runs in an empty image.
func staticBusybox() bool {
	program, err := elf.Open(busybox)
	if err != nil {
		return false
	}
	defer program.Close()
	return !slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// pullBase tags the public busybox as the base image where none can be made, which needs the network once.
func pullBase(t testing.TB) string {
	t.Helper()
	docker := Engine(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	if _, err := docker.ImageInspect(ctx, baseRef); err == nil {
		return baseRef
	}
	progress, err := docker.ImagePull(ctx, publicBase, image.PullOptions{})
	if err != nil {
		t.Fatalf("%s is not a static busybox, and %s can't be pulled in its place: %v", busybox, publicBase, err)
	}
	defer progress.Close()
	if _, err := io.Copy(io.Discard, progress); err != nil {
		t.Fatalf("pull %s: %v", publicBase, err)
	}
	if err := docker.ImageTag(ctx, publicBase, baseRef); err != nil {
		t.Fatalf("tag %s as %s: %v", publicBase, baseRef, err)
	}
	return baseRef
}
