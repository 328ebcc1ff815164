package google

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/monitoring/v3"
	"google.golang.org/api/run/v2"
	"slipway.dev/services/deploy"
)

// metricsRight lets Cloud Monitoring be asked. A rollout does not need it.
var metricsRight = right{"roles/monitoring.viewer", []string{"monitoring.timeSeries.list"}}

// Cloud Monitoring is asked once a minute, though observe calls Usage every 15
// seconds: Cloud Run has one figure a minute, which is to be seen up to two minutes
// later. A question is about one metric of at most revisionsPerQuestion revisions. It
// counts what it gives: two series for each revision and minute are some 86,000 of a
// month, of which Google gives a billing account a million for nothing
// (https://cloud.google.com/stackdriver/pricing).
const (
	readingAge           = time.Minute
	readingsBack         = 5 * time.Minute
	revisionsPerQuestion = 20 // a filter takes so many names of 45 characters
	maxSeries            = 100_000
)

// The metrics of a revision that count: how much its instances take of what each may,
// as a distribution over all of them (https://cloud.google.com/monitoring/api/metrics_gcp#gcp-run).
const (
	cpuMetric    = "run.googleapis.com/container/cpu/utilizations"
	memoryMetric = "run.googleapis.com/container/memory/utilizations"
)

// share is what a revision's instances take in the mean, of what each may.
type share struct{ cpu, memory float64 }

// readings are what Cloud Monitoring said last, by the names of revisions.
type readings struct {
	asking sync.Mutex // so that only one asks; it guards the rest too
	at     time.Time
	of     []string // the revisions that it was asked for, in order
	shares map[string]share
}

// Usage returns for each instance the mean of all instances of its release in the
// newest minute of which Cloud Monitoring knows: Google tells of no instance by
// itself. Where Slipway may not ask, or Google does not answer, nothing is known.
func (t *target) Usage(ctx context.Context) ([]deploy.Usage, error) {
	out := []deploy.Usage{}
	a, err := t.whole()
	if err != nil {
		return nil, err
	}
	all, err := t.services(ctx, a)
	if err != nil || len(all) == 0 {
		return out, err
	}
	made, err := t.revisions(ctx, a, "-")
	if err != nil {
		return nil, err
	}
	shares, err := t.sharesOf(ctx, a, runningOf(all, made))
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		for _, e := range s.Traffic {
			took, known := shares[e.Revision]
			may, ok := limitsOf(made[e.Revision])
			if e.Tag == "" || !known || !ok {
				continue
			}
			for _, i := range instances(s, e, made[e.Revision]) {
				out = append(out, deploy.Usage{Instance: i.ID, CPU: partOf(took.cpu, may.cpu), Memory: partOf(took.memory, may.memory)})
			}
		}
	}
	return out, nil
}

func partOf(part float64, all int64) int64 { return int64(math.Round(part * float64(all))) }

// runningOf are the revisions that releases have, in order.
func runningOf(all []*run.GoogleCloudRunV2Service, made map[string]*run.GoogleCloudRunV2Revision) (names []string) {
	for _, s := range all {
		for _, e := range s.Traffic {
			if e.Tag != "" && made[e.Revision] != nil {
				names = append(names, e.Revision)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// limits are what an instance may take: thousandths of a processor, and bytes.
type limits struct{ cpu, memory int64 }

// limitsOf reads the limits that Slipway writes.
func limitsOf(r *run.GoogleCloudRunV2Revision) (limits, bool) {
	if r == nil || len(r.Containers) == 0 || r.Containers[0].Resources == nil {
		return limits{}, false
	}
	of := r.Containers[0].Resources.Limits
	cpu, err1 := strconv.ParseInt(of["cpu"], 10, 32)
	memory, err2 := strconv.ParseInt(strings.TrimSuffix(of["memory"], "Mi"), 10, 32)
	return limits{cpu * 1000, memory << 20}, err1 == nil && err2 == nil
}

// sharesOf returns what Cloud Monitoring said a minute ago at most, and asks it at
// once where a revision is new. It is not to be changed.
func (t *target) sharesOf(ctx context.Context, a *api, revisions []string) (map[string]share, error) {
	t.readings.asking.Lock()
	defer t.readings.asking.Unlock()
	isNew := func(name string) bool { _, found := slices.BinarySearch(t.readings.of, name); return !found }
	if time.Since(t.readings.at) < readingAge && !slices.ContainsFunc(revisions, isNew) {
		return t.readings.shares, nil
	}
	at := time.Now()
	found, err := t.read(ctx, a, revisions, at)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && untold(err):
		found = map[string]share{} // nothing is known, and it is asked again when it is time
	case err != nil:
		return nil, fmt.Errorf("google: reading what instances take: %w", err)
	}
	t.readings.at, t.readings.of, t.readings.shares = at, revisions, found
	return found, nil
}

// untold tells of answers after which nothing is known: that Slipway may not ask, that
// the API is off, and that Google has no time or no connection, in which to ask more mends nothing.
func untold(err error) bool {
	code := status(err)
	return code == 0 || code == http.StatusForbidden || code == http.StatusTooManyRequests || code >= http.StatusInternalServerError
}

// read asks for both metrics of the revisions, of which those count that have both.
func (t *target) read(ctx context.Context, a *api, revisions []string, now time.Time) (map[string]share, error) {
	out := map[string]share{}
	for some := range slices.Chunk(revisions, revisionsPerQuestion) {
		cpu, err := t.means(ctx, a, cpuMetric, some, now)
		if err != nil {
			return nil, err
		}
		memory, err := t.means(ctx, a, memoryMetric, some, now)
		if err != nil {
			return nil, err
		}
		for name, part := range cpu {
			if of, known := memory[name]; known {
				out[name] = share{part, of}
			}
		}
	}
	return out, nil
}

// means are the newest means of the metric, by the names of the revisions
// (https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list).
func (t *target) means(ctx context.Context, a *api, metric string, revisions []string, now time.Time) (map[string]float64, error) {
	newest, at, count := map[string]float64{}, map[string]string{}, 0
	ask := a.metrics.Projects.TimeSeries.List("projects/"+t.settings.Project).Filter(t.ofRevisions(metric, revisions)).
		IntervalStartTime(now.Add(-readingsBack).UTC().Format(time.RFC3339)).IntervalEndTime(now.UTC().Format(time.RFC3339)).
		Fields("nextPageToken", "timeSeries(resource/labels,points(interval/endTime,value/distributionValue(count,mean)))")
	err := ask.Pages(ctx, func(p *monitoring.ListTimeSeriesResponse) error {
		for _, s := range p.TimeSeries {
			if count++; count > maxSeries {
				return errEnough
			}
			name := revisionLabel(s)
			if end, mean, known := latest(s.Points); known && name != "" && end > at[name] {
				newest[name], at[name] = mean, end
			}
		}
		return nil
	})
	if err == errEnough {
		err = nil
	}
	return newest, err
}

// ofRevisions is a filter for the metric of the revisions
// (https://cloud.google.com/monitoring/api/v3/filters). Names of revisions have no quotes.
func (t *target) ofRevisions(metric string, revisions []string) string {
	return fmt.Sprintf(`metric.type = "%s" AND resource.type = "cloud_run_revision" AND resource.labels.location = "%s" AND resource.labels.revision_name = one_of("%s")`,
		metric, t.settings.region, strings.Join(revisions, `","`))
}

func revisionLabel(s *monitoring.TimeSeries) string {
	if s.Resource == nil {
		return ""
	}
	return s.Resource.Labels["revision_name"]
}

// latest is the mean of the newest minute that instances were measured in.
func latest(all []*monitoring.Point) (end string, mean float64, known bool) {
	for _, p := range all {
		if p.Interval == nil || p.Value == nil || p.Value.DistributionValue == nil || p.Value.DistributionValue.Count == 0 {
			continue
		}
		if p.Interval.EndTime > end { // of one form, so that texts are in the order of their times
			end, mean, known = p.Interval.EndTime, p.Value.DistributionValue.Mean, true
		}
	}
	return end, mean, known
}

// checkMetrics looks whether it can be told what instances take. Nothing of it speaks against a rollout.
func (t *target) checkMetrics(ctx context.Context, a *api) (deploy.Check, error) {
	c := deploy.Check{Name: "CPU and memory in use", OK: true, Message: "Cloud Monitoring tells the mean of a release's instances, a minute or two late."}
	now := time.Now().UTC()
	_, err := a.metrics.Projects.TimeSeries.List("projects/" + t.settings.Project).Filter(t.ofRevisions(cpuMetric, []string{"none"})).
		IntervalStartTime(now.Add(-time.Minute).Format(time.RFC3339)).IntervalEndTime(now.Format(time.RFC3339)).PageSize(1).Fields(googleapi.Field("nextPageToken")).Context(ctx).Do()
	switch {
	case err == nil:
	case isOff(err):
		c.Message = "Not shown: the API monitoring.googleapis.com is off in the project. To see them, switch it on (gcloud services enable monitoring.googleapis.com)."
	case status(err) == http.StatusForbidden:
		c.Message = fmt.Sprintf("Not shown: Slipway's account lacks the permission %s in the project %s. To see them, grant it %s.", metricsRight.permissions[0], t.settings.Project, metricsRight.role)
	case untold(err):
		c.Message = "Not looked at: Cloud Monitoring gives no answer now."
	default:
		return c, t.explain(ctx, deploy.StageTarget, err, "metrics")
	}
	return c, nil
}
