package builds_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

// TestEveryFailureSaysWhatWhereAndWhatToDo fails real builds in all the ways that people meet.
func TestEveryFailureSaysWhatWhereAndWhatToDo(t *testing.T) {
	t.Parallel()
	w := real(t)
	base := dockertest.BaseImage(t)
	own, images := w.Host(), w.images
	refusing := httptest.NewServer(refusingRegistry())
	t.Cleanup(refusing.Close)
	for name, c := range map[string]struct {
		dockerfile string
		files      gittest.Files
		registry   string
		timeout    int
		cancel     bool
		class      string
		line       int
		source     string
		says       []string
	}{
		"a word that is no instruction": {dockerfile: "FROM BASE\nRUN true\nRUNN false\n", class: builds.ClassUser, line: 3, source: "RUNN false", says: []string{"error in line 3", "RUNN"}},
		"an argument that is missing":   {dockerfile: "FROM BASE\nCOPY onlyone\n", class: builds.ClassUser, line: 2, source: "COPY onlyone", says: []string{"error in line 2", "COPY"}},
		"an empty Dockerfile":           {dockerfile: "# nothing\n", class: builds.ClassUser, says: []string{"Dockerfile has an error"}},
		"a command that fails":          {dockerfile: "FROM BASE\nRUN echo ID && \\\n    exit 3\n", class: builds.ClassUser, line: 2, source: "RUN echo ID && \\", says: []string{"exit code 3", "line 2"}},
		"a command that is not there":   {dockerfile: "FROM BASE\nRUN no-such-program ID\n", class: builds.ClassUser, line: 2, says: []string{"exit code 127", "line 2", "not found"}},
		"a command that is killed":      {dockerfile: "FROM BASE\nRUN echo ID; sh -c 'kill -9 $$'; exit $?\n", class: builds.ClassUser, line: 2, says: []string{"exit code 137", "too much memory"}},
		"a file that is not there":      {dockerfile: "FROM BASE\nRUN true\nCOPY missing.txt /\n", class: builds.ClassUser, line: 3, source: "COPY missing.txt /", says: []string{"missing.txt", "line 3"}},
		"a file that is ignored":        {dockerfile: "FROM BASE\nCOPY kept.txt /\n", files: gittest.Files{"kept.txt": "1", ".dockerignore": "*.txt\n"}, class: builds.ClassUser, line: 2, says: []string{"kept.txt", ".dockerignore"}},
		"a base that is not there":      {dockerfile: "FROM " + own + "/no/such:1\n", class: builds.ClassUser, line: 1, source: "FROM " + own + "/no/such:1", says: []string{"base image", "no/such"}},
		"a base that can't be reached":  {dockerfile: "FROM BASE\nFROM 127.0.0.1:1/no/such:1\n", class: builds.ClassInfrastructure, line: 2, says: []string{"base image", "does not reach its registry"}},
		"no Dockerfile":                 {dockerfile: gittest.Delete(), files: gittest.Files{"web/Dockerfile": "FROM scratch\n"}, class: builds.ClassUser, says: []string{"no Dockerfile", "web/Dockerfile"}},
		"the time limit":                {dockerfile: "FROM BASE\nRUN echo ID && sleep 600\n", timeout: 3, class: builds.ClassTimeout, says: []string{"3 seconds", "time limit"}},
		"a push that is refused":        {dockerfile: "FROM BASE\nRUN echo ID > /id\n", registry: strings.TrimPrefix(refusing.URL, "http://"), class: builds.ClassInfrastructure, says: []string{"registry", "refuses to take the image"}},
		"a registry that is down":       {dockerfile: "FROM BASE\nRUN true\n", registry: "127.0.0.1:1", class: builds.ClassInfrastructure, says: []string{"registry 127.0.0.1:1"}},
		"a person who cancels":          {dockerfile: "FROM BASE\nRUN echo ID && sleep 600\n", cancel: true, class: builds.ClassCanceled, says: []string{"developer canceled the build"}},
	} {
		names := strings.NewReplacer("BASE", base, "ID", models.NewID())
		w.commit(t, names.Replace(c.dockerfile), c.files)
		if c.registry != "" {
			w.moveRegistry(c.registry, nil)
		} else {
			w.moveRegistry(own, images)
		}
		limit := 1800
		if c.timeout > 0 {
			limit = c.timeout
		}
		if err := w.db.Model(w.App).Update("build_timeout", limit).Error; err != nil {
			t.Fatal(err)
		}
		b := w.fails(t, c.cancel)
		if b.Error == nil || b.Error.Class != c.class {
			t.Errorf("%s: the error is %+v", name, b.Error)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(b.Error.Message, part) && !strings.Contains(strings.Join(b.Error.Output, "\n"), part) {
				t.Errorf("%s: it does not say %q: %s\n%s", name, part, b.Error.Message, strings.Join(b.Error.Output, "\n"))
			}
		}
		if c.line > 0 && b.Error.Line != c.line || c.source != "" && (len(b.Error.Source) == 0 || b.Error.Source[0] != names.Replace(c.source)) {
			t.Errorf("%s: it is said to be in line %d: %q", name, b.Error.Line, b.Error.Source)
		}
	}
}

// fails builds and waits for the bad end.
func (w *world) fails(t *testing.T, cancel bool) *models.Build {
	t.Helper()
	b := w.queueBuild(t, "main")
	for late := time.Now().Add(3 * time.Minute); ; <-time.After(50 * time.Millisecond) {
		now, err := w.builds.Get(w.as(t, w.Viewer), b.ID)
		if err != nil || now.State == models.BuildSucceeded || time.Now().After(late) {
			t.Fatalf("the build is %s, error %v:\n%s", now.State, err, w.log(t, b.ID))
		}
		if now.State.Ended() {
			return now
		}
		if cancel && strings.Contains(w.log(t, b.ID), "RUN echo") {
			cancel = false
			if _, err := w.builds.Cancel(w.as(t, w.Developer), b.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// refusingRegistry answers like one that knows the client and lets it do nothing.
func refusingRegistry() http.Handler {
	inner := registry.New(registry.Logger(silent))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost && r.Method != http.MethodPut && r.Method != http.MethodPatch {
			inner.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`))
	})
}
