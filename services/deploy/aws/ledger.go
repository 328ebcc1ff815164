package aws

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"slipway.dev/services/deploy"
)

const maxEvents = 100

// Resources lists what was made for the release, and what its app keeps beside it, with the console's pages.
func (t *target) Resources(ctx context.Context, release string) ([]deploy.Resource, error) {
	c := t.as(deploy.Subject{})
	s, err := t.find(ctx, c, release)
	if errors.Is(err, errGone) {
		return []deploy.Resource{}, nil
	}
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "look for the release's service")
	}
	name, tags := deref(s.ServiceName), read(s.Tags)
	out := []deploy.Resource{t.clusterResource(), t.serviceResource(name), t.definitionResource(deref(s.TaskDefinition))}
	all, err := t.tasksOf(ctx, c, name)
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "look for the release's tasks")
	}
	for _, k := range all {
		if deref(k.LastStatus) != stopped {
			id := last(deref(k.TaskArn))
			out = append(out, deploy.Resource{Kind: "Task", Name: id, Link: t.console("ecs/v2/clusters/%s/tasks/%s/configuration?region=%s", t.clusterName(), id, t.settings.region)})
		}
	}
	out = append(out, t.logResource(tags[tagLogs]))
	secret := t.secretName(release)
	if _, err := c.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &secret}); err == nil {
		out = append(out, deploy.Resource{Kind: "Secret", Name: secret, Link: t.console("secretsmanager/secret?name=%s&region=%s", url.QueryEscape(secret), t.settings.region)})
	}
	way, err := t.wayResources(ctx, c, *s)
	return append(out, way...), t.explain(ctx, deploy.StageTarget, err, "look at the load balancer")
}

// wayResources are those by which visitors come.
func (t *target) wayResources(ctx context.Context, c *clients, s types.Service) (out []deploy.Resource, err error) {
	if len(s.LoadBalancers) == 0 {
		return nil, nil
	}
	group := deref(s.LoadBalancers[0].TargetGroupArn)
	out = append(out, deploy.Resource{Kind: "Target group", Name: mark(read(s.Tags)[tagRelease]), Link: t.console("ec2/home?region=%s#TargetGroup:targetGroupArn=%s", t.settings.region, group)})
	all, err := t.rules(ctx, c)
	if err != nil {
		return out, err
	}
	own, _, err := t.ownRules(ctx, c, all)
	for _, has := range own {
		if has.has(group) {
			out = append(out, deploy.Resource{Kind: "Listener rule", Name: has.host, Link: t.console("ec2/home?region=%s#ListenerDetails:listenerArn=%s", t.settings.region, t.settings.listener)})
		}
	}
	return out, err
}

func (t *target) clusterResource() deploy.Resource {
	return deploy.Resource{Kind: "Cluster", Name: t.clusterName(), Link: t.console("ecs/v2/clusters/%s/services?region=%s", t.clusterName(), t.settings.region)}
}

func (t *target) serviceResource(name string) deploy.Resource {
	return deploy.Resource{Kind: "Service", Name: name, Link: t.console("ecs/v2/clusters/%s/services/%s/health?region=%s", t.clusterName(), name, t.settings.region)}
}

func (t *target) definitionResource(arn string) deploy.Resource {
	name, revision, _ := strings.Cut(last(arn), ":")
	return deploy.Resource{Kind: "Task definition", Name: name + ":" + revision, Link: t.console("ecs/v2/task-definitions/%s/%s?region=%s", name, revision, t.settings.region)}
}

// logResource is a log group. CloudWatch's console wants its name escaped twice, with $ in place of %.
func (t *target) logResource(name string) deploy.Resource {
	escaped := strings.ReplaceAll(url.QueryEscape(url.QueryEscape(name)), "%", "$")
	return deploy.Resource{Kind: "Log group", Name: name, Link: t.console("cloudwatch/home?region=%s#logsV2:log-groups/log-group/%s", t.settings.region, escaped)}
}

// Events returns what ECS says of the release's service and of its tasks that ended, the newest first.
func (t *target) Events(ctx context.Context, release string) ([]deploy.Event, error) {
	c := t.as(deploy.Subject{})
	s, err := t.find(ctx, c, release)
	if errors.Is(err, errGone) {
		return []deploy.Event{}, nil
	}
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "look for the release's service")
	}
	name := deref(s.ServiceName)
	out := []deploy.Event{}
	for _, e := range s.Events {
		text := serviceWords.ReplaceAllString(deploy.Plain(deref(e.Message)), "")
		out = append(out, deploy.Event{At: when(e.CreatedAt), Object: "Service " + name, Text: text, Warning: worrying(text)})
	}
	all, err := t.tasksOf(ctx, c, name)
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "look for the release's tasks")
	}
	for _, k := range all {
		if deref(k.LastStatus) != stopped {
			continue
		}
		text, warning := deploy.Plain(deref(k.StoppedReason)), k.StopCode != types.TaskStopCodeServiceSchedulerInitiated && k.StopCode != types.TaskStopCodeUserInitiated
		if warning {
			f, _ := t.ended(k)
			text = f.Message
		}
		out = append(out, deploy.Event{At: when(k.StoppedAt), Object: "Task " + short(deref(k.TaskArn)), Text: text, Warning: warning})
	}
	slices.SortStableFunc(out, func(a, b deploy.Event) int { return b.At.Compare(a.At) })
	return out[:min(len(out), maxEvents)], nil
}

// worrying tells whether ECS's words are of something that went wrong.
func worrying(text string) bool {
	for _, word := range []string{"unable", "unhealthy", "failed", "throttl", "rolling back", "circuit breaker"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}
