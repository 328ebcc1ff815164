package bench

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"slipway.dev/cmd/slipway/slipwaytest"
)

const layers, layerSize = 4, 50 << 20

// BenchmarkPushAndPull compares the embedded registry with Debian's docker-registry: the same client pushes and pulls
// the same 200 MB.
func BenchmarkPushAndPull(b *testing.B) {
	p := slipwaytest.Start(b, nil)
	p.Team(b, "acme")
	ours := &registry{b: b, repository: "localhost:" + p.Port + "/acme/large", auth: &authn.Basic{Username: "token", Password: p.Token}}
	theirs := &registry{b: b, repository: debianRegistry(b) + "/acme/large", auth: authn.Anonymous}

	ourPush, theirPush := compare(5, ours.push, theirs.push)
	ourPull, theirPull := compare(5, ours.pull, theirs.pull)
	const size = layers * layerSize / 1e6
	b.ReportMetric(size/ourPush, "MB/s_push")
	b.ReportMetric(size/ourPull, "MB/s_pull")
	b.ReportMetric(theirPush/ourPush, "x_docker-registry_push(goal_1.0)")
	b.ReportMetric(theirPull/ourPull, "x_docker-registry_pull(goal_1.0)")
	only(b)
}

// registry is one side of the comparison.
type registry struct {
	b          *testing.B
	repository string
	auth       authn.Authenticator
	turn       int
}

func (r *registry) ref() name.Reference {
	ref, err := name.ParseReference(fmt.Sprintf("%s:%d", r.repository, r.turn))
	if err != nil {
		r.b.Fatal(err)
	}
	return ref
}

// push sends an image that the registry has no part of.
func (r *registry) push() {
	r.turn++
	if err := remote.Write(r.ref(), random(r.b), remote.WithAuth(r.auth), remote.WithJobs(2)); err != nil {
		r.b.Fatal(err)
	}
}

// pull reads all layers of the image that was pushed last.
func (r *registry) pull() {
	image, err := remote.Image(r.ref(), remote.WithAuth(r.auth))
	if err != nil {
		r.b.Fatal(err)
	}
	all, err := image.Layers()
	if err != nil {
		r.b.Fatal(err)
	}
	for _, layer := range all {
		content, err := layer.Compressed()
		if err != nil {
			r.b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			r.b.Fatal(err)
		}
		content.Close()
	}
}

// random makes an image of bytes that don't compress.
func random(b *testing.B) v1.Image {
	image := v1.Image(empty.Image)
	for range layers {
		content := make([]byte, layerSize)
		_, _ = rand.Read(content)
		var err error
		if image, err = mutate.AppendLayers(image, static.NewLayer(content, types.DockerLayer)); err != nil {
			b.Fatal(err)
		}
	}
	return image
}

// debianRegistry runs docker-registry until the benchmark ends and gives its address.
func debianRegistry(b *testing.B) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	config := filepath.Join(b.TempDir(), "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", b.TempDir(), address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	command := exec.Command("docker-registry", "serve", config)
	if err := command.Start(); err != nil {
		b.Fatalf("docker-registry: run this with make bench, which installs it: %v", err)
	}
	b.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	healthy(b, "http://"+address+"/v2/")
	return address
}
