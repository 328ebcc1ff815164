package registry_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"gocloud.dev/blob"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/auth"
	"slipway.dev/services/blobs"
	"slipway.dev/services/registry"
	"slipway.dev/services/secrets"
)

// bucketsVariable names more buckets that the tests of storage run in, as their
// URLs with spaces between. Each test uses keys of its own and leaves them there.
const bucketsVariable = "SLIPWAY_TEST_BUCKETS"

// replicaVariable has the test program be one process of a registry, to be
// killed. It holds the database, the bucket and the key file.
const replicaVariable = "SLIPWAY_TEST_REPLICA"

func TestMain(m *testing.M) {
	if settings := os.Getenv(replicaVariable); settings != "" {
		log.Fatal(replicate(strings.Split(settings, "\n")))
	}
	os.Setenv("AWS_ACCESS_KEY_ID", "test")
	os.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	code := m.Run()
	if s3.process != nil {
		_ = s3.process.Kill()
		_, _ = s3.process.Wait()
	}
	os.Exit(code)
}

// replicate serves a registry and says where.
func replicate(settings []string) error {
	db, err := models.Open(context.Background(), settings[0])
	if err != nil {
		return err
	}
	bucket, err := blobs.Open(context.Background(), settings[1])
	if err != nil {
		return err
	}
	box, err := secrets.Load(settings[2])
	if err != nil {
		return err
	}
	s := &registry.Service{DB: db, Box: box, Bucket: bucket, Reload: (&auth.Service{DB: db.DB, Box: box}).Reload}
	server := httptest.NewUnstartedServer(s)
	s.External = "http://" + server.Listener.Addr().String()
	server.Start()
	fmt.Println(s.External)
	select {}
}

// replica starts one more process of the registry, which is killed when the test ends or before.
func (f *fixture) replica(t *testing.T, database, place string) (address string, kill func()) {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), replicaVariable+"="+strings.Join([]string{database, place, f.keys}, "\n"))
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the replica says nothing: %v", err)
	}
	return strings.TrimSpace(line), kill
}

// s3 is the S3 server that all tests share: gofakes3, which is built from a
// module of its own, so that the server's module stays clean.
var s3 struct {
	once    sync.Once
	process *os.Process
	address string
	err     error
}

// s3Address is where the S3 server answers.
func s3Address(t testing.TB) string {
	t.Helper()
	s3.once.Do(func() { s3.address, s3.err = startS3() })
	if s3.err != nil {
		t.Fatalf("starting an S3 server: %v", s3.err)
	}
	return s3.address
}

func startS3() (string, error) {
	folder, err := os.MkdirTemp("", "slipway-s3-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(folder)
	program := filepath.Join(folder, "gofakes3")
	build := exec.Command("go", "build", "-o", program, "github.com/johannesboyne/gofakes3/cmd/gofakes3")
	build.Dir = filepath.Join("testdata", "gofakes3")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	command := exec.Command(program, "-backend", "memory", "-host", "127.0.0.1:0", "-initialbucket", "layers")
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := command.StderrPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		return "", err
	}
	s3.process = command.Process
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if _, port, found := strings.Cut(lines.Text(), "using port: "); found {
			go func() { _, _ = io.Copy(io.Discard, said) }()
			return "127.0.0.1:" + port, nil
		}
	}
	return "", errors.New("it did not say where it listens")
}

// s3Place is a bucket of the S3 server at the address, in which this test has keys of its own.
func s3Place(address string) string {
	return "s3://layers?region=eu-central-1&use_path_style=true&endpoint=" + url.QueryEscape("http://"+address) + "&prefix=" + models.NewID()
}

// places are the buckets that tests of storage run in.
func places(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{"S3": s3Place(s3Address(t))}
	for _, place := range strings.Fields(os.Getenv(bucketsVariable)) {
		scheme, _, _ := strings.Cut(place, "://")
		all[scheme] = blobs.Below(place, models.NewID())
	}
	return all
}

// inBucket has a process keep its blobs in the bucket, and no folder.
func inBucket(t testing.TB, place string) func(*registry.Service) {
	return func(s *registry.Service) {
		s.Folder, s.Bucket, s.Place = "", open(t, place), blobs.Name(place)
	}
}

func open(t testing.TB, place string) *blob.Bucket {
	t.Helper()
	bucket, err := blobs.Open(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	return bucket
}

// eachStorage runs the test with a folder and in each bucket, on each database.
// store is an option that each process of the registry needs.
func eachStorage(t *testing.T, test func(t *testing.T, db *models.Database, store func(*registry.Service))) {
	t.Helper()
	t.Run("folder", func(t *testing.T) {
		t.Parallel()
		modelstest.Each(t, func(t *testing.T, db *models.Database) { test(t, db, func(*registry.Service) {}) })
	})
	for name := range places(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			modelstest.Each(t, func(t *testing.T, db *models.Database) { test(t, db, inBucket(t, places(t)[name])) })
		})
	}
}

// frontier stands before the S3 server and can be told to fail, to stand still, or to break off.
type frontier struct {
	*httptest.Server
	down  atomic.Bool   // it answers 503 to everything
	still atomic.Bool   // it reads nothing and answers nothing until the client goes
	short atomic.Bool   // its answers break off
	ended chan struct{} // closed with the test
}

func newFrontier(t testing.TB) *frontier {
	t.Helper()
	f := &frontier{ended: make(chan struct{})}
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s3Address(t)})
	behind.ErrorLog = log.New(io.Discard, "", 0)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case f.down.Load():
			http.Error(w, "down for a test", http.StatusServiceUnavailable)
		case f.still.Load():
			select {
			case <-r.Context().Done():
			case <-f.ended:
			}
		case f.short.Load() && r.Method == http.MethodGet:
			w = &shortAnswer{ResponseWriter: w, left: 60_000}
			fallthrough
		default:
			behind.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() { close(f.ended); f.Close() })
	return f
}

func (f *frontier) place() string { return s3Place(f.Listener.Addr().String()) }

// shortAnswer breaks off after so many bytes.
type shortAnswer struct {
	http.ResponseWriter
	left int
}

func (s *shortAnswer) Write(b []byte) (int, error) {
	if len(b) > s.left {
		panic(http.ErrAbortHandler)
	}
	s.left -= len(b)
	return s.ResponseWriter.Write(b)
}
