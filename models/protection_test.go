package models_test

import (
	"testing"
	"time"

	"slipway.dev/models"
)

func TestAFreezeCoversItsTimeByTheClockOfItsZone(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Time {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	start, end := at("2026-12-24T12:00:00Z"), at("2027-01-02T06:00:00Z")
	weekend := models.Freeze{Name: "Weekend", Zone: "Europe/Berlin", FromDay: time.Friday, FromTime: "16:00", ToDay: time.Monday, ToTime: "08:00"}
	nightly := models.Freeze{Name: "Lunch", Zone: "UTC", FromDay: time.Tuesday, FromTime: "12:00", ToDay: time.Tuesday, ToTime: "13:00"}
	week := models.Freeze{Name: "Almost a week", Zone: "UTC", FromDay: time.Tuesday, FromTime: "13:00", ToDay: time.Tuesday, ToTime: "12:00"}
	night := models.Freeze{Name: "Night", Zone: "America/Santiago", FromDay: time.Sunday, FromTime: "22:00", ToDay: time.Monday, ToTime: "06:00"}
	once := models.Freeze{Name: "Holidays", Start: &start, End: &end}
	for _, c := range []struct {
		freeze models.Freeze
		now    string
		until  string // empty: not covered
	}{
		{weekend, "2026-07-03T13:59:59Z", ""}, // summer: Berlin is two hours ahead
		{weekend, "2026-07-03T14:00:00Z", "2026-07-06T06:00:00Z"},
		{weekend, "2026-07-05T23:00:00Z", "2026-07-06T06:00:00Z"},
		{weekend, "2026-07-06T05:59:59Z", "2026-07-06T06:00:00Z"},
		{weekend, "2026-07-06T06:00:00Z", ""},
		{weekend, "2026-12-04T14:30:00Z", ""}, // winter: one hour
		{weekend, "2026-12-04T15:00:00Z", "2026-12-07T07:00:00Z"},
		{weekend, "2026-10-24T12:00:00Z", "2026-10-26T07:00:00Z"}, // the clocks go back within it
		{nightly, "2026-12-01T12:30:00Z", "2026-12-01T13:00:00Z"},
		{nightly, "2026-12-01T13:00:00Z", ""},
		{nightly, "2026-12-02T12:30:00Z", ""},
		{week, "2026-12-01T12:30:00Z", ""},
		{week, "2026-12-01T13:00:00Z", "2026-12-08T12:00:00Z"},
		{week, "2026-12-08T11:59:00Z", "2026-12-08T12:00:00Z"},
		{night, "2026-09-07T00:59:59Z", ""}, // Sunday the 6th began at one o'clock there
		{night, "2026-09-07T01:00:00Z", "2026-09-07T09:00:00Z"},
		{night, "2026-09-07T03:30:00Z", "2026-09-07T09:00:00Z"}, // half past midnight
		{night, "2026-09-07T09:00:00Z", ""},
		{once, "2026-12-24T11:59:59Z", ""},
		{once, "2026-12-31T00:00:00Z", "2027-01-02T06:00:00Z"},
		{once, "2027-01-02T06:00:00Z", ""},
	} {
		until, ok := c.freeze.Until(at(c.now))
		if ok != (c.until != "") || ok && !until.Equal(at(c.until)) {
			t.Errorf("%s at %s: %v until %s, want %q", c.freeze.Name, c.now, ok, until.UTC(), c.until)
		}
	}
	p := models.Protection{Freezes: []models.Freeze{nightly, weekend, once}}
	if f, until, ok := p.Frozen(at("2026-12-26T12:00:00Z")); !ok || f.Name != "Holidays" || !until.Equal(end) {
		t.Errorf("of several freezes %q counts until %s", f.Name, until)
	}
}

func TestAFreezeThatCanNotBeIsRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	good := models.Freeze{Name: "Weekend", Zone: "Europe/Berlin", FromDay: time.Friday, FromTime: "16:00", ToDay: time.Monday, ToTime: "08:00"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*models.Freeze){
		"no name":                 func(f *models.Freeze) { f.Name = "" },
		"no zone":                 func(f *models.Freeze) { f.Zone = "" },
		"a path as zone":          func(f *models.Freeze) { f.Zone = "../../etc/passwd" },
		"the server's zone":       func(f *models.Freeze) { f.Zone = "Local" },
		"a time that is none":     func(f *models.Freeze) { f.FromTime = "25:00" },
		"an end that is none":     func(f *models.Freeze) { f.ToTime = "noon" },
		"a day that is none":      func(f *models.Freeze) { f.FromDay = 7 },
		"no length":               func(f *models.Freeze) { f.ToDay, f.ToTime = f.FromDay, f.FromTime },
		"an end without a start":  func(f *models.Freeze) { f.End = &now },
		"an end that is no later": func(f *models.Freeze) { f.Start, f.End = &now, &now },
	} {
		f := good
		change(&f)
		if err := f.Validate(); !models.IsCode(err, models.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
