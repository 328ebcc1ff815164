package aws

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

const (
	// usageFresh is how long what was read counts as now. Container Insights
	// writes once a minute, and services/observe asks every 15 seconds, one worker
	// at a time: so each target makes at most four calls a minute, where AWS takes
	// several a second. They cost nothing; what Container Insights writes does.
	usageFresh = 30 * time.Second

	// usageNone is how long a cluster without Container Insights, or a credential
	// that may not read it, is left alone.
	usageNone = 2 * time.Minute

	// usageWindow is how old a figure may be: it is of a whole minute, and comes
	// about a minute later.
	usageWindow = 3 * time.Minute

	maxUsagePages = 50 // of 1 MB: some 15,000 tasks
)

// taking is what tasks took lately.
type taking struct {
	asking sync.Mutex // so that only one asks AWS; it guards the rest too
	all    map[string]deploy.Usage
	until  time.Time
}

// Usage returns what Container Insights says of each task that runs, a minute or
// two late. A cluster in which it is off, or whose log the credential may not
// read, tells nothing; Inspect says so.
func (t *target) Usage(ctx context.Context) ([]deploy.Usage, error) {
	out := []deploy.Usage{}
	runs, err := t.List(ctx)
	if err != nil || len(runs) == 0 {
		return out, err
	}
	lately, err := t.lately(ctx)
	if err != nil {
		return nil, t.reached(t.explain(ctx, deploy.StageTarget, err, "read what tasks take"))
	}
	for _, i := range runs { // others in the cluster, and what has ended, are no business of ours
		if u, ok := lately[i.ID]; ok {
			out = append(out, u)
		}
	}
	return out, nil
}

// lately is what was read last, or now where that is too old, by the tasks' ids. It is not to be changed.
func (t *target) lately(ctx context.Context) (map[string]deploy.Usage, error) {
	t.taking.asking.Lock()
	defer t.taking.asking.Unlock()
	if time.Now().Before(t.taking.until) {
		return t.taking.all, nil
	}
	all, err := t.performance(ctx, t.as(deploy.Subject{}))
	lasts := usageFresh
	if missing(err) || awslogin.Denied(err) {
		all, lasts, err = map[string]deploy.Usage{}, usageNone, nil
	}
	if err != nil {
		return nil, err
	}
	t.taking.all, t.taking.until = all, time.Now().Add(lasts)
	return all, nil
}

// performanceLog is the log group that Container Insights writes to.
func (t *target) performanceLog() string {
	return "/aws/ecs/containerinsights/" + t.clusterName() + "/performance"
}

// tasksTook asks for what Container Insights wrote of tasks since the time, the newest first.
func (t *target) tasksTook(since time.Time) *cloudwatchlogs.FilterLogEventsInput {
	return &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: ptr(t.performanceLog()), FilterPattern: ptr(`{ $.Type = "Task" }`), StartTime: ptr(since.UnixMilli()), StartFromHead: ptr(false),
	}
}

// performance reads the newest figures of each task, in one question for all.
func (t *target) performance(ctx context.Context, c *clients) (map[string]deploy.Usage, error) {
	all, at := map[string]deploy.Usage{}, map[string]int64{}
	pages := cloudwatchlogs.NewFilterLogEventsPaginator(c.logs, t.tasksTook(time.Now().Add(-usageWindow)))
	for n := 0; pages.HasMorePages() && n < maxUsagePages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Events {
			u, ok := readTask(deref(e.Message))
			if ok && e.Timestamp != nil && *e.Timestamp > at[u.Instance] {
				all[u.Instance], at[u.Instance] = u, *e.Timestamp
			}
		}
	}
	return all, nil
}

// readTask reads an event of the type Task: units of 1/1024 vCPU, and MiB
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-reference-performance-logs-ECS.html).
// One without either figure tells nothing.
func readTask(text string) (deploy.Usage, bool) {
	var said struct {
		Task   string   `json:"TaskId"`
		CPU    *float64 `json:"CpuUtilized"`
		Memory *float64 `json:"MemoryUtilized"`
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil || said.Task == "" || said.CPU == nil || said.Memory == nil {
		return deploy.Usage{}, false
	}
	return deploy.Usage{Instance: said.Task, CPU: whole(*said.CPU * 1000 / 1024), Memory: whole(*said.Memory * (1 << 20))}, true
}

// whole drops what is behind the point, and what no figure of a task can be.
func whole(v float64) int64 { return int64(min(max(v, 0), 1<<50)) }

// insights are the settings of a cluster that Slipway makes; without them those of the account hold.
func (t *target) insights() []types.ClusterSetting {
	if !t.settings.insights {
		return nil
	}
	return []types.ClusterSetting{{Name: types.ClusterSettingNameContainerInsights, Value: ptr("enabled")}}
}

// observed tells whether Container Insights is on, with its enhanced figures or without: both have those of tasks.
func observed(found *types.Cluster) bool {
	return found != nil && slices.ContainsFunc(found.Settings, func(s types.ClusterSetting) bool {
		return s.Name == types.ClusterSettingNameContainerInsights && (deref(s.Value) == "enabled" || deref(s.Value) == "enhanced")
	})
}

// observe turns Container Insights on in the cluster that this target made. Where
// AWS refuses, the release goes on without: Inspect says what is missing.
func (t *target) observe(ctx context.Context, c *clients, found *types.Cluster) {
	if t.settings.insights && !observed(found) && read(found.Tags)[tagTarget] == t.id {
		_, _ = c.ecs.UpdateClusterSettings(ctx, &ecs.UpdateClusterSettingsInput{Cluster: found.ClusterName, Settings: t.insights()})
	}
}

// metrics looks whether it can be told what tasks take. Nothing of it speaks against a rollout.
func (l *looking) metrics(ctx context.Context, _ caller) error {
	const name = "CPU and memory in use"
	if !l.settings.insights && !observed(l.found) {
		how := "check it in the target's settings"
		if l.settings.cluster != "" {
			how = "run aws ecs update-cluster-settings --cluster " + l.clusterName() + " --settings name=containerInsights,value=enabled"
		}
		l.pass(name, "Not measured: Container Insights is off in the cluster %s. It costs by CloudWatch's prices. To turn it on, %s.", l.clusterName(), how)
		return nil
	}
	ask := l.tasksTook(time.Now())
	ask.Limit = ptr(int32(1))
	_, err := l.c.logs.FilterLogEvents(ctx, ask)
	switch {
	case awslogin.Denied(err):
		l.pass(name, "Not measured: the credential lacks the permission logs:FilterLogEvents on the log group %s. Add it to its policy, as docs/aws.md has it.", l.performanceLog())
	case err != nil && !missing(err) && awslogin.Code(err) == "":
		return l.explain(ctx, deploy.StageTarget, err, "read what tasks take")
	case err != nil && !missing(err):
		l.pass(name, "Not looked at: AWS says %s.", awslogin.Code(err))
	case l.found != nil && !observed(l.found):
		l.pass(name, "The release turns Container Insights on, where the credential has the permission ecs:UpdateClusterSettings.")
	default:
		l.pass(name, "Container Insights measures each task, once a minute.")
	}
	return nil
}
