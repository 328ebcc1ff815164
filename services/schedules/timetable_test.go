package schedules

import (
	"testing"
	"time"

	"slipway.dev/models"
)

func TestTurnsFollowTheClockOfTheirZone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cron, zone, after string
		want              []string
	}{
		"a plain hour":         {"0 9 * * *", "Asia/Kathmandu", "2025-04-05T12:00:00Z", []string{"2025-04-06T09:00:00+05:45", "2025-04-07T09:00:00+05:45"}},
		"a word":               {"@daily", "Europe/Berlin", "2025-06-01T12:00:00Z", []string{"2025-06-02T00:00:00+02:00"}},
		"weekdays by name":     {"30 7 * * MON-FRI", "UTC", "2025-06-06T08:00:00Z", []string{"2025-06-09T07:30:00Z"}},
		"the 13th or a Friday": {"0 0 13 * FRI", "UTC", "2025-04-05T12:00:00Z", []string{"2025-04-11T00:00:00Z", "2025-04-13T00:00:00Z"}},
		"the leap day":         {"0 0 29 2 *", "UTC", "2025-04-05T12:00:00Z", []string{"2028-02-29T00:00:00Z"}},

		"Berlin skips 2:30":              {"30 2 * * *", "Europe/Berlin", "2025-03-29T12:00:00Z", []string{"2025-03-30T03:00:00+02:00", "2025-03-31T02:30:00+02:00"}},
		"Berlin skips all of these":      {"*/20 2 * * *", "Europe/Berlin", "2025-03-29T12:00:00Z", []string{"2025-03-30T03:00:00+02:00", "2025-03-31T02:00:00+02:00"}},
		"Berlin has 2:30 twice":          {"30 2 * * *", "Europe/Berlin", "2025-10-25T12:00:00Z", []string{"2025-10-26T02:30:00+02:00", "2025-10-27T02:30:00+01:00"}},
		"Berlin in the repeated hour":    {"30 2 * * *", "Europe/Berlin", "2025-10-26T01:10:00Z", []string{"2025-10-27T02:30:00+01:00"}},
		"Berlin after the change":        {"0 3 * * *", "Europe/Berlin", "2025-10-26T00:10:00Z", []string{"2025-10-26T03:00:00+01:00"}},
		"every half hour in Berlin":      {"*/30 * * * *", "Europe/Berlin", "2025-10-26T00:10:00Z", []string{"2025-10-26T02:30:00+02:00", "2025-10-26T02:00:00+01:00", "2025-10-26T02:30:00+01:00", "2025-10-26T03:00:00+01:00"}},
		"New York skips 2:30":            {"30 2 * * *", "America/New_York", "2024-03-09T12:00:00Z", []string{"2024-03-10T03:00:00-04:00", "2024-03-11T02:30:00-04:00"}},
		"New York has 1:30 twice":        {"30 1 * * *", "America/New_York", "2024-11-02T12:00:00Z", []string{"2024-11-03T01:30:00-04:00", "2024-11-04T01:30:00-05:00"}},
		"every hour in New York, spring": {"0 * * * *", "America/New_York", "2024-03-10T05:40:00Z", []string{"2024-03-10T01:00:00-05:00", "2024-03-10T03:00:00-04:00"}},
		"every hour in New York, autumn": {"0 * * * *", "America/New_York", "2024-11-03T04:40:00Z", []string{"2024-11-03T01:00:00-04:00", "2024-11-03T01:00:00-05:00", "2024-11-03T02:00:00-05:00"}},
		"Lord Howe skips 2:15":           {"15 2 * * *", "Australia/Lord_Howe", "2025-10-04T12:00:00Z", []string{"2025-10-05T02:30:00+11:00", "2025-10-06T02:15:00+11:00"}},
		"Lord Howe does not skip 2:45":   {"45 2 * * *", "Australia/Lord_Howe", "2025-10-04T12:00:00Z", []string{"2025-10-05T02:45:00+11:00"}},
		"Lord Howe has 1:45 twice":       {"45 1 * * *", "Australia/Lord_Howe", "2025-04-05T10:00:00Z", []string{"2025-04-06T01:45:00+11:00", "2025-04-07T01:45:00+10:30"}},
		"Lord Howe has 1:15 once":        {"15 1 * * *", "Australia/Lord_Howe", "2025-04-05T10:00:00Z", []string{"2025-04-06T01:15:00+11:00", "2025-04-07T01:15:00+10:30"}},
		"Lord Howe has 1:30 twice":       {"30 1 * * *", "Australia/Lord_Howe", "2025-04-05T10:00:00Z", []string{"2025-04-06T01:30:00+11:00", "2025-04-07T01:30:00+10:30"}},
		"São Paulo skipped midnight":     {"0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", []string{"2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"}},
		"Apia skipped a whole day":       {"0 8 * * *", "Pacific/Apia", "2011-12-29T18:30:00Z", []string{"2011-12-31T00:00:00+14:00", "2011-12-31T08:00:00+14:00"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, err := newTimetable(c.cron, c.zone)
			if err != nil {
				t.Fatal(err)
			}
			after, err := time.Parse(time.RFC3339, c.after)
			if err != nil {
				t.Fatal(err)
			}
			turns := table.coming(after, len(c.want))
			if len(turns) != len(c.want) {
				t.Fatalf("%d turns: %v", len(turns), turns)
			}
			for i, at := range turns {
				if got := at.Format(time.RFC3339); got != c.want[i] {
					t.Errorf("turn %d is at %s, not at %s", i+1, got, c.want[i])
				}
			}
		})
	}
}

func TestWhatIsNoTimetableNamesItsField(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ cron, zone, field string }{
		{"", "UTC", "cron"}, {"nonsense", "UTC", "cron"}, {"* * *", "UTC", "cron"}, {"0 0 0 1 1 1", "UTC", "cron"},
		{"61 * * * *", "UTC", "cron"}, {"0 0 30 2 *", "UTC", "cron"}, {"* * * * *", "UTC", "cron"}, {"*/4 * * * *", "UTC", "cron"}, {"58,1 * * * *", "UTC", "cron"},
		{"@every 1h", "UTC", "cron"}, {"TZ=UTC 0 0 * * *", "UTC", "cron"}, {"CRON_TZ=../../etc/passwd 0 0 * * *", "UTC", "cron"}, {"TZ=0", "UTC", "cron"}, {"@reboot", "UTC", "cron"},
		{"0 0 * * *", "", "time_zone"}, {"0 0 * * *", "Local", "time_zone"}, {"0 0 * * *", "Mars/Olympus", "time_zone"}, {"0 0 * * *", "../../etc/passwd", "time_zone"}, {"0 0 * * *", "/etc/localtime", "time_zone"}, {"0 0 * * *", "localtime", "time_zone"}, {"0 0 * * *", "right/UTC", "time_zone"},
	} {
		_, err := newTimetable(c.cron, c.zone)
		told, ok := err.(*models.Error)
		if !ok || told.Code != models.Invalid || told.Fields[c.field] == "" {
			t.Errorf("%q in %q: %v", c.cron, c.zone, err)
		}
	}
}

// FuzzTimetable holds that no expression makes the parser panic or time run backwards.
func FuzzTimetable(f *testing.F) {
	for _, seed := range []string{"0 2 * * *", "@weekly", "*/5 0-23/2 1,15 JAN-MAR sun", "TZ=", "@every 5m", "59 23 31 12 7"} {
		f.Add(seed, int64(1743296400))
	}
	zone := "Europe/Berlin"
	f.Fuzz(func(t *testing.T, expression string, at int64) {
		table, err := newTimetable(expression, zone)
		if err != nil {
			return
		}
		after := time.Unix(at%(1<<33), 0)
		for _, next := range table.coming(after, 5) {
			if !next.After(after) {
				t.Fatalf("%q: %s does not come after %s", expression, next, after)
			}
			after = next
		}
	})
}
