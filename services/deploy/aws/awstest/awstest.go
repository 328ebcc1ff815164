// Package awstest is so much of one region of an AWS account as Slipway uses, at
// the wire: ECS, CloudWatch Logs and Secrets Manager by the JSON protocol, Elastic
// Load Balancing, STS, EC2 and IAM by the query protocol. Requests are decoded
// strictly into the SDK's own types and their signatures computed again; answers
// are written by the SDK's own serializers. Tasks run as containers of the local
// Docker Engine, and the load balancer is a reverse proxy that follows the rules.
//
//	cloud := awstest.New(t)
//	settings, secrets := cloud.Settings()         // of a target in it
//	cloud.Fail("ecs:CreateService", 2, "ThrottlingException", "Rate exceeded")
//	cloud.Deny("iam:PassRole")
package awstest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"slipway.dev/services/dockertest"
)

// What the account has from the start.
const (
	Account       = "123456789012"
	Region        = "eu-central-1"
	AccessKey     = "AKIATESTTESTTEST"
	SecretKey     = "a secret access key of the tests"
	Role          = "arn:aws:iam::" + Account + ":role/slipway"
	ExecutionRole = "arn:aws:iam::" + Account + ":role/slipway-execution"
	Subnet        = "subnet-0a1b2c3d"
	VPC           = "vpc-0a1b2c3d"
	Domain        = "apps.test"

	label        = "slipway.awstest"
	balancerARN  = "arn:aws:elasticloadbalancing:" + Region + ":" + Account + ":loadbalancer/app/apps/50dc6c495c0c9188"
	listenerARN  = "arn:aws:elasticloadbalancing:" + Region + ":" + Account + ":listener/app/apps/50dc6c495c0c9188/f2f7dc8efc522ab2"
	balancerName = "apps-1.eu-central-1.elb.amazonaws.com"
)

// Cloud is the account.
type Cloud struct {
	URL string // of all its APIs

	t       testing.TB
	docker  *client.Client
	mark    string // the label's value on its containers and its network
	network string
	proxy   *httptest.Server
	ctx     context.Context
	work    sync.WaitGroup

	mu          sync.Mutex
	operations  map[string]operation
	credentials map[string]aws.Credentials // by access key
	calls       map[string]int
	failures    map[string][]failure
	denied      map[string]bool
	down        bool
	trust       func(token string) error
	noRoom      string
	broken      string
	next        int

	clusters    map[string]*cluster
	definitions map[string]*definition // by ARN
	services    map[string]*service    // by name
	tasks       map[string]*task       // by ARN
	runs        map[string]*task       // by the token of the call that ran it
	groups      map[string]*logGroup
	secrets     map[string]*secret
	targets     map[string]*targetGroup // by ARN
	rules       []*rule
}

type failure struct{ code, message string }

// New returns an account whose tasks and proxy end with the test.
func New(t testing.TB) *Cloud {
	t.Helper()
	c := &Cloud{
		t: t, docker: dockertest.Engine(t), mark: fmt.Sprint(time.Now().UnixNano()), calls: map[string]int{}, failures: map[string][]failure{}, denied: map[string]bool{},
		credentials: map[string]aws.Credentials{AccessKey: {AccessKeyID: AccessKey, SecretAccessKey: SecretKey}},
		trust:       func(string) error { return nil },
		clusters:    map[string]*cluster{}, definitions: map[string]*definition{}, services: map[string]*service{}, tasks: map[string]*task{}, runs: map[string]*task{},
		groups: map[string]*logGroup{}, secrets: map[string]*secret{}, targets: map[string]*targetGroup{},
	}
	c.network = "awstest-" + c.mark
	dockertest.Sweep(t, label, c.mark)
	if _, err := c.docker.NetworkCreate(t.Context(), c.network, network.CreateOptions{Labels: map[string]string{label: c.mark}}); err != nil {
		t.Fatal(err)
	}
	c.operations = c.jsonOperations()
	ctx, cancel := context.WithCancel(context.Background())
	c.ctx = ctx
	server := httptest.NewServer(http.HandlerFunc(c.serve))
	c.proxy = httptest.NewServer(http.HandlerFunc(c.visit))
	c.URL = server.URL
	t.Cleanup(func() { // before the containers are swept
		cancel()
		server.CloseClientConnections()
		server.Close()
		c.proxy.CloseClientConnections()
		c.proxy.Close()
		c.work.Wait()
	})
	return c
}

// Settings are those of a target behind the load balancer, with the access key.
func (c *Cloud) Settings() (settings, secrets map[string]string) {
	return map[string]string{
		"region": Region, "access_key_id": AccessKey, "subnets": Subnet, "execution_role": ExecutionRole,
		"listener": listenerARN, "domain": Domain, "endpoint": c.URL, "architecture": architecture(),
	}, map[string]string{"secret_access_key": SecretKey}
}

// Fail lets so many of the next calls fail. The action is as permissions name it.
func (c *Cloud) Fail(action string, times int, code, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range times {
		c.failures[action] = append(c.failures[action], failure{code, message})
	}
}

// Deny takes a permission from all credentials.
func (c *Cloud) Deny(action string) { c.set(func() { c.denied[action] = true }) }

// Allow gives it back.
func (c *Cloud) Allow(action string) { c.set(func() { delete(c.denied, action) }) }

// Down lets no call get an answer, or every one again.
func (c *Cloud) Down(down bool) { c.set(func() { c.down = down }) }

// Trust says which tokens the role takes.
func (c *Cloud) Trust(trust func(token string) error) { c.set(func() { c.trust = trust }) }

// NoRoom lets ECS place no task, for the reason; "" gives room again.
func (c *Cloud) NoRoom(reason string) { c.set(func() { c.noRoom = reason }) }

// Break lets ECS make no task ready, for the reason; "" lets it again.
func (c *Cloud) Break(reason string) { c.set(func() { c.broken = reason }) }

// Expire ends all sessions of roles.
func (c *Cloud) Expire() {
	c.set(func() {
		for key, is := range c.credentials {
			if is.SessionToken != "" {
				is.CanExpire = true
				c.credentials[key] = is
			}
		}
	})
}

func (c *Cloud) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// Calls tells how often an action was called, whatever came of it.
func (c *Cloud) Calls(action string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[action]
}

// Left names what there is beside the cluster, such as "service checkout".
func (c *Cloud) Left() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.services {
		all = append(all, "service "+name)
	}
	for arn := range c.definitions {
		all = append(all, "task definition "+arn)
	}
	for name := range c.groups {
		all = append(all, "log group "+name)
	}
	for name := range c.secrets {
		all = append(all, "secret "+name)
	}
	for arn := range c.targets {
		all = append(all, "target group "+arn)
	}
	for _, r := range c.rules {
		all = append(all, "rule "+r.host)
	}
	for name := range c.clusters {
		all = append(all, "cluster "+name)
	}
	for arn, k := range c.tasks {
		if k.last != "STOPPED" {
			all = append(all, "task "+arn)
		}
	}
	return all
}

// id is a new number for a name. Mu is held.
func (c *Cloud) id() string {
	c.next++
	return fmt.Sprintf("%032x", c.next)
}

func arn(service, resource string) string {
	return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, Region, Account, resource)
}

// Visit does what a visitor of the URL does whose name leads to the load balancer, and returns what is at the path.
func (c *Cloud) Visit(t testing.TB, at, path string) (status int, body string) {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.proxy.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = u.Host
	return fetch(t, req)
}

func last(text string) string { return text[strings.LastIndexByte(text, '/')+1:] }

func p[T any](v T) *T { return &v }

func deref(s *string) string { return aws.ToString(s) }
