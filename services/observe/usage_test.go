package observe_test

import (
	"context"
	"iter"
	"net"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/observe"
)

func TestWhatInstancesTakeIsMeasuredOnceHoweverManyWorkersDo(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		d := s.runs("while :; do :; done", 2, "")
		var measuring sync.WaitGroup
		for range 3 {
			o := s.service()
			measuring.Go(func() {
				if err := o.Measure(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		measuring.Wait()
		u, err := s.service().Usage(s.ctx, s.place())
		s.must(err)
		if u.Serving == nil || u.Serving.ID != d.ID || len(u.Instances) != 2 || len(u.Switches) != 1 {
			t.Fatalf("it says %+v", u)
		}
		for _, i := range u.Instances {
			if len(i.Samples) != 1 || i.Samples[0].Memory < 100<<10 || i.Samples[0].CPU < 0 || i.Limits().CPU != 500 || i.Gone {
				t.Errorf("an instance is %s with %+v", i.Name, i.Samples)
			}
		}
	})
}

// measured is a target on which instances take what the test says.
type measured struct {
	deploy.Target
	used func() []deploy.Usage
}

func (m measured) Usage(context.Context) ([]deploy.Usage, error) { return m.used(), nil }
func (measured) Close() error                                    { return nil }
func (measured) Logs(context.Context, string, deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(func(deploy.LogLine, error) bool) {}
}
func (measured) Dial(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }

// many makes so many deployments that serve, of two instances each, and returns their runtime ids.
func many(t testing.TB, db *models.Database, w *modelstest.World, apps int) (runtimes []string) {
	t.Helper()
	now := db.NowFunc()
	var all []models.App
	var deployments []models.Deployment
	var instances []models.Instance
	for n := range apps {
		a := *w.App
		a.ID, a.Name = models.NewID(), a.Name+"-"+models.NewID()[28:]
		d := models.Deployment{ID: models.NewID(), TeamID: w.Team.ID, AppID: a.ID, EnvironmentID: w.Environment.ID, Number: int64(n + 1), State: models.DeploymentSucceeded, Active: true,
			Action: models.ActionDeploy, CreatedAt: now, StartedAt: &now, FinishedAt: &now}
		for range 2 {
			i := models.Instance{ID: models.NewID(), DeploymentID: d.ID, RuntimeID: models.NewID(), Name: "x", State: models.InstanceHealthy, CreatedAt: now, UpdatedAt: now}
			instances, runtimes = append(instances, i), append(runtimes, i.RuntimeID)
		}
		all, deployments = append(all, a), append(deployments, d)
	}
	for _, rows := range []any{&all, &deployments, &instances} {
		if err := db.CreateInBatches(rows, 200).Error; err != nil {
			t.Fatal(err)
		}
	}
	return runtimes
}

// timed has the clock of the database at hand.
func timed(db *models.Database, at *time.Time) {
	db.Config.NowFunc = func() time.Time { return *at }
}

func measuring(t testing.TB, db *models.Database, runtimes []string) *observe.Service {
	t.Helper()
	o, err := newService(t.Context(), db, t.TempDir(), "", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	o.Deploy.Kinds = []deploy.Kind{{Name: "docker", Open: func(deploy.Config) (deploy.Target, error) {
		return measured{used: func() (all []deploy.Usage) {
			for n, id := range runtimes {
				all = append(all, deploy.Usage{Instance: id, CPU: int64(n%900 + 100), Memory: int64(200+n%50) << 20})
			}
			return all
		}}, nil
	}}}
	return o
}

func TestOnlyTheLastHourOfWhatInstancesTakeStays(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := modelstest.Seed(t, db)
		runtimes := many(t, db, w, 3)
		o := measuring(t, db, runtimes)
		at := time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)
		timed(db, &at)
		for range 5 * 60 * 2 { // two and a half hours
			if err := o.Measure(t.Context()); err != nil {
				t.Fatal(err)
			}
			at = at.Add(observe.MeasureEvery)
		}
		if err := o.PruneUsage(t.Context()); err != nil {
			t.Fatal(err)
		}
		var rows, bytes int64
		if err := db.Model(&models.UsageBucket{}).Count(&rows).Error; err != nil {
			t.Fatal(err)
		}
		if err := db.Model(&models.UsageBucket{}).Select("SUM(LENGTH(samples))").Scan(&bytes).Error; err != nil {
			t.Fatal(err)
		}
		if rows != 6*13 && rows != 6*12 || bytes > rows*200 {
			t.Errorf("%d rows are left, of %d bytes", rows, bytes)
		}
		var app models.Deployment
		if err := db.Where("active").Take(&app).Error; err != nil {
			t.Fatal(err)
		}
		u, err := o.Usage(modelstest.As(t, db, w.Viewer), observe.Place{EnvironmentID: w.Environment.ID, AppID: app.AppID})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range u.Instances {
			if len(i.Samples) < 238 || len(i.Samples) > 240 || i.Samples[0].Memory < 200<<20 {
				t.Errorf("%d samples of the last hour, from %+v", len(i.Samples), i.Samples[:1])
			}
		}
	})
}

// BenchmarkMeasuringAThousandInstances stores one reading of 500 apps with two instances each.
func BenchmarkMeasuringAThousandInstances(b *testing.B) {
	db := modelstest.DB(b)
	w := modelstest.Seed(b, db)
	o := measuring(b, db, many(b, db, w, 500))
	at := time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)
	timed(db, &at)
	for b.Loop() {
		at = at.Add(observe.MeasureEvery)
		if err := o.Measure(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	var size struct{ Rows, Bytes int64 }
	if err := db.Model(&models.UsageBucket{}).Select("COUNT(*) AS rows, SUM(LENGTH(samples)) AS bytes").Scan(&size).Error; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(size.Rows), "rows")
	b.ReportMetric(float64(size.Bytes)/float64(size.Rows), "B/row")
}
