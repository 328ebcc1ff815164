package observe_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/logs"
	"slipway.dev/services/observe"
)

// segment stores lines as a part of the place's log, the last part being left open.
func (s *stage) segment(o *observe.Service, closed bool, lines ...logs.Line) {
	s.t.Helper()
	var place models.PlaceLog
	s.must(s.db.Limit(1).Find(&place, "app_id = ?", s.App.ID).Error)
	if place.ID == "" {
		place = models.PlaceLog{ID: models.NewID(), TeamID: s.Team.ID, EnvironmentID: s.Environment.ID, AppID: s.App.ID, NextLine: 1}
		s.must(s.db.Create(&place).Error)
	}
	row := models.LogSegment{ID: models.NewID(), PlaceLogID: place.ID, First: place.NextLine, FirstAt: lines[0].Time, LastAt: lines[len(lines)-1].Time}
	s.must(s.db.Create(&row).Error)
	w, err := o.Logs.Open(s.t.Context(), row.ID, logs.KindDeployment, logs.NewMasker())
	s.must(err)
	for _, l := range lines {
		w.Write(l.Step, l.Stream, l.Time, []byte(l.Text+"\n"))
	}
	if closed {
		w.Close(s.t.Context())
		row.ID = ""
	} else {
		w.Leave(s.t.Context())
	}
	s.must(s.db.Model(&place).Updates(map[string]any{"next_line": place.NextLine + int64(len(lines)), "segment_id": row.ID}).Error)
}

var began = time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)

// linesOf makes lines with the numbers from first on, one a second, in turn of two instances; each tenth goes to standard error.
func linesOf(first, count int) (all []logs.Line) {
	for n := first; n < first+count; n++ {
		l := logs.Line{Step: fmt.Sprintf("1.%d", 1+n%2), Stream: logs.Stdout, Time: began.Add(time.Duration(n) * time.Second), Text: fmt.Sprintf("this is Line %d.", n)}
		if n%10 == 0 {
			l.Stream = logs.Stderr
		}
		all = append(all, l)
	}
	return all
}

func numbers(lines []observe.Line) (out []int64) {
	for _, l := range lines {
		out = append(out, l.N)
	}
	return out
}

func span(from, to int64) (out []int64) {
	for n := from; n <= to; n++ {
		out = append(out, n)
	}
	return out
}

func TestALogIsReadPageByPageInBothDirectionsAcrossItsParts(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		o := s.service()
		for n := range 4 {
			s.segment(o, n < 3, linesOf(1+n*50, 50)...)
		}
		read := func(q observe.Query) *observe.Page {
			t.Helper()
			q.Place, q.Limit = s.place(), 80
			page, err := o.Read(s.ctx, q)
			s.must(err)
			return page
		}
		end := read(observe.Query{})
		if !slices.Equal(numbers(end.Lines), span(121, 200)) || end.Before != 121 || end.After != 200 {
			t.Errorf("the end is %v, before %d, after %d", numbers(end.Lines), end.Before, end.After)
		}
		middle := read(observe.Query{Before: end.Before})
		first := read(observe.Query{Before: middle.Before})
		if !slices.Equal(numbers(middle.Lines), span(41, 120)) || !slices.Equal(numbers(first.Lines), span(1, 40)) || first.Before != 0 {
			t.Errorf("before it come %v, then %v, before %d", numbers(middle.Lines), numbers(first.Lines), first.Before)
		}
		if next := read(observe.Query{After: 40}); !slices.Equal(numbers(next.Lines), span(41, 120)) || !next.Later || next.After != 120 {
			t.Errorf("after it come %v, later %v", numbers(next.Lines), next.Later)
		}
		if last := read(observe.Query{After: 150}); !slices.Equal(numbers(last.Lines), span(151, 200)) || last.Later {
			t.Errorf("the last come as %v, later %v", numbers(last.Lines), last.Later)
		}
		if around := read(observe.Query{Around: 100}); !slices.Equal(numbers(around.Lines), span(60, 139)) {
			t.Errorf("around 100 are %v", numbers(around.Lines))
		}
		if l := read(observe.Query{Around: 100}).Lines[40]; l.Text != "this is Line 100." || l.Replica != 1 || l.Deployment != 1 || l.Stream != logs.Stderr || !l.At.Equal(began.Add(100*time.Second)) {
			t.Errorf("line 100 is %+v", l)
		}
	})
}

func TestASearchFindsWhatIsKeptAndLooksThroughABoundedPartAtOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	o := s.service()
	for n := range 6 {
		s.segment(o, n < 5, linesOf(1+n*50, 50)...)
	}
	o.Scan = 1500 // two parts
	q := observe.Query{Place: s.place(), Filter: observe.Filter{Text: "LINE 7"}}
	var found []int64
	calls := 0
	for {
		page, err := o.Read(s.ctx, q)
		s.must(err)
		found = append(numbers(page.Lines), found...)
		calls++
		if page.Before == 0 {
			break
		}
		if page.To == nil || page.To.After(began.Add(300*time.Second)) {
			t.Errorf("the search says that it came to %v", page.To)
		}
		q.Before = page.Before
	}
	if want := append([]int64{7}, span(70, 79)...); !slices.Equal(found, want) || calls != 3 {
		t.Errorf("found were %v in %d calls", found, calls)
	}
	o.Scan = 0
	for name, c := range map[string]struct {
		f    observe.Filter
		want int
	}{
		"a text of nothing":   {observe.Filter{Text: "nowhere"}, 0},
		"an instance":         {observe.Filter{Replica: 2}, 150},
		"standard error":      {observe.Filter{Stream: logs.Stderr}, 30},
		"another deployment":  {observe.Filter{Deployment: 2}, 0},
		"from a time on":      {observe.Filter{Since: began.Add(290 * time.Second)}, 11},
		"until a time":        {observe.Filter{Until: began.Add(11 * time.Second)}, 10},
		"all of it":           {observe.Filter{Text: "line 2", Stream: logs.Stderr, Since: began.Add(200 * time.Second)}, 10},
		"what no time can be": {observe.Filter{Since: began.Add(time.Hour)}, 0},
		"no pattern":          {observe.Filter{Text: "line .*"}, 0},
		"no wildcard of SQL":  {observe.Filter{Text: "%"}, 0},
		"spaces around don't": {observe.Filter{Text: "  line 300. "}, 1},
	} {
		page, err := o.Read(s.ctx, observe.Query{Place: s.place(), Filter: c.f, Limit: 1000})
		if err != nil || len(page.Lines) != c.want || page.Before != 0 {
			t.Errorf("%s: %v lines, %v", name, page, err)
		}
	}
	for field, q := range map[string]observe.Query{
		"q":      {Filter: observe.Filter{Text: strings.Repeat("x", 201)}},
		"stream": {Filter: observe.Filter{Stream: "other"}},
		"until":  {Filter: observe.Filter{Since: began, Until: began}},
	} {
		q.Place = s.place()
		_, err := o.Read(s.ctx, q)
		if e, ok := errors.AsType[*models.Error](err); !ok || e.Fields[field] == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestALogIsNarrowedToADeploymentOnATargetWhoseClockIsOff(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	o := s.service()
	s.segment(o, false, linesOf(1, 10)...)
	asked, gone := began.Add(time.Hour), began.Add(2*time.Hour) // by the portal's clock, which is an hour ahead
	d := &models.Deployment{ID: models.NewID(), TeamID: s.Team.ID, AppID: s.App.ID, EnvironmentID: s.Environment.ID, Number: 1, State: models.DeploymentSucceeded, Action: models.ActionDeploy, CreatedAt: asked, StartedAt: &asked, RetiredAt: &gone}
	s.must(s.db.Create(d).Error)
	page, err := o.Read(s.ctx, observe.Query{Place: s.place(), Filter: observe.Filter{Deployment: 1}})
	if err != nil || len(page.Lines) != 10 {
		t.Errorf("read were %+v (%v)", page, err)
	}
}

func TestALogIsFollowedByThoseWhoMaySeeIt(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	o := s.service()
	s.segment(o, true, linesOf(1, 20)...)
	for who, u := range map[string]*models.User{"a stranger": s.Stranger} {
		ctx := modelstest.As(t, s.db, u)
		q := observe.Query{Place: s.place()}
		_, read := o.Read(ctx, q)
		_, follow := o.Follow(ctx, q)
		_, all := o.All(ctx, q)
		_, usage := o.Usage(ctx, s.place())
		for _, err := range []error{read, follow, all, usage} {
			if !models.IsCode(err, models.NotFound) {
				t.Errorf("%s gets %v", who, err)
			}
		}
	}
	elsewhere := observe.Place{EnvironmentID: s.Environment.ID, AppID: models.NewID()}
	if _, err := o.Read(s.ctx, observe.Query{Place: elsewhere}); !models.IsCode(err, models.NotFound) {
		t.Errorf("of an app that is not there: %v", err)
	}
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	pages, err := o.Follow(ctx, observe.Query{Place: s.place(), Filter: observe.Filter{Stream: logs.Stderr}, After: 15})
	s.must(err)
	var got []int64
	for page, err := range pages {
		s.must(err)
		if got = append(got, numbers(page.Lines)...); slices.Contains(got, 20) && len(got) == 1 {
			s.segment(o, false, linesOf(21, 20)...)
		}
		if page.After == 40 {
			break
		}
	}
	if !slices.Equal(got, []int64{20, 30, 40}) {
		t.Errorf("followed were %v", got)
	}
}

func TestWhatIsOldTooMuchOrNobodysIsForgotten(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		o := s.service()
		now := db.NowFunc()
		for n := range 6 {
			lines := linesOf(1+n*50, 50)
			for i := range lines {
				if lines[i].Time = now; n == 0 {
					lines[i].Time = now.Add(-8 * 24 * time.Hour)
				}
			}
			s.segment(o, n < 5, lines...)
		}
		s.must(o.PruneLogs(t.Context()))
		if got := numbers(s.kept(observe.Filter{})); !slices.Equal(got, span(51, 300)) {
			t.Errorf("after a week are left %v", got)
		}
		o.KeepSize = 1800 // two parts and a bit
		s.must(o.PruneLogs(t.Context()))
		if got := numbers(s.kept(observe.Filter{})); !slices.Equal(got, span(201, 300)) {
			t.Errorf("of what is too much are left %v", got)
		}
		o.KeepAge = time.Nanosecond
		s.must(db.Model(&models.PlaceLog{}).Where("app_id = ?", s.App.ID).Update("worker", "somebody").Error)
		s.must(o.PruneLogs(t.Context()))
		if got := numbers(s.kept(observe.Filter{})); !slices.Equal(got, span(251, 300)) {
			t.Errorf("of what is written now are left %v", got)
		}
		var streams []models.LogStream
		s.must(db.Find(&streams, "kind = ?", logs.KindDeployment).Error)
		if len(streams) != 1 {
			t.Errorf("%d streams are left", len(streams))
		}
		s.must(db.Delete(&models.PlaceLog{}, "app_id = ?", s.App.ID).Error) // as when the app goes
		s.must(db.Model(&models.LogStream{}).Where("kind = ?", logs.KindDeployment).UpdateColumn("created_at", now.Add(-time.Hour)).Error)
		s.must(o.PruneLogs(t.Context()))
		s.must(db.Find(&streams, "kind = ?", logs.KindDeployment).Error)
		if len(streams) != 0 {
			t.Errorf("%d streams are left of what nobody has", len(streams))
		}
	})
}
