package awstest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

type cluster struct {
	types.Cluster
}

type definition struct {
	types.TaskDefinition
	tags []types.Tag
}

// AddCluster makes a cluster as an admin does, with so many container instances.
func (c *Cloud) AddCluster(name string, instances int32) {
	c.set(func() {
		c.clusters[name] = &cluster{types.Cluster{ClusterName: &name, ClusterArn: p(arn("ecs", "cluster/"+name)), Status: p("ACTIVE"), RegisteredContainerInstancesCount: instances}}
	})
}

// Measure turns Container Insights on in the cluster, as its owner would.
func (c *Cloud) Measure(name string) {
	c.set(func() {
		c.clusters[name].Settings = []types.ClusterSetting{{Name: types.ClusterSettingNameContainerInsights, Value: p("enhanced")}}
	})
}

// Definitions are all task definitions.
func (c *Cloud) Definitions() (all []types.TaskDefinition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.definitions {
		all = append(all, d.TaskDefinition)
	}
	return all
}

// jsonOperations are those of the JSON protocol.
func (c *Cloud) jsonOperations() map[string]operation {
	return map[string]operation{
		"ecs:CreateCluster":              strict(c, c.createCluster),
		"ecs:DescribeClusters":           strict(c, c.describeClusters),
		"ecs:DeleteCluster":              strict(c, c.deleteCluster),
		"ecs:UpdateClusterSettings":      strict(c, c.updateClusterSettings),
		"ecs:RegisterTaskDefinition":     strict(c, c.register),
		"ecs:DescribeTaskDefinition":     strict(c, c.describeDefinition),
		"ecs:ListTaskDefinitions":        strict(c, c.listDefinitions),
		"ecs:ListTaskDefinitionFamilies": strict(c, c.listFamilies),
		"ecs:DeregisterTaskDefinition":   strict(c, c.deregister),
		"ecs:DeleteTaskDefinitions":      strict(c, c.deleteDefinitions),
		"ecs:CreateService":              strict(c, c.createService),
		"ecs:UpdateService":              strict(c, c.updateService),
		"ecs:DescribeServices":           strict(c, c.describeServices),
		"ecs:ListServices":               strict(c, c.listServices),
		"ecs:DeleteService":              strict(c, c.deleteService),
		"ecs:RunTask":                    strict(c, c.runTask),
		"ecs:StopTask":                   strict(c, c.stopTask),
		"ecs:ListTasks":                  strict(c, c.listTasks),
		"ecs:DescribeTasks":              strict(c, c.describeTasks),
		"logs:CreateLogGroup":            strict(c, c.createLogGroup),
		"logs:PutRetentionPolicy":        strict(c, c.putRetention),
		"logs:DescribeLogGroups":         strict(c, c.describeLogGroups),
		"logs:ListTagsForResource":       strict(c, c.listLogTags),
		"logs:DeleteLogGroup":            strict(c, c.deleteLogGroup),
		"logs:GetLogEvents":              strict(c, c.getLogEvents),
		"logs:FilterLogEvents":           c.filterLogEvents,
		"secretsmanager:CreateSecret":    strict(c, c.createSecret),
		"secretsmanager:DescribeSecret":  strict(c, c.describeSecret),
		"secretsmanager:DeleteSecret":    strict(c, c.deleteSecret),
	}
}

func (c *Cloud) createCluster(in *ecs.CreateClusterInput) (*ecs.CreateClusterOutput, error) {
	name := deref(in.ClusterName)
	if c.clusters[name] == nil {
		c.clusters[name] = &cluster{types.Cluster{ClusterName: &name, ClusterArn: p(arn("ecs", "cluster/"+name)), Status: p("ACTIVE"), Tags: in.Tags, Settings: in.Settings}}
	}
	return &ecs.CreateClusterOutput{Cluster: &c.clusters[name].Cluster}, nil
}

func (c *Cloud) describeClusters(in *ecs.DescribeClustersInput) (*ecs.DescribeClustersOutput, error) {
	out := &ecs.DescribeClustersOutput{}
	for _, name := range in.Clusters {
		if has := c.clusters[name]; has != nil {
			found := has.Cluster
			if !slices.Contains(in.Include, types.ClusterFieldSettings) {
				found.Settings = nil
			}
			out.Clusters = append(out.Clusters, found)
		} else {
			out.Failures = append(out.Failures, types.Failure{Arn: p(arn("ecs", "cluster/"+name)), Reason: p("MISSING")})
		}
	}
	return out, nil
}

func (c *Cloud) updateClusterSettings(in *ecs.UpdateClusterSettingsInput) (*ecs.UpdateClusterSettingsOutput, error) {
	if err := c.inCluster(in.Cluster); err != nil {
		return nil, err
	}
	has := c.clusters[deref(in.Cluster)]
	has.Settings = in.Settings
	return &ecs.UpdateClusterSettingsOutput{Cluster: &has.Cluster}, nil
}

func (c *Cloud) deleteCluster(in *ecs.DeleteClusterInput) (*ecs.DeleteClusterOutput, error) {
	for _, s := range c.services {
		if s.cluster == deref(in.Cluster) {
			return nil, refuse("ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active.")
		}
	}
	delete(c.clusters, deref(in.Cluster))
	return &ecs.DeleteClusterOutput{}, nil
}

// inCluster says no where there is no such cluster.
func (c *Cloud) inCluster(name *string) error {
	if c.clusters[deref(name)] == nil {
		return refuse("ClusterNotFoundException", "Cluster not found.")
	}
	return nil
}

// memories are the sizes that Fargate has, in MiB by CPU units.
var memories = map[string][]int{"256": {512, 1024, 2048}, "512": spread(1024, 4096, 1024), "1024": spread(2048, 8192, 1024), "2048": spread(4096, 16384, 1024), "4096": spread(8192, 30720, 1024), "8192": spread(16384, 61440, 4096), "16384": spread(32768, 122880, 8192)}

func spread(from, to, step int) (all []int) {
	for n := from; n <= to; n += step {
		all = append(all, n)
	}
	return all
}

func (c *Cloud) register(in *ecs.RegisterTaskDefinitionInput) (*ecs.RegisterTaskDefinitionOutput, error) {
	if err := c.permitted("ecs", "iam:PassRole", deref(in.ExecutionRoleArn)); err != nil {
		return nil, err
	}
	memory, _ := strconv.Atoi(deref(in.Memory))
	switch {
	case len(in.ContainerDefinitions) != 1 || deref(in.ContainerDefinitions[0].Image) == "":
		return nil, refuse("ClientException", "Container list cannot be empty.")
	case slices.Contains(in.RequiresCompatibilities, types.CompatibilityFargate) && !slices.Contains(memories[deref(in.Cpu)], memory):
		return nil, refuse("ClientException", "No Fargate configuration exists for given values: %s CPU, %s memory.", deref(in.Cpu), deref(in.Memory))
	case in.NetworkMode != types.NetworkModeAwsvpc, deref(in.ExecutionRoleArn) == "":
		return nil, refuse("ClientException", "Fargate only supports network mode 'awsvpc', and requires an execution role.")
	case len(in.Tags) > 50 || strings.ContainsFunc(deref(in.Family), func(r rune) bool { return !strings.ContainsRune("-_", r) && !isAlnum(r) }):
		return nil, refuse("ClientException", "Family contains invalid characters.")
	}
	revision := int32(1)
	for _, d := range c.definitions {
		if deref(d.Family) == deref(in.Family) {
			revision = max(revision, d.Revision+1)
		}
	}
	at := arn("ecs", fmt.Sprintf("task-definition/%s:%d", deref(in.Family), revision))
	c.definitions[at] = &definition{types.TaskDefinition{
		Family: in.Family, Revision: revision, TaskDefinitionArn: &at, Status: types.TaskDefinitionStatusActive, ContainerDefinitions: in.ContainerDefinitions,
		Cpu: in.Cpu, Memory: in.Memory, NetworkMode: in.NetworkMode, RequiresCompatibilities: in.RequiresCompatibilities, ExecutionRoleArn: in.ExecutionRoleArn, TaskRoleArn: in.TaskRoleArn,
		RuntimePlatform: in.RuntimePlatform,
	}, in.Tags}
	return &ecs.RegisterTaskDefinitionOutput{TaskDefinition: &c.definitions[at].TaskDefinition}, nil
}

func isAlnum(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// findDefinition takes an ARN, or a family's newest active one.
func (c *Cloud) findDefinition(name string) *definition {
	if d := c.definitions[name]; d != nil {
		return d
	}
	var found *definition
	for _, d := range c.definitions {
		if deref(d.Family) == name && d.Status == types.TaskDefinitionStatusActive && (found == nil || d.Revision > found.Revision) {
			found = d
		}
	}
	return found
}

func (c *Cloud) describeDefinition(in *ecs.DescribeTaskDefinitionInput) (*ecs.DescribeTaskDefinitionOutput, error) {
	d := c.findDefinition(deref(in.TaskDefinition))
	if d == nil {
		return nil, refuse("ClientException", "Unable to describe task definition.")
	}
	return &ecs.DescribeTaskDefinitionOutput{TaskDefinition: &d.TaskDefinition, Tags: d.tags}, nil
}

func (c *Cloud) listFamilies(in *ecs.ListTaskDefinitionFamiliesInput) (*ecs.ListTaskDefinitionFamiliesOutput, error) {
	out := &ecs.ListTaskDefinitionFamiliesOutput{}
	for _, d := range c.definitions {
		has := in.Status == types.TaskDefinitionFamilyStatusAll || string(in.Status) == string(d.Status)
		if has && strings.HasPrefix(deref(d.Family), deref(in.FamilyPrefix)) && !slices.Contains(out.Families, deref(d.Family)) {
			out.Families = append(out.Families, deref(d.Family))
		}
	}
	return out, nil
}

func (c *Cloud) listDefinitions(in *ecs.ListTaskDefinitionsInput) (*ecs.ListTaskDefinitionsOutput, error) {
	out := &ecs.ListTaskDefinitionsOutput{}
	for at, d := range c.definitions {
		if deref(d.Family) == deref(in.FamilyPrefix) && d.Status == in.Status {
			out.TaskDefinitionArns = append(out.TaskDefinitionArns, at)
		}
	}
	return out, nil
}

func (c *Cloud) deregister(in *ecs.DeregisterTaskDefinitionInput) (*ecs.DeregisterTaskDefinitionOutput, error) {
	d := c.definitions[deref(in.TaskDefinition)]
	if d == nil {
		return nil, refuse("ClientException", "Unable to describe task definition.")
	}
	d.Status = types.TaskDefinitionStatusInactive
	return &ecs.DeregisterTaskDefinitionOutput{TaskDefinition: &d.TaskDefinition}, nil
}

func (c *Cloud) deleteDefinitions(in *ecs.DeleteTaskDefinitionsInput) (*ecs.DeleteTaskDefinitionsOutput, error) {
	out := &ecs.DeleteTaskDefinitionsOutput{}
	for _, at := range in.TaskDefinitions {
		if d := c.definitions[at]; d == nil || d.Status != types.TaskDefinitionStatusInactive {
			out.Failures = append(out.Failures, types.Failure{Arn: &at, Reason: p("The specified task definition is still in ACTIVE status.")})
			continue
		}
		delete(c.definitions, at)
	}
	return out, nil
}
