package google

import (
	"context"
	"net/http"
	"time"

	"google.golang.org/api/logging/v2"
	"google.golang.org/api/monitoring/v3"
	"google.golang.org/api/option"
	"google.golang.org/api/run/v2"
	"google.golang.org/api/secretmanager/v1"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/googlelogin"
)

const (
	callTime    = 60 * time.Second // for one call, its repetitions with it
	maxSubjects = 200              // whose clients are kept
)

// api is Google's APIs as one subject calls them.
type api struct {
	*run.Service
	http    *http.Client // for calls that are no part of the four
	secrets *secretmanager.Service
	logs    *logging.Service
	metrics *monitoring.Service
}

// as returns the APIs for calls that speak for the subject.
func (t *target) as(of deploy.Subject) (*api, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if have, ok := t.own[of]; ok {
		return have, nil
	}
	made, err := t.connect(of)
	if err != nil {
		return nil, err
	}
	if t.own == nil || len(t.own) >= maxSubjects {
		t.own = map[deploy.Subject]*api{}
	}
	t.own[of] = made
	return made, nil
}

func (t *target) connect(of deploy.Subject) (*api, error) {
	signed := &signing{target: t, tokens: t.settings.Tokens(of, t.base)}
	a := &api{http: &http.Client{Transport: signed, Timeout: callTime, CheckRedirect: googlelogin.Stay}}
	ctx := context.Background() // the clients keep nothing of it
	options := func(service string) []option.ClientOption {
		return []option.ClientOption{option.WithHTTPClient(a.http), option.WithEndpoint(t.settings.At(service)), option.WithUserAgent("slipway")}
	}
	var err error
	if a.Service, err = run.NewService(ctx, options("run")...); err != nil {
		return nil, err
	}
	if a.secrets, err = secretmanager.NewService(ctx, options("secretmanager")...); err != nil {
		return nil, err
	}
	if a.logs, err = logging.NewService(ctx, options("logging")...); err != nil {
		return nil, err
	}
	a.metrics, err = monitoring.NewService(ctx, options("monitoring")...)
	return a, err
}

// whole returns the APIs for calls of the target as a whole.
func (t *target) whole() (*api, error) { return t.as(deploy.Subject{}) }
