package deploy_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	inprocess "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/jobs"
	"slipway.dev/services/registries"
	"slipway.dev/services/registries/registriestest"
)

// update has the test write down what failures look like now: go test ./services/deploy -run Failures -update.
var update = flag.Bool("update", false, "write testdata/failures.txt anew")

// scenario is a way in which a deployment goes wrong.
type scenario struct {
	name    string
	env     []string // of the image
	image   func(*testing.T, v1.Image) v1.Image
	app     func(*models.App)
	runtime models.Runtime
	scale   models.Scale
	before  func(*failing, *models.App) // between the click and the worker
	after   func(*failing, *models.Deployment) string
}

// failing is a stage on which many deployments fail at once, each an app of its own.
type failing struct {
	*stage
	valve *registriestest.Valve // before the registry of one app's image
	front *httptest.Server      // at the valve's address for others
	taken net.Listener
	base  v1.Image // of all the apps
}

func config(change func(*v1.ConfigFile)) func(*testing.T, v1.Image) v1.Image {
	return func(t *testing.T, img v1.Image) v1.Image {
		t.Helper()
		file, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		file = file.DeepCopy()
		change(file)
		changed, err := mutate.ConfigFile(img, file)
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
}

// answers has the app's registry answer by itself where it is asked for an image.
func answers(status int, body string) func(*failing, *models.App) {
	return func(f *failing, _ *models.App) {
		f.valve.Instead(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		})
	}
}

var scenarios = []scenario{
	{name: "listens late", env: []string{"START_DELAY=14s"}, after: transcript},
	{name: "never listens", env: []string{"START_DELAY=10m"}},
	{name: "listens on another port", env: []string{"LISTEN=9090"}},
	{name: "exits at once", env: []string{"CRASH=1"}},
	{name: "exits after it was healthy", runtime: models.Runtime{Restart: models.RestartNever}, after: endedLater},
	{name: "needs a variable that is missing", env: []string{"NEEDS=DATABASE_URL"}},
	{name: "is made for another platform", image: config(func(c *v1.ConfigFile) { c.Architecture = "riscv64" })},
	{name: "takes too much memory", env: []string{"EAT=1"}, scale: models.Scale{Replicas: 1, Memory: 32 << 20}},
	{name: "has an entry point that does not exist", image: config(func(c *v1.ConfigFile) { c.Config.Entrypoint = []string{"/no/such/program"} })},
	{name: "runs as a user that does not exist", image: config(func(c *v1.ConfigFile) { c.Config.User = "nosuch" })},
	{name: "writes where it may only read", env: []string{"WRITES=/data/state"}, runtime: models.Runtime{Volumes: []models.VolumeMount{{Name: "data", Path: "/data", ReadOnly: true}}}},
	{name: "has no such health path", app: func(a *models.App) { a.HealthPath = "/nothing" }},
	{name: "reports an error", env: []string{"BAD=1"}},
	{name: "redirects in a circle", env: []string{"BAD=circle"}},
	{name: "answers too slowly", env: []string{"BAD=slow"}},
	{name: "image gone from the registry", before: answers(http.StatusNotFound, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`)},
	{name: "registry refuses the credential", before: answers(http.StatusForbidden, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`)},
	{name: "registry does not answer", before: func(f *failing, _ *models.App) { f.front.Close() }},
	{name: "port taken on the host's network", runtime: models.Runtime{HostNetwork: true}, app: func(a *models.App) { a.Port = 0 }},
	{name: "permission taken away", runtime: models.Runtime{HostPaths: []models.HostPath{{Source: "/srv/slipway-test", Path: "/data"}}}},
}

func TestFailuresAreSaidWithEvidenceAndWhatToDo(t *testing.T) {
	t.Parallel()
	f := &failing{stage: newStage(t, modelstest.DB(t)), base: dockertest.App(t)}
	f.service.Start = 30 * time.Second
	var err error
	if f.taken, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer f.taken.Close()
	f.allow("true", "/srv/slipway-test")
	asked := make([]*models.Deployment, len(scenarios))
	for n, sc := range scenarios {
		asked[n] = f.ask(n, sc)
	}
	f.allow("true", "") // the wish was allowed when it was made
	f.manyWorkers()
	var out strings.Builder
	for n, sc := range scenarios {
		fmt.Fprintf(&out, "# %s\n%s\n", sc.name, f.tidy(f.outcome(sc, asked[n])))
	}
	for _, sc := range brokenEngines {
		fmt.Fprintf(&out, "# %s\n%s\n", sc.name, f.tidy(sc.fetch(t)))
	}
	const golden = "testdata/failures.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) == out.String() {
		return
	}
	t.Errorf("failures look otherwise than in %s; look at what -update changes there", golden)
	for section := range strings.SplitSeq(out.String(), "# ") {
		if !strings.Contains(string(want), section) {
			t.Errorf("now: %s", section)
		}
	}
}

// allow sets what the stage's target gives of its host.
func (f *failing) allow(network, paths string) {
	f.t.Helper()
	_, err := f.service.UpdateTarget(modelstest.As(f.t, f.db, f.Admin), f.Target.ID, deploy.TargetInput{Name: f.Target.Name, AllTeams: true,
		Settings: map[string]string{"host_network": network, "host_paths": paths}})
	if err != nil {
		f.t.Fatal(err)
	}
}

// ask makes an app with an image in a registry of its own, and asks for its deployment.
func (f *failing) ask(n int, sc scenario) *models.Deployment {
	f.t.Helper()
	ctx, app := modelstest.As(f.t, f.db, f.Maintainer), *f.App
	app.ID, app.Name, app.DeploymentCount = models.NewID(), fmt.Sprintf("app-%d", n), 0
	if sc.app != nil {
		sc.app(&app)
	}
	if sc.runtime.HostNetwork {
		app.Port = f.taken.Addr().(*net.TCPAddr).Port
	}
	if err := f.db.Create(&app).Error; err != nil {
		f.t.Fatal(err)
	}
	f.valve = registriestest.NewValve(f.t, inprocess.New(inprocess.Logger(log.New(io.Discard, "", 0))))
	f.front = httptest.NewServer(f.valve)
	f.t.Cleanup(f.front.Close)
	host := f.front.Listener.Addr().String()
	admin := modelstest.As(f.t, f.db, f.Admin)
	r, err := f.service.Registries.Create(admin, registries.Input{Name: app.Name, Kind: registries.KindGeneric, Host: host, PlainHTTP: true, Settings: map[string]string{}})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.service.Registries.Grant(admin, r.ID, registries.GrantInput{TeamID: f.Team.ID, Access: models.RegistryPull}); err != nil {
		f.t.Fatal(err)
	}
	img := config(func(c *v1.ConfigFile) {
		c.Config.Env = append(c.Config.Env, append(sc.env, "VERSION=1", "UNIQUE="+models.NewID())...)
	})(f.t, f.base)
	if sc.image != nil {
		img = sc.image(f.t, img)
	}
	ref, err := name.NewTag(host + "/acme/shop:v1")
	if err != nil {
		f.t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		f.t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		f.t.Fatal(err)
	}
	f.images = append(f.images, host+"/acme/shop@"+digest.String())
	at := deploy.RuntimeInput{EnvironmentID: f.Environment.ID, AppID: app.ID, Runtime: sc.runtime}
	if _, err := f.service.SetRuntime(ctx, at); err != nil {
		f.t.Fatal(err)
	}
	if sc.scale.Replicas > 0 {
		if _, err := f.service.SetScale(ctx, deploy.ScaleInput{EnvironmentID: f.Environment.ID, AppID: app.ID, Scale: sc.scale}); err != nil {
			f.t.Fatal(err)
		}
	}
	d, err := f.service.Deploy(ctx, deploy.Input{EnvironmentID: f.Environment.ID, AppID: app.ID, Image: host + "/acme/shop:v1"})
	if err != nil {
		f.t.Fatal(sc.name, err)
	}
	if sc.before != nil {
		sc.before(f, &app)
	}
	return d
}

// manyWorkers is a worker that carries all deployments at once.
func (f *failing) manyWorkers() {
	f.t.Helper()
	service := newService(f.db, f.service.Box, f.service.Registry)
	service.Start = f.service.Start
	q, err := jobs.New(f.db, jobs.Config{Deployments: len(scenarios), Others: 1, DeadAfter: time.Minute})
	if err != nil {
		f.t.Fatal(err)
	}
	service.Queue = q
	jobs.Register(q, service.Roll)
	jobs.Register(q, service.RetireStopped)
	q.Every(500*time.Millisecond, "reconcile", service.Reconcile)
	if err := q.Start(context.WithoutCancel(f.t.Context())); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		q.Stop(ctx)
		service.Close()
	})
}

// outcome is what a person reads of the deployment.
func (f *failing) outcome(sc scenario, d *models.Deployment) string {
	f.t.Helper()
	for end := time.Now().Add(3 * time.Minute); !d.State.Ended(); d = f.get(d.ID) {
		if time.Now().After(end) {
			f.t.Fatalf("%s never ended: %+v", sc.name, d.Phases)
		}
		<-time.After(50 * time.Millisecond)
	}
	if sc.after != nil {
		return sc.after(f, d)
	}
	if d.State != models.DeploymentFailed || d.Error == nil {
		f.t.Errorf("%s: the deployment is %s: %+v", sc.name, d.State, d.Error)
		return string(d.State) + "\n"
	}
	return said(d.Error, lastProbe(d))
}

// said is a failure as the test writes it down.
func said(e *models.DeploymentError, probe string) string {
	text := "failed in " + e.Stage + ": " + e.Message + "\n"
	if e.ExitCode != nil {
		text += fmt.Sprintf("exit code %d\n", *e.ExitCode)
	}
	if e.OOM {
		text += "out of memory\n"
	}
	if probe != "" && e.ExitCode == nil { // whether one is asked before it ends is chance
		text += "probe: " + probe + "\n"
	}
	if n := len(e.Logs); n > 0 {
		text += "log: " + e.Logs[n-1] + "\n"
	}
	return text
}

// lastProbe is the last line of the health check's transcript that says something new.
func lastProbe(d *models.Deployment) (last string) {
	for _, p := range d.Phases {
		for _, line := range p.Detail {
			if _, text, ok := strings.Cut(line, " s  "); ok && p.Name == "health" && !strings.Contains(text, "the same") {
				last = text
			}
		}
	}
	return last
}

// transcript is what the health check was answered at last; before, it was refused.
func transcript(f *failing, d *models.Deployment) string {
	f.t.Helper()
	if n := slices.IndexFunc(d.Phases, func(p models.DeploymentPhase) bool { return p.Name == "health" }); n < 0 || !strings.Contains(strings.Join(d.Phases[n].Detail, "\n"), "connection refused") {
		f.t.Errorf("it was not refused at first: %+v", d.Phases)
	}
	return string(d.State) + "\nprobe: " + lastProbe(d) + "\n"
}

// endedLater is what the page says of an instance that ended after the deployment had succeeded.
func endedLater(f *failing, d *models.Deployment) string {
	f.t.Helper()
	if d.State != models.DeploymentSucceeded {
		f.t.Fatalf("it did not succeed: %+v", d.Error)
	}
	d = f.until(d.ID, "healthy", func(d *models.Deployment) bool {
		return len(d.Instances) == 1 && d.Instances[0].State == models.InstanceHealthy
	})
	if res, err := http.Get("http://" + d.Instances[0].Address + "/exit"); err != nil {
		f.t.Error(err)
	} else {
		res.Body.Close()
	}
	d = f.until(d.ID, "failing with its last lines", func(d *models.Deployment) bool {
		return len(d.Instances) == 1 && d.Instances[0].State == models.InstanceFailing && len(d.Instances[0].LastLogs) > 0
	})
	i := d.Instances[0]
	return fmt.Sprintf("%s, instance %s: %s\nexit code %d\nlog: %s\n", d.State, i.State, i.Message, *i.ExitCode, i.LastLogs[len(i.LastLogs)-1])
}

var untidy = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "sha256:…"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "registry.test"},
	{regexp.MustCompile(`\d{4}/\d\d/\d\d \d\d:\d\d:\d\d `), ""},
	{regexp.MustCompile(`linux/(amd64|arm64)`), "linux/…"},
	{regexp.MustCompile(`[0-9a-f]{64}`), "…"},
	{regexp.MustCompile(`the target has [0-9.]+ \w+`), "the target has …"},
}

// tidy takes out what differs from run to run.
func (f *failing) tidy(text string) string {
	text = strings.ReplaceAll(text, "Port "+strconv.Itoa(f.taken.Addr().(*net.TCPAddr).Port), "Port 8080")
	for _, u := range untidy {
		text = u.what.ReplaceAllString(text, u.with)
	}
	return text
}

// brokenEngine is an engine whose pull goes wrong: a real one behind a proxy that answers in its place.
type brokenEngine struct {
	name   string
	within time.Duration // of the pull, and of what comes before it
	pull   http.HandlerFunc
}

var brokenEngines = []brokenEngine{
	{"disk full on the target", time.Minute, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"status":"Pulling fs layer","id":"a1"}`)
		fmt.Fprintln(w, `{"errorDetail":{"message":"write /var/lib/docker/tmp/GetImageBlob1: no space left on device"},"error":"write /var/lib/docker/tmp/GetImageBlob1: no space left on device"}`)
	}},
	{"image does not arrive in time", 10 * time.Second, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"status":"Pulling fs layer","id":"a1"}`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}},
}

// fetch is what a person reads where the engine pulls an image.
func (b brokenEngine) fetch(t *testing.T) string {
	t.Helper()
	real := dockertest.Engine(t)
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/images/create") {
			b.pull(w, r)
			return
		}
		(&httputil.ReverseProxy{
			Rewrite:   func(p *httputil.ProxyRequest) { p.Out.URL.Scheme, p.Out.URL.Host = "http", "docker" },
			Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return real.Dialer()(ctx) }, DisableKeepAlives: true},
		}).ServeHTTP(w, r)
	}))
	defer engine.Close()
	target, err := docker.Kind("").Open(deploy.Config{ID: models.NewID(), Settings: map[string]string{"host": strings.Replace(engine.URL, "http", "tcp", 1)}})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	ctx, cancel := context.WithTimeout(t.Context(), b.within)
	defer cancel()
	image := deploy.Image{Repository: "127.0.0.1:1/acme/shop", Digest: "sha256:" + strings.Repeat("a", 64)}
	err = target.Fetch(ctx, image, deploy.Source{Credential: func(context.Context) (string, string, error) { return "", "", nil }}, func(string) {})
	told := new(deploy.Failure)
	if !errors.As(err, &told) {
		t.Errorf("%s: %v", b.name, err)
		return ""
	}
	return said(&told.DeploymentError, "")
}
