package observe

import (
	"testing"
	"time"
)

func TestAFloodIsToldByWhenItsLinesWerePrinted(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	steady := &flood{}
	for n := range 100_000 { // read at once, printed over minutes
		if !steady.lets(at.Add(time.Duration(n)*2*time.Millisecond), 100) {
			t.Fatalf("line %d of an app that prints 500 lines a second is left out", n)
		}
	}
	fast, passed := &flood{}, 0
	for n := range 100_000 { // 10,000 a second
		if fast.lets(at.Add(time.Duration(n)*100*time.Microsecond), 100) {
			passed++
		}
	}
	if passed < 10_000 || passed > 10_000+10*floodLines || fast.dropped != 100_000-passed {
		t.Errorf("of a flood of ten seconds %d lines pass, and %d are counted", passed, fast.dropped)
	}
	if !fast.lets(at.Add(time.Minute), 100) || fast.over(time.Now()) || !fast.over(time.Now().Add(time.Minute)) {
		t.Error("after the flood lines do not pass again")
	}
	big := &flood{}
	for n := range 1000 {
		if !big.lets(at, 16<<10) {
			if n < 500 || n > 700 {
				t.Errorf("of lines of 16 KiB %d pass at once", n)
			}
			break
		}
	}
}

func TestSamplesAreReadAsTheyWerePacked(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	starts := bucketOf(at)
	var packed []byte
	want := []Sample{{at, 0, 0}, {at.Add(15 * time.Second), 12_345, 3 << 40}, {at.Add(30 * time.Second), 1, 1 << 10}}
	for _, s := range want {
		packed = appendSample(packed, starts, s)
	}
	got := unpack(starts, packed)
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
	if cut := unpack(starts, packed[:len(packed)-1]); len(cut) != 2 {
		t.Errorf("of a damaged bucket are read %+v", cut)
	}
}

func TestOfALineStaysWhatATerminalWouldShow(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                "plain",
		"10 %\r20 %\r\n":       "20 %",
		"a\x00b\x07\x08c\tend": "abc\tend",
		"\x1b[31mred\x1b[0m":   "\x1b[31mred\x1b[0m",
		"bad \xff utf":         "bad \uFFFD utf",
		"\r":                   "",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
