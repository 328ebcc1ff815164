package forges_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/forges/forgetest"
)

// says is the text that the world's comments are made of; it can be changed.
type says struct {
	mu   sync.Mutex
	text string
}

func (s *says) is(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = text
}

func (w *world) says(text string) *says {
	s := &says{text: text}
	w.forges.CommentText = func(context.Context, string, int64) (string, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.text, nil
	}
	return s
}

// note notes that the comment on pull request 7 is to be written, and writes what is due.
func (w *world) note(t *testing.T) {
	t.Helper()
	w.must(t, w.forges.NoteComment(w.db.DB, w.Repository.ID, 7))
	w.must(t, w.forges.SendComments(t.Context()))
}

func (w *world) comment(t *testing.T) *models.ForgeComment {
	t.Helper()
	c, ok, err := w.forges.Comment(w.as["viewer"], w.Team.ID, w.Repository.ID, 7)
	if err != nil || !ok {
		t.Fatalf("the comment: %v, %v", c, err)
	}
	return &c
}

func TestACommentIsWrittenOnceAndThenEdited(t *testing.T) {
	t.Parallel()
	everyForge(t, func(t *testing.T, w *world, f forge) {
		text := w.says("")
		w.note(t)
		if got := f.Comments(); len(got) != 0 || len(f.Requests()) != 0 {
			t.Fatalf("without anything to say it wrote %+v in %d calls", got, len(f.Requests()))
		}
		text.is("It builds.")
		w.note(t)
		text.is("It is **ready**.")
		w.note(t)
		got := f.Comments()
		if len(got) != 1 || got[0].Repository != "acme/shop" || got[0].Number != 7 || got[0].Edits != 1 || !strings.HasPrefix(got[0].Body, "<!-- slipway:") || !strings.HasSuffix(got[0].Body, "\nIt is **ready**.") {
			t.Fatalf("the comments are %+v; %+v", got, w.comment(t))
		}
		calls := len(f.Requests())
		w.note(t)
		if len(f.Requests()) != calls {
			t.Error("the forge was told what it knows")
		}
		f.DeleteComment(got[0].ID)
		text.is("It is gone.")
		w.note(t)
		if got := f.Comments(); len(got) != 1 || !strings.HasSuffix(got[0].Body, "It is gone.") {
			t.Errorf("after a person deleted it the comments are %+v; %+v", got, w.comment(t))
		}
		text.is("")
		w.note(t)
		if got := f.Comments(); len(got) != 1 || !strings.Contains(got[0].Body, "nothing to say") {
			t.Errorf("with nothing to say any more they are %+v", got)
		}
	})
}

func TestACommentWhoseAnswerWasLostIsFoundAgain(t *testing.T) {
	t.Parallel()
	everyForge(t, func(t *testing.T, w *world, f forge) {
		clock := newClock(w)
		text := w.says("First.")
		f.Fail(func(rw http.ResponseWriter, r *http.Request) { // it arrives, and the answer does not
			f.Repair()
			lost := &discard{header: http.Header{}}
			f.ServeHTTP(lost, r)
			forgetest.Cut(rw, r)
		})
		w.note(t)
		if got := f.Comments(); len(got) != 1 {
			t.Fatalf("the comments are %+v", got)
		}
		if c := w.comment(t); c.ExternalID != "" || c.Error == "" || c.NextAt == nil {
			t.Fatalf("it is known as %+v", c)
		}
		text.is("Second.")
		clock.pass(2 * time.Minute)
		w.note(t)
		if got := f.Comments(); len(got) != 1 || got[0].Edits != 1 || !strings.HasSuffix(got[0].Body, "Second.") {
			t.Errorf("the comments are %+v; %+v", got, w.comment(t))
		}
	})
}

// discard is an answer that nobody reads.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

func TestACommentThatCanNotBeWrittenSaysWhyAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, modelstest.DB(t)), forgetest.NewGitHub(t, "acme/shop")
	w.host(t, g.URL, w.token(t, models.ForgeGitHub, g.URL, g.Token))
	clock := newClock(w)
	w.says("It is ready.")
	g.Permit("pull_requests", "read")
	w.note(t)
	if c := w.comment(t); !strings.Contains(c.Error, "Pull requests: Read and write") || strings.Contains(c.Error, "Commit statuses") || c.NextAt == nil {
		t.Errorf("it says %+v", c)
	}
	for range 4 {
		clock.pass(time.Hour)
		w.must(t, w.forges.SendComments(t.Context()))
	}
	if c := w.comment(t); c.NextAt != nil || c.Attempts != 3 {
		t.Errorf("what won't pass is tried on: %+v", c)
	}
	g.Permit("pull_requests", "write")
	g.Fail(forgetest.Answer(http.StatusBadGateway, "down"))
	w.note(t)
	if c := w.comment(t); !strings.Contains(c.Error, "502") || c.NextAt == nil || c.HeldUntil == nil {
		t.Errorf("a forge that is down: %+v", c)
	}
	clock.pass(2 * time.Minute)
	w.must(t, w.forges.SendComments(t.Context()))
	if got := g.Comments(); len(got) != 1 || w.comment(t).Error != "" {
		t.Errorf("the comments are %+v; %+v", got, w.comment(t))
	}
}

func TestTwoWorkersWriteOneComment(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w, g := newWorld(t, db), forgetest.NewGitea(t, "acme/shop")
		w.host(t, g.URL, w.token(t, models.ForgeGitea, g.URL, g.Token))
		w.says("Ready.")
		for number := range int64(10) {
			w.must(t, w.forges.NoteComment(db.DB, w.Repository.ID, number+1))
		}
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { w.must(t, w.forges.SendComments(t.Context())) })
		}
		both.Wait()
		if got := g.Comments(); len(got) != 10 {
			t.Errorf("%d comments on 10 pull requests", len(got))
		}
	})
}

func TestOldCommentsAreForgottenAndThoseThatAreDueAreNot(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, modelstest.DB(t)), forgetest.NewGitea(t, "acme/shop")
	w.host(t, g.URL, w.token(t, models.ForgeGitea, g.URL, g.Token))
	clock := newClock(w)
	w.says("Ready.")
	w.note(t)
	w.must(t, w.forges.NoteComment(w.db.DB, w.Repository.ID, 8))
	clock.pass(400 * 24 * time.Hour)
	w.must(t, w.forges.PruneComments(t.Context()))
	var left []models.ForgeComment
	if w.must(t, w.db.Find(&left).Error); len(left) != 1 || left[0].Number != 8 {
		t.Errorf("left are %+v", left)
	}
}

func TestWithoutACredentialNothingIsCommented(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.says("Ready.")
	w.note(t)
	if c, ok, err := w.forges.Comment(w.as["viewer"], w.Team.ID, w.Repository.ID, 7); ok || err != nil {
		t.Errorf("got %+v, %v", c, err)
	}
	_, _, err := w.forges.Comment(w.as["stranger"], w.Team.ID, w.Repository.ID, 7)
	wantCode(t, "a stranger", err, models.NotFound)
}
