package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// checks are the container's startup and readiness probes.
type checks struct {
	p       *pod
	started bool
	misses  int32
	ready   bool
	next    time.Time
}

func (p *pod) newChecks() *checks { return &checks{p: p, started: p.app.StartupProbe == nil} }

// ask runs the probe whose turn it is. Kill says that the startup probe failed once too often.
func (c *checks) ask(ctx context.Context, ip string) (ready, started, kill bool) {
	probe, kind := c.p.app.ReadinessProbe, "Readiness"
	if !c.started {
		probe, kind = c.p.app.StartupProbe, "Startup"
	}
	if probe == nil {
		c.ready = true
		return c.ready, c.started, false
	}
	if time.Now().Before(c.next) {
		return c.ready, c.started, false
	}
	c.next = time.Now().Add(time.Duration(max(probe.PeriodSeconds, 1)) * time.Second)
	err := c.once(ctx, ip, probe)
	if ctx.Err() != nil {
		return c.ready, c.started, false
	}
	if err != nil {
		c.p.events.Eventf(c.p.Pod, corev1.EventTypeWarning, "Unhealthy", "%s probe failed: %v", kind, err)
		c.misses++
		if c.started && c.misses >= max(probe.FailureThreshold, 1) {
			c.ready = false
		}
		return c.ready, c.started, !c.started && c.misses >= max(probe.FailureThreshold, 1)
	}
	c.misses = 0
	if !c.started {
		c.started, c.next = true, time.Time{}
		return c.ask(ctx, ip)
	}
	c.ready = true
	return c.ready, c.started, false
}

// once asks as a kubelet does, and says what went wrong in its words.
func (c *checks) once(ctx context.Context, ip string, probe *corev1.Probe) error {
	limit := time.Duration(max(probe.TimeoutSeconds, 1)) * time.Second
	switch {
	case probe.HTTPGet != nil:
		client := &http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(ip, strconv.Itoa(probe.HTTPGet.Port.IntValue()))+probe.HTTPGet.Path, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode < 200 || res.StatusCode >= 400 {
			return fmt.Errorf("HTTP probe failed with statuscode: %d", res.StatusCode)
		}
	case probe.TCPSocket != nil:
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip, strconv.Itoa(probe.TCPSocket.Port.IntValue())), limit)
		if err != nil {
			return err
		}
		conn.Close()
	}
	return nil
}
