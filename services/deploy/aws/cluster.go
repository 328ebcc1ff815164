package aws

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"slipway.dev/services/deploy"
)

const (
	active   = "ACTIVE"
	primary  = "PRIMARY"
	inactive = "INACTIVE"
)

// cluster returns the target's cluster, or nothing where there is none.
func (t *target) cluster(ctx context.Context, c *clients) (*types.Cluster, error) {
	out, err := c.ecs.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{t.clusterName()}, Include: []types.ClusterField{types.ClusterFieldTags, types.ClusterFieldSettings}})
	if err != nil {
		return nil, err
	}
	for _, found := range out.Clusters {
		if deref(found.Status) != inactive {
			return &found, nil
		}
	}
	return nil, errGone
}

var (
	errGone   = errors.New("it is not there")
	errTheirs = errors.New("it is not this target's") // what is removed is never that
)

// ensureCluster makes the cluster where none was given, or looks whether the given one is there.
func (t *target) ensureCluster(ctx context.Context, c *clients, stage string) error {
	found, err := t.cluster(ctx, c)
	if err == nil {
		t.observe(ctx, c, found)
		return nil
	}
	if !errors.Is(err, errGone) {
		return t.explain(ctx, stage, err, "look for the cluster "+t.clusterName())
	}
	if t.settings.cluster != "" {
		return deploy.Failf(deploy.StageTarget, nil, "%s", t.noCluster())
	}
	_, err = c.ecs.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: ptr(t.clusterName()), Tags: ecsTags([]tag{{tagTarget, t.id}}), Settings: t.insights()})
	return t.explain(ctx, stage, err, "make the cluster "+t.clusterName())
}

func (t *target) noCluster() string {
	return "There is no cluster " + t.settings.cluster + " in " + t.settings.region + ". Make it, name another one in the target's settings, or leave it empty there so that Slipway makes one."
}

// ensureLogs makes the app's log group and says for how long it keeps lines.
func (t *target) ensureLogs(ctx context.Context, c *clients, stage string, r deploy.Release) error {
	name := logGroup(r)
	_, err := c.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &name, Tags: tagMap(t.placeTags(r))})
	if there := new(logtypes.ResourceAlreadyExistsException); errors.As(err, &there) {
		err = t.ownLogs(ctx, c, stage, name)
	}
	if err != nil {
		return t.explain(ctx, stage, err, "make the log group "+name)
	}
	_, err = c.logs.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: &name, RetentionInDays: &t.settings.logDays})
	return t.explain(ctx, stage, err, "say how long the log group "+name+" keeps lines")
}

// ownLogs refuses a log group of the name that is not this target's.
func (t *target) ownLogs(ctx context.Context, c *clients, stage, name string) error {
	all, err := t.logGroups(ctx, c, name)
	if err != nil {
		return err
	}
	for _, g := range all {
		if g.name == name {
			return nil
		}
	}
	return deploy.Failf(stage, nil, "There is a log group %s that is not this target's, so it is not touched. Remove it; or, to hand it over, tag it %s=%s.", name, tagTarget, t.id)
}

// ownGroup is a log group of the target with its tags.
type ownGroup struct {
	name string
	tags map[string]string
}

// logGroups are the target's own whose names begin so.
func (t *target) logGroups(ctx context.Context, c *clients, prefix string) (own []ownGroup, err error) {
	pages := cloudwatchlogs.NewDescribeLogGroupsPaginator(c.logs, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, g := range page.LogGroups {
			tags, err := c.logs.ListTagsForResource(ctx, &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: g.LogGroupArn})
			if missing(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if tags.Tags[tagTarget] == t.id {
				own = append(own, ownGroup{deref(g.LogGroupName), tags.Tags})
			}
		}
	}
	return own, nil
}

// pace is how often something is looked at: often at first, for most things are
// soon done, and then ever less, for AWS counts calls.
type pace struct{ next time.Duration }

const (
	firstLook = 200 * time.Millisecond
	slowest   = 3 * time.Second

	// seenTime is how long what was made just now may be missing in answers: ECS
	// is of one mind only after a while.
	seenTime = 15 * time.Second
)

// wait waits until it is time to look again, or ctx ends.
func (p *pace) wait(ctx context.Context) error {
	p.next = min(max(p.next*5/4, firstLook), slowest)
	return deploy.WaitFor(ctx, p.next)
}
