package layers_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"slipway.dev/models"
	"slipway.dev/services/layers"
)

// zeros are so many bytes of nothing.
type zeros int64

func (z *zeros) Read(p []byte) (int, error) {
	if *z == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), int64(*z))
	clear(p[:n])
	*z -= zeros(n)
	return int(n), nil
}

// stream writes an archive while it is read.
func stream(t testing.TB, pack func(io.Writer) io.WriteCloser, write func(*tar.Writer) error) io.Reader {
	t.Helper()
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		z := pack(w)
		a := tar.NewWriter(z)
		_ = write(a) // whoever reads may have had enough
		_ = a.Close()
		_ = z.Close()
		_ = w.Close()
	}()
	t.Cleanup(func() { r.Close(); <-done })
	return r
}

func gzipped(w io.Writer) io.WriteCloser {
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
	return z
}

func zstded(w io.Writer) io.WriteCloser {
	z, _ := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	return z
}

// grown runs the function and returns how many bytes the heap was larger in between than before.
func grown(run func()) uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	before, peak := stats.HeapInuse, stats.HeapInuse
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				runtime.ReadMemStats(&stats)
				peak = max(peak, stats.HeapInuse)
			}
		}
	}()
	run()
	close(done)
	<-ended
	return peak - before
}

func TestBombsAreReadNoFurtherThanNeeded(t *testing.T) {
	bomb := func(w *tar.Writer) error {
		if err := w.WriteHeader(&tar.Header{Name: "before", Size: 1, Mode: 0o644}); err != nil {
			return err
		}
		if _, err := w.Write([]byte("x")); err != nil {
			return err
		}
		nothing := zeros(10 << 30)
		if err := w.WriteHeader(&tar.Header{Name: "zeros", Size: 10 << 30, Mode: 0o644, Format: tar.FormatPAX}); err != nil {
			return err
		}
		_, err := io.CopyBuffer(w, &nothing, make([]byte, 1<<20))
		return err
	}
	limits := layers.Limits{Free: 32 << 20} // the same, sooner
	if os.Getenv("SLIPWAY_TEST_SOAK") != "" {
		limits = layers.Limits{}
	}
	for name, pack := range map[string]func(io.Writer) io.WriteCloser{"gzip": gzipped, "zstd": zstded} {
		var index bytes.Buffer
		var report layers.Report
		var err error
		memory := grown(func() {
			report, err = layers.Scan(t.Context(), stream(t, pack, bomb), &index, layers.Options{Limits: limits})
		})
		if err != nil || !strings.Contains(report.Notice, "as no honest layer does") {
			t.Errorf("%s: %+v %v", name, report, err)
		}
		t.Logf("%s: %d MB unpacked, %d MB of memory", name, report.Bytes>>20, memory>>20)
		if report.Bytes > 512<<20 || memory > 64<<20 {
			t.Errorf("%s: %d MB were unpacked, %d MB of memory used", name, report.Bytes>>20, memory>>20)
		}
		if got := paths(list(t, open(t, index.Bytes()), layers.Query{})); !slices.Contains(got, "/before") {
			t.Errorf("%s: what came before the bomb is not shown: %v", name, got)
		}
	}
}

// TestAMillionEntriesTakeBoundedMemory reads a million entries where SLIPWAY_TEST_SOAK gives it the time, and a small part of them else.
func TestAMillionEntriesTakeBoundedMemory(t *testing.T) {
	entries, most := 40_000, 20_000
	if os.Getenv("SLIPWAY_TEST_SOAK") != "" {
		entries, most = 1_000_000, 500_000
	}
	many := func(w *tar.Writer) error {
		for i := range entries {
			if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%03d/sub%02d/a-file-with-a-name-%07d", i%1000, i%17, i), Mode: 0o644}); err != nil {
				return err
			}
		}
		return nil
	}
	var index bytes.Buffer
	var report layers.Report
	var err error
	memory := grown(func() {
		report, err = layers.Scan(t.Context(), stream(t, gzipped, many), &index, layers.Options{Limits: layers.Limits{Ratio: 100_000, Entries: most}})
	})
	if err != nil || !strings.Contains(report.Notice, fmt.Sprintf("more than %d entries", most)) || report.Entries < int64(most)*99/100 {
		t.Errorf("%+v %v", report, err)
	}
	t.Logf("%d entries: an index of %d kB, %d MB of memory", report.Entries, index.Len()>>10, memory>>20)
	if memory > 32<<20+uint64(most)*800 {
		t.Errorf("%d MB of memory", memory>>20)
	}
	x := open(t, index.Bytes())
	for what, q := range map[string]layers.Query{"a search": {Search: "0000017"}, "all by size": {Deep: true, BySize: true}, "a directory": {Dir: "/d007/sub07"}} {
		q.Page = models.Page{Limit: 50}
		begun := time.Now()
		page, err := x.List(t.Context(), q)
		if err != nil || page.Total == 0 {
			t.Errorf("%s: %+v %v", what, page, err)
		}
		t.Logf("%s: %d of %d in %v", what, len(page.Items), page.Total, time.Since(begun))
	}
}

func TestEveryLimitIsSaidAndWhatCameBeforeIsShown(t *testing.T) {
	t.Parallel()
	good := file("good", "x")
	many := []item{good}
	for i := range 100 {
		many = append(many, file(fmt.Sprintf("f%d", i), ""))
	}
	again := []item{good}
	for range 100 {
		again = append(again, file("same", ""))
	}
	loops := []item{good, {name: "l0 -> d"}}
	for i := range 60 {
		loops = append(loops, item{name: fmt.Sprintf("l0/x%d", i)})
	}
	for _, c := range []struct {
		name   string
		items  []item
		limits layers.Limits
		notice string
	}{
		{"entries", many, layers.Limits{Entries: 10}, "more than 10 entries"},
		{"the same entry", again, layers.Limits{Entries: 10}, "archive has more than 20 entries"},
		{"links", loops, layers.Limits{Entries: 50}, ""},
		{"names", []item{good, file(strings.Repeat("n", 200), "")}, layers.Limits{Names: 100}, "names take more"},
		{"a long path", []item{good, file(strings.Repeat("n/", 3000)+"x", "")}, layers.Limits{}, "more than 4096 bytes"},
		{"a deep path", []item{good, file(strings.Repeat("n/", 300)+"x", "")}, layers.Limits{}, "more than 128 deep"},
		{"bytes", []item{good, file("large", strings.Repeat("x", 3000))}, layers.Limits{Bytes: 2048}, "larger than"},
	} {
		x := scan(t, archive(t, c.items...), layers.Options{Limits: c.limits})
		if !strings.Contains(x.Report.Notice, c.notice) {
			t.Errorf("%s: %q", c.name, x.Report.Notice)
		}
		if _, err := x.Get(t.Context(), "/good"); err != nil {
			t.Errorf("%s: what came before is not shown: %v", c.name, err)
		}
	}
}

func TestDamagedLayersSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	whole := archive(t, file("good", "x"), file("large", strings.Repeat("x", 5000)))
	var packed bytes.Buffer
	z := gzipped(&packed)
	z.Write(whole)
	z.Close()
	broken := slices.Clone(whole)
	copy(broken[1024:], "no header of an archive")
	for name, c := range map[string]struct {
		layer  []byte
		notice string
		good   bool
	}{
		"cut":             {whole[:3000], "ends in the middle", true},
		"cut and packed":  {packed.Bytes()[:packed.Len()-20], "ends in the middle", true},
		"damaged":         {broken, "damaged", true},
		"no archive":      {[]byte(`{"a": "chart"}`), "no tar archive", false},
		"empty":           {nil, "no tar archive", false},
		"gzip of nothing": {[]byte{0x1f, 0x8b, 1, 2}, "damaged", false},
		"zstd of nothing": {[]byte{0x28, 0xb5, 0x2f, 0xfd, 0xff}, "", false},
		"nothing in it":   {make([]byte, 1024), "", false},
	} {
		x := scan(t, c.layer, layers.Options{})
		if !strings.Contains(x.Report.Notice, c.notice) {
			t.Errorf("%s: %q", name, x.Report.Notice)
		}
		if _, err := x.Get(t.Context(), "/good"); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestADamagedIndexIsAnErrorAndNoMore(t *testing.T) {
	t.Parallel()
	var good bytes.Buffer
	if _, err := layers.Scan(t.Context(), bytes.NewReader(archive(t, file("a/b", "c"), file("d", "e"))), &good, layers.Options{}); err != nil {
		t.Fatal(err)
	}
	dice := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		bad := slices.Clone(good.Bytes())
		for range 1 + dice.IntN(4) {
			bad[dice.IntN(len(bad))] ^= byte(1 + dice.IntN(255))
		}
		bad = bad[:dice.IntN(len(bad)+1)]
		x, err := layers.Open(t.Context(), int64(len(bad)), reader(bad))
		if err != nil {
			continue
		}
		_, _ = x.List(t.Context(), layers.Query{Deep: true}) // an error or a list, but no panic
	}
}

// FuzzScan feeds the reader whatever comes; it may refuse, but not fall.
func FuzzScan(f *testing.F) {
	f.Add(archive(f, file("a", "b"), item{name: "l -> a"}, item{name: ".wh.x"}))
	f.Fuzz(func(t *testing.T, layer []byte) {
		var b bytes.Buffer
		if _, err := layers.Scan(t.Context(), bytes.NewReader(layer), &b, layers.Options{Limits: layers.Limits{Entries: 100, Bytes: 1 << 20}}); err != nil {
			t.Fatal(err)
		}
		x, err := layers.Open(t.Context(), int64(b.Len()), reader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		page, err := x.List(t.Context(), layers.Query{Deep: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Items {
			if e.Path != layers.Clean(e.Path) {
				t.Errorf("the path %q is not clean", e.Path)
			}
		}
	})
}
