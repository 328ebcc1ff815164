package aws

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

const logPrefix = "/slipway/"

// RemoveEnvironment removes the log groups of the environment's apps.
func (t *target) RemoveEnvironment(ctx context.Context, environmentID string) error {
	return t.removeLogs(ctx, t.as(deploy.Subject{}), func(tags map[string]string) bool { return tags[tagEnvironment] == environmentID })
}

// removeLogs removes the target's log groups whose tags are wanted.
func (t *target) removeLogs(ctx context.Context, c *clients, wanted func(tags map[string]string) bool) error {
	all, err := t.logGroups(ctx, c, logPrefix)
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err, "look for log groups")
	}
	for _, g := range all {
		if !wanted(g.tags) {
			continue
		}
		_, err := c.logs.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: &g.name})
		if err != nil && !missing(err) {
			return t.explain(ctx, deploy.StageTarget, err, "remove the log group "+g.name)
		}
	}
	return nil
}

// Keeps lists what Destroy would remove now.
func (t *target) Keeps(ctx context.Context) ([]deploy.Resource, error) {
	c := t.as(deploy.Subject{})
	out := []deploy.Resource{}
	own, err := t.ownCluster(ctx, c)
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "look for the cluster")
	}
	if own {
		out = append(out, t.clusterResource())
	}
	services, err := t.ownServices(ctx, c, func(string) bool { return true })
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "list services")
	}
	for _, s := range services {
		out = append(out, t.serviceResource(deref(s.ServiceName)))
	}
	groups, err := t.logGroups(ctx, c, logPrefix)
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "look for log groups")
	}
	for _, g := range groups {
		out = append(out, t.logResource(g.name))
	}
	return out, nil
}

// Destroy removes what is left of the target: releases, log groups, and the cluster that Slipway made.
func (t *target) Destroy(ctx context.Context) error {
	c := t.as(deploy.Subject{})
	services, err := t.ownServices(ctx, c, func(string) bool { return true })
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err, "list services")
	}
	for _, s := range services {
		if err := t.Remove(ctx, read(s.Tags)[tagRelease], 0); err != nil {
			return err
		}
	}
	if err := t.removeLogs(ctx, c, func(map[string]string) bool { return true }); err != nil {
		return err
	}
	own, err := t.ownCluster(ctx, c)
	if err == nil && own {
		_, err = c.ecs.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: ptr(t.clusterName())})
	}
	if missing(err) || slices.Contains([]string{"ClusterContainsServicesException", "ClusterContainsTasksException", "ClusterContainsContainerInstancesException"}, awslogin.Code(err)) {
		return nil // gone, or others use it: then it is theirs to remove
	}
	return t.explain(ctx, deploy.StageTarget, err, "remove the cluster "+t.clusterName())
}

// ownCluster tells whether the cluster is there and was made by this target.
func (t *target) ownCluster(ctx context.Context, c *clients) (bool, error) {
	found, err := t.cluster(ctx, c)
	if errors.Is(err, errGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return read(found.Tags)[tagTarget] == t.id, nil
}
