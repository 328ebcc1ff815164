package googletest

import (
	"context"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"google.golang.org/api/monitoring/v3"
)

var (
	seriesFilter = regexp.MustCompile(`^metric\.type = "([^"]+)" AND resource\.type = "cloud_run_revision" AND resource\.labels\.location = "([^"]+)" AND resource\.labels\.revision_name = one_of\("([^)]+)"\)$`)
	ownMetrics   = map[string]bool{"run.googleapis.com/container/cpu/utilizations": true, "run.googleapis.com/container/memory/utilizations": true}
)

// listSeries answers as Cloud Monitoring does
// (https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list): for each revision of which
// instances run a minute in which none was measured, and before it one with what their containers take in Docker.
func (c *Cloud) listSeries(q *call) (any, error) {
	ask := q.URL.Query()
	m := seriesFilter.FindStringSubmatch(ask.Get("filter"))
	from, err1 := time.Parse(time.RFC3339, ask.Get("interval.startTime"))
	to, err2 := time.Parse(time.RFC3339, ask.Get("interval.endTime"))
	if m == nil || err1 != nil || err2 != nil || !from.Before(to) {
		return nil, refuse(400, "INVALID_ARGUMENT", "The filter or the interval is not known here: %s", q.URL.RawQuery)
	}
	if !ownMetrics[m[1]] {
		return nil, refuse(404, "NOT_FOUND", "Cannot find metric(s) that match type = \"%s\".", m[1])
	}
	out := &monitoring.ListTimeSeriesResponse{}
	for _, name := range strings.Split(m[3], `","`) {
		shares := c.sharesOf(q.Context(), name, m[1])
		if len(shares) == 0 || m[2] != Region {
			continue
		}
		mean := 0.0
		for _, s := range shares {
			mean += s / float64(len(shares))
		}
		point := func(end time.Time, d *monitoring.Distribution) *monitoring.Point {
			return &monitoring.Point{Interval: &monitoring.TimeInterval{EndTime: end.UTC().Format(time.RFC3339)}, Value: &monitoring.TypedValue{DistributionValue: d}}
		}
		minute := to.Truncate(time.Minute)
		out.TimeSeries = append(out.TimeSeries, &monitoring.TimeSeries{
			Resource: &monitoring.MonitoredResource{Labels: map[string]string{"project_id": Project, "location": Region, "revision_name": name}},
			Points:   []*monitoring.Point{point(minute, &monitoring.Distribution{}), point(minute.Add(-time.Minute), &monitoring.Distribution{Count: int64(len(shares)), Mean: mean})},
		})
	}
	return seen(out), nil
}

// sharesOf is what each running instance of the revision takes of what it may.
func (c *Cloud) sharesOf(ctx context.Context, name, metric string) (out []float64) {
	c.mu.Lock()
	var ids []string
	may := map[string]string{}
	for _, s := range c.services {
		if r := s.revisions[name]; r != nil {
			may = r.Containers[0].Resources.Limits
			for _, i := range r.up {
				ids = append(ids, i.docker)
			}
		}
	}
	c.mu.Unlock()
	for _, id := range ids {
		cores, bytes, ok := c.stats(ctx, id)
		cpu, _ := strconv.ParseFloat(may["cpu"], 64)
		memory, _ := strconv.ParseFloat(strings.TrimSuffix(may["memory"], "Mi"), 64)
		switch {
		case !ok:
		case strings.Contains(metric, "/cpu/"):
			out = append(out, cores/cpu)
		default:
			out = append(out, bytes/(memory*(1<<20)))
		}
	}
	return out
}

// stats is what docker stats says of the container over a second.
func (c *Cloud) stats(ctx context.Context, id string) (cores, bytes float64, ok bool) {
	res, err := c.docker.ContainerStats(ctx, id, false)
	if err != nil {
		return 0, 0, false
	}
	defer res.Body.Close()
	var now container.StatsResponse
	if json.NewDecoder(res.Body).Decode(&now) != nil || now.CPUStats.CPUUsage.TotalUsage == 0 {
		return 0, 0, false
	}
	if past := now.Read.Sub(now.PreRead); past > 0 && !now.PreRead.IsZero() {
		cores = float64(now.CPUStats.CPUUsage.TotalUsage-now.PreCPUStats.CPUUsage.TotalUsage) / 1e9 / past.Seconds()
	}
	return cores, float64(now.MemoryStats.Usage - now.MemoryStats.Stats["inactive_file"]), true
}
