package handlers

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/services/proxy"
)

// Check is one thing that Slipway needs to do its work.
type Check struct {
	Name string // such as database
	Run  func(ctx context.Context) error
}

const checkTimeout = 3 * time.Second

// system answers those who run Slipway: load balancers and monitoring.
type system struct {
	checks  []Check
	metrics *metrics
}

func (r *routes) system(s *system) {
	open := r.group(accessOpen)
	open.GET("/healthz", s.alive)
	open.GET("/readyz", s.ready)
	open.GET("/metrics", s.numbers)
}

func (s *system) alive(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

// readiness is the answer of /readyz.
type readiness struct {
	Status string       `json:"status"` // ok or failing
	Checks []dependency `json:"checks"`
}

type dependency struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

// ready asks every dependency at once. Strangers read only messages that are meant for people.
func (s *system) ready(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), checkTimeout)
	defer cancel()
	out := readiness{Status: "ok", Checks: make([]dependency, len(s.checks))}
	var wg sync.WaitGroup
	for i, check := range s.checks {
		wg.Go(func() { out.Checks[i] = check.look(ctx) })
	}
	wg.Wait()
	status := http.StatusOK
	if slices.ContainsFunc(out.Checks, func(d dependency) bool { return d.Status != "ok" }) {
		out.Status, status = "failing", http.StatusServiceUnavailable
	}
	return c.JSON(status, out)
}

func (check Check) look(ctx context.Context) dependency {
	err := check.Run(ctx)
	if err == nil {
		return dependency{Name: check.Name, Status: "ok"}
	}
	slog.WarnContext(ctx, "a dependency is not ready", "name", check.Name, "error", err)
	return dependency{Name: check.Name, Status: "failing", Error: "It does not answer; the log has the reason."}
}

// numbers are for programs on this machine, which need no token where no proxy
// stands between, and for tokens of admins.
func (s *system) numbers(c echo.Context) error {
	r := c.Request()
	if !s.local(r) {
		if err := models.AuthorizeAdmin(r.Context()); err != nil {
			return err
		}
	}
	s.metrics.handler.ServeHTTP(c.Response(), r)
	return nil
}

func (s *system) local(r *http.Request) bool {
	for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	return proxy.Peer(r).IsLoopback()
}

// wrap makes a plain handler one of echo's.
func wrap(h http.Handler) echo.HandlerFunc {
	return func(c echo.Context) error {
		h.ServeHTTP(c.Response(), c.Request())
		return nil
	}
}
