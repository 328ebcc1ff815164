package aws

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// graceSeconds is how long ECS ends no task that the load balancer does not find
// healthy yet: longer than the rollout waits, which tells why with better words.
func graceSeconds(r deploy.Release) int32 {
	return int32((max(r.Patience, 4*time.Minute) + time.Minute) / time.Second)
}

// Start makes the release's service, with all that its tasks need, each thing
// only where it is not there.
func (t *target) Start(ctx context.Context, r deploy.Release) error {
	if r.Health == models.HealthImage {
		return deploy.Failf(deploy.StageHealth, nil, "ECS does not run an image's HEALTHCHECK. Choose an HTTP path or the TCP port in the app's settings.")
	}
	defer t.changed()
	c := t.as(r.Subject())
	definition, err := t.base(ctx, c, deploy.StageStart, r)
	if err != nil {
		return err
	}
	in := t.serviceOf(r, definition)
	if t.settings.listener != "" {
		b, err := t.balancer(ctx, c)
		if err != nil {
			return t.explain(ctx, deploy.StageStart, err, "look for the listener")
		}
		group, err := t.ensureGroup(ctx, c, b, r)
		if err != nil {
			return err
		}
		if _, err := t.ruleFor(ctx, c, r, group); err != nil {
			return err
		}
		in.LoadBalancers = []types.LoadBalancer{{TargetGroupArn: &group, ContainerName: ptr(containerName), ContainerPort: ptr(int32(r.Port))}}
		in.HealthCheckGracePeriodSeconds = ptr(graceSeconds(r))
	}
	return t.ensureService(ctx, c, in, r)
}

// base makes what the release's service and its command need alike, and returns the task definition's ARN.
func (t *target) base(ctx context.Context, c *clients, stage string, r deploy.Release) (string, error) {
	if err := t.ensureCluster(ctx, c, stage); err != nil {
		return "", err
	}
	if err := t.ensureLogs(ctx, c, stage, r); err != nil {
		return "", err
	}
	secret, err := t.ensureSecret(ctx, c, stage, r)
	if err != nil {
		return "", err
	}
	return t.ensureDefinition(ctx, c, stage, r, secret)
}

// serviceOf is the release's service.
func (t *target) serviceOf(r deploy.Release, definition string) *ecs.CreateServiceInput {
	return &ecs.CreateServiceInput{
		Cluster: ptr(t.clusterName()), ServiceName: ptr(nameOf(r)), TaskDefinition: &definition, DesiredCount: ptr(int32(r.Scale.OrOne().Replicas)),
		LaunchType: t.settings.launch, SchedulingStrategy: types.SchedulingStrategyReplica, NetworkConfiguration: t.network(),
		DeploymentConfiguration: &types.DeploymentConfiguration{
			MinimumHealthyPercent: ptr(int32(100)), MaximumPercent: ptr(int32(200)),
			DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true},
		},
		EnableECSManagedTags: true, PropagateTags: types.PropagateTagsService, Tags: ecsTags(t.tagsOf(r)),
	}
}

// ensureService makes the service, or gives the one that is there the tasks that it should have.
func (t *target) ensureService(ctx context.Context, c *clients, in *ecs.CreateServiceInput, r deploy.Release) error {
	have, err := t.service(ctx, c, nameOf(r))
	switch {
	case errors.Is(err, errGone):
		_, err = c.ecs.CreateService(ctx, in)
		if awslogin.Code(err) == "InvalidParameterException" && strings.Contains(awslogin.Text(err), "Draining") {
			return deploy.Failf(deploy.StageStart, err, "ECS is still removing what the release had before. Try again in a minute.")
		}
	case err == nil && (have.DesiredCount != *in.DesiredCount || deref(have.TaskDefinition) != deref(in.TaskDefinition)):
		_, err = c.ecs.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: in.Cluster, Service: in.ServiceName, DesiredCount: in.DesiredCount, TaskDefinition: in.TaskDefinition})
	}
	return t.explain(ctx, deploy.StageStart, err, "make the service "+nameOf(r))
}

// service returns the service of the name, or errGone. One that is not this target's is a *Failure.
func (t *target) service(ctx context.Context, c *clients, name string) (*types.Service, error) {
	out, err := c.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: ptr(t.clusterName()), Services: []string{name}, Include: []types.ServiceField{types.ServiceFieldTags}})
	if missing(err) {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	for i := range out.Services {
		s := &out.Services[i]
		switch {
		case deref(s.Status) != active:
		case read(s.Tags)[tagTarget] != t.id:
			return nil, deploy.Failf(deploy.StageTarget, errTheirs, "There is a service %s that is not this target's, so it is not touched. Remove it, and deploy again.", name)
		default:
			return s, nil
		}
	}
	return nil, errGone
}
