// Package azure runs deployments in Azure Container Apps. An app in an
// environment is one Container App; each release is a revision of its own
// beside the one that serves, and the app's traffic moves from one to the
// other (https://learn.microsoft.com/azure/container-apps/blue-green-deployment).
//
// What is made carries the tag slipway-target; nothing without it is touched.
package azure

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/services/deploy"
)

// KindName is how targets of the kind are stored.
const KindName = "azure-container-apps"

// way is how Azure is reached: tests have servers of their own.
type way struct {
	client *http.Client  // nil: one of the target's own
	every  time.Duration // between looks at what goes on
	retry  time.Duration // before a call that failed for now comes again, at first
}

// Kind is the kind of target for an environment of Azure Container Apps.
func Kind() deploy.Kind {
	return kind(way{every: 2 * time.Second, retry: time.Second})
}

func kind(w way) deploy.Kind {
	return deploy.Kind{
		Name:       KindName,
		Title:      "Azure Container Apps",
		Help:       "An environment of Azure Container Apps. Each app gets a Container App there, and each release a revision; visitors come through Azure's own ingress, over HTTPS.",
		Routes:     true,
		Splits:     true,
		Heals:      true,
		Pulls:      true,
		Mirrors:    true,
		Federation: "azure",
		Fields:     fields(),
		Prices:     prices(),
		PricesOf:   pricesOf,
		Estimate:   estimate,
		Open:       func(c deploy.Config) (deploy.Target, error) { return open(c, w) },
	}
}

type target struct {
	id       string
	settings settings
	way      way

	apps         *aca.ContainerAppsClient
	revisions    *aca.ContainerAppsRevisionsClient
	replicas     *aca.ContainerAppsRevisionReplicasClient
	jobs         *aca.JobsClient
	executions   *aca.JobsExecutionsClient
	environments *aca.ManagedEnvironmentsClient
	usages       *aca.ManagedEnvironmentUsagesClient
	arm          *arm.Client    // for calls that the SDK's package does not have
	history      *azcore.Client // for queries of Log Analytics; nil: its address is not known

	mu       sync.Mutex
	tokens   map[string]streamToken // for log streams, by the path of an app or a job
	views    map[string]*view       // what was seen of each app last
	readings map[string]reading     // what Azure Monitor said of each app last
	home     *aca.ManagedEnvironment
}

func open(c deploy.Config, w way) (deploy.Target, error) {
	s, err := readSettings(c)
	if err != nil {
		return nil, err
	}
	w.client = w.withoutRedirects()
	credential, options, err := s.Connect(w.client, policy.RetryOptions{MaxRetries: 4, TryTimeout: 20 * time.Second, RetryDelay: w.retry, MaxRetryDelay: 20 * time.Second})
	if err != nil {
		return nil, err
	}
	t := &target{id: c.ID, settings: s, way: w, tokens: map[string]streamToken{}, views: map[string]*view{}, readings: map[string]reading{}}
	factory, err := aca.NewClientFactory(s.Subscription, credential, options)
	if err != nil {
		return nil, err
	}
	t.apps, t.revisions, t.replicas = factory.NewContainerAppsClient(), factory.NewContainerAppsRevisionsClient(), factory.NewContainerAppsRevisionReplicasClient()
	t.jobs, t.executions = factory.NewJobsClient(), factory.NewJobsExecutionsClient()
	t.environments, t.usages = factory.NewManagedEnvironmentsClient(), factory.NewManagedEnvironmentUsagesClient()
	if t.arm, err = arm.NewClient("slipway", "v1.0.0", credential, options); err != nil {
		return nil, err
	}
	if t.history, err = newHistory(s, credential, options.ClientOptions); err != nil {
		return nil, err
	}
	return t, nil
}

// withoutRedirects is a client for calls, and for answers that go on for as long
// as somebody reads. Azure redirects none, so that a token goes to no other address.
func (w way) withoutRedirects() *http.Client {
	client := &http.Client{}
	if w.client != nil {
		*client = *w.client
	} else {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.ResponseHeaderTimeout = callTime
		client.Transport = transport
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client
}

// callTime bounds a call that reads or writes one thing, with its repetitions.
const callTime = time.Minute

// pause waits until it is time for another look.
func (t *target) pause(ctx context.Context) error {
	return deploy.WaitFor(ctx, t.way.every)
}

// Dial connects to where a release answers: Azure's ingress, which speaks HTTPS there.
func (t *target) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}
	return d.DialContext(ctx, network, address)
}

// Close frees idle connections; there are no others.
func (t *target) Close() error {
	t.way.client.CloseIdleConnections()
	return nil
}

// value is what p points to, or nothing.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
