package bench

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// tick is the unit of /proc/PID/stat (proc(5): USER_HZ, which is 100 on every Linux that Go runs on).
const tick = 10 * time.Millisecond

// processor is the time that the process has spent on processors, in user and system mode.
func processor(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat := proc(b, pid, "stat")
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // the name before it may contain anything
	var sum time.Duration
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(n) * tick
	}
	return sum
}

var (
	residentLine  = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)
	peakLine      = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)
	anonymousLine = regexp.MustCompile(`RssAnon:\s+(\d+) kB`)
)

// resident is what the process occupies now, in MB.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	return megabytes(b, pid, residentLine)
}

// anonymous is what of that no file is behind, in MB: the memory that the process has asked for. The rest are pages of
// its program, which the system drops where memory is short and reads again.
func anonymous(b *testing.B, pid int) float64 {
	b.Helper()
	return megabytes(b, pid, anonymousLine)
}

// peak is the most that the process has occupied since it began, or since forgetPeak, in MB.
func peak(b *testing.B, pid int) float64 {
	b.Helper()
	return megabytes(b, pid, peakLine)
}

// forgetPeak begins to measure the peak anew.
func forgetPeak(b *testing.B, pid int) {
	b.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}

func megabytes(b *testing.B, pid int, line *regexp.Regexp) float64 {
	b.Helper()
	status := proc(b, pid, "status")
	found := line.FindSubmatch(status)
	if found == nil {
		b.Fatalf("no %s in %s", line, status)
	}
	kilobytes, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kilobytes / 1024
}

func proc(b *testing.B, pid int, file string) []byte {
	b.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		b.Fatal(err)
	}
	return content
}
