package awstest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/pkg/stdcopy"
)

// task is one, as a container of the local engine.
type task struct {
	arn        string
	definition *definition
	service    *service
	command    []string
	tags       []types.Tag
	cluster    string
	startedBy  string

	last                string // LastStatus
	reason              string
	code                types.TaskStopCode
	exit                *int32
	why                 string // the container's reason
	ip, card, container string
	created             time.Time
	started, ended      *time.Time
	stopping            bool
	end                 chan struct{}
}

// stop takes the task from its visitors, and asks it to end. Mu is held.
func (c *Cloud) stop(k *task, reason string, code types.TaskStopCode) {
	if k.stopping || k.last == "STOPPED" {
		return
	}
	k.stopping, k.reason, k.code = true, reason, code
	close(k.end)
	c.leave(k)
}

// leave takes the task out of its service's target groups. Mu is held.
func (c *Cloud) leave(k *task) {
	if k.service == nil {
		return
	}
	for _, lb := range k.service.LoadBalancers {
		c.targets[deref(lb.TargetGroupArn)].leave(k)
	}
}

// newTask starts one. Mu is held.
func (c *Cloud) newTask(d *definition, s *service, cluster string, command []string, tags []types.Tag) *task {
	id := c.id()
	k := &task{definition: d, service: s, cluster: cluster, command: command, tags: tags, last: "PROVISIONING", created: time.Now(), card: "eni-" + id[15:], end: make(chan struct{})}
	if s != nil {
		k.startedBy = deref(s.Deployments[0].Id)
	}
	k.arn = arn("ecs", "task/"+k.cluster+"/"+id)
	c.tasks[k.arn] = k
	c.work.Go(func() { c.live(k) })
	return k
}

func (c *Cloud) runTask(in *ecs.RunTaskInput) (*ecs.RunTaskOutput, error) {
	if err := c.inCluster(in.Cluster); err != nil {
		return nil, err
	}
	if k := c.runs[deref(in.ClientToken)]; k != nil && deref(in.ClientToken) != "" {
		return &ecs.RunTaskOutput{Tasks: []types.Task{k.describe()}}, nil
	}
	d := c.findDefinition(deref(in.TaskDefinition))
	switch {
	case d == nil:
		return nil, refuse("ClientException", "TaskDefinition not found.")
	case c.noRoom != "":
		return &ecs.RunTaskOutput{Failures: []types.Failure{{Reason: p("RESOURCE:MEMORY"), Detail: &c.noRoom}}}, nil
	}
	k := c.newTask(d, nil, deref(in.Cluster), in.Overrides.ContainerOverrides[0].Command, in.Tags)
	k.startedBy = deref(in.StartedBy)
	c.runs[deref(in.ClientToken)] = k
	return &ecs.RunTaskOutput{Tasks: []types.Task{k.describe()}}, nil
}

func (c *Cloud) stopTask(in *ecs.StopTaskInput) (*ecs.StopTaskOutput, error) {
	k := c.tasks[deref(in.Task)]
	if k == nil {
		return nil, refuse("InvalidParameterException", "The referenced task was not found.")
	}
	c.stop(k, deref(in.Reason), types.TaskStopCodeUserInitiated)
	return &ecs.StopTaskOutput{}, nil
}

func (c *Cloud) listTasks(in *ecs.ListTasksInput) (*ecs.ListTasksOutput, error) {
	if err := c.inCluster(in.Cluster); err != nil {
		return nil, err
	}
	if in.StartedBy != nil && (in.Family != nil || in.ServiceName != nil || in.DesiredStatus != "") {
		return nil, refuse("InvalidParameterException", "When you specify startedBy as the filter, it must be the only filter that you use.")
	}
	out := &ecs.ListTasksOutput{}
	for at, k := range c.tasks {
		ended := k.stopping || k.last == "STOPPED"
		if deref(in.Cluster) == k.cluster && ended == (in.DesiredStatus == types.DesiredStatusStopped) && (in.Family == nil || *in.Family == deref(k.definition.Family)) {
			out.TaskArns = append(out.TaskArns, at)
		}
	}
	return out, nil
}

func (c *Cloud) describeTasks(in *ecs.DescribeTasksInput) (*ecs.DescribeTasksOutput, error) {
	if len(in.Tasks) > 100 || len(in.Tasks) == 0 {
		return nil, refuse("InvalidParameterException", "Tasks has to be between 1 and 100.")
	}
	out := &ecs.DescribeTasksOutput{}
	for _, at := range in.Tasks {
		if k := c.tasks[at]; k != nil {
			out.Tasks = append(out.Tasks, k.describe())
		} else {
			out.Failures = append(out.Failures, types.Failure{Arn: &at, Reason: p("MISSING")})
		}
	}
	if !slices.Contains(in.Include, types.TaskFieldTags) {
		for i := range out.Tasks {
			out.Tasks[i].Tags = nil
		}
	}
	return out, nil
}

// describe is the task as it is now. Mu is held.
func (k *task) describe() types.Task {
	out := types.Task{
		TaskArn: p(k.arn), TaskDefinitionArn: k.definition.TaskDefinitionArn, LastStatus: p(k.last), DesiredStatus: p("RUNNING"), StartedBy: p(k.startedBy), CreatedAt: p(k.created),
		StartedAt: k.started, StoppedAt: k.ended, Tags: k.tags, Containers: []types.Container{{Name: k.definition.ContainerDefinitions[0].Name, Image: k.definition.ContainerDefinitions[0].Image, LastStatus: p(k.last), ExitCode: k.exit}},
	}
	if k.stopping || k.last == "STOPPED" {
		out.DesiredStatus, out.StoppedReason, out.StopCode = p("STOPPED"), p(k.reason), k.code
	}
	if k.why != "" {
		out.Containers[0].Reason = p(k.why)
	}
	if k.ip != "" {
		out.Attachments = []types.Attachment{{Type: p("ElasticNetworkInterface"), Details: []types.KeyValuePair{{Name: p("networkInterfaceId"), Value: p(k.card)}, {Name: p("privateIPv4Address"), Value: p(k.ip)}}}}
	}
	return out
}

// live runs the task from its beginning to its end.
func (c *Cloud) live(k *task) {
	err := c.begin(k)
	if err == nil {
		err = c.watch(k)
	}
	c.mu.Lock()
	if err != nil && !k.stopping {
		k.reason, k.code = err.Error(), types.TaskStopCodeTaskFailedToStart
	}
	k.last, k.ended = "STOPPED", p(time.Now())
	if k.service != nil {
		if !k.stopping && k.started == nil || k.code == types.TaskStopCodeEssentialContainerExited && !k.service.settled() {
			k.service.failed++
		}
		c.leave(k)
	}
	c.mu.Unlock()
	if k.container != "" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = c.docker.ContainerRemove(ctx, k.container, container.RemoveOptions{Force: true}) // the sweep finds what is left
	}
}

func (s *service) settled() bool {
	return s.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted
}

// begin makes the task's container run.
func (c *Cloud) begin(k *task) error {
	app := k.definition.ContainerDefinitions[0]
	options := app.LogConfiguration.Options
	c.mu.Lock()
	k.last = "PENDING"
	there, broken := c.groups[options["awslogs-group"]] != nil, c.broken
	c.mu.Unlock()
	if broken != "" {
		return errors.New(broken)
	}
	if !there {
		return errors.New("ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist")
	}
	config := &container.Config{Image: deref(app.Image), Labels: map[string]string{label: c.mark}, Cmd: k.command}
	for _, e := range app.Environment {
		config.Env = append(config.Env, deref(e.Name)+"="+deref(e.Value))
	}
	for _, s := range app.Secrets {
		value, err := c.resolve(deref(s.ValueFrom))
		if err != nil {
			return err
		}
		config.Env = append(config.Env, deref(s.Name)+"="+value)
	}
	if err := c.pull(deref(app.Image)); err != nil {
		return err
	}
	return c.startContainer(k, config)
}

// startContainer makes and starts it. The end of the test does not cut the calls: what the engine makes then would stay.
func (c *Cloud) startContainer(k *task, config *container.Config) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), time.Minute)
	defer cancel()
	made, err := c.docker.ContainerCreate(ctx, config, k.limits(c.network), nil, nil, "")
	if err != nil {
		return fmt.Errorf("CannotCreateContainerError: %w", err)
	}
	k.container = made.ID
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	if err := c.docker.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		return fmt.Errorf("CannotStartContainerError: %w", err)
	}
	is, err := c.docker.ContainerInspect(ctx, made.ID)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k.last, k.started = "RUNNING", p(time.Now())
	if at := is.NetworkSettings.Networks[c.network]; at != nil {
		k.ip = at.IPAddress
	}
	if k.service != nil && !k.stopping {
		for _, lb := range k.service.LoadBalancers {
			c.join(c.targets[deref(lb.TargetGroupArn)], k, *lb.ContainerPort)
		}
	}
	return nil
}

// limits are the task's, or its container's on an instance.
func (k *task) limits(network string) *container.HostConfig {
	host := &container.HostConfig{NetworkMode: container.NetworkMode(network)}
	app := k.definition.ContainerDefinitions[0]
	cpu, _ := strconv.ParseInt(deref(k.definition.Cpu), 10, 64)
	memory, _ := strconv.ParseInt(deref(k.definition.Memory), 10, 64)
	if app.Memory != nil {
		memory = int64(*app.Memory)
	}
	host.Memory, host.MemorySwap = memory<<20, memory<<20
	host.NanoCPUs = min(max(cpu, int64(app.Cpu))*1e9/1024, 2e9)
	return host
}

func (c *Cloud) pull(ref string) error {
	if _, err := c.docker.ImageInspect(c.ctx, ref); err == nil {
		return nil
	}
	said, err := c.docker.ImagePull(c.ctx, ref, image.PullOptions{})
	if err == nil {
		defer said.Close()
		var text []byte
		if text, err = io.ReadAll(said); err == nil && strings.Contains(string(text), `"error"`) {
			err = errors.New(strings.TrimSpace(string(text)))
		}
	}
	if err != nil {
		return fmt.Errorf("CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref %s: %w", ref, err)
	}
	return nil
}

// watch follows the container to its end.
func (c *Cloud) watch(k *task) error {
	logged := make(chan struct{})
	c.work.Go(func() { defer close(logged); c.copyLog(k) })
	ended, failed := c.docker.ContainerWait(c.ctx, k.container, container.WaitConditionNotRunning)
	var is container.WaitResponse
	select {
	case is = <-ended:
	case err := <-failed:
		return err
	case <-k.end:
		seconds := int(*k.definition.ContainerDefinitions[0].StopTimeout)
		if err := c.docker.ContainerStop(c.ctx, k.container, container.StopOptions{Timeout: &seconds}); err != nil {
			return err
		}
		select {
		case is = <-ended:
		case err := <-failed:
			return err
		}
	}
	select {
	case <-logged:
	case <-c.ctx.Done():
	}
	found, err := c.docker.ContainerInspect(c.ctx, k.container)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k.exit = p(int32(is.StatusCode))
	if !k.stopping {
		k.reason, k.code = "Essential container in task exited", types.TaskStopCodeEssentialContainerExited
	}
	if found.State.OOMKilled || is.StatusCode == 137 && !k.stopping { // the engine may learn the reason later
		k.why = "OutOfMemoryError: Container killed due to memory usage"
	}
	return nil
}

// copyLog writes what the container prints to its stream, as the awslogs driver does.
func (c *Cloud) copyLog(k *task) {
	options := k.definition.ContainerDefinitions[0].LogConfiguration.Options
	stream := options["awslogs-stream-prefix"] + "/" + deref(k.definition.ContainerDefinitions[0].Name) + "/" + last(k.arn)
	said, err := c.docker.ContainerLogs(c.ctx, k.container, container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true, Timestamps: true})
	if err != nil {
		return
	}
	defer said.Close()
	read, write := io.Pipe()
	c.work.Go(func() { _, err := stdcopy.StdCopy(write, write, said); write.CloseWithError(err) })
	for lines := bufio.NewScanner(read); lines.Scan(); {
		stamp, text, _ := strings.Cut(lines.Text(), " ")
		if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			c.write(options["awslogs-group"], stream, at, text)
		}
	}
	_ = read.Close()
}
