package awstest

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	secrettypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

type logGroup struct {
	name    string
	days    int32
	tags    map[string]string
	streams map[string][]logtypes.OutputLogEvent
}

func (g *logGroup) arn() string { return arn("logs", "log-group:"+g.name) }

type secret struct {
	arn, text string
	tags      []secrettypes.Tag
}

// SeedLogGroup puts a log group there, as somebody else would have.
func (c *Cloud) SeedLogGroup(name string) {
	c.set(func() {
		c.groups[name] = &logGroup{name: name, tags: map[string]string{}, streams: map[string][]logtypes.OutputLogEvent{}}
	})
}

// Secret is the text of the only secret that there is.
func (c *Cloud) Secret() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.secrets {
		return s.text
	}
	return ""
}

func (c *Cloud) createLogGroup(in *cloudwatchlogs.CreateLogGroupInput) (*cloudwatchlogs.CreateLogGroupOutput, error) {
	name := deref(in.LogGroupName)
	if c.groups[name] != nil {
		return nil, refuse("ResourceAlreadyExistsException", "The specified log group already exists")
	}
	c.groups[name] = &logGroup{name: name, tags: in.Tags, streams: map[string][]logtypes.OutputLogEvent{}}
	return &cloudwatchlogs.CreateLogGroupOutput{}, nil
}

func (c *Cloud) putRetention(in *cloudwatchlogs.PutRetentionPolicyInput) (*cloudwatchlogs.PutRetentionPolicyOutput, error) {
	g := c.groups[deref(in.LogGroupName)]
	if g == nil {
		return nil, refuse("ResourceNotFoundException", "The specified log group does not exist.")
	}
	g.days = *in.RetentionInDays
	return &cloudwatchlogs.PutRetentionPolicyOutput{}, nil
}

func (c *Cloud) describeLogGroups(in *cloudwatchlogs.DescribeLogGroupsInput) (*cloudwatchlogs.DescribeLogGroupsOutput, error) {
	out := &cloudwatchlogs.DescribeLogGroupsOutput{}
	for name, g := range c.groups {
		if strings.HasPrefix(name, deref(in.LogGroupNamePrefix)) {
			out.LogGroups = append(out.LogGroups, logtypes.LogGroup{LogGroupName: p(name), LogGroupArn: p(g.arn()), RetentionInDays: p(g.days)})
		}
	}
	return out, nil
}

func (c *Cloud) listLogTags(in *cloudwatchlogs.ListTagsForResourceInput) (*cloudwatchlogs.ListTagsForResourceOutput, error) {
	for _, g := range c.groups {
		if g.arn() == deref(in.ResourceArn) {
			return &cloudwatchlogs.ListTagsForResourceOutput{Tags: g.tags}, nil
		}
	}
	return nil, refuse("ResourceNotFoundException", "The specified resource does not exist.")
}

func (c *Cloud) deleteLogGroup(in *cloudwatchlogs.DeleteLogGroupInput) (*cloudwatchlogs.DeleteLogGroupOutput, error) {
	delete(c.groups, deref(in.LogGroupName))
	return &cloudwatchlogs.DeleteLogGroupOutput{}, nil
}

// getLogEvents reads a stream. A token is the index of what comes next.
func (c *Cloud) getLogEvents(in *cloudwatchlogs.GetLogEventsInput) (*cloudwatchlogs.GetLogEventsOutput, error) {
	g := c.groups[deref(in.LogGroupName)]
	if g == nil || g.streams[deref(in.LogStreamName)] == nil {
		return nil, refuse("ResourceNotFoundException", "The specified log stream does not exist.")
	}
	all := g.streams[deref(in.LogStreamName)]
	limit := 10_000
	if in.Limit != nil {
		limit = int(*in.Limit)
	}
	first := slices.IndexFunc(all, func(e logtypes.OutputLogEvent) bool { return in.StartTime == nil || *e.Timestamp >= *in.StartTime })
	if first < 0 {
		first = len(all)
	}
	if in.NextToken != nil {
		n, err := strconv.Atoi(strings.TrimPrefix(*in.NextToken, "f/"))
		if err != nil {
			return nil, refuse("InvalidParameterException", "The specified nextToken is invalid.")
		}
		first = n
	} else if in.StartFromHead == nil || !*in.StartFromHead {
		first = max(first, len(all)-limit)
	}
	end := min(first+limit, len(all))
	return &cloudwatchlogs.GetLogEventsOutput{Events: slices.Clone(all[first:end]), NextForwardToken: p("f/" + strconv.Itoa(end)), NextBackwardToken: p("b/" + strconv.Itoa(first))}, nil
}

// write adds a line to the stream of a task.
func (c *Cloud) write(group, stream string, at time.Time, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.groups[group]; g != nil {
		g.streams[stream] = append(g.streams[stream], logtypes.OutputLogEvent{Timestamp: p(at.UnixMilli()), Message: &text, IngestionTime: p(time.Now().UnixMilli())})
	}
}

func (c *Cloud) createSecret(in *secretsmanager.CreateSecretInput) (*secretsmanager.CreateSecretOutput, error) {
	name := deref(in.Name)
	if c.secrets[name] != nil {
		return nil, refuse("ResourceExistsException", "The operation failed because the secret %s already exists.", name)
	}
	c.secrets[name] = &secret{arn: arn("secretsmanager", "secret:"+name+"-AbCdEf"), text: deref(in.SecretString), tags: in.Tags}
	return &secretsmanager.CreateSecretOutput{ARN: p(c.secrets[name].arn), Name: in.Name}, nil
}

func (c *Cloud) describeSecret(in *secretsmanager.DescribeSecretInput) (*secretsmanager.DescribeSecretOutput, error) {
	s := c.secrets[deref(in.SecretId)]
	if s == nil {
		return nil, refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	}
	return &secretsmanager.DescribeSecretOutput{ARN: &s.arn, Name: in.SecretId, Tags: s.tags}, nil
}

func (c *Cloud) deleteSecret(in *secretsmanager.DeleteSecretInput) (*secretsmanager.DeleteSecretOutput, error) {
	if c.secrets[deref(in.SecretId)] == nil {
		return nil, refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	}
	delete(c.secrets, deref(in.SecretId))
	return &secretsmanager.DeleteSecretOutput{Name: in.SecretId}, nil
}

// resolve reads what a container's secret names: the secret's ARN, a key of its JSON, stage and version
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html).
func (c *Cloud) resolve(from string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts := strings.Split(from, ":")
	if len(parts) != 10 {
		return "", refuse("ResourceInitializationError", "unable to pull secrets or registry auth: the secret %s has unexpected ARN format with parameters", from)
	}
	if err := c.permitted("secretsmanager", "secretsmanager:GetSecretValue", from); err != nil {
		return "", refuse("ResourceInitializationError", "unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret from secrets manager: AccessDeniedException: User: %s/x is not authorized to perform: secretsmanager:GetSecretValue", ExecutionRole)
	}
	for _, s := range c.secrets {
		if s.arn != strings.Join(parts[:7], ":") {
			continue
		}
		values := map[string]string{}
		if err := json.Unmarshal([]byte(s.text), &values); err != nil {
			return "", err
		}
		if value, ok := values[parts[7]]; ok {
			return value, nil
		}
	}
	return "", refuse("ResourceInitializationError", "unable to pull secrets or registry auth: execution resource retrieval failed: ResourceNotFoundException: Secrets Manager can't find the specified secret.")
}
