// Package google runs deployments on Google Cloud Run. Each app in an environment
// is a service; each release is a revision of it, beside the one that serves, and
// the service's traffic moves from one to the other
// (https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration).
//
// A release is there for as long as the service's traffic has an entry with its
// tag: the tag is the release's own address, the entry's percentage its visitors.
// A revision without an entry holds no instances and is as good as gone; Cloud Run
// keeps the newest one of a service, and deletes others when it is asked to.
package google

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"slipway.dev/services/deploy"
)

// KindName is how targets of the kind are stored.
const KindName = "google-cloud-run"

// Kind is the kind of target for Google Cloud Run.
func Kind() deploy.Kind {
	return kind(pace{look: 2 * time.Second, follow: 3 * time.Second, listen: 6 * time.Second, settle: 8 * time.Second, backoff: time.Second})
}

// pace is how often Google is asked. Tests ask more often.
type pace struct {
	look    time.Duration // at what is under way
	follow  time.Duration // for new lines of logs that somebody reads
	listen  time.Duration // for what an app says while it starts: a project may ask Cloud Logging 60 times a minute
	settle  time.Duration // for lines of what has ended to arrive in Cloud Logging
	backoff time.Duration // before the first repetition of a call that Google had no time for
}

func kind(p pace) deploy.Kind {
	return deploy.Kind{
		Name:       KindName,
		Title:      "Google Cloud Run",
		Help:       "Each app is a service of Cloud Run, each release a revision of it. Visitors come through Google's own front end.",
		Routes:     true,
		Splits:     true,
		Means:      true,
		Heals:      true,
		Pulls:      true,
		Mirrors:    true,
		Federation: "google",
		Fields:     fields,
		Prices:     prices,
		PricesOf:   "regions of the first tier",
		Estimate:   estimate,
		Open: func(c deploy.Config) (deploy.Target, error) {
			s, err := readSettings(c)
			if err != nil {
				return nil, err
			}
			return &target{Config: c, settings: s, pace: p, base: http.DefaultTransport.(*http.Transport).Clone()}, nil
		},
	}
}

type target struct {
	deploy.Config
	settings settings
	pace     pace
	base     *http.Transport

	mu  sync.Mutex
	own map[deploy.Subject]*api // by whom calls speak for

	feed     feed
	readings readings
}

// Dial connects to an address of Google's front end.
func (t *target) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return d.DialContext(ctx, network, address)
}

// Close ends idle connections.
func (t *target) Close() error {
	t.base.CloseIdleConnections()
	return nil
}
