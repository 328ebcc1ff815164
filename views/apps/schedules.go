package apps

import (
	"time"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// Schedule is a schedule with its next turns, in its own time zone.
type Schedule struct {
	models.Schedule
	Coming []time.Time // empty while it is off
}

// SchedulesView is the list of an app's schedules, and the form that makes one.
type SchedulesView struct {
	Header
	Schedules []Schedule // newest first
	First     string
	Next      string
	Form      components.Form
	Curl      components.CurlExample
}

// ScheduleView is the form that changes a schedule.
type ScheduleView struct {
	Header
	Schedule Schedule
	Form     components.Form
	Curl     components.CurlExample
}

// ScheduleURL is the schedule's page.
func ScheduleURL(s models.Schedule) string { return "/schedules/" + s.ID }

// alone is the header without the dialog that starts a build: its fields have the names of the page's own.
func (v SchedulesView) alone() Header {
	h := v.Header
	h.CanBuild = false
	return h
}

// zone is the time zone that the form begins with: that of the newest schedule, for a team mostly has one.
func (v SchedulesView) zone() string {
	if len(v.Schedules) > 0 {
		return v.Schedules[0].TimeZone
	}
	return "UTC"
}

// builtRef says what a schedule builds.
func builtRef(h Header, s models.Schedule) string {
	switch {
	case s.Ref != "":
		return s.Ref
	case h.App.Repository != nil && h.App.Repository.DefaultBranch != "":
		return h.App.Repository.DefaultBranch
	}
	return "the default branch"
}

// refHint says what an empty ref means.
func refHint(h Header) string { return "Empty: " + builtRef(h, models.Schedule{}) + "." }

// turn writes the time of a turn as people say it, such as "Tue 3 Jun, 02:00".
func turn(t time.Time) string { return t.Format("Mon 2 Jan, 15:04") }
