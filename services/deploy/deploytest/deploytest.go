// Package deploytest holds what every kind of target must do, as one story that
// each implementation runs.
package deploytest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Suite is what an implementation brings along.
type Suite struct {
	Title string                           // of the target in docs/capabilities.md; its package's name where empty
	Open  func(t *testing.T) deploy.Target // a target with an id of its own; closed and swept by the implementation
	Image deploy.Image                     // the server of services/dockertest, which the target can fetch
	From  deploy.Source
	Gone  deploy.Image // an image that the registry does not have
	// Routed, where the target sends visitors itself, returns what a visitor of
	// the address gets at /version. Nil: Slipway's proxy does.
	Routed func(t *testing.T, url string) string
	// Mixed says that the target does not tell which lines were meant as errors.
	Mixed bool
	// Always says that the target starts instances again whatever their policy is.
	Always bool
	// Balances says that a release's instances answer at one address, behind which the target chooses one.
	Balances bool
	// Untold says that the target's provider tells that a health check failed, and not with which status.
	Untold bool
	// Patience is how long a release that is never healthy is given: long enough
	// for an instance to start and be asked once. Zero: 4 seconds.
	Patience time.Duration
	// Secure, where instances answer over HTTPS alone, is a client that trusts them.
	Secure *http.Client
}

// Run tells the story.
func Run(t *testing.T, s Suite) {
	t.Run("a release becomes healthy, answers, and goes", s.lives)
	t.Run("a second start of a release makes nothing twice", s.startsOnce)
	t.Run("two releases run side by side", s.sideBySide)
	t.Run("visitors come to the release that they were sent to", s.routes)
	t.Run("visitors move to a release in steps, and back, where the target sends them", s.splits)
	t.Run("a release of three instances is healthy once all are, and each has its limits", s.scales)
	t.Run("a command runs once, with the release's variables, and its end counts", s.runs)
	t.Run("the lines of several instances come together", s.logsOfAll)
	t.Run("what the running instances take is told for each", s.usage)
	t.Run("a release that crashes fails early with its exit code and last lines", s.crashes)
	t.Run("a release that is never healthy fails at the deadline and says what was asked", s.unhealthy)
	t.Run("a release whose port nobody listens on fails", s.deaf)
	t.Run("an image that is not there fails with words", s.missing)
	t.Run("a rollout that is told to end ends at once", s.canceled)
	t.Run("removing what is gone is no error", s.removesNothing)
	t.Run("logs can be followed and taken up again", s.logs)
	t.Run("a target tells what it is, and how much is free where it knows", s.tells)
	if !s.Always {
		t.Run("an instance that ends after it was healthy stays down where its policy says never", s.staysDown)
	}
	t.Run("a volume outlives the releases that have it", s.keeps)
	t.Run("what it can beside that is written down", s.abilities)
}

func (s Suite) release(env ...string) deploy.Release {
	id := models.NewID()
	r := deploy.Release{
		ID: id, Name: "payments-checkout-dev-" + id[24:], Team: "payments", App: "checkout", Environment: "dev", EnvironmentID: models.NewID(),
		Image: s.Image, From: s.From, Env: map[string]string{"PORT": "8080"}, Plain: []string{"PORT"}, Port: 8080, Health: models.HealthHTTP, HealthPath: "/healthz", Scale: models.Scale{Replicas: 1},
	}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		r.Env[name] = value
	}
	return r
}

func (s Suite) patience() time.Duration {
	if s.Patience > 0 {
		return s.Patience
	}
	return 8 * time.Second
}

func nothing(string) {}

// up runs the release until it is healthy.
func (s Suite) up(t *testing.T, target deploy.Target, r deploy.Release) deploy.Instance {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := target.Fetch(ctx, r.Image, s.From, nothing); err != nil {
		t.Fatal(err)
	}
	if err := target.Start(ctx, r); err != nil {
		t.Fatal(err)
	}
	found, err := target.Wait(ctx, r, nothing)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].State != models.InstanceHealthy || found[0].Address == "" {
		t.Fatalf("healthy are %+v", found)
	}
	return found[0]
}

// get asks an instance at the address, of which it gives the part after the scheme.
func (s Suite) get(t *testing.T, at string) string {
	t.Helper()
	client, scheme := http.DefaultClient, "http://"
	if s.Secure != nil {
		client, scheme = s.Secure, "https://"
	}
	res, err := client.Get(scheme + at)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(body))
}

func count(t *testing.T, target deploy.Target, release string) (n int) {
	t.Helper()
	all, err := target.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Release == release {
			n++
		}
	}
	return n
}

func (s Suite) lives(t *testing.T) {
	target := s.Open(t)
	r := s.release("GREETING=from outside")
	i := s.up(t, target, r)
	if got := s.get(t, i.Address+"/env?name=GREETING"); got != "from outside" {
		t.Errorf("the variable arrived as %q", got)
	}
	if err := target.Remove(t.Context(), r.ID, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if n := count(t, target, r.ID); n != 0 {
		t.Errorf("%d instances are left", n)
	}
}

func (s Suite) startsOnce(t *testing.T) {
	target := s.Open(t)
	r := s.release()
	first := s.up(t, target, r)
	second := s.up(t, target, r)
	if first.ID != second.ID {
		t.Errorf("the second start made another instance")
	}
	if n := count(t, target, r.ID); n != 1 {
		t.Errorf("the release has %d instances", n)
	}
}

func (s Suite) scales(t *testing.T) {
	target := s.Open(t)
	r := s.release()
	r.Scale = models.Scale{Replicas: 3, CPU: 250, Memory: 64 << 20}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := target.Fetch(ctx, r.Image, s.From, nothing); err != nil {
		t.Fatal(err)
	}
	if err := target.Start(ctx, r); err != nil {
		t.Fatal(err)
	}
	found, err := target.Wait(ctx, r, nothing)
	if err != nil {
		t.Fatal(err)
	}
	answered := map[string]bool{}
	for _, i := range found {
		if s.get(t, i.Address+"/version") == "" {
			t.Errorf("%s does not answer", i.Name)
		}
		answered[i.Address] = true
	}
	addresses := 3
	if s.Balances {
		addresses = 1
	}
	if len(found) != 3 || len(answered) != addresses {
		t.Fatalf("healthy are %+v", found)
	}
	if err := target.Start(ctx, r); err != nil {
		t.Fatal(err)
	}
	if n := count(t, target, r.ID); n != 3 {
		t.Errorf("started again there are %d", n)
	}
	if err := target.Remove(ctx, r.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	if n := count(t, target, r.ID); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func (s Suite) runs(t *testing.T) {
	target := s.Open(t)
	r := s.release("GREETING=from outside")
	r.Command = []string{"say", "GREETING"}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := target.Fetch(ctx, r.Image, s.From, nothing); err != nil {
		t.Fatal(err)
	}
	var said []string
	for range 2 { // the second time finds how the first one ended
		said = nil
		if err := target.Run(ctx, r, func(line string) { said = append(said, line) }); err != nil {
			t.Fatal(err)
		}
	}
	if len(said) != 1 || said[0] != "from outside" {
		t.Errorf("it said %q", said)
	}
	if n := count(t, target, r.ID); n != 0 {
		t.Errorf("the command counts as %d instances", n)
	}
	if err := target.Remove(ctx, r.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	bad := s.release()
	bad.Command = []string{"fail", "7"}
	f := new(deploy.Failure)
	if err := target.Run(ctx, bad, nothing); !errors.As(err, &f) || f.Stage != deploy.StageCommand || f.ExitCode == nil || *f.ExitCode != 7 || !strings.Contains(strings.Join(f.Logs, " "), "failing") {
		t.Errorf("a command that fails gives %v", err)
	}
	if err := target.Remove(ctx, bad.ID, 0); err != nil {
		t.Fatal(err)
	}
	slow := s.release()
	slow.Command = []string{"sleep"}
	short, cancel := context.WithTimeout(ctx, 8*time.Second) // its start is in it
	defer cancel()
	if err := target.Run(short, slow, nothing); !errors.As(err, &f) || f.Stage != deploy.StageTimeout {
		t.Errorf("a command that never ends gives %v", err)
	}
	if err := target.Remove(ctx, slow.ID, 0); err != nil {
		t.Fatal(err)
	}
}

func (s Suite) logsOfAll(t *testing.T) {
	target := s.Open(t)
	r := s.release()
	r.Scale.Replicas = 2
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := target.Fetch(ctx, r.Image, s.From, nothing); err != nil {
		t.Fatal(err)
	}
	if err := target.Start(ctx, r); err != nil {
		t.Fatal(err)
	}
	found, err := target.Wait(ctx, r, nothing)
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	ask := func() {
		if opened++; opened == len(found) {
			for _, i := range found {
				s.get(t, i.Address+"/version")
			}
		}
	}
	var mu sync.Mutex
	heard := map[int]bool{}
	for line, err := range target.Logs(ctx, r.ID, deploy.LogOptions{Follow: true, Opened: func() { mu.Lock(); defer mu.Unlock(); ask() }}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line.Text, "GET /version") {
			heard[line.Replica] = true
		}
		if heard[1] && heard[2] {
			break
		}
	}
	if !heard[1] || !heard[2] {
		t.Errorf("heard were the instances %v", heard)
	}
	last, n := time.Time{}, 0
	for line, err := range target.Logs(ctx, r.ID, deploy.LogOptions{}) {
		if err != nil || line.At.Before(last) {
			t.Fatalf("a line of %s after one of %s: %v", line.At, last, err)
		}
		last, n = line.At, n+1
	}
	if n < 4 {
		t.Errorf("there are %d lines", n)
	}
}

func (s Suite) usage(t *testing.T) {
	target := s.Open(t)
	if used, err := target.Usage(t.Context()); err != nil || len(used) != 0 {
		t.Errorf("where nothing runs %v is used, %v", used, err)
	}
	r := s.release()
	i := s.up(t, target, r)
	gone := s.release()
	s.up(t, target, gone)
	if err := target.Remove(t.Context(), gone.ID, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first time there is no earlier answer to compare with
		used, err := target.Usage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(used) == 0 {
			t.Skip("the target can't tell")
		}
		if len(used) != 1 || used[0].Instance != i.ID || used[0].Memory < 100<<10 || used[0].CPU < 0 {
			t.Errorf("%s uses %+v", i.ID, used)
		}
	}
}

func (s Suite) sideBySide(t *testing.T) {
	target := s.Open(t)
	one, two := s.release("GREETING=one"), s.release("GREETING=two")
	a, b := s.up(t, target, one), s.up(t, target, two)
	if s.get(t, a.Address+"/env?name=GREETING") != "one" || s.get(t, b.Address+"/env?name=GREETING") != "two" {
		t.Error("the releases do not answer for themselves")
	}
	if err := target.Remove(t.Context(), one.ID, 0); err != nil {
		t.Fatal(err)
	}
	if s.get(t, b.Address+"/env?name=GREETING") != "two" {
		t.Error("removing one release touched the other")
	}
}

func (s Suite) routes(t *testing.T) {
	target := s.Open(t)
	one, two := s.release("VERSION=one"), s.release("VERSION=two")
	two.EnvironmentID = one.EnvironmentID
	at := ""
	for _, r := range []deploy.Release{one, two, one, one} { // there, back, and again after a worker died
		s.up(t, target, r)
		url, err := target.Route(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if s.Routed == nil {
			if url != "" {
				t.Fatalf("visitors come to %q, and to Slipway's proxy", url)
			}
			continue
		}
		if got := s.Routed(t, url); got != r.Env["VERSION"] {
			t.Errorf("a visitor of %s got version %q, want %q", url, got, r.Env["VERSION"])
		}
		if at != "" && at != url {
			t.Errorf("the address went from %s to %s", at, url)
		}
		at = url
	}
	if err := target.Remove(t.Context(), two.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	if s.Routed != nil && s.Routed(t, at) != "one" {
		t.Error("removing the release before took the visitors' way")
	}
}

// fails runs the release and returns why it is not healthy. Patience is for its
// health alone: on a busy machine a start takes its time.
func (s Suite) fails(t *testing.T, r deploy.Release, patience time.Duration, say func(string)) *deploy.Failure {
	t.Helper()
	target := s.Open(t)
	err := target.Fetch(t.Context(), r.Image, s.From, nothing)
	if err == nil {
		err = target.Start(t.Context(), r)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err = target.Wait(ctx, r, say)
	}
	var f *deploy.Failure
	if !errors.As(err, &f) {
		t.Fatalf("the release ended with %v", err)
	}
	if f.Message == "" || !strings.HasSuffix(f.Message, ".") {
		t.Errorf("the message is no sentence: %q", f.Message)
	}
	return f
}

func (s Suite) crashes(t *testing.T) {
	f := s.fails(t, s.release("CRASH=1"), 3*time.Minute, nothing)
	if f.Stage != deploy.StageStart || f.ExitCode == nil || *f.ExitCode != 3 {
		t.Errorf("the failure is %+v", f)
	}
	if !strings.Contains(strings.Join(f.Logs, "\n"), "crashing") {
		t.Errorf("the last lines are %q", f.Logs)
	}
}

func (s Suite) unhealthy(t *testing.T) {
	var said []string
	f := s.fails(t, s.release("BAD=1"), s.patience(), func(line string) { said = append(said, line) })
	if f.Stage != deploy.StageHealth {
		t.Errorf("the failure is %+v", f)
	}
	asked := "GET :8080/healthz → HTTP 500"
	if s.Untold {
		asked = "GET :8080/healthz → no status from 200 to 399"
	}
	if !strings.Contains(strings.Join(said, "\n"), asked) {
		t.Errorf("the transcript is %q", said)
	}
}

func (s Suite) deaf(t *testing.T) {
	for _, health := range []models.HealthKind{models.HealthHTTP, models.HealthTCP} {
		r := s.release("LISTEN=8080") // some targets say by themselves which PORT it is
		r.Port, r.Health = 8081, health
		if f := s.fails(t, r, s.patience(), nothing); f.Stage != deploy.StageHealth {
			t.Errorf("%s: the failure is %+v", health, f)
		}
	}
	r := s.release()
	r.Health = models.HealthTCP
	s.up(t, s.Open(t), r)
}

func (s Suite) missing(t *testing.T) {
	r := s.release()
	r.Image = s.Gone
	if f := s.fails(t, r, 3*time.Minute, nothing); f.Stage != deploy.StageImage {
		t.Errorf("the failure is %+v", f)
	}
}

func (s Suite) canceled(t *testing.T) {
	target := s.Open(t)
	r := s.release("BAD=1")
	ctx, cancel := context.WithCancelCause(t.Context())
	asked := make(chan struct{}, 100)
	ended := make(chan error, 1)
	go func() {
		err := target.Fetch(ctx, r.Image, s.From, nothing)
		if err == nil {
			err = target.Start(ctx, r)
		}
		if err == nil {
			_, err = target.Wait(ctx, r, func(string) { asked <- struct{}{} })
		}
		ended <- err
	}()
	select {
	case <-asked:
	case err := <-ended:
		t.Fatalf("it ended by itself: %v", err)
	}
	enough := errors.New("enough")
	cancel(enough)
	select {
	case err := <-ended:
		if !errors.Is(err, enough) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it went on")
	}
	if err := target.Remove(t.Context(), r.ID, 0); err != nil {
		t.Fatal(err)
	}
	if n := count(t, target, r.ID); n != 0 {
		t.Errorf("%d instances are left", n)
	}
}

func (s Suite) removesNothing(t *testing.T) {
	if err := s.Open(t).Remove(t.Context(), models.NewID(), time.Second); err != nil {
		t.Error(err)
	}
}

func (s Suite) logs(t *testing.T) {
	target := s.Open(t)
	r := s.release()
	i := s.up(t, target, r)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var first deploy.LogLine
	for line, err := range target.Logs(ctx, r.ID, deploy.LogOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		first = line
		break
	}
	if !strings.Contains(first.Text, "listening on 8080") || first.Stderr == s.Mixed || first.At.IsZero() {
		t.Fatalf("the first line is %+v", first)
	}
	if first.Instance != "" && first.Instance != i.ID {
		t.Errorf("the line is one of %q, not of %q", first.Instance, i.ID)
	}
	written := func() { s.get(t, i.Address+"/version") } // once the log is open, and not missed
	for n, err := range target.Logs(ctx, r.ID, deploy.LogOptions{After: first.At, Follow: true, Opened: written}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(n.Text, "listening") {
			t.Errorf("a line came twice: %q", n.Text)
		}
		if strings.Contains(n.Text, "GET /version") {
			return
		}
	}
	t.Error("the request's line never came")
}

func (s Suite) tells(t *testing.T) {
	info, err := s.Open(t).Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Version == "" || info.CPU < 0 || info.Memory < 0 || info.Disk < 0 {
		t.Errorf("the target says %+v", info)
	}
}
