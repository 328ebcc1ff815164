package azuretest

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
)

// units of the metrics that a Container App has here
// (https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-app-containerapps-metrics).
var units = map[string]string{"UsageNanoCores": "NanoCores", "WorkingSetBytes": "Bytes"}

var podFilter = regexp.MustCompile(`^(?i:podName) eq '([^']+)'$`)

// figures are the metrics of a replica.
type figures map[string]float64

// Former is a replica that has gone and that Azure Monitor tells of for some minutes more.
const Former = "former-0a1b2c3d-4e5f6"

// metrics answers as Azure Monitor does (https://learn.microsoft.com/rest/api/monitor/metrics/list):
// for each metric and replica a minute without a figure, one with what the
// container takes in Docker, and the one that goes on, whose figure is not in yet.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	from, until, span := strings.Cut(q.Get("timespan"), "/")
	since, err1 := time.Parse(time.RFC3339, from)
	to, err2 := time.Parse(time.RFC3339, until)
	top := 10
	if given := q.Get("top"); given != "" {
		top, _ = strconv.Atoi(given)
	}
	split := podFilter.FindStringSubmatch(q.Get("$filter"))
	names := strings.Split(q.Get("metricnames"), ",")
	if !span || err1 != nil || err2 != nil || !since.Before(to) || split == nil || top < 1 || q.Get("api-version") != "2023-10-01" ||
		!strings.EqualFold(q.Get("metricnamespace"), "Microsoft.App/containerapps") || q.Get("interval") != "PT1M" || q.Get("aggregation") != "Average" {
		refuse(w, http.StatusBadRequest, "BadRequest", "The query is not one of those that are known here: %s", r.URL.RawQuery)
		return
	}
	for _, name := range names {
		if units[name] == "" {
			refuse(w, http.StatusBadRequest, "BadRequest", "Failed to find metric configuration for provider: Microsoft.App, resource Type: containerapps, metric: %s", name)
			return
		}
	}
	taken := s.takenBy(r.Context(), r.PathValue("app"))
	if taken == nil {
		refuse(w, http.StatusNotFound, "ResourceNotFound", "The Resource 'Microsoft.App/containerApps/%s' under resource group '%s' was not found.", r.PathValue("app"), Group)
		return
	}
	values := []any{}
	for _, name := range names {
		series := []any{}
		for replica, f := range taken {
			if len(series) < top && (split[1] == "*" || strings.EqualFold(split[1], replica)) {
				series = append(series, map[string]any{"metadatavalues": []any{map[string]any{"name": localized("podname"), "value": replica}}, "data": points(f[name], since, to)})
			}
		}
		values = append(values, map[string]any{"id": r.URL.Path + "/" + name, "type": "Microsoft.Insights/metrics", "name": localized(name), "unit": units[name], "timeseries": series, "errorCode": "Success"})
	}
	answer(w, http.StatusOK, map[string]any{"cost": 0, "timespan": q.Get("timespan"), "interval": "PT1M", "namespace": "Microsoft.App/containerapps", "resourceregion": Location, "value": values})
}

func localized(name string) map[string]any {
	return map[string]any{"value": name, "localizedValue": name}
}

// points are the minutes between two times. Only the last that has ended has a figure.
func points(figure float64, since, until time.Time) (out []any) {
	ended := until.Truncate(time.Minute).Add(-time.Minute)
	for at := since.Truncate(time.Minute); at.Before(until); at = at.Add(time.Minute) {
		p := map[string]any{"timeStamp": at.UTC().Format(time.RFC3339)}
		if at.Equal(ended) {
			p["average"] = figure
		}
		out = append(out, p)
	}
	return out
}

// takenBy is what each replica of the app takes; nil: there is no such app.
func (s *Server) takenBy(ctx context.Context, name string) map[string]figures {
	containers := map[string]string{}
	s.mu.Lock()
	a := s.apps[name]
	if a != nil {
		for _, rev := range a.revisions {
			for _, replica := range rev.replicas {
				if replica.started {
					containers[replica.name] = replica.id
				}
			}
		}
	}
	s.mu.Unlock()
	if a == nil {
		return nil
	}
	out := map[string]figures{Former: {"UsageNanoCores": 1e9, "WorkingSetBytes": 1 << 30}}
	var asking sync.WaitGroup
	var mu sync.Mutex
	for replica, id := range containers {
		asking.Go(func() {
			if f := s.statsOf(ctx, id); f != nil {
				mu.Lock()
				defer mu.Unlock()
				out[replica] = f
			}
		})
	}
	asking.Wait()
	return out
}

// statsOf is what docker stats says of the container over a second; nil: it does not run.
func (s *Server) statsOf(ctx context.Context, id string) figures {
	res, err := s.docker.ContainerStats(ctx, id, false)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	var now container.StatsResponse
	if json.NewDecoder(res.Body).Decode(&now) != nil || now.CPUStats.CPUUsage.TotalUsage == 0 {
		return nil
	}
	f := figures{"UsageNanoCores": 0, "WorkingSetBytes": float64(now.MemoryStats.Usage - now.MemoryStats.Stats["inactive_file"])}
	if past := now.Read.Sub(now.PreRead); past > 0 && !now.PreRead.IsZero() {
		f["UsageNanoCores"] = float64(now.CPUStats.CPUUsage.TotalUsage-now.PreCPUStats.CPUUsage.TotalUsage) / past.Seconds()
	}
	return f
}
