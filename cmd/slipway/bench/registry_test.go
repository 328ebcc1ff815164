package bench

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

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

// load is what the clients of a comparison push and then pull.
type load struct {
	name    string
	clients int // at once, each with an image of its own
	layers  int // of each image
	size    int // of each layer, in bytes
	turns   int
}

// BenchmarkRegistry compares the whole of Slipway as a registry with Debian's docker-registry: the same client pushes
// and pulls the same images in turns, to folders of the same disk. Slipway authenticates and authorizes each request,
// and logs it; docker-registry lets everybody in and logs nothing. Slipway's memory is that of the portal with all
// that it does besides, so that what the load adds is told too.
func BenchmarkRegistry(b *testing.B) {
	for _, l := range []load{
		{"1x500MB", 1, 1, 500 << 20, 5},
		{"200x1MB", 1, 200, 1 << 20, 5},
		{"50clients", 50, 4, 512 << 10, 5},
	} {
		b.Run(l.name, l.run)
	}
}

func (l load) run(b *testing.B) {
	p := slipwaytest.Start(b, nil)
	p.Team(b, "acme")
	ours := &registry{b: b, pid: p.PID(), repository: "localhost:" + p.Port + "/acme/load", auth: &authn.Basic{Username: "token", Password: p.Token}}
	theirs := debianRegistry(b)
	both := []*registry{ours, theirs}
	for _, r := range both {
		r.turn(l, l.images(b, 1<<10)) // so that both have begun all that they begin with a first request
		r.start()
	}
	for turn := range l.turns {
		for i := range both {
			r := both[(turn+i)%2] // each is first as often as the other
			r.turn(l, l.images(b, l.size))
		}
	}
	mb := float64(l.clients*l.layers*l.size) / 1e6
	push, pull := median(ours.push.wall), median(ours.pull.wall)
	b.ReportMetric(mb/push, "MB/s_push")
	b.ReportMetric(mb/pull, "MB/s_pull")
	b.ReportMetric(median(theirs.push.wall)/push, "x_push(goal_1.0)")
	b.ReportMetric(median(theirs.pull.wall)/pull, "x_pull(goal_1.0)")
	b.ReportMetric(median(ours.push.cpu)*1000, "ms_cpu_push")
	b.ReportMetric(median(ours.pull.cpu)*1000, "ms_cpu_pull")
	b.ReportMetric(ratio(ours.push.cpu, theirs.push.cpu), "x_cpu_push(goal_0.7)")
	b.ReportMetric(ratio(ours.pull.cpu, theirs.pull.cpu), "x_cpu_pull(goal_0.7)")
	b.ReportMetric(ours.peak(), "MB_peak(goal_150)")
	b.ReportMetric(theirs.peak(), "MB_peak_docker-registry")
	b.ReportMetric(ours.peak()/theirs.peak(), "x_peak(goal_0.7)")
	b.ReportMetric(ours.anonymous, "MB_anonymous")
	b.ReportMetric(theirs.anonymous, "MB_anonymous_docker-registry")
	b.ReportMetric(ours.before, "MB_before")
	b.ReportMetric(ours.peak()-ours.before, "MB_growth")
	b.ReportMetric(theirs.peak()-theirs.before, "MB_growth_docker-registry")
	only(b)
}

// ratio of the medians, of which neither is shorter than the system's clock can tell.
func ratio(ours, theirs []time.Duration) float64 {
	return max(median(ours), tick.Seconds()) / max(median(theirs), tick.Seconds())
}

// images makes an image of bytes that don't compress for each client.
func (l load) images(b *testing.B, size int) []v1.Image {
	all := make([]v1.Image, l.clients)
	for i := range all {
		image := v1.Image(empty.Image)
		for range l.layers {
			content := make([]byte, size)
			_, _ = rand.Read(content)
			var err error
			if image, err = mutate.AppendLayers(image, static.NewLayer(content, types.DockerLayer)); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := image.Digest(); err != nil { // now, so that it is not part of what is measured
			b.Fatal(err)
		}
		all[i] = image
	}
	return all
}

// registry is one side of the comparison.
type registry struct {
	b          *testing.B
	pid        int
	repository string
	auth       authn.Authenticator
	turns      int
	push, pull spent
	before     float64 // MB resident before the load
	anonymous  float64 // MB, the most seen after a turn
}

// spent is what a side took for each turn: by the clock, and of the server's processors.
type spent struct{ wall, cpu []time.Duration }

func (s *spent) measure(b *testing.B, pid int, do func()) {
	cpu := processor(b, pid)
	s.wall = append(s.wall, took(do))
	s.cpu = append(s.cpu, processor(b, pid)-cpu)
}

// start forgets what was measured so far.
func (r *registry) start() {
	r.push, r.pull = spent{}, spent{}
	r.before, r.anonymous = resident(r.b, r.pid), 0
	forgetPeak(r.b, r.pid)
}

func (r *registry) peak() float64 { return peak(r.b, r.pid) }

func (r *registry) turn(l load, images []v1.Image) {
	r.turns++
	r.push.measure(r.b, r.pid, func() { r.each(images, r.write) })
	r.pull.measure(r.b, r.pid, func() { r.each(images, func(ref name.Reference, _ v1.Image) error { return r.read(ref, l) }) })
	r.anonymous = max(r.anonymous, anonymous(r.b, r.pid))
}

// each lets every client do its part at once.
func (r *registry) each(images []v1.Image, do func(name.Reference, v1.Image) error) {
	r.b.Helper()
	var clients sync.WaitGroup
	for i, image := range images {
		ref, err := name.ParseReference(fmt.Sprintf("%s:%d-%d", r.repository, r.turns, i))
		if err != nil {
			r.b.Fatal(err)
		}
		clients.Go(func() {
			if err := do(ref, image); err != nil {
				r.b.Errorf("%s: %v", ref, err)
			}
		})
	}
	clients.Wait()
}

// write pushes an image that the registry has no part of.
func (r *registry) write(ref name.Reference, image v1.Image) error {
	return remote.Write(ref, image, remote.WithAuth(r.auth), remote.WithJobs(4))
}

// read pulls all layers of the image, four at once as a container engine does.
func (r *registry) read(ref name.Reference, l load) error {
	image, err := remote.Image(ref, remote.WithAuth(r.auth))
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	if len(layers) != l.layers {
		return fmt.Errorf("%d layers came of %d", len(layers), l.layers)
	}
	errs := make([]error, 4)
	var readers sync.WaitGroup
	for i := range errs {
		readers.Go(func() {
			for k := i; k < len(layers) && errs[i] == nil; k += len(errs) {
				errs[i] = readLayer(layers[k])
			}
		})
	}
	readers.Wait()
	return errors.Join(errs...)
}

func readLayer(layer v1.Layer) error {
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(io.Discard, content)
	return err
}

// debianRegistry runs docker-registry until the benchmark ends, as Debian configures it but for the log, which is off.
func debianRegistry(b *testing.B) *registry {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	config := filepath.Join(b.TempDir(), "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage: {cache: {blobdescriptor: inmemory}, filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", b.TempDir(), address)
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
	return &registry{b: b, pid: command.Process.Pid, repository: address + "/acme/load", auth: authn.Anonymous}
}
