package builds_test

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

// TestTheFirstCacheMissIsTracedToItsCause builds each repository twice with the real engine and edits it in between.
func TestTheFirstCacheMissIsTracedToItsCause(t *testing.T) {
	t.Parallel()
	w := real(t)
	base := dockertest.BaseImage(t)
	for name, c := range map[string]struct {
		before, after gittest.Files
		noCache       bool
		cause         models.MissCause
		step          string   // the end of the step's name
		files         []string // in the order of the answer
		says          []string
		changed       int
	}{
		"a copied file": {
			before: gittest.Files{"Dockerfile": "FROM BASE\nENV RUN_OF=ID\nCOPY a.txt b.txt /x/\nRUN cat /x/a.txt\n", "a.txt": "1", "b.txt": "1"},
			after:  gittest.Files{"a.txt": "2"}, cause: models.MissFiles, step: "COPY a.txt b.txt /x/", files: []string{"a.txt"}, says: []string{"COPY", "a.txt"},
		},
		"a file below a copied folder": {
			before: gittest.Files{"Dockerfile": "FROM BASE\nENV RUN_OF=ID\nWORKDIR /w\nCOPY src ./src\nRUN ls src\n", "src/deep/one.txt": "1", "other.txt": "1"},
			after:  gittest.Files{"src/deep/one.txt": "2", "other.txt": "2"}, cause: models.MissFiles, step: "COPY src ./src", files: []string{"src/deep/one.txt"},
		},
		"everything is copied, without what .dockerignore names": {
			before: gittest.Files{"Dockerfile": "FROM BASE\nENV RUN_OF=ID\nCOPY . /all\n", ".dockerignore": "docs\n*.md\n", "docs/a.txt": "1", "README.md": "1", "main.txt": "1"},
			after:  gittest.Files{"docs/a.txt": "2", "README.md": "2", "main.txt": "2"}, cause: models.MissFiles, step: "COPY . /all", files: []string{"main.txt"},
		},
		"a pattern": {
			before: gittest.Files{"Dockerfile": "FROM BASE\nENV RUN_OF=ID\nCOPY *.json conf?.yml /c/\n", "a.json": "1", "conf1.yml": "1", "z.txt": "1"},
			after:  gittest.Files{"conf1.yml": "2", "z.txt": "2"}, cause: models.MissFiles, step: "COPY *.json conf?.yml /c/", files: []string{"conf1.yml"},
		},
		"a file that is new and one that is gone": {
			before: gittest.Files{"Dockerfile": "FROM BASE\nENV RUN_OF=ID\nADD dir /d\n", "dir/old.txt": "1"},
			after:  gittest.Files{"dir/old.txt": gittest.Delete(), "dir/new.txt": "1"}, cause: models.MissFiles, step: "ADD dir /d", files: []string{"dir/new.txt", "dir/old.txt"}, says: []string{"ADD"},
		},
		"a command": {
			before: gittest.Files{"Dockerfile": "FROM BASE\nENV RUN_OF=ID\nRUN echo one\nRUN echo two\n"},
			after:  gittest.Files{"Dockerfile": "FROM BASE\nENV RUN_OF=ID\nRUN echo one\nRUN echo 2\n"}, cause: models.MissDockerfile, step: "RUN echo 2", changed: 4, says: []string{"Line 4", "RUN echo 2"},
		},
		"a variable above the command": {
			before: gittest.Files{"Dockerfile": "FROM BASE\nENV RUN_OF=ID\nENV COLOUR=red\nRUN env\n"},
			after:  gittest.Files{"Dockerfile": "FROM BASE\nENV RUN_OF=ID\nENV COLOUR=blue\nRUN env\n"}, cause: models.MissDockerfile, step: "RUN env", changed: 3, says: []string{"ENV COLOUR=blue"},
		},
		"the default of an argument": {
			before: gittest.Files{"Dockerfile": "ARG V=1\nFROM BASE\nENV RUN_OF=ID\nARG V\nRUN echo $V\n"},
			after:  gittest.Files{"Dockerfile": "ARG V=2\nFROM BASE\nENV RUN_OF=ID\nARG V\nRUN echo $V\n"}, cause: models.MissDockerfile, step: "RUN echo 2", changed: 1, says: []string{"Line 1"},
		},
		"a stage that is copied from": {
			before: gittest.Files{"Dockerfile": "FROM BASE AS made\nENV RUN_OF=ID\nCOPY in.txt /in.txt\nRUN cp /in.txt /out.txt\nFROM BASE\nRUN echo kept\nCOPY --from=made /out.txt /\n", "in.txt": "1"},
			after:  gittest.Files{"in.txt": "2"}, cause: models.MissFiles, step: "COPY in.txt /in.txt", files: []string{"in.txt"},
		},
		"a file that goes back to what another build copied": {
			before: gittest.Files{"Dockerfile": "FROM BASE\nENV RUN_OF=ID\nCOPY a.txt /a.txt\nRUN cat /a.txt\n", "a.txt": "always"},
			after:  gittest.Files{"a.txt": "the same"}, cause: models.MissFiles, files: []string{"a.txt"},
		},
		"no cache": {
			before: gittest.Files{"Dockerfile": "FROM BASE\nENV RUN_OF=ID\nRUN echo hello\n"}, after: gittest.Files{"unused": "1"}, noCache: true,
			cause: models.MissNoCache, step: "RUN echo hello", says: []string{"asked"},
		},
		"nothing that the build reads": {
			before: gittest.Files{"Dockerfile": "FROM BASE\nENV RUN_OF=ID\nCOPY a.txt /\nRUN cat /a.txt\n", "a.txt": "1"}, after: gittest.Files{"README": "2"},
		},
	} {
		id := models.NewID() // so that nothing comes from the cache of another test
		names := strings.NewReplacer("BASE", base, "=ID", "="+id)
		for _, files := range []gittest.Files{c.before, c.after} {
			for path, text := range files {
				switch {
				case path == "Dockerfile":
					files[path] = names.Replace(text)
				case text == "1" || text == "2":
					files[path] = text + id
				}
			}
		}
		changes := w.twice(t, c.before, c.after, c.noCache)
		m := changes.Miss
		if c.cause == "" {
			if m != nil {
				t.Errorf("%s: the cache missed at %q: %s", name, m.StepName, m.Reason)
			}
			continue
		}
		if m == nil {
			t.Errorf("%s: nothing missed the cache", name)
			continue
		}
		if m.Cause != c.cause || !strings.HasSuffix(m.StepName, c.step) || !slices.Equal(m.Files, c.files) || m.Changed != c.changed {
			t.Errorf("%s: %s at %q (line %d, changed %d), files %v: %s", name, m.Cause, m.StepName, m.Line, m.Changed, m.Files, m.Reason)
		}
		for _, part := range c.says {
			if !strings.Contains(m.Reason, part) {
				t.Errorf("%s: the reason does not say %q: %s", name, part, m.Reason)
			}
		}
		if m.Line == 0 || m.StepID == "" {
			t.Errorf("%s: the miss has no place: %+v", name, m)
		}
	}
}

// twice builds the files, edits them, builds again and compares.
func (w *world) twice(t *testing.T, before, after gittest.Files, noCache bool) *models.BuildChanges {
	t.Helper()
	empty := gittest.Files{}
	for path := range strings.SplitSeq(w.repo.Git(t, "ls-tree", "-r", "--name-only", "main"), "\n") {
		if path != "" {
			empty[path] = gittest.Delete()
		}
	}
	maps.Copy(empty, before)
	w.repo.Commit(t, "main", "Before", empty)
	first := w.queueBuild(t, "main")
	w.wait(t, first.ID, models.BuildSucceeded)
	w.ended(t, first.ID)
	w.repo.Commit(t, "main", "After", after)
	b, err := w.builds.Queue(w.as(t, w.Developer), builds.QueueInput{AppID: w.App.ID, Ref: "main", NoCache: noCache})
	if err != nil {
		t.Fatal(err)
	}
	w.wait(t, b.ID, models.BuildSucceeded)
	w.ended(t, b.ID)
	changes, err := w.builds.Changes(w.as(t, w.Viewer), b.ID)
	if err != nil {
		t.Fatal(err)
	}
	if changes.Since == nil || changes.Since.ID != first.ID || len(changes.Commits) != 1 || changes.Commits[0].Subject != "After" ||
		changes.Commits[0].Author != "Ada Lovelace" || !changes.Size.Known() || !changes.Duration.Known() {
		t.Errorf("the changes are %+v", changes)
	}
	return changes
}

// recorded makes an ended build of the app's newest commit with these steps, as a builder of any kind would have told them.
func (w *world) recorded(t *testing.T, steps []builds.Event, change func(*models.Build)) *models.Build {
	t.Helper()
	w.direct(func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
		for _, e := range steps {
			end := e.State
			e.At, e.State = time.Now(), models.StepRunning
			emit(e)
			e.At, e.State = time.Now(), end
			emit(e)
		}
		return pushSomething(ctx, r, emit)
	})
	b := w.queueBuild(t, "main")
	w.wait(t, b.ID, models.BuildSucceeded)
	w.ended(t, b.ID)
	if change != nil {
		change(b)
		if err := w.db.Select("Dockerfile", "Context").Updates(b).Error; err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestACacheMissIsTracedToArgumentsBasesAndSettings(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		start(t, w.builds.Jobs)
		w.repo.Commit(t, "main", "A real one", gittest.Files{"Dockerfile": "FROM golang:1\nARG VERSION\nRUN make $VERSION\n"})
		from := builds.Event{Step: "sha256:f1", State: models.StepCached, Name: "[1/2] FROM docker.io/library/golang:1", Line: 1}
		make := builds.Event{Step: "sha256:m1", State: models.StepSucceeded, Name: "[2/2] RUN make 1", Line: 3, Inputs: []string{"sha256:f1"}}
		first := w.recorded(t, []builds.Event{from, make}, nil)
		none, err := w.builds.Changes(w.as(t, w.Viewer), first.ID)
		if err != nil || none.Since != nil || !strings.Contains(none.CommitsNote, "No build of this app succeeded before") {
			t.Errorf("the first build is compared with %+v, error %v", none, err)
		}
		other := make
		other.Name = "[2/2] RUN make 2"
		base := from
		base.Step = "sha256:f2"
		onBase := make
		onBase.Inputs = []string{"sha256:f2"}
		for _, c := range []struct {
			steps  []builds.Event
			change func(*models.Build)
			cause  models.MissCause
			says   string
		}{
			{[]builds.Event{from, make}, nil, models.MissUnknown, "not in this engine's cache any more"},
			{[]builds.Event{from, other}, nil, models.MissArgument, "build argument"},
			{[]builds.Event{from, make}, nil, models.MissArgument, "build argument"},
			{[]builds.Event{base, onBase}, nil, models.MissBase, "golang:1 was replaced"},
			{[]builds.Event{base, onBase}, func(b *models.Build) { b.Context = "web" }, models.MissSettings, "another Dockerfile or context"},
		} {
			b := w.recorded(t, c.steps, c.change)
			changes, err := w.builds.Changes(w.as(t, w.Viewer), b.ID)
			if err != nil {
				t.Fatal(err)
			}
			if m := changes.Miss; m == nil || m.Cause != c.cause || !strings.Contains(m.Reason, c.says) {
				t.Errorf("want %s, got %+v", c.cause, m)
			}
			if changes.CommitsNote != "Both built the same commit." {
				t.Errorf("the commits are %v: %s", changes.Commits, changes.CommitsNote)
			}
		}
		stranger := w.as(t, w.Stranger)
		_, err = w.builds.Changes(stranger, first.ID)
		wantCode(t, err, models.NotFound)
		if err := os.RemoveAll(w.builds.Git.Dir); err != nil {
			t.Fatal(err)
		}
		w.repo.Commit(t, "main", "Another", gittest.Files{"x": "1"})
		b := w.recorded(t, []builds.Event{from, make}, nil)
		if err := os.RemoveAll(w.builds.Git.Dir); err != nil {
			t.Fatal(err)
		}
		changes, err := w.builds.Changes(w.as(t, w.Viewer), b.ID)
		if err != nil || !strings.Contains(changes.CommitsNote, "no copy of the repository") {
			t.Errorf("without a mirror the changes are %+v, error %v", changes, err)
		}
	})
}
