package aws

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// stopSeconds is how long a container may take to end after SIGTERM.
const stopSeconds = 30

// ensureDefinition registers the release's task definition, once, and returns its ARN.
func (t *target) ensureDefinition(ctx context.Context, c *clients, stage string, r deploy.Release, secret string) (string, error) {
	arn, err := t.definition(ctx, c, r)
	if err != nil || arn != "" {
		return arn, t.explain(ctx, stage, err, "look for the task definition "+nameOf(r))
	}
	in, failed := t.definitionOf(r, secret)
	if failed != nil {
		return "", failed
	}
	out, err := c.ecs.RegisterTaskDefinition(ctx, in)
	if err != nil {
		return "", t.explain(ctx, stage, err, "register the task definition "+nameOf(r))
	}
	return deref(out.TaskDefinition.TaskDefinitionArn), nil
}

// definition returns the ARN of the release's task definition, or "".
func (t *target) definition(ctx context.Context, c *clients, r deploy.Release) (string, error) {
	out, err := c.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: ptr(nameOf(r)), Include: []types.TaskDefinitionField{types.TaskDefinitionFieldTags}})
	switch {
	case awslogin.Code(err) == "ClientException" && strings.Contains(awslogin.Text(err), "Unable to describe"):
		return "", nil
	case err != nil:
		return "", err
	case read(out.Tags)[tagTarget] != t.id:
		return "", deploy.Failf(deploy.StageTarget, nil, "There is a task definition %s that is not this target's, so it is not used. Deregister it, and deploy again.", nameOf(r))
	}
	return deref(out.TaskDefinition.TaskDefinitionArn), nil
}

// definitionOf is the release's task definition: one container with nothing but what the app needs.
func (t *target) definitionOf(r deploy.Release, secret string) (*ecs.RegisterTaskDefinitionInput, error) {
	in := &ecs.RegisterTaskDefinitionInput{
		Family: ptr(nameOf(r)), NetworkMode: types.NetworkModeAwsvpc, ExecutionRoleArn: &t.settings.executionRole,
		RequiresCompatibilities: []types.Compatibility{types.Compatibility(t.settings.launch)},
		RuntimePlatform:         &types.RuntimePlatform{CpuArchitecture: t.settings.architecture, OperatingSystemFamily: types.OSFamilyLinux},
		Tags:                    ecsTags(t.tagsOf(r)),
	}
	if t.settings.taskRole != "" {
		in.TaskRoleArn = &t.settings.taskRole
	}
	app := t.containerOf(r, secret)
	if t.settings.launch == types.LaunchTypeFargate {
		s, ok := sizeFor(r.Scale)
		if !ok {
			return nil, deploy.Failf(deploy.StageCheck, nil, "%s", tooLarge)
		}
		in.Cpu, in.Memory = ptr(strconv.FormatInt(s.cpu, 10)), ptr(strconv.FormatInt(s.memory, 10))
	} else {
		limit(&app, r)
	}
	in.ContainerDefinitions = []types.ContainerDefinition{app}
	return in, nil
}

const tooLarge = "No size of Fargate is that large: an instance gets at most 16 processors and 120 GB of memory. Lower the scale, or use EC2 capacity."

// minMemory is what a container without a limit reserves on an instance, in MiB.
const minMemory = 256

// limit gives the container its limits on an instance of EC2, where any size is possible.
func limit(app *types.ContainerDefinition, r deploy.Release) {
	app.DockerSecurityOptions = []string{"no-new-privileges"}
	app.Cpu = int32(units(r.Scale.CPU))
	if r.Scale.Memory > 0 {
		app.Memory = ptr(int32((r.Scale.Memory + mebibyte - 1) / mebibyte))
	} else {
		app.MemoryReservation = ptr(int32(minMemory))
	}
}

func (t *target) containerOf(r deploy.Release, secret string) types.ContainerDefinition {
	apart := hidden(r)
	app := types.ContainerDefinition{
		Name: ptr(containerName), Image: ptr(r.Image.Ref()), Essential: ptr(true), StopTimeout: ptr(int32(stopSeconds)),
		PortMappings: []types.PortMapping{{ContainerPort: ptr(int32(r.Port)), Protocol: types.TransportProtocolTcp}},
		LogConfiguration: &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
			"awslogs-group": logGroup(r), "awslogs-region": t.settings.region, "awslogs-stream-prefix": mark(r.ID),
		}},
	}
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		if _, is := apart[name]; is {
			app.Secrets = append(app.Secrets, types.Secret{Name: ptr(name), ValueFrom: ptr(secret + ":" + name + "::")})
		} else {
			app.Environment = append(app.Environment, types.KeyValuePair{Name: ptr(name), Value: ptr(r.Env[name])})
		}
	}
	return app
}

// network is where the tasks are.
func (t *target) network() *types.NetworkConfiguration {
	v := &types.AwsVpcConfiguration{Subnets: t.settings.subnets, SecurityGroups: t.settings.groups}
	if t.settings.launch == types.LaunchTypeFargate {
		v.AssignPublicIp = types.AssignPublicIpDisabled
		if t.settings.public {
			v.AssignPublicIp = types.AssignPublicIpEnabled
		}
	}
	return &types.NetworkConfiguration{AwsvpcConfiguration: v}
}

// removeDefinitions deregisters the release's task definitions, and deletes them:
// of one that a task still uses ECS does so when the task has ended.
func (t *target) removeDefinitions(ctx context.Context, c *clients, release string) error {
	var arns []string
	for _, status := range []types.TaskDefinitionFamilyStatus{types.TaskDefinitionFamilyStatusActive, types.TaskDefinitionFamilyStatusInactive} {
		families, err := c.ecs.ListTaskDefinitionFamilies(ctx, &ecs.ListTaskDefinitionFamiliesInput{FamilyPrefix: ptr(mark(release) + "-"), Status: status})
		if err != nil {
			return t.explain(ctx, deploy.StageTarget, err, "look for the release's task definitions")
		}
		for _, name := range families.Families {
			found, err := t.deregister(ctx, c, name, release)
			if err != nil {
				return t.explain(ctx, deploy.StageTarget, err, "deregister the task definition "+name)
			}
			arns = append(arns, found...)
		}
	}
	for chunk := range slices.Chunk(arns, 10) { // as many as one call takes
		if _, err := c.ecs.DeleteTaskDefinitions(ctx, &ecs.DeleteTaskDefinitionsInput{TaskDefinitions: chunk}); err != nil {
			return t.explain(ctx, deploy.StageTarget, err, "delete the release's task definitions")
		}
	}
	return nil
}

// deregister returns the family's revisions that are the release's, none of them active any more.
func (t *target) deregister(ctx context.Context, c *clients, name, release string) (own []string, err error) {
	for _, status := range []types.TaskDefinitionStatus{types.TaskDefinitionStatusActive, types.TaskDefinitionStatusInactive} {
		list, err := c.ecs.ListTaskDefinitions(ctx, &ecs.ListTaskDefinitionsInput{FamilyPrefix: ptr(name), Status: status})
		if err != nil {
			return nil, err
		}
		for _, arn := range list.TaskDefinitionArns {
			if slices.Contains(own, arn) || family(arn) != name {
				continue
			}
			is, err := c.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &arn, Include: []types.TaskDefinitionField{types.TaskDefinitionFieldTags}})
			if err != nil {
				return nil, err
			}
			tags := read(is.Tags)
			if tags[tagTarget] != t.id || tags[tagRelease] != release {
				continue
			}
			if is.TaskDefinition.Status == types.TaskDefinitionStatusActive {
				if _, err := c.ecs.DeregisterTaskDefinition(ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &arn}); err != nil {
					return nil, err
				}
			}
			own = append(own, arn)
		}
	}
	return own, nil
}
