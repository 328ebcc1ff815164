package azure

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// metricsRight lets Azure Monitor be asked. A rollout does not need it.
const metricsRight = "Microsoft.Insights/metrics/read"

// Azure Monitor is asked once a minute for each app, though observe calls Usage
// every 15 seconds: it has one figure a minute, and what is asked for counts. A
// standard call of the price list is 1,440 figures; a question looks at 12 for each
// replica, which makes some 350 standard calls a month for a replica and a worker.
// The list has a million of a month for nothing
// (https://azure.microsoft.com/pricing/details/monitor/). An application may read
// 25 times a second in a subscription
// (https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling):
// with many apps each is asked less often, so that it is at most 5 on average.
const (
	readingAge    = time.Minute
	readingPerApp = 200 * time.Millisecond
	readingsBack  = 5 * time.Minute // a minute's figures come one to three minutes after it
	readingTime   = 10 * time.Second
	readingsMost  = 1000 // replicas of one app, which has 1000 at most; Azure Monitor tells of 10 unless asked for more
	readAtOnce    = 8
)

// The metrics of a Container App that count
// (https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-app-containerapps-metrics).
const (
	metricsOf     = "Microsoft.App/containerapps"
	cpuMetric     = "UsageNanoCores"
	memoryMetric  = "WorkingSetBytes"
	replicaOf     = "podName" // the dimension, whose name comes back in small letters
	metricVersion = "2023-10-01"
)

// reading is what Azure Monitor said last of an app's replicas, by their names.
type reading struct {
	at   time.Time
	used map[string]deploy.Usage
}

// Usage returns what each replica took in the newest minute of which Azure
// Monitor knows: some minutes back, and as it was asked a minute ago at most.
// Where Slipway may not ask, or Azure Monitor does not answer, nothing is known.
func (t *target) Usage(ctx context.Context) ([]deploy.Usage, error) {
	all, err := t.ownApps(ctx)
	if err != nil {
		return nil, err
	}
	many := time.Duration(len(all))
	found, faults := make([][]deploy.Usage, len(all)), make([]error, len(all))
	room := make(chan struct{}, readAtOnce)
	var asking sync.WaitGroup
	for n, app := range all {
		room <- struct{}{}
		asking.Go(func() {
			defer func() { <-room }()
			found[n], faults[n] = t.usageOf(ctx, app, viewAge+many*viewPerApp, readingAge+many*readingPerApp)
		})
	}
	asking.Wait()
	t.keepReadings(all)
	for _, err := range faults {
		if err != nil {
			return nil, err
		}
	}
	return append([]deploy.Usage{}, slices.Concat(found...)...), nil
}

// usageOf returns what the app's replicas take, of those that run: Azure Monitor
// tells of others for some minutes.
func (t *target) usageOf(ctx context.Context, app *aca.ContainerApp, seen, read time.Duration) ([]deploy.Usage, error) {
	out := []deploy.Usage{}
	instances, err := t.see(ctx, app, seen)
	if missing(err) {
		return out, nil
	}
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err)
	}
	used, err := t.readingsOf(ctx, app, read)
	if err != nil {
		return nil, err
	}
	for _, i := range instances {
		if u, known := used[strings.ToLower(i.Name)]; known {
			u.Instance = i.ID
			out = append(out, u)
		}
	}
	return out, nil
}

// readingsOf returns what Azure Monitor said at most so long ago.
func (t *target) readingsOf(ctx context.Context, app *aca.ContainerApp, age time.Duration) (map[string]deploy.Usage, error) {
	name := value(app.Name)
	t.mu.Lock()
	last, known := t.readings[name]
	t.mu.Unlock()
	if known && time.Since(last.at) < age {
		return last.used, nil
	}
	next := reading{at: time.Now(), used: map[string]deploy.Usage{}}
	answer, err := t.metrics(ctx, name, next.at)
	switch {
	case ctx.Err() != nil:
		return nil, t.explain(ctx, deploy.StageTarget, err)
	case err == nil:
		next.used = answer.used()
	case azurelogin.Status(err) == http.StatusForbidden, missing(err), passing(err):
		// Nothing is known, and it is asked again when it is time: to ask a busy service more makes nothing better.
	default:
		return nil, fmt.Errorf("azure: reading the metrics of %s: %w", name, err)
	}
	t.mu.Lock()
	t.readings[name] = next
	t.mu.Unlock()
	return next.used, nil
}

// keepReadings forgets what was read of apps that there are no more.
func (t *target) keepReadings(all []*aca.ContainerApp) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.readings, func(name string, _ reading) bool {
		return !slices.ContainsFunc(all, func(app *aca.ContainerApp) bool { return value(app.Name) == name })
	})
}

// metrics asks Azure Monitor for the last minutes of both metrics, for each replica
// (https://learn.microsoft.com/rest/api/monitor/metrics/list). The other call, for
// many apps at once, is at addresses of each region's own, which a target with a
// private endpoint or a sovereign cloud would have to be told.
func (t *target) metrics(ctx context.Context, app string, now time.Time) (metricsAnswer, error) {
	q := url.Values{
		"metricnamespace": {metricsOf}, "metricnames": {cpuMetric + "," + memoryMetric},
		"aggregation": {"Average"}, "interval": {"PT1M"}, "$filter": {replicaOf + " eq '*'"}, "top": {strconv.Itoa(readingsMost)},
		"timespan": {now.Add(-readingsBack).UTC().Format(time.RFC3339) + "/" + now.UTC().Format(time.RFC3339)},
	}
	var answer metricsAnswer
	once := policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1, TryTimeout: readingTime})
	err := t.askFor(once, http.MethodGet, t.settings.GroupID()+"/providers/Microsoft.App/containerApps/"+app+"/providers/Microsoft.Insights/metrics", metricVersion, q, &answer)
	return answer, err
}

// metricsAnswer is Azure Monitor's: of each metric a series for each replica. A minute without an average has none yet.
type metricsAnswer struct {
	Value []struct {
		Name   localizable `json:"name"`
		Series []struct {
			Dimensions []struct {
				Name  localizable `json:"name"`
				Value string      `json:"value"`
			} `json:"metadatavalues"`
			Data []point `json:"data"`
		} `json:"timeseries"`
	} `json:"value"`
}

type localizable struct {
	Value string `json:"value"`
}

type point struct {
	At      time.Time `json:"timeStamp"`
	Average *float64  `json:"average"`
}

// used returns what each replica took, by its name, where both figures are known.
func (a metricsAnswer) used() map[string]deploy.Usage {
	newest := map[string]map[string]float64{}
	for _, metric := range a.Value {
		of := map[string]float64{}
		for _, series := range metric.Series {
			v, known := latest(series.Data)
			for _, d := range series.Dimensions {
				if known && strings.EqualFold(d.Name.Value, replicaOf) {
					of[strings.ToLower(d.Value)] = v
				}
			}
		}
		newest[strings.ToLower(metric.Name.Value)] = of
	}
	out := map[string]deploy.Usage{}
	memory := newest[strings.ToLower(memoryMetric)]
	for replica, cores := range newest[strings.ToLower(cpuMetric)] {
		if bytes, known := memory[replica]; known {
			out[replica] = deploy.Usage{CPU: int64(math.Round(cores / 1e6)), Memory: int64(bytes)}
		}
	}
	return out
}

// latest is the newest average.
func latest(data []point) (v float64, known bool) {
	var at time.Time
	for _, p := range data {
		if p.Average != nil && (!known || p.At.After(at)) {
			v, at, known = *p.Average, p.At, true
		}
	}
	return v, known
}
