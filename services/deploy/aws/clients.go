package aws

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

const (
	maxBackoff = 5 * time.Second // between the attempts of a call
	maxClients = 1000            // subjects whose credentials are kept
)

// clients call AWS for one subject, with credentials of its own.
type clients struct {
	*awslogin.Session
	ecs     *ecs.Client
	logs    *cloudwatchlogs.Client
	elb     *elasticloadbalancingv2.Client
	secrets *secretsmanager.Client
	sts     *sts.Client
}

// as returns what calls AWS for the subject: the zero one is the target as a whole.
func (t *target) as(of deploy.Subject) *clients {
	if !t.login.ByToken() {
		of = deploy.Subject{} // the credential is the same for all
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if have := t.clients[of]; have != nil {
		return have
	}
	if len(t.clients) >= maxClients {
		clear(t.clients)
	}
	c := t.connect(of)
	t.clients[of] = c
	return c
}

func (t *target) connect(of deploy.Subject) *clients {
	s, at := t.login.Session(of), t.login.At
	return &clients{
		Session: s,
		ecs:     ecs.NewFromConfig(s.Config, func(o *ecs.Options) { o.BaseEndpoint = at("ecs") }),
		logs:    cloudwatchlogs.NewFromConfig(s.Config, func(o *cloudwatchlogs.Options) { o.BaseEndpoint = at("logs") }),
		elb:     elasticloadbalancingv2.NewFromConfig(s.Config, func(o *elasticloadbalancingv2.Options) { o.BaseEndpoint = at("elasticloadbalancing") }),
		secrets: secretsmanager.NewFromConfig(s.Config, func(o *secretsmanager.Options) { o.BaseEndpoint = at("secretsmanager") }),
		sts:     sts.NewFromConfig(s.Config, func(o *sts.Options) { o.BaseEndpoint = at("sts") }),
	}
}
