package explorer_test

import (
	"archive/tar"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	engine "github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/explorer"
)

// mark is the label of the containers and images that these tests make.
const mark = "explorer"

// TestAnImageHasTheFilesThatAContainerOfItHas changes a file system in random
// ways, layer upon layer, pushes the image with the Docker Engine, and compares
// what the explorer says with what a container of it really holds.
func TestAnImageHasTheFilesThatAContainerOfItHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	docker := dockertest.Engine(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		dockertest.Remove(ctx, t, docker, "slipway.test", mark)
	})
	seed := uint64(7)
	if os.Getenv("SLIPWAY_TEST_SOAK") != "" {
		seed = uint64(time.Now().UnixNano()) // another file system each time
	}
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 1))
	name := w.registry.Host() + "/payments/random:1"
	from := dockertest.BaseImage(t)
	for range 3 {
		commit(t, docker, from, script(dice), name)
		from = name
	}
	defer docker.ImageRemove(context.WithoutCancel(t.Context()), name, engine.RemoveOptions{Force: true})
	push(t, docker, name)

	ctx := w.as(t, w.Viewer)
	at := explorer.Reference{Repository: "payments/random", Name: "1"}
	got := map[string]string{}
	w.walk(t, ctx, at, "/", got)
	wanted := exported(t, docker, name)
	for _, p := range slices.Sorted(keys(got, wanted)) {
		if got[p] != wanted[p] && !engines(p) {
			t.Errorf("%s: the explorer says %q, the container %q", p, got[p], wanted[p])
		}
	}
	if len(got) < 40 {
		t.Errorf("only %d paths", len(got))
	}
	same, err := w.explorer.Compare(ctx, explorer.CompareQuery{A: at, B: at})
	if err != nil || same.Files.Files() != 0 {
		t.Errorf("the image and itself: %+v %v", same, err)
	}
}

// script changes files, directories and links below /t at random.
func script(dice *rand.Rand) string {
	lines := []string{"mkdir -p /t/a/b /t/c", "cd /t"}
	place := func() string {
		return []string{"a", "c", "a/b", "a/x", "c/y", "f", "g", "a/b/z", "n\\ame", "c/sub"}[dice.IntN(10)]
	}
	for range 25 {
		p, q := "'"+place()+"'", "'"+place()+"'"
		lines = append(lines, fmt.Sprintf([]string{
			"[ -d %[1]s ] || [ -p %[1]s ] || echo %[3]d > %[1]s", "rm -rf %[1]s", "rm -rf %[1]s && mkdir -p %[1]s && echo %[3]d > %[1]s/in", "[ -e %[1]s ] && chmod %[4]o %[1]s",
			"rm -rf %[1]s; ln -s %[2]s %[1]s", "[ -f %[2]s ] && [ ! -L %[2]s ] && [ ! -d %[1]s ] && ln -f %[2]s %[1]s", "mkfifo %[1]s", "[ -e %[1]s ] && chown %[3]d:%[3]d %[1]s", "rm -rf %[1]s; mkdir -p %[1]s",
		}[dice.IntN(9)], p, q, dice.IntN(1000), []int{0o644, 0o755, 0o4755, 0o1777, 0o600}[dice.IntN(5)]))
	}
	return strings.Join(append(lines, "true"), "\n")
}

// commit runs the script in a container of the image and makes an image of what is left.
func commit(t *testing.T, docker *client.Client, from, script, name string) {
	t.Helper()
	made, err := docker.ContainerCreate(t.Context(), &container.Config{Image: from, User: "0", Cmd: []string{"sh", "-c", script}, Labels: map[string]string{"slipway.test": mark}}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := docker.ContainerStart(t.Context(), made.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	limit, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ended, failed := docker.ContainerWait(limit, made.ID, container.WaitConditionNotRunning)
	select {
	case err := <-failed:
		t.Fatal(err)
	case end := <-ended:
		if end.StatusCode != 0 {
			t.Fatalf("the script ended with %d", end.StatusCode)
		}
	}
	if _, err := docker.ContainerCommit(t.Context(), made.ID, container.CommitOptions{Reference: name, Changes: []string{"LABEL slipway.test=" + mark}}); err != nil {
		t.Fatal(err)
	}
}

func push(t *testing.T, docker *client.Client, name string) {
	t.Helper()
	login := base64.URLEncoding.EncodeToString([]byte(`{"username":"x","password":"x"}`))
	out, err := docker.ImagePush(t.Context(), name, engine.PushOptions{RegistryAuth: login})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	said, err := io.ReadAll(out)
	if err != nil || strings.Contains(string(said), "errorDetail") {
		t.Fatalf("%v %s", err, said)
	}
}

// walk writes down all paths of the image.
func (w *world) walk(t *testing.T, ctx context.Context, at explorer.Reference, dir string, into map[string]string) {
	t.Helper()
	q := explorer.Query{At: at, Path: dir, Page: models.Page{Limit: 100}}
	for {
		f := w.files(t, ctx, q)
		for _, e := range f.Items {
			into[e.Path] = facts(e.Type, e.Mode, int(e.UID), e.Size, e.Link)
			if e.Type == models.FileDir {
				w.walk(t, ctx, at, e.Path, into)
			}
		}
		if q.Page.Cursor = f.Next; f.Next == "" {
			return
		}
	}
}

// facts are what both sides say of a path. A hard link is a file that an archive happens to name second.
func facts(typ models.FileType, mode uint32, uid int, size int64, link string) string {
	switch typ {
	case models.FileHardlink, models.FilePlain:
		return fmt.Sprintf("file %04o %d", mode, uid)
	case models.FileSymlink:
		return "symlink " + link
	}
	return fmt.Sprintf("%s %04o %d %d", typ, mode, uid, size)
}

// exported are all paths of a container of the image.
func exported(t *testing.T, docker *client.Client, name string) map[string]string {
	t.Helper()
	made, err := docker.ContainerCreate(t.Context(), &container.Config{Image: name, Labels: map[string]string{"slipway.test": mark}}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := docker.ContainerExport(t.Context(), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	out := map[string]string{}
	types := map[byte]models.FileType{tar.TypeReg: models.FilePlain, tar.TypeDir: models.FileDir, tar.TypeSymlink: models.FileSymlink, tar.TypeLink: models.FileHardlink, tar.TypeFifo: models.FileFifo, tar.TypeChar: models.FileChar}
	for archive := tar.NewReader(stream); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if p := path.Clean("/" + h.Name); p != "/" {
			out[p] = facts(types[h.Typeflag], uint32(h.Mode)&0o7777, h.Uid, 0, h.Linkname)
		}
	}
}

// engines tells whether the path is one that the engine puts into every container.
func engines(p string) bool {
	if p == "/.dockerenv" || slices.Contains([]string{"/etc", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/etc/mtab"}, p) {
		return true
	}
	return slices.ContainsFunc([]string{"/dev", "/proc", "/sys"}, func(dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") })
}

func keys(a, b map[string]string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, m := range []map[string]string{a, b} {
			for k := range m {
				if !yield(k) {
					return
				}
			}
		}
	}
}
