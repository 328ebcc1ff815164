package awstest

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/docker/docker/api/types/container"
)

const telemetry = "FargateTelemetry-0001" // the stream of Container Insights

// subject is a task that Container Insights looks at.
type subject struct {
	id, family, cluster, container string
	since                          time.Time
}

// filterLogEvents reads a log group. Container Insights writes just before, so
// that no test has to wait for the next minute.
func (c *Cloud) filterLogEvents(body []byte) ([]byte, error) {
	for _, one := range c.subjects() {
		c.measure(one)
	}
	return strict(c, c.filterEvents)(body)
}

// subjects are the tasks that run in clusters with Container Insights.
func (c *Cloud) subjects() (all []subject) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, k := range c.tasks {
		in := c.clusters[k.cluster]
		if k.last != "RUNNING" || in == nil || !slices.ContainsFunc(in.Settings, func(s types.ClusterSetting) bool {
			return s.Name == types.ClusterSettingNameContainerInsights && deref(s.Value) != "disabled"
		}) {
			continue
		}
		name := performance(k.cluster)
		if c.groups[name] == nil {
			c.groups[name] = &logGroup{name: name, days: 1, tags: map[string]string{}, streams: map[string][]logtypes.OutputLogEvent{}}
		}
		all = append(all, subject{last(at), deref(k.definition.Family), k.cluster, k.container, *k.started})
	}
	return all
}

func performance(cluster string) string {
	return "/aws/ecs/containerinsights/" + cluster + "/performance"
}

// measure writes the events of the task and its container: processor time on
// average since it started, and memory as docker stats counts it.
func (c *Cloud) measure(s subject) {
	res, err := c.docker.ContainerStatsOneShot(c.ctx, s.container)
	if err != nil {
		return // it has ended
	}
	defer res.Body.Close()
	var is container.StatsResponse
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&is); err != nil || !is.Read.After(s.since) {
		return
	}
	now := time.Now()
	event := map[string]any{
		"Version": "0", "TaskId": s.id, "TaskDefinitionFamily": s.family, "TaskDefinitionRevision": "1", "ClusterName": s.cluster, "Timestamp": now.UnixMilli(),
		"CpuUtilized":    float64(is.CPUStats.CPUUsage.TotalUsage) / float64(is.Read.Sub(s.since)) * 1024,
		"MemoryUtilized": (is.MemoryStats.Usage - min(is.MemoryStats.Stats["inactive_file"], is.MemoryStats.Usage)) >> 20,
	}
	for kind, more := range map[string]map[string]any{
		"Container": {"ContainerName": "app", "ContainerKnownStatus": "RUNNING"},
		"Task":      {"AccountID": Account, "Region": Region, "KnownStatus": "RUNNING", "LaunchType": "FARGATE"},
	} {
		event["Type"] = kind
		for name, value := range more {
			event[name] = value
		}
		text, err := json.Marshal(event)
		if err != nil {
			c.t.Errorf("an event can't be written: %v", err)
		}
		c.write(performance(s.cluster), telemetry, now, string(text))
	}
}

// filterEvents reads all streams of the group. As in CloudWatch a page may be
// empty and not the last: the first one is.
func (c *Cloud) filterEvents(in *cloudwatchlogs.FilterLogEventsInput) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	g := c.groups[deref(in.LogGroupName)]
	if g == nil {
		return nil, refuse("ResourceNotFoundException", "The specified log group does not exist.")
	}
	kind, ok := strings.CutPrefix(deref(in.FilterPattern), `{ $.Type = "`)
	kind, end := strings.CutSuffix(kind, `" }`)
	if !ok || !end {
		return nil, refuse("InvalidParameterException", "Invalid filter pattern")
	}
	if in.NextToken == nil {
		return &cloudwatchlogs.FilterLogEventsOutput{NextToken: p("next")}, nil
	}
	out := &cloudwatchlogs.FilterLogEventsOutput{}
	for name, stream := range g.streams {
		for _, e := range stream {
			var said struct{ Type string }
			if json.Unmarshal([]byte(*e.Message), &said) == nil && said.Type == kind && (in.StartTime == nil || *e.Timestamp >= *in.StartTime) {
				out.Events = append(out.Events, logtypes.FilteredLogEvent{LogStreamName: &name, Message: e.Message, Timestamp: e.Timestamp, IngestionTime: e.IngestionTime})
			}
		}
	}
	slices.SortStableFunc(out.Events, func(a, b logtypes.FilteredLogEvent) int { return int(*a.Timestamp - *b.Timestamp) })
	if in.StartFromHead != nil && !*in.StartFromHead {
		slices.Reverse(out.Events)
	}
	if in.Limit != nil {
		out.Events = out.Events[:min(len(out.Events), int(*in.Limit))]
	}
	return out, nil
}
