package handlers

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"slipway.dev/handlers/middleware"
	"slipway.dev/services/jobs"
)

// metrics counts requests for Prometheus.
type metrics struct {
	handler  http.Handler
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
}

func newMetrics(o Options, queue *jobs.Queue) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_http_requests_total", Help: "Requests answered, by part of the portal, method and status.",
		}, []string{"part", "method", "status"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_http_request_seconds", Help: "Time to answer, by part of the portal; streams are left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"part"}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "slipway_info", Help: "Always 1; the label tells the version.", ConstLabels: prometheus.Labels{"version": o.Version},
	})
	info.Set(1)
	r := prometheus.NewRegistry()
	r.MustRegister(m.requests, m.took, info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(backlog{queue})
	m.handler = promhttp.HandlerFor(r, promhttp.HandlerOpts{})
	return m
}

func (m *metrics) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, rec := time.Now(), middleware.Record(w)
		defer func() {
			part := partOf(r.URL.Path)
			m.requests.WithLabelValues(part, methodOf(r.Method), strconv.Itoa(rec.Status)).Inc()
			if !middleware.IsStream(r) {
				m.took.WithLabelValues(part).Observe(time.Since(start).Seconds())
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

// partOf keeps the number of label values small, whatever is asked for.
func partOf(path string) string {
	for _, p := range []struct{ prefix, name string }{
		{"/api/", "api"}, {"/v2/", "registry"}, {"/registry/", "registry"}, {"/idp/", "idp"}, {"/assets/", "assets"}, {"/live", "live"},
	} {
		if strings.HasPrefix(path, p.prefix) {
			return p.name
		}
	}
	return "pages"
}

func methodOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return method
	}
	return "other"
}

// backlog tells what the queue holds and how many workers live, as the database says at that moment.
type backlog struct{ queue *jobs.Queue }

var (
	jobsDesc    = prometheus.NewDesc("slipway_jobs", "Jobs that wait or run, by queue and state.", []string{"queue", "state"}, nil)
	workersDesc = prometheus.NewDesc("slipway_workers", "Workers that live.", nil, nil)
)

func (backlog) Describe(to chan<- *prometheus.Desc) { to <- jobsDesc; to <- workersDesc }

func (b backlog) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	alive, err := b.queue.Alive(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(workersDesc, err)
		return
	}
	to <- prometheus.MustNewConstMetric(workersDesc, prometheus.GaugeValue, float64(alive))
	depths, err := b.queue.Depths(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(jobsDesc, err)
		return
	}
	for _, d := range depths {
		to <- prometheus.MustNewConstMetric(jobsDesc, prometheus.GaugeValue, float64(d.Jobs), d.Queue, d.State)
	}
}
