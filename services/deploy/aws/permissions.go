package aws

import (
	"fmt"
	"strings"

	"slipway.dev/services/deploy"
)

// need is what Slipway's credential has to be allowed on a resource. docs/aws.md has the same as a policy.
type need struct {
	resource string
	actions  []string
}

// needs are all that a release can't do without, on the resources that a release would get.
func (l *looking) needs(me caller) []need {
	s, name := l.settings, nameOf(l.sample())
	in := func(service, resource string) string {
		return fmt.Sprintf("arn:%s:%s:%s:%s:%s", me.partition, service, s.region, me.account, resource)
	}
	cluster := l.clusterName()
	out := []need{
		{"*", []string{
			"ecs:RegisterTaskDefinition", "ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions", "ecs:ListTaskDefinitionFamilies", "ecs:DeregisterTaskDefinition", "ecs:ListServices", "ecs:ListTasks",
			"logs:DescribeLogGroups",
		}},
		{in("ecs", "cluster/"+cluster), []string{"ecs:DescribeClusters"}},
		{in("ecs", "service/"+cluster+"/"+name), []string{"ecs:CreateService", "ecs:UpdateService", "ecs:DeleteService", "ecs:DescribeServices", "ecs:TagResource"}},
		{in("ecs", "task/"+cluster+"/00000000000000000000000000000000"), []string{"ecs:DescribeTasks", "ecs:StopTask"}},
		{in("ecs", "task-definition/"+name+":1"), []string{"ecs:RunTask", "ecs:DeleteTaskDefinitions"}},
		{in("logs", "log-group:"+logGroup(l.r)), []string{"logs:CreateLogGroup", "logs:PutRetentionPolicy", "logs:ListTagsForResource", "logs:TagResource", "logs:GetLogEvents", "logs:DeleteLogGroup"}},
		{in("secretsmanager", "secret:"+l.secretName(l.sample().ID)+"-AbCdEf"), []string{"secretsmanager:CreateSecret", "secretsmanager:DescribeSecret", "secretsmanager:DeleteSecret", "secretsmanager:TagResource"}},
		{s.executionRole, []string{"iam:PassRole"}},
	}
	if s.cluster == "" {
		out = append(out, need{in("ecs", "cluster/"+cluster), []string{"ecs:CreateCluster", "ecs:DeleteCluster"}})
	}
	if s.taskRole != "" {
		out = append(out, need{s.taskRole, []string{"iam:PassRole"}})
	}
	if s.listener == "" {
		return append(out, need{"*", []string{"ec2:DescribeNetworkInterfaces"}})
	}
	group := in("elasticloadbalancing", "targetgroup/"+mark(l.sample().ID)+"/0000000000000000")
	return append(out,
		need{"*", []string{"elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTags", "elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth"}},
		need{group, []string{"elasticloadbalancing:CreateTargetGroup", "elasticloadbalancing:ModifyTargetGroupAttributes", "elasticloadbalancing:DeleteTargetGroup", "elasticloadbalancing:AddTags"}},
		need{s.listener, []string{"elasticloadbalancing:CreateRule"}},
		need{ruleARN(s.listener), []string{"elasticloadbalancing:ModifyRule", "elasticloadbalancing:DeleteRule"}},
	)
}

// sample is the release with an id, which it has not got yet.
func (l *looking) sample() deploy.Release {
	r := l.r
	r.ID = "00000000-0000-7000-8000-000000000000"
	return r
}

// ruleARN is like that of a rule of the listener.
func ruleARN(listener string) string {
	return strings.Replace(listener, ":listener/", ":listener-rule/", 1) + "/0000000000000000"
}
