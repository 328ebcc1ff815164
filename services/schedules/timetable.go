package schedules

import (
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // so that a time zone is known on every machine

	"github.com/netresearch/go-cron"
	"slipway.dev/models"
)

// minPause is the shortest time between two turns of a schedule.
const minPause = 5 * time.Minute

// everyHour marks, in the parser's set of hours, a field that begins with a star.
const everyHour = 1 << 63

// zoneForm leaves out what is not the same on every machine, such as localtime and right/UTC.
var zoneForm = regexp.MustCompile(`^[A-Z][A-Za-z0-9_+/-]*$`)

// parser reads the five fields of crontab(5) and its words, such as @daily. A day counts when the day of the month or
// the day of the week fits, where both are given.
var parser = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor | cron.DowOrDom)

// timetable is when a schedule has its turns: a cron expression on the clocks of a time zone.
//
// The parser counts days and hours; what the clocks of a place do is decided here. A schedule for certain hours follows
// the clock on the wall: a time that the clock skips counts at the moment of the jump, and a time that comes twice
// counts the first time. A schedule for every hour goes on as time passes.
type timetable struct {
	spec *cron.SpecSchedule
	zone *time.Location
}

// newTimetable reads the expression and the name of the time zone; faults are about the fields cron and time_zone.
func newTimetable(expression, zone string) (timetable, error) {
	wrong := map[string]string{}
	t := timetable{}
	var err error
	if t.zone, err = time.LoadLocation(zone); err != nil || !zoneForm.MatchString(zone) || zone == "Local" {
		wrong["time_zone"] = "Use the name of a time zone in the IANA database, such as Europe/Berlin or UTC."
	}
	if t.spec, err = parse(expression); err != nil {
		wrong["cron"] = err.Error()
	}
	if len(wrong) > 0 {
		return timetable{}, models.InvalidFields(wrong)
	}
	return t, nil
}

// cronError is what is wrong with an expression, for people.
type cronError string

func (e cronError) Error() string { return string(e) }

const cronHelp = "Use the five fields minute, hour, day of the month, month and day of the week, such as 0 2 * * 1-5, or a word such as @daily."

func parse(expression string) (*cron.SpecSchedule, error) {
	switch {
	case len(expression) > 200 || strings.Contains(expression, "="):
		return nil, cronError(cronHelp) // a time zone has its own field
	case strings.HasPrefix(expression, "@every"):
		return nil, cronError("Write the pause as a cron expression, such as */15 * * * * for every 15 minutes.")
	}
	parsed, err := parser.Parse(expression)
	spec, ok := parsed.(*cron.SpecSchedule)
	if err != nil || !ok {
		return nil, cronError(cronHelp)
	}
	spec.Location = time.Local // the times that it is given say where they are
	return spec, tooOften(spec)
}

// tooOften refuses expressions that never come to pass, and those whose turns are less than minPause apart.
func tooOften(spec *cron.SpecSchedule) error {
	last := spec.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)) // a leap year
	if last.IsZero() {
		return cronError("No day has such a date.")
	}
	for range 120 { // two hours of an expression for every minute
		next := spec.Next(last)
		if !next.IsZero() && next.Sub(last) < minPause {
			return cronError("Leave at least 5 minutes between two turns, such as */5 * * * *.")
		}
		last = next
		if last.IsZero() {
			break
		}
	}
	return nil
}

// next is the first turn after the time, in the schedule's zone; zero where there is none within five years.
func (t timetable) next(after time.Time) time.Time {
	after = after.In(t.zone)
	if t.spec.Hour&everyHour != 0 {
		return t.spec.Next(after)
	}
	for wall := t.spec.Next(onWall(after)); !wall.IsZero(); wall = t.spec.Next(wall) {
		if at := t.at(wall); at.After(after) {
			return at
		}
	}
	return time.Time{}
}

// coming are the first n turns after the time.
func (t timetable) coming(after time.Time, n int) []time.Time {
	var turns []time.Time
	for at := t.next(after); !at.IsZero() && len(turns) < n; at = t.next(at) {
		turns = append(turns, at)
	}
	return turns
}

// onWall is what the clock on the wall shows at the time, written as a time of UTC, whose clocks never jump.
func onWall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// at is the first moment at which the clock on the wall shows the time; for one that it skips, the moment of the jump.
func (t timetable) at(wall time.Time) time.Time {
	guess := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), 0, 0, t.zone)
	if shown := onWall(guess); !shown.Equal(wall) {
		// The time is skipped, and the guess lies on one side of the jump or the other.
		start, end := guess.ZoneBounds()
		if shown.After(wall) {
			return start
		}
		return end
	}
	// Where the clock was set back shortly before, it showed the same time already.
	if start, _ := guess.ZoneBounds(); !start.IsZero() {
		_, now := guess.Zone()
		_, before := start.Add(-time.Second).Zone()
		first := guess.Add(-time.Duration(before-now) * time.Second)
		if before > now && first.Before(start) && onWall(first.In(t.zone)).Equal(wall) {
			return first.In(t.zone)
		}
	}
	return guess
}
