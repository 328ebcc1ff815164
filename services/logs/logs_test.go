package logs_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/blobs"
	"slipway.dev/services/logs"
)

func service(t *testing.T, db *models.Database) *logs.Service {
	t.Helper()
	bucket, err := blobs.Open(t.Context(), filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	return &logs.Service{DB: db, Blobs: bucket}
}

func open(t *testing.T, s *logs.Service, id string, secrets ...string) *logs.Writer {
	t.Helper()
	w, err := s.Open(t.Context(), id, logs.KindBuild, logs.NewMasker(secrets...))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func all(t *testing.T, s *logs.Service, id string) (lines []logs.Line) {
	t.Helper()
	for l, err := range s.Lines(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}

func texts(lines []logs.Line) (out []string) {
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

// written writes the pieces as one step's output and returns the stored text.
func written(t *testing.T, limits logs.Limits, secrets []string, pieces ...string) []string {
	t.Helper()
	s := service(t, modelstest.DB(t))
	s.Limits = limits
	w := open(t, s, "stream", secrets...)
	for _, p := range pieces {
		w.Write("step", logs.Stdout, time.Now(), []byte(p))
	}
	w.Close(t.Context())
	return texts(all(t, s, "stream"))
}

func TestLinesArePutTogetherByStepAndStreamHoweverTheyArrive(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := service(t, db)
		w := open(t, s, "b1")
		at := time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)
		w.Write("a", logs.Stdout, at, []byte("one li"))
		w.Write("b", logs.Stdout, at, []byte("of b\r"))
		w.Write("a", logs.Stderr, at, []byte("a warning\nsecond"))
		w.Write("a", logs.Stdout, at, []byte("ne\n\nlast"))
		w.Write("b", logs.Stdout, at, []byte("\n"))
		w.EndStep("a")
		w.Print("", "done %d", 1)
		w.Close(t.Context())
		got := all(t, s, "b1")
		want := []logs.Line{
			{N: 1, Time: at, Step: "a", Stream: logs.Stderr, Text: "a warning"},
			{N: 2, Time: at, Step: "a", Stream: logs.Stdout, Text: "one line"},
			{N: 3, Time: at, Step: "a", Stream: logs.Stdout, Text: ""},
			{N: 4, Time: at, Step: "b", Stream: logs.Stdout, Text: "of b"},
		}
		if !slices.Equal(got[:4], want) {
			t.Errorf("got %+v\nwant %+v", got[:4], want)
		}
		rest := texts(got[4:])
		slices.Sort(rest)
		if !slices.Equal(rest, []string{"done 1", "last", "second"}) {
			t.Errorf("the unfinished lines became %q", rest)
		}
	})
}

func TestWhatACarriageReturnOverwritesIsNotKept(t *testing.T) {
	t.Parallel()
	got := written(t, logs.Limits{}, nil, "10 %\r", "20 %\r50 %", "\r100 %\r\nnext\r\n", "a\rb\n")
	if want := []string{"100 %", "next", "b"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSecretsAreMaskedInEveryFormAndAcrossPieces(t *testing.T) {
	t.Parallel()
	secret := `p@ss/w"ord&with spaces`
	key := "-----BEGIN KEY-----\nAAAAB3NzaC1yc2EAAAADAQABAAABgQC\nzzzzzzzzzzzzzzzz\n-----END KEY-----\n"
	basic := func(prefix string) string {
		return base64.StdEncoding.EncodeToString([]byte(prefix + secret + ":tail"))
	}
	got := written(t, logs.Limits{}, []string{secret, key},
		"plain "+secret[:7], secret[7:]+" end\n",
		"url https://u:"+url.QueryEscape(secret)+"@host "+url.PathEscape(secret)+"\n",
		"basic0 "+basic("")+"\n", "basic1 "+basic("u")+"\n", "basic2 "+basic("us")+"\n", "basic3 "+basic("me:")+"\n",
		"json {\"v\":\"p@ss/w\\\"ord&with spaces\"}\n",
		"hex 70407373\n",
		"key AAAAB3NzaC1yc2EAAAADAQABAAABgQC\n", "short: p@ss\n", "invalid \xff\x00 utf\n")
	text := strings.Join(got, "\n")
	for _, leak := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret), `w\"ord`, "AAAAB3NzaC1yc2E", "\x00"} {
		if strings.Contains(text, leak) {
			t.Errorf("the log shows %q:\n%s", leak, text)
		}
	}
	for _, l := range got {
		if strings.HasPrefix(l, "basic") && !strings.Contains(l, "••••••") {
			t.Errorf("base64 is not masked: %s", l)
		}
	}
	if !strings.Contains(text, "plain •••••• end") || !strings.Contains(text, "short: p@ss") || !strings.Contains(text, "invalid \uFFFD utf") {
		t.Errorf("too much or too little is hidden:\n%s", text)
	}
}

func TestALongLineIsCutAndNeverInsideASecret(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("S3cr3t", 20)
	for _, at := range []int{0, 500, 990, 1000, 1023, 1024, 1100} {
		line := strings.Repeat("x", at) + secret + strings.Repeat("y", 5000)
		got := written(t, logs.Limits{Line: 1024}, []string{secret}, line[:at+3], line[at+3:], "\nshort\n")
		if len(got) != 2 || got[1] != "short" {
			t.Fatalf("got %d lines", len(got))
		}
		if strings.Contains(got[0], "S3cr") || !strings.HasSuffix(got[0], " … [line cut]") || len(got[0]) > 1100 {
			t.Errorf("with the secret at %d the line became %q", at, got[0])
		}
	}
}

func TestALogIsCutAtItsLimitWithAVisibleMark(t *testing.T) {
	t.Parallel()
	s := service(t, modelstest.DB(t))
	s.Limits = logs.Limits{Total: 1 << 20}
	w := open(t, s, "big")
	for i := range 3000 {
		w.Write("step", logs.Stdout, time.Now(), fmt.Appendf(nil, "%04d %s\n", i, strings.Repeat("z", 1000)))
	}
	w.Print("", "the build went on")
	w.Close(t.Context())
	got := texts(all(t, s, "big"))
	last := got[len(got)-2:]
	if !strings.Contains(last[0], "cut here") || !strings.Contains(last[0], "1 MiB") || last[1] != "the build went on" {
		t.Errorf("the log ends with %q", last)
	}
	if row, _ := s.Stream(t.Context(), "big"); !row.Truncated || row.Bytes > 1<<20+1000 {
		t.Errorf("the stream is %+v", row)
	}
	if tail := w.Tail("step", 2); len(tail) != 2 || !strings.HasPrefix(tail[1], "2999 ") {
		t.Errorf("the last lines are not at hand: %q", tail)
	}
}

func TestAReaderInAnotherProcessFollowsALogUntilItEndsAndMissesNothing(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		const total = 2000
		s := service(t, db)
		batches := s.Follow(t.Context(), "live", 0)
		w := open(t, s, "live")
		go func() {
			for i := range total {
				w.Write("step", logs.Stdout, time.Now(), fmt.Appendf(nil, "line %d\n", i+1))
				if i%100 == 0 {
					time.Sleep(5 * time.Millisecond) // so that it takes several chunks
				}
			}
			w.Close(context.Background())
		}()
		next, count, began := int64(1), 0, time.Now()
		for b := range batches {
			if b.Err != nil || len(b.Lines) > logs.BatchLines {
				t.Fatalf("a batch of %d lines, error %v", len(b.Lines), b.Err)
			}
			count++
			for _, l := range b.Lines {
				if l.N != next || l.Text != fmt.Sprintf("line %d", next) {
					t.Fatalf("line %d came as %d %q", next, l.N, l.Text)
				}
				next++
			}
		}
		if next != total+1 {
			t.Errorf("the follower saw %d lines", next-1)
		}
		if took := time.Since(began); count > 2+int(took/(100*time.Millisecond)) {
			t.Errorf("%d batches came in %v", count, took)
		}
	})
}

func TestAFollowerResumesAfterTheLastLineItSaw(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := service(t, db)
		w := open(t, s, "resume")
		for i := range 1200 {
			w.Write("step", logs.Stdout, time.Now(), fmt.Appendf(nil, "line %d\n", i+1))
		}
		w.Leave(t.Context())
		check := func(after int64) {
			t.Helper()
			next := after + 1
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for b := range s.Follow(ctx, "resume", after) {
				for _, l := range b.Lines {
					if l.N != next {
						t.Fatalf("after %d came line %d, not %d", after, l.N, next)
					}
					next++
				}
				if next == 1201 {
					cancel()
				}
			}
			if next != 1201 {
				t.Errorf("after %d the follower got to %d", after, next-1)
			}
		}
		for _, after := range []int64{0, 1, 499, 1199} {
			check(after)
		}
		open(t, s, "resume").Close(t.Context())
		for _, after := range []int64{0, 777, 1199, 1200} {
			check(after)
		}
		lines, ended, err := s.Read(t.Context(), "resume", 1190, 5)
		if err != nil || ended || len(lines) != 5 || lines[0].N != 1191 {
			t.Errorf("reading a part gave %d lines, ended %v, error %v", len(lines), ended, err)
		}
		if lines, ended, _ := s.Read(t.Context(), "resume", 1195, 5); !ended || len(lines) != 5 {
			t.Errorf("the end was not told: %d lines", len(lines))
		}
		var text bytes.Buffer
		if err := s.WriteText(t.Context(), "resume", "", &text); err != nil || strings.Count(text.String(), "\n") != 1200 {
			t.Errorf("the whole text has %d lines, error %v", strings.Count(text.String(), "\n"), err)
		}
	})
}

func TestAClosedLogIsOneBlobAndNoChunks(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := service(t, db)
		w := open(t, s, "packed")
		w.Write("step", logs.Stdout, time.Now(), []byte("hello\n"))
		w.Close(t.Context())
		row, err := s.Stream(t.Context(), "packed")
		if err != nil || !row.Closed || row.Blob == "" || row.Lines != 1 || row.Error != "" {
			t.Errorf("the stream is %+v, error %v", row, err)
		}
		if n := chunks(t, db); n != 0 {
			t.Errorf("%d chunks are left", n)
		}
		if got := texts(all(t, s, "packed")); !slices.Equal(got, []string{"hello"}) {
			t.Errorf("got %q", got)
		}
		if _, err := s.Open(t.Context(), "packed", logs.KindBuild, nil); !models.IsCode(errors.Unwrap(err), models.Conflict) {
			t.Errorf("an ended log was opened again: %v", err)
		}
	})
}

func TestTheNextWriterGoesOnAndTheOneBeforeCanWriteNoMore(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := service(t, db)
		first := open(t, s, "handed")
		first.Write("step", logs.Stdout, time.Now(), []byte("one\n"))
		waitLines(t, s, "handed", 1)
		second := open(t, s, "handed")
		first.Write("step", logs.Stdout, time.Now(), []byte("from the dead\n"))
		second.Write("step", logs.Stdout, time.Now(), []byte("two\n"))
		first.Close(t.Context())
		second.Write("step", logs.Stdout, time.Now(), []byte("three\n"))
		second.Close(t.Context())
		if got := texts(all(t, s, "handed")); !slices.Equal(got, []string{"one", "two", "three"}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestABlobStoreThatFailsCostsNoLineAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := service(t, db)
		good := s.Blobs
		s.Blobs = blob.NewBucket(fullDisk{})
		w := open(t, s, "kept")
		w.Write("step", logs.Stdout, time.Now(), []byte("kept\n"))
		w.Close(t.Context())
		row, _ := s.Stream(t.Context(), "kept")
		if !row.Closed || row.Blob != "" || !strings.Contains(row.Error, "blob store") {
			t.Errorf("the stream is %+v", row)
		}
		if got := texts(all(t, s, "kept")); !slices.Equal(got, []string{"kept"}) {
			t.Errorf("got %q", got)
		}
		s.Blobs = good
		if err := db.Model(&models.LogStream{}).Where("id = ?", "kept").UpdateColumn("updated_at", db.NowFunc().Add(-time.Hour)).Error; err != nil {
			t.Fatal(err)
		}
		if err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		row, _ = s.Stream(t.Context(), "kept")
		if row.Blob == "" || row.Error != "" || chunks(t, db) != 0 {
			t.Errorf("after the sweep the stream is %+v with %d chunks", row, chunks(t, db))
		}
		if got := texts(all(t, s, "kept")); !slices.Equal(got, []string{"kept"}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestAFullDatabaseNeitherBlocksTheWriterNorHidesThatLinesAreMissing(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	s := service(t, db)
	s.Limits.Unsent = 200 << 10
	w := open(t, s, "full")
	w.Print("", "before")
	waitLines(t, s, "full", 1)
	var pages int
	if err := db.SQL.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limit := func(n int) {
		t.Helper()
		if _, err := db.SQL.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	limit(pages)
	noise := make([]byte, 30)
	began := time.Now()
	for i := range 20_000 {
		for j := range noise {
			noise[j] = 'a' + byte((i*31+j*j*7+i*j)%26)
		}
		w.Write("step", logs.Stdout, time.Now(), fmt.Appendf(nil, "%d %s\n", i, noise))
	}
	t.Logf("20,000 lines took %v while the disk was full", time.Since(began)) // the disk stays full until they are written
	limit(1 << 30)
	waitText(t, s, "full", "lines are missing")
	w.Print("", "after")
	w.Close(t.Context())
	got := texts(all(t, s, "full"))
	if got[0] != "before" || got[len(got)-1] != "after" {
		t.Errorf("the log is %q … %q", got[0], got[len(got)-1])
	}
	if row, _ := s.Stream(t.Context(), "full"); !strings.Contains(row.Error, "missing") {
		t.Errorf("the stream is %+v", row)
	}
}

func TestALogThatDoesNotExistIsEmpty(t *testing.T) {
	t.Parallel()
	s := service(t, modelstest.DB(t))
	if lines, ended, err := s.Read(t.Context(), "nothing", 0, 10); len(lines) != 0 || ended || err != nil {
		t.Errorf("got %v %v %v", lines, ended, err)
	}
}

func chunks(t *testing.T, db *models.Database) (n int64) {
	t.Helper()
	if err := db.Model(&models.LogChunk{}).Count(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

func waitLines(t *testing.T, s *logs.Service, id string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for b := range s.Follow(ctx, id, 0) {
		if n -= len(b.Lines); n <= 0 {
			return
		}
	}
	t.Fatal("the lines were never stored")
}

func waitText(t *testing.T, s *logs.Service, id, part string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for b := range s.Follow(ctx, id, 0) {
		for _, l := range b.Lines {
			if strings.Contains(l.Text, part) {
				return
			}
		}
	}
	t.Fatalf("no line says %q", part)
}

// fullDisk is a bucket that takes nothing.
type fullDisk struct{ driver.Bucket }

func (fullDisk) NewTypedWriter(context.Context, string, string, *driver.WriterOptions) (driver.Writer, error) {
	return nil, syscall.ENOSPC
}
func (fullDisk) ErrorCode(error) gcerrors.ErrorCode { return gcerrors.Unknown }
func (fullDisk) ErrorAs(error, any) bool            { return false }
func (fullDisk) Close() error                       { return nil }
