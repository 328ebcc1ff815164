package aws

import (
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// States of a task (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html).
const (
	running = "RUNNING"
	stopped = "STOPPED"
)

const atOnce = 100 // tasks that one call describes

// startedBy says of a task that it is a release's command, and no instance.
const startedBy = "slipway-command"

// tasks describes those of the cluster that the filter chooses, the oldest first.
func (t *target) tasks(ctx context.Context, c *clients, filter ecs.ListTasksInput) (all []types.Task, err error) {
	filter.Cluster = ptr(t.clusterName())
	var arns []string
	pages := ecs.NewListTasksPaginator(c.ecs, &filter)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if missing(err) {
			return []types.Task{}, nil // a cluster that is gone has none
		}
		if err != nil {
			return nil, err
		}
		arns = append(arns, page.TaskArns...)
	}
	for chunk := range slices.Chunk(arns, atOnce) {
		out, err := c.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: filter.Cluster, Tasks: chunk, Include: []types.TaskField{types.TaskFieldTags}})
		if err != nil {
			return nil, err
		}
		all = append(all, out.Tasks...)
	}
	all = slices.DeleteFunc(all, func(k types.Task) bool { return read(k.Tags)[tagTarget] != t.id })
	slices.SortFunc(all, func(a, b types.Task) int {
		return cmp.Or(when(a.CreatedAt).Compare(when(b.CreatedAt)), cmp.Compare(deref(a.TaskArn), deref(b.TaskArn)))
	})
	return all, nil
}

func when(at *time.Time) time.Time {
	if at == nil {
		return time.Time{}
	}
	return *at
}

// tasksOf are the family's tasks, those that ended within the last hour behind those that run or will.
func (t *target) tasksOf(ctx context.Context, c *clients, name string) ([]types.Task, error) {
	var all []types.Task
	for _, status := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
		found, err := t.tasks(ctx, c, ecs.ListTasksInput{Family: &name, DesiredStatus: status})
		if err != nil {
			return nil, err
		}
		for _, k := range found { // one that ends between the calls is in both answers
			if !slices.ContainsFunc(all, func(has types.Task) bool { return deref(has.TaskArn) == deref(k.TaskArn) }) {
				all = append(all, k)
			}
		}
	}
	return all, nil
}

// serves tells whether the task is an instance that runs or will.
func serves(k types.Task) bool {
	return deref(k.StartedBy) != startedBy && deref(k.DesiredStatus) == running && deref(k.LastStatus) != stopped
}

// instancesOf are the instances of the service.
func (t *target) instancesOf(ctx context.Context, c *clients, name string) ([]deploy.Instance, error) {
	all, err := t.tasks(ctx, c, ecs.ListTasksInput{Family: &name, DesiredStatus: types.DesiredStatusRunning})
	if err != nil {
		return nil, err
	}
	return t.instances(ctx, c, slices.DeleteFunc(all, func(k types.Task) bool { return !serves(k) }))
}

// instances reads tasks, each the next one of its release.
func (t *target) instances(ctx context.Context, c *clients, all []types.Task) ([]deploy.Instance, error) {
	public, err := t.publicAddresses(ctx, c, all)
	if err != nil {
		return nil, err
	}
	out, count := []deploy.Instance{}, map[string]int{}
	for _, k := range all {
		tags := read(k.Tags)
		count[tags[tagRelease]]++
		i := deploy.Instance{
			ID: last(deref(k.TaskArn)), Release: tags[tagRelease], Replica: count[tags[tagRelease]], Name: tags[tagApp] + "-" + short(deref(k.TaskArn)), State: models.InstanceStarting,
		}
		if k.StartedAt != nil {
			at := k.StartedAt.UTC().Truncate(time.Microsecond)
			i.StartedAt = &at
		}
		private, card := addresses(k)
		if t.settings.listener == "" {
			private = public[card]
		}
		switch deref(k.LastStatus) {
		case running:
			i.State = models.InstanceHealthy
			if private != "" {
				i.Address = net.JoinHostPort(private, tags[tagPort])
			}
		case "DEACTIVATING", "STOPPING", "DEPROVISIONING":
			i.State, i.Message = models.InstanceFailing, "ECS is ending it: "+deploy.Sentence(deploy.Plain(deref(k.StoppedReason)))
		}
		out = append(out, i)
	}
	return out, nil
}

// short is the beginning of a task's id.
func short(arn string) string {
	id := last(arn)
	return id[:min(len(id), 8)]
}

// addresses are the task's private address and the id of its network interface.
func addresses(k types.Task) (private, card string) {
	for _, a := range k.Attachments {
		for _, d := range a.Details {
			switch deref(d.Name) {
			case "privateIPv4Address":
				private = deref(d.Value)
			case "networkInterfaceId":
				card = deref(d.Value)
			}
		}
	}
	for _, app := range k.Containers {
		if len(app.NetworkInterfaces) > 0 && private == "" {
			private = deref(app.NetworkInterfaces[0].PrivateIpv4Address)
		}
	}
	return private, card
}

// interfaces is EC2's answer to DescribeNetworkInterfaces.
type interfaces struct {
	XMLName xml.Name `xml:"DescribeNetworkInterfacesResponse"`
	All     []struct {
		ID     string `xml:"networkInterfaceId"`
		Public string `xml:"association>publicIp"`
	} `xml:"networkInterfaceSet>item"`
}

// publicAddresses are those of the tasks' network interfaces, where visitors come to them.
func (t *target) publicAddresses(ctx context.Context, c *clients, all []types.Task) (map[string]string, error) {
	if t.settings.listener != "" {
		return map[string]string{}, nil
	}
	t.mu.Lock()
	known := map[string]string{}
	var ask []string
	for _, k := range all {
		_, card := addresses(k)
		if at := t.public[card]; at != "" {
			known[card] = at
		} else if card != "" && deref(k.LastStatus) == running {
			ask = append(ask, card)
		}
	}
	t.mu.Unlock()
	if len(ask) == 0 {
		return known, nil
	}
	var got interfaces
	if err := c.EC2(ctx, "DescribeNetworkInterfaces", numbered(url.Values{}, "NetworkInterfaceId", ask), &got); err != nil {
		if awslogin.Code(err) == "InvalidNetworkInterfaceID.NotFound" { // a task ended just now
			return known, nil
		}
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.public) > maxClients {
		clear(t.public)
	}
	for _, one := range got.All {
		if one.Public != "" {
			known[one.ID], t.public[one.ID] = one.Public, one.Public
		}
	}
	return known, nil
}

// health is what the load balancer says of a target.
type health struct {
	healthy  bool
	draining bool
	answer   string // to the health check; empty: none yet
}

// healths are those of the targets in the group, by their address and port.
func (t *target) healths(ctx context.Context, c *clients, group string) (map[string]health, error) {
	out := map[string]health{}
	found, err := c.elb.DescribeTargetHealth(ctx, &elasticloadbalancingv2.DescribeTargetHealthInput{TargetGroupArn: &group})
	if err != nil {
		return nil, err
	}
	for _, d := range found.TargetHealthDescriptions {
		if d.Target == nil || d.TargetHealth == nil || d.Target.Port == nil {
			continue
		}
		out[net.JoinHostPort(deref(d.Target.Id), fmt.Sprint(*d.Target.Port))] = health{
			healthy:  d.TargetHealth.State == elbtypes.TargetHealthStateEnumHealthy,
			draining: d.TargetHealth.State == elbtypes.TargetHealthStateEnumDraining,
			answer:   answer(d.TargetHealth),
		}
	}
	return out, nil
}
