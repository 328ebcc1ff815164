// Package buildtest is the suite that every kind of Builder passes, against its real engine.
package buildtest

import (
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// Registry starts an empty registry that anyone may push to, until the test ends, and returns its host and port.
func Registry(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(quiet)))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// Anonymous is the credential of a registry that asks for none.
func Anonymous(context.Context) (string, string, error) { return "", "", nil }

// Kind is what the suite needs to know of a kind of builder.
type Kind struct {
	Builder builds.Builder
	Base    string // an image with a shell, for FROM
	// Find returns where in what the engine keeps a text stands; nil where that can't be looked at.
	Find func(t testing.TB, text string) string
}

// Files are the files of a checkout by their path.
type Files map[string]string

// Checkout writes the files into a folder of the test's own.
func Checkout(t testing.TB, files Files) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(text, "link:"); ok {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Request is a request for the files' Dockerfile, its image going to the registry at host.
func Request(t testing.TB, host string, files Files) builds.Request {
	t.Helper()
	id := models.NewID()
	return builds.Request{
		BuildID: id, Labels: map[string]string{"slipway.test.build": id}, // so that no two builds are one image
		Dir: Checkout(t, files), Scratch: t.TempDir(), Context: ".", Dockerfile: "Dockerfile", CacheKey: models.NewID(),
		Image: builds.Destination{Repository: host + "/team/app", Tag: "build-1", Credential: Anonymous},
	}
}

// Seen collects the events of a build.
type Seen struct {
	mu       sync.Mutex
	steps    map[string]*Step
	order    []string
	output   strings.Builder
	warnings []string
	file     *models.BuildDockerfile
	changed  chan struct{}
}

// Step is what the events said of a step.
type Step struct {
	builds.Event                    // the last one
	States       []models.StepState // in order
	Output       map[string]string  // by stream
}

// NewSeen returns an empty collection.
func NewSeen() *Seen { return &Seen{steps: map[string]*Step{}, changed: make(chan struct{}, 1)} }

// Emit takes an event.
func (s *Seen) Emit(e builds.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Warning != "" {
		s.warnings = append(s.warnings, e.Warning)
	}
	if e.File != nil {
		s.file = e.File
	}
	if e.Step != "" {
		s.step(e)
	}
	s.output.Write(e.Output)
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Seen) step(e builds.Event) {
	known := s.steps[e.Step]
	if known == nil {
		known = &Step{Output: map[string]string{}}
		s.steps[e.Step], s.order = known, append(s.order, e.Step)
	}
	if e.State != "" {
		known.Event = e
		known.States = append(known.States, e.State)
	}
	known.Output[string(e.Stream)] += string(e.Output)
}

// Text is all output so far.
func (s *Seen) Text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

// Warnings are the warnings so far.
func (s *Seen) Warnings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.warnings)
}

// File is the Dockerfile that the build told of, or nil.
func (s *Seen) File() *models.BuildDockerfile {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file
}

// Find returns the step whose name ends so, or nil.
func (s *Seen) Find(suffix string) *Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.order {
		if strings.HasSuffix(s.steps[id].Name, suffix) {
			found := *s.steps[id] // more may come of it while the caller looks
			found.States, found.Output = slices.Clone(found.States), maps.Clone(found.Output)
			return &found
		}
	}
	return nil
}

// Names are the names of the steps in the order of their first events.
func (s *Seen) Names() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.order {
		names = append(names, s.steps[id].Name)
	}
	return names
}

// lines are the Dockerfile's lines of the steps in the order of their first events.
func (s *Seen) lines() (lines []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.order {
		if line := s.steps[id].Line; line > 0 {
			lines = append(lines, line)
		}
	}
	return lines
}

// Wait waits until the output holds the text.
func (s *Seen) Wait(t testing.TB, text string) {
	t.Helper()
	late := time.After(3 * time.Minute)
	for !strings.Contains(s.Text(), text) {
		select {
		case <-s.changed:
		case <-late:
			t.Fatalf("the build never printed %q but %q", text, s.Text())
		}
	}
}

// checkEnds checks that every step that began has ended, and once for each time it began.
func (s *Seen) checkEnds(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, step := range s.steps {
		open := 0
		for i, state := range step.States {
			switch state {
			case models.StepPending:
				if i > 0 {
					t.Errorf("%q was planned after it was %s", step.Name, step.States[i-1])
				}
				continue
			case models.StepRunning:
				open++
			default:
				open--
			}
			if open < 0 || open > 1 {
				t.Errorf("%q went through %v", step.Name, step.States)
				break
			}
		}
		if open != 0 {
			t.Errorf("%q never ended: %v", step.Name, step.States)
		}
	}
}

// Build runs the request and checks what holds for every build.
func Build(t testing.TB, b builds.Builder, r builds.Request) (*builds.Result, *Seen, error) {
	t.Helper()
	seen := NewSeen()
	result, err := b.Build(t.Context(), r, seen.Emit)
	seen.checkEnds(t)
	return result, seen, err
}

// Failed checks that the error is one for people, of the class, and returns it.
func Failed(t testing.TB, err error, class string, parts ...string) *builds.Error {
	t.Helper()
	e, ok := err.(*builds.Error)
	if !ok {
		t.Fatalf("the build ended with %T: %v", err, err)
	}
	if e.Class != class {
		t.Errorf("the failure is of class %q, not %q: %v", e.Class, class, e)
	}
	for _, part := range parts {
		if !strings.Contains(e.Message, part) {
			t.Errorf("the message does not say %q: %s", part, e.Message)
		}
	}
	return e
}

// Image fetches what the build pushed.
func Image(t testing.TB, r builds.Request, digest string) v1.Image {
	t.Helper()
	ref, err := name.NewDigest(r.Image.Repository + "@" + digest)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatalf("the registry has no image %s: %v", ref, err)
	}
	return img
}

// test is one of the suite.
type test struct {
	name string
	run  func(t *testing.T, k Kind)
}

// Run runs the suite for a kind that builds the files of a checkout.
func Run(t *testing.T, kind func(t *testing.T) Kind) {
	Shared(t, dockerfiles(kind))
	for _, test := range append(settingsTests(), generalTests()...) {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, kind(t))
		})
	}
}

// generalTests are about what every build needs.
func generalTests() []test {
	return []test{
		{"an image is pushed with its labels and the digest that the registry knows", pushes},
		{"steps have names, lines, stages, times and their own output", steps},
		{"a second build takes its steps from the cache, unless told not to", caches},
		{"a failing command names itself, its line, its exit code", failingCommand},
		{"a syntax error names its line", syntaxError},
		{"a file that is not there is named", missingFile},
		{"a base image that can't be had is named", missingBase},
		{"a repository without the Dockerfile says which there are", noDockerfile},
		{"nothing outside of the checkout is read", confined},
		{"builds of two apps share no files", noForeignFiles},
		{"a build ends within two seconds of its context", cancels},
		{"rights over the engine's machine are refused", noRights},
		{"a foreign frontend is not run", noForeignFrontend},
		{"an argument named like a secret is warned of", secretArgument},
		{"builds run beside each other", concurrent},
		{"a registry that is down is told from a bad Dockerfile", registryDown},
	}
}

// from begins a Dockerfile; unique keeps other tests' cache away.
func (k Kind) from(t testing.TB, lines ...string) string {
	return fmt.Sprintf("FROM %s\n%s\n", k.Base, strings.Join(lines, "\n"))
}

func unique() string { return strings.ReplaceAll(models.NewID(), "-", "") }

func pushes(t *testing.T, k Kind) {
	r := Request(t, Registry(t), Files{"Dockerfile": k.from(t, "COPY hello /hello", `CMD ["cat", "/hello"]`), "hello": unique()})
	r.Labels["org.opencontainers.image.revision"] = "abc"
	r.Labels["org.opencontainers.image.source"] = "https://example.test/a?b=c&d"
	result, _, err := Build(t, k.Builder, r)
	if err != nil {
		t.Fatal(err)
	}
	config, err := Image(t, r, result.Digest).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range r.Labels {
		if config.Config.Labels[key] != value {
			t.Errorf("the label %s is %q", key, config.Config.Labels[key])
		}
	}
	if !slices.Equal(config.Config.Cmd, []string{"cat", "/hello"}) {
		t.Errorf("the image runs %q", config.Config.Cmd)
	}
}

func steps(t *testing.T, k Kind) {
	id := unique()
	text := fmt.Sprintf("FROM %s AS first\nRUN echo out-%s; echo err-%s >&2\nFROM %s\nCOPY --from=first /bin/sh /copied\nRUN echo \\\n  last-%s\n", k.Base, id, id, k.Base, id)
	_, seen, err := Build(t, k.Builder, Request(t, Registry(t), Files{"Dockerfile": text}))
	if err != nil {
		t.Fatal(err)
	}
	first := seen.Find("err-" + id + " >&2")
	if first == nil {
		t.Fatal("the first RUN is no step")
	}
	if first.State != models.StepSucceeded || first.Line != 2 || first.Stage != "first" {
		t.Errorf("the first RUN is %+v", first.Event)
	}
	if first.Output["stdout"] != "out-"+id+"\n" || first.Output["stderr"] != "err-"+id+"\n" {
		t.Errorf("the first RUN printed %q", first.Output)
	}
	if last := seen.Find("last-" + id); last == nil || last.Line != 5 {
		t.Errorf("the last RUN is %+v", last)
	}
	if lines := seen.lines(); !slices.IsSorted(lines) || len(lines) != 4 {
		t.Errorf("the steps came in the order of the lines %v", lines)
	}
	if push := seen.Find("Push the image"); push == nil || push.State != models.StepSucceeded {
		t.Errorf("the push is %+v", push)
	}
}

func caches(t *testing.T, k Kind) {
	id, host := unique(), Registry(t)
	files := Files{"Dockerfile": k.from(t, "RUN echo "+id)}
	state := func(noCache bool) models.StepState {
		r := Request(t, host, files)
		r.NoCache = noCache
		_, seen, err := Build(t, k.Builder, r)
		if err != nil {
			t.Fatal(err)
		}
		return seen.Find(id).State
	}
	if got := []models.StepState{state(false), state(false), state(true)}; !slices.Equal(got, []models.StepState{models.StepSucceeded, models.StepCached, models.StepSucceeded}) {
		t.Errorf("the three builds' step was %v", got)
	}
}

func failingCommand(t *testing.T, k Kind) {
	id := unique()
	_, seen, err := Build(t, k.Builder, Request(t, Registry(t), Files{"Dockerfile": k.from(t, "RUN true", "RUN echo trying "+id+" && \\", "    exit 7")}))
	e := Failed(t, err, builds.ClassUser, "RUN echo trying "+id, "exit code 7", "line 3")
	if e.ExitCode != 7 || e.Line != 3 || e.EndLine != 4 || e.Dockerfile != "Dockerfile" || len(e.Source) != 2 || e.Source[1] != "    exit 7" {
		t.Errorf("the failure is %+v", e.BuildError)
	}
	step := seen.Find("exit 7")
	if step == nil || step.Step != e.Step || step.State != models.StepFailed || step.Error == "" {
		t.Errorf("the failed step is %+v, the failure's is %q", step, e.Step)
	}
}

func syntaxError(t *testing.T, k Kind) {
	_, _, err := Build(t, k.Builder, Request(t, Registry(t), Files{"Dockerfile": k.from(t, "RUN true", "RUNN false")}))
	if e := Failed(t, err, builds.ClassUser, "line 3", "RUNN"); e.Line != 3 || len(e.Source) != 1 || e.Source[0] != "RUNN false" {
		t.Errorf("the failure is %+v", e.BuildError)
	}
}

func missingFile(t *testing.T, k Kind) {
	_, _, err := Build(t, k.Builder, Request(t, Registry(t), Files{"Dockerfile": k.from(t, "COPY nowhere.txt /")}))
	if e := Failed(t, err, builds.ClassUser, "nowhere.txt", "COPY", "line 2"); e.Line != 2 {
		t.Errorf("the failure is %+v", e.BuildError)
	}
}

func missingBase(t *testing.T, k Kind) {
	host := Registry(t)
	_, _, err := Build(t, k.Builder, Request(t, host, Files{"Dockerfile": "# a comment\nFROM " + host + "/no/such:1\n"}))
	if e := Failed(t, err, builds.ClassUser, host+"/no/such:1"); e.Line != 2 {
		t.Errorf("the failure is %+v", e.BuildError)
	}
	_, _, err = Build(t, k.Builder, Request(t, host, Files{"Dockerfile": "FROM 127.0.0.1:1/no/such:1\n"}))
	Failed(t, err, builds.ClassInfrastructure, "127.0.0.1:1/no/such:1")
}

func noDockerfile(t *testing.T, k Kind) {
	r := Request(t, Registry(t), Files{"services/api/Dockerfile": k.from(t), "readme": ""})
	_, _, err := Build(t, k.Builder, r)
	Failed(t, err, builds.ClassUser, `"Dockerfile"`, "services/api/Dockerfile")
	r.Context = "services/web"
	r.Dockerfile = "services/api/Dockerfile"
	_, _, err = Build(t, k.Builder, r)
	Failed(t, err, builds.ClassUser, "services/web")
	_, _, err = Build(t, k.Builder, Request(t, Registry(t), Files{"readme": ""}))
	Failed(t, err, builds.ClassUser, "none anywhere")
}

func confined(t *testing.T, k Kind) {
	canary := "canary-" + unique()
	outside := Checkout(t, Files{"secret": canary, "Dockerfile": k.from(t, "RUN echo "+canary)})
	refused := map[string]func(*builds.Request){
		"a link to a Dockerfile":   func(r *builds.Request) { r.Dockerfile = "linked" },
		"a path to a Dockerfile":   func(r *builds.Request) { r.Dockerfile = "../" + filepath.Base(outside) + "/Dockerfile" },
		"an absolute Dockerfile":   func(r *builds.Request) { r.Dockerfile = outside + "/Dockerfile" },
		"a link as the context":    func(r *builds.Request) { r.Context = "folder" },
		"a path as the context":    func(r *builds.Request) { r.Context = "../.." },
		"a dangling Dockerfile":    func(r *builds.Request) { r.Dockerfile = "dangling" },
		"a Dockerfile in a link":   func(r *builds.Request) { r.Dockerfile = "folder/Dockerfile" },
		"an option as Dockerfile":  func(r *builds.Request) { r.Dockerfile = "--upload-pack=x" },
		"a command as the context": func(r *builds.Request) { r.Context = "$(touch /tmp/pwn)" },
	}
	files := Files{"Dockerfile": k.from(t, "COPY . /all", "RUN cat /all/file || true"), "linked": "link:" + outside + "/Dockerfile",
		"folder": "link:" + outside, "file": "link:" + outside + "/secret", "dangling": "link:nowhere"}
	for _, what := range slices.Sorted(maps.Keys(refused)) {
		r := Request(t, Registry(t), files)
		refused[what](&r)
		_, seen, err := Build(t, k.Builder, r)
		if e := Failed(t, err, builds.ClassUser); strings.Contains(e.Error(), canary) || strings.Contains(seen.Text(), canary) {
			t.Errorf("%s shows the file outside", what)
		}
	}
	_, seen, err := Build(t, k.Builder, Request(t, Registry(t), files))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(seen.Text(), canary) {
		t.Error("the build context holds a file from outside")
	}
}

func noForeignFiles(t *testing.T, k Kind) {
	host, id := Registry(t), unique()
	at := time.Unix(1_700_000_000, 0)
	for _, content := range []string{"one", "two"} {
		r := Request(t, host, Files{"Dockerfile": k.from(t, "COPY a.txt /a.txt", "RUN echo "+id+" $(cat /a.txt)"), "a.txt": content})
		if err := os.Chtimes(filepath.Join(r.Dir, "a.txt"), at, at); err != nil { // engines skip files of the same name, size and time
			t.Fatal(err)
		}
		_, seen, err := Build(t, k.Builder, r)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(seen.Text(), id+" "+content) {
			t.Errorf("the build of %q was made of another app's files: it printed %q", content, seen.Text())
		}
	}
}

func cancels(t *testing.T, k Kind) {
	id := unique()
	r := Request(t, Registry(t), Files{"Dockerfile": k.from(t, "RUN echo begun-"+id+" && sleep 600")})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	seen := NewSeen()
	ended := make(chan error, 1)
	go func() {
		_, err := k.Builder.Build(ctx, r, seen.Emit)
		ended <- err
	}()
	seen.Wait(t, "begun-"+id+"\n")
	cancel(context.Canceled)
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the build went well")
		}
	case <-time.After(time.Minute):
		t.Fatal("the build went on")
	}
	seen.checkEnds(t)
	if s := seen.Find("sleep 600"); s == nil || s.State != models.StepCanceled {
		t.Errorf("the step is %+v", s)
	}
}

func noRights(t *testing.T, k Kind) {
	for _, flag := range []string{"--security=insecure", "--network=host", "--device=vendor.example/device=all"} {
		_, seen, err := Build(t, k.Builder, Request(t, Registry(t), Files{"Dockerfile": k.from(t, "RUN "+flag+" id")}))
		if e := Failed(t, err, builds.ClassUser, strings.Split(flag, "=")[0], "Line 2"); e.Line != 2 || len(seen.order) > 0 {
			t.Errorf("the failure is %+v after %q", e.BuildError, seen.order)
		}
	}
}

func noForeignFrontend(t *testing.T, k Kind) {
	for _, line := range []string{"# syntax=%s/foreign/frontend:1", "#syntax = %s/foreign/frontend:1", "# escape=\\\n# syntax=%s/foreign/frontend:1"} {
		text := fmt.Sprintf(line, Registry(t)) + "\n" + k.from(t, "RUN true")
		_, _, err := Build(t, k.Builder, Request(t, Registry(t), Files{"Dockerfile": text}))
		if e := Failed(t, err, builds.ClassUser, "foreign/frontend:1", "Line "); e.Line != strings.Count(line, "\n")+1 {
			t.Errorf("the failure is %+v", e.BuildError)
		}
	}
}

func secretArgument(t *testing.T, k Kind) {
	_, seen, err := Build(t, k.Builder, Request(t, Registry(t), Files{"Dockerfile": k.from(t, "ARG DB_PASSWORD", "RUN true")}))
	if err != nil {
		t.Fatal(err)
	}
	if w := strings.Join(seen.Warnings(), "\n"); !strings.Contains(w, "DB_PASSWORD") || !strings.Contains(w, "Line 2") {
		t.Errorf("the warnings are %q", w)
	}
}

func concurrent(t *testing.T, k Kind) {
	host := Registry(t)
	var group sync.WaitGroup
	for i := range 3 {
		id := unique()
		r := Request(t, host, Files{"Dockerfile": k.from(t, "COPY id /id", "RUN echo got-$(cat /id)"), "id": id})
		r.Image.Tag = fmt.Sprintf("build-%d", i)
		group.Go(func() {
			if _, seen, err := Build(t, k.Builder, r); err != nil || !strings.Contains(seen.Text(), "got-"+id) {
				t.Errorf("a build ended with %v and printed %q", err, seen.Text())
			}
		})
	}
	group.Wait()
}

func registryDown(t *testing.T, k Kind) {
	r := Request(t, "127.0.0.1:1", Files{"Dockerfile": k.from(t, "RUN true")})
	_, seen, err := Build(t, k.Builder, r)
	Failed(t, err, builds.ClassInfrastructure, "127.0.0.1:1", "registry")
	if push := seen.Find("Push the image"); push == nil || push.State != models.StepFailed {
		t.Errorf("the push is %+v", push)
	}
}
