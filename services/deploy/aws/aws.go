// Package aws runs deployments in Amazon ECS, on Fargate and on EC2 capacity.
// Each release is a task definition and a service of its own beside the one that
// serves; with an Application Load Balancer also a target group, and the rule of
// the app's host name moves its visitors from one to the other.
//
// Everything that is made carries the tag slipway:target, and nothing without it
// is touched (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/Welcome.html).
package aws

import (
	"context"
	"net"
	"sync"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// KindName is how targets of the kind are stored.
const KindName = "aws-ecs"

const (
	callTime  = 30 * time.Second // bounds one attempt of a call
	checkTime = 20 * time.Second // bounds a look at the account as a whole
)

// Kind is the kind of target for a region of an AWS account.
func Kind() deploy.Kind {
	return deploy.Kind{
		Name:       KindName,
		Title:      "AWS ECS",
		Help:       "Amazon ECS in one region of an account, on Fargate or on EC2 capacity of a cluster. Visitors come through a listener of an Application Load Balancer, or to a task's public address.",
		Fields:     fields(),
		Routes:     true,
		Splits:     true,
		Heals:      true,
		Pulls:      true,
		Mirrors:    true,
		Federation: "aws",
		Prices:     prices(),
		PricesOf:   pricesOf,
		Estimate:   estimate,
		Open:       open,
	}
}

type target struct {
	id       string
	settings settings
	login    awslogin.Login

	mu      sync.Mutex
	clients map[deploy.Subject]*clients
	listing listing
	taking  taking
	public  map[string]string // the public addresses of network interfaces, which never change
	allowed time.Time         // when the credential last had all rights
}

func open(c deploy.Config) (deploy.Target, error) {
	s, login, err := readSettings(c)
	if err != nil {
		return nil, err
	}
	login.Client, login.Backoff = awshttp.NewBuildableClient().WithTimeout(callTime), maxBackoff // shared by all subjects
	return &target{id: c.ID, settings: s, login: login, clients: map[deploy.Subject]*clients{}, public: map[string]string{}}, nil
}

// Dial connects to a task's address: to a public one from anywhere, to a private
// one from wherever its network is routed to.
func (t *target) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}
	return d.DialContext(ctx, network, address)
}

// Close frees nothing: idle connections end by themselves.
func (t *target) Close() error { return nil }

func ptr[T any](v T) *T { return &v }
