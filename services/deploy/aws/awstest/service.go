package awstest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

const (
	tick      = 50 * time.Millisecond // of the scheduler
	threshold = 3                     // tasks that fail before the circuit breaker ends a deployment
)

// service is one with the scheduler that looks after it until it is deleted.
type service struct {
	types.Service
	cluster string
	gone    bool
	failed  int
}

// RollBack does to the service of the release what ECS does where its circuit
// breaker goes back to an earlier deployment.
func (c *Cloud) RollBack(release string) {
	c.set(func() {
		for _, s := range c.services {
			if strings.Contains(deref(s.ServiceName), release[len(release)-12:]) {
				s.Deployments = []types.Deployment{{Id: p("ecs-svc/earlier"), Status: p("PRIMARY"), TaskDefinition: p(arn("ecs", "task-definition/earlier:7")), RolloutState: types.DeploymentRolloutStateInProgress,
					RolloutStateReason: p("ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/earlier.")}}
				c.event(s, "(deployment ecs-svc/earlier) deployment failed: tasks failed to start.")
			}
		}
	})
}

// Meddle does what somebody does in the console: one task more for the release, another definition, and no visitors.
func (c *Cloud) Meddle(release string) {
	c.set(func() {
		for _, s := range c.services {
			if strings.Contains(deref(s.ServiceName), release[len(release)-12:]) {
				s.DesiredCount++
				s.Deployments[0].TaskDefinition = p(arn("ecs", "task-definition/theirs:3"))
			}
		}
		for _, r := range c.rules {
			for i := range groupsOf(r) {
				groupsOf(r)[i].Weight = p(int32(0))
			}
		}
	})
}

func (c *Cloud) createService(in *ecs.CreateServiceInput) (*ecs.CreateServiceOutput, error) {
	name := deref(in.ServiceName)
	if err := c.inCluster(in.Cluster); err != nil {
		return nil, err
	}
	d := c.findDefinition(deref(in.TaskDefinition))
	switch {
	case c.services[name] != nil:
		return nil, refuse("InvalidParameterException", "Creation of service was not idempotent.")
	case d == nil || d.Status != types.TaskDefinitionStatusActive:
		return nil, refuse("ClientException", "TaskDefinition not found.")
	case in.NetworkConfiguration == nil || !slices.Equal(in.NetworkConfiguration.AwsvpcConfiguration.Subnets, []string{Subnet}):
		return nil, refuse("InvalidParameterException", "The subnet ID does not exist.")
	case in.DeploymentConfiguration == nil || !in.DeploymentConfiguration.DeploymentCircuitBreaker.Enable:
		c.t.Error("a service has no circuit breaker")
	}
	for _, lb := range in.LoadBalancers {
		if g := c.targets[deref(lb.TargetGroupArn)]; g == nil || !c.used(g) {
			return nil, refuse("InvalidParameterException", "The target group with targetGroupArn %s does not have an associated load balancer.", deref(lb.TargetGroupArn))
		}
	}
	s := &service{cluster: deref(in.Cluster), Service: types.Service{
		ServiceName: &name, ServiceArn: p(arn("ecs", "service/"+deref(in.Cluster)+"/"+name)), Status: p("ACTIVE"), DesiredCount: *in.DesiredCount, LaunchType: in.LaunchType,
		TaskDefinition: d.TaskDefinitionArn, LoadBalancers: in.LoadBalancers, Tags: in.Tags, DeploymentConfiguration: in.DeploymentConfiguration, NetworkConfiguration: in.NetworkConfiguration, CreatedAt: p(time.Now()),
		Deployments: []types.Deployment{{Id: p("ecs-svc/" + c.id()), Status: p("PRIMARY"), TaskDefinition: d.TaskDefinitionArn, DesiredCount: *in.DesiredCount, RolloutState: types.DeploymentRolloutStateInProgress, CreatedAt: p(time.Now())}},
	}}
	c.services[name] = s
	c.work.Go(func() { c.schedule(s) })
	return &ecs.CreateServiceOutput{Service: snap(s)}, nil
}

// snap is the service as it is now: it goes on changing.
func snap(s *service) *types.Service {
	out := s.Service
	out.Deployments, out.Events = slices.Clone(s.Deployments), slices.Clone(s.Events)
	return &out
}

func (c *Cloud) updateService(in *ecs.UpdateServiceInput) (*ecs.UpdateServiceOutput, error) {
	s := c.services[deref(in.Service)]
	if s == nil {
		return nil, refuse("ServiceNotFoundException", "Service not found.")
	}
	if in.DesiredCount != nil {
		s.DesiredCount = *in.DesiredCount
	}
	if d := c.findDefinition(deref(in.TaskDefinition)); d != nil {
		s.TaskDefinition = d.TaskDefinitionArn
		s.Deployments[0].TaskDefinition = d.TaskDefinitionArn
	}
	return &ecs.UpdateServiceOutput{Service: snap(s)}, nil
}

func (c *Cloud) describeServices(in *ecs.DescribeServicesInput) (*ecs.DescribeServicesOutput, error) {
	if err := c.inCluster(in.Cluster); err != nil {
		return nil, err
	}
	if len(in.Services) > 10 {
		return nil, refuse("InvalidParameterException", "Services cannot be more than 10.")
	}
	out := &ecs.DescribeServicesOutput{}
	for _, name := range in.Services {
		if s := c.services[name]; s != nil {
			out.Services = append(out.Services, *snap(s))
		} else {
			out.Failures = append(out.Failures, types.Failure{Arn: &name, Reason: p("MISSING")})
		}
	}
	return out, nil
}

func (c *Cloud) listServices(in *ecs.ListServicesInput) (*ecs.ListServicesOutput, error) {
	if err := c.inCluster(in.Cluster); err != nil {
		return nil, err
	}
	out := &ecs.ListServicesOutput{}
	for _, s := range c.services {
		if s.cluster == deref(in.Cluster) {
			out.ServiceArns = append(out.ServiceArns, deref(s.ServiceArn))
		}
	}
	slices.Sort(out.ServiceArns)
	return out, nil
}

func (c *Cloud) deleteService(in *ecs.DeleteServiceInput) (*ecs.DeleteServiceOutput, error) {
	s := c.services[deref(in.Service)]
	if s == nil {
		return nil, refuse("ServiceNotFoundException", "Service not found.")
	}
	s.gone, s.Status = true, p("DRAINING")
	for _, k := range c.ofService(s) {
		c.stop(k, "Service deleted.", types.TaskStopCodeServiceSchedulerInitiated)
	}
	delete(c.services, deref(in.Service))
	return &ecs.DeleteServiceOutput{Service: snap(s)}, nil
}

// event adds one, the newest first. Mu is held.
func (c *Cloud) event(s *service, format string, args ...any) {
	text := "(service " + deref(s.ServiceName) + ") " + fmt.Sprintf(format, args...)
	if len(s.Events) > 0 && deref(s.Events[0].Message) == text {
		return
	}
	s.Events = append([]types.ServiceEvent{{Id: p(c.id()), CreatedAt: p(time.Now()), Message: &text}}, s.Events...)
}

// ofService are its tasks that have not ended, the newest first. Mu is held.
func (c *Cloud) ofService(s *service) (all []*task) {
	for _, k := range c.tasks {
		if k.service == s && k.last != "STOPPED" {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b *task) int { return b.created.Compare(a.created) })
	return all
}

// schedule looks after the service until it is gone.
func (c *Cloud) schedule(s *service) {
	for t := time.NewTicker(tick); ; {
		c.mu.Lock()
		gone := s.gone
		if !gone {
			c.step(s)
		}
		c.mu.Unlock()
		if gone {
			t.Stop()
			return
		}
		select {
		case <-c.ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// step brings the service nearer to what it should be. Mu is held.
func (c *Cloud) step(s *service) {
	main := &s.Deployments[0]
	if deref(main.Id) == "ecs-svc/earlier" {
		return // what the test did to it
	}
	living := c.ofService(s)
	living = slices.DeleteFunc(living, func(k *task) bool { return k.stopping })
	alive, healthy := len(living), 0
	for _, k := range living {
		if k.last == "RUNNING" && (len(s.LoadBalancers) == 0 || c.targets[deref(s.LoadBalancers[0].TargetGroupArn)].healthy(k)) {
			healthy++
		}
	}
	s.RunningCount, main.RunningCount, main.DesiredCount = int32(healthy), int32(healthy), s.DesiredCount
	switch {
	case alive > int(s.DesiredCount):
		for _, k := range living[:alive-int(s.DesiredCount)] {
			c.stop(k, "Scaling activity initiated by (deployment "+deref(main.Id)+")", types.TaskStopCodeServiceSchedulerInitiated)
		}
	case main.RolloutState == types.DeploymentRolloutStateFailed:
	case s.failed >= threshold && main.RolloutState == types.DeploymentRolloutStateInProgress:
		main.RolloutState, main.RolloutStateReason = types.DeploymentRolloutStateFailed, p("ECS deployment circuit breaker: tasks failed to start.")
		c.event(s, "(deployment %s) deployment failed: tasks failed to start.", deref(main.Id))
	case alive < int(s.DesiredCount) && c.noRoom != "":
		c.event(s, "was unable to place a task because %s", c.noRoom)
	case alive < int(s.DesiredCount):
		k := c.newTask(c.definitions[deref(s.TaskDefinition)], s, s.cluster, nil, s.Tags)
		c.event(s, "has started 1 tasks: (task %s).", last(k.arn))
	case healthy >= int(s.DesiredCount) && main.RolloutState == types.DeploymentRolloutStateInProgress:
		main.RolloutState, main.RolloutStateReason = types.DeploymentRolloutStateCompleted, p("ECS deployment completed.")
		c.event(s, "has reached a steady state.")
	}
}
