package registry_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/auth"
	"slipway.dev/services/registry"
	"slipway.dev/services/secrets"
)

const (
	benchBlob  = 200 << 20
	benchTurns = 7
)

// BenchmarkRawBlob moves one blob of 200 MB by plain HTTP, in turns with
// Debian's docker-registry: no client's own work hides the server's.
func BenchmarkRawBlob(b *testing.B) {
	database := "sqlite:" + filepath.Join(b.TempDir(), "slipway.db")
	f := serve(b, modelstest.Open(b, database))
	access := f.access(b, f.token(b, f.Maintainer, models.ScopeRegistryWrite), "repository:payments/large:pull,push")
	ours := &side{b: b, base: f.alone(b, database) + "/v2/payments/large", token: access}
	theirs := &side{b: b, base: debian(b) + "/v2/payments/large"}
	var put, get [2][]time.Duration
	content := make([]byte, benchBlob)
	for turn := range benchTurns {
		for i := range 2 {
			which := (turn + i) % 2 // they take turns at being first
			s := []*side{ours, theirs}[which]
			rand.Read(content[:64]) // another blob each time
			d := digest.FromBytes(content)
			put[which] = append(put[which], s.put(content, d))
			get[which] = append(get[which], s.get(d))
		}
	}
	b.ReportMetric(benchBlob/1e6/median(put[0]), "MB/s_put")
	b.ReportMetric(benchBlob/1e6/median(get[0]), "MB/s_get")
	b.ReportMetric(median(put[1])/median(put[0]), "x_docker-registry_put")
	b.ReportMetric(median(get[1])/median(get[0]), "x_docker-registry_get")
	b.ReportMetric(0, "ns/op")
}

func median(all []time.Duration) float64 {
	slices.Sort(all)
	return all[len(all)/2].Seconds()
}

// side is one registry of the comparison.
type side struct {
	b     *testing.B
	base  string
	token string
}

func (s *side) do(method, address string, body []byte) *http.Response {
	r, err := http.NewRequestWithContext(s.b.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		s.b.Fatal(err)
	}
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.b.Fatal(err)
	}
	if res.StatusCode >= 300 {
		s.b.Fatalf("%s %s: %s", method, address, res.Status)
	}
	return res
}

func (s *side) put(content []byte, d digest.Digest) time.Duration {
	begin := time.Now()
	started := s.do(http.MethodPost, s.base+"/blobs/uploads/", nil)
	started.Body.Close()
	location, err := started.Location()
	if err != nil {
		s.b.Fatal(err)
	}
	q := location.Query()
	q.Set("digest", d.String())
	location.RawQuery = q.Encode()
	s.do(http.MethodPut, location.String(), content).Body.Close()
	return time.Since(begin)
}

func (s *side) get(d digest.Digest) time.Duration {
	begin := time.Now()
	res := s.do(http.MethodGet, s.base+"/blobs/"+d.String(), nil)
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err != nil || n != benchBlob {
		s.b.Fatalf("%d bytes: %v", n, err)
	}
	return time.Since(begin)
}

// serveVariable tells the test program to be a registry of its own: its value
// holds the address, the database, the folder and the key file.
const serveVariable = "SLIPWAY_TEST_SERVE_REGISTRY"

func TestMain(m *testing.M) {
	if settings := os.Getenv(serveVariable); settings != "" {
		panic(serveAlone(strings.Split(settings, "\n")))
	}
	os.Exit(m.Run())
}

func serveAlone(settings []string) error {
	db, err := models.Open(context.Background(), settings[1])
	if err != nil {
		return err
	}
	box, err := secrets.Load(settings[3])
	if err != nil {
		return err
	}
	people := &auth.Service{DB: db.DB, Box: box}
	s := &registry.Service{DB: db, Box: box, Folder: settings[2], External: "http://" + settings[0], Reload: people.Reload}
	return http.ListenAndServe(settings[0], s)
}

// alone runs the registry in a process of its own, as Debian's is, and returns its address.
func (f *fixture) alone(b *testing.B, database string) string {
	b.Helper()
	address := freeAddress(b)
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), serveVariable+"="+strings.Join([]string{address, database, f.folder, f.keys}, "\n"))
	return run(b, command, address)
}

// debian runs docker-registry and returns its address.
func debian(b *testing.B) string {
	b.Helper()
	address := freeAddress(b)
	config := filepath.Join(b.TempDir(), "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", b.TempDir(), address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return run(b, exec.Command("docker-registry", "serve", config), address)
}

func freeAddress(b *testing.B) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// run starts the program, waits until it answers, and ends it with the benchmark.
func run(b *testing.B, command *exec.Cmd, address string) string {
	b.Helper()
	if err := command.Start(); err != nil {
		b.Fatalf("%s: run this with make bench, which installs it: %v", command.Path, err)
	}
	b.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if res, err := http.Get("http://" + address + "/v2/"); err == nil {
			res.Body.Close()
			return "http://" + address
		}
	}
	b.Fatalf("%s does not answer", command.Path)
	return ""
}
