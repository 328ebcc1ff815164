package google

import (
	"testing"

	"google.golang.org/api/logging/v2"
)

func TestLinesOfAppsThatLogInJSONHaveTheirMessage(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]string{`{"message":"hello","user":1}`: "hello", `{"user":1}`: `{"user":1}`} {
		l := line(&logging.LogEntry{JsonPayload: []byte(payload), Timestamp: "2026-01-02T03:04:05.5Z", LogName: "projects/acme-apps/logs/run.googleapis.com%2Fstderr"})
		if l.Text != want || !l.Stderr || l.At.Nanosecond() != 500_000_000 {
			t.Errorf("%s is %+v", payload, l)
		}
	}
}
