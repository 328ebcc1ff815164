package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func arch() string { return runtime.GOARCH }

// docker runs a command of the Docker client.
func docker(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, errors.New(text)
	}
	return text, nil
}

func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }

// pod is one pod's life on the node.
type pod struct {
	*kubelet
	*corev1.Pod
	r        *running
	app      corev1.Container
	restarts int32
	ip       string
	started  *metav1.Time
	last     corev1.ContainerState
}

// runPod runs the pod's only container, again and again as its restart policy says.
func (k *kubelet) runPod(ctx context.Context, p *corev1.Pod, r *running) {
	now := metav1.Now()
	one := &pod{kubelet: k, Pod: p, r: r, app: p.Spec.Containers[0], started: &now}
	for ctx.Err() == nil && !one.attempt(ctx) {
	}
	<-ctx.Done() // what has ended stays until it is deleted
	one.end(ctx)
}

// attempt runs one container to its end. It tells whether it was the last one.
func (p *pod) attempt(ctx context.Context) bool {
	if !p.pull(ctx) {
		return false
	}
	env, err := p.env(ctx)
	if err != nil {
		p.waits(ctx, "CreateContainerConfigError", err.Error())
		p.events.Eventf(p.Pod, corev1.EventTypeWarning, "Failed", "Error: %v", err)
		sleep(ctx, time.Second)
		return false
	}
	mounts, bound := p.mounts(ctx)
	if !bound {
		sleep(ctx, 200*time.Millisecond)
		return false
	}
	name := fmt.Sprintf("kubetest-%s-%d", p.UID, len(p.r.names))
	p.mu.Lock()
	p.r.names = append(p.r.names, name)
	p.mu.Unlock()
	if out, err := docker(ctx, p.arguments(name, env, mounts)...); err != nil {
		if ctx.Err() != nil {
			return true
		}
		code := int32(128)
		if strings.Contains(out, "executable file not found") {
			code = 127
		}
		return p.ended(ctx, corev1.ContainerStateTerminated{ExitCode: code, Reason: "StartError", Message: "failed to create containerd task: " + out, FinishedAt: metav1.Now()})
	}
	p.ip, _ = docker(ctx, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)
	return p.watch(ctx, name)
}

// pull gets the image with the pod's pull secrets, as a kubelet would.
func (p *pod) pull(ctx context.Context) bool {
	if _, err := docker(ctx, "image", "inspect", p.app.Image); err == nil {
		return true
	}
	p.events.Eventf(p.Pod, corev1.EventTypeNormal, "Pulling", "Pulling image %q", p.app.Image)
	out, err := p.pullWith(ctx)
	if err == nil {
		p.events.Eventf(p.Pod, corev1.EventTypeNormal, "Pulled", "Successfully pulled image %q", p.app.Image)
	}
	if err == nil || ctx.Err() != nil {
		return err == nil
	}
	message := fmt.Sprintf("failed to pull and unpack image %q: %s", p.app.Image, out)
	p.events.Eventf(p.Pod, corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %s", p.app.Image, message)
	p.waits(ctx, "ErrImagePull", message)
	sleep(ctx, 500*time.Millisecond)
	p.waits(ctx, "ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", p.app.Image, message))
	sleep(ctx, 2*time.Second)
	return false
}

func (p *pod) pullWith(ctx context.Context) (string, error) {
	config, err := os.MkdirTemp("", "kubetest")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(config)
	for _, ref := range p.Spec.ImagePullSecrets {
		s, err := p.client.CoreV1().Secrets(p.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			continue // a kubelet tries without
		}
		if err := os.WriteFile(filepath.Join(config, "config.json"), s.Data[corev1.DockerConfigJsonKey], 0o600); err != nil {
			return "", err
		}
	}
	return docker(ctx, "--config", config, "pull", "-q", p.app.Image)
}

// env is the container's environment, with what ConfigMaps and Secrets say.
func (p *pod) env(ctx context.Context) (map[string]string, error) {
	env := map[string]string{}
	for _, from := range p.app.EnvFrom {
		switch {
		case from.ConfigMapRef != nil:
			c, err := p.client.CoreV1().ConfigMaps(p.Namespace).Get(ctx, from.ConfigMapRef.Name, metav1.GetOptions{})
			if err != nil {
				return nil, fmt.Errorf("configmap %q not found", from.ConfigMapRef.Name)
			}
			maps.Copy(env, c.Data)
		case from.SecretRef != nil:
			s, err := p.client.CoreV1().Secrets(p.Namespace).Get(ctx, from.SecretRef.Name, metav1.GetOptions{})
			if err != nil {
				return nil, fmt.Errorf("secret %q not found", from.SecretRef.Name)
			}
			for name, value := range s.Data {
				env[name] = string(value)
			}
		}
	}
	for _, e := range p.app.Env {
		env[e.Name] = e.Value
	}
	return env, nil
}

// arguments are those of docker run.
func (p *pod) arguments(name string, env map[string]string, mounts []string) []string {
	args := []string{"run", "-d", "--pull=never", "--name", name, "--label", "slipway.kubetest=" + p.mark, "--network", p.network()}
	args = append(args, mounts...)
	for _, n := range slices.Sorted(maps.Keys(env)) {
		args = append(args, "-e", n+"="+env[n])
	}
	if limit, ok := p.app.Resources.Limits[corev1.ResourceMemory]; ok {
		args = append(args, "--memory", strconv.FormatInt(limit.Value(), 10))
	}
	if limit, ok := p.app.Resources.Limits[corev1.ResourceCPU]; ok {
		args = append(args, "--cpus", strconv.FormatFloat(limit.AsApproximateFloat64(), 'f', -1, 64))
	}
	if s := p.app.SecurityContext; s != nil && s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation {
		args = append(args, "--security-opt", "no-new-privileges")
	}
	command := slices.Concat(p.app.Command, p.app.Args)
	if len(p.app.Command) > 0 {
		args = append(args, "--entrypoint", p.app.Command[0])
		command = command[1:]
	}
	return append(append(args, p.app.Image), command...)
}

// watch looks after the container until it ends or the pod is deleted.
func (p *pod) watch(ctx context.Context, name string) bool {
	began := metav1.Now()
	checks := p.newChecks()
	state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}}
	told := ""
	for ctx.Err() == nil {
		out, err := docker(ctx, "inspect", "-f", "{{.State.Running}} {{.State.ExitCode}} {{.State.OOMKilled}}", name)
		if err != nil {
			return ctx.Err() != nil
		}
		var up, oom bool
		var code int32
		if _, err := fmt.Sscan(out, &up, &code, &oom); err == nil && !up {
			end := corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error", StartedAt: began, FinishedAt: metav1.Now(), ContainerID: "docker://" + name}
			if code == 0 {
				end.Reason = "Completed"
			}
			if oom {
				end.Reason, end.ExitCode = "OOMKilled", 137
			}
			return p.ended(ctx, end)
		}
		ready, started, kill := checks.ask(ctx, p.ip)
		if now := fmt.Sprint(ready, started); now != told && ctx.Err() == nil {
			p.tell(ctx, corev1.PodRunning, ready, &started, state)
			told = now
		}
		if kill {
			docker(ctx, "kill", name)
		}
		sleep(ctx, 200*time.Millisecond)
	}
	return true
}

// ended tells how the container ended, and waits before the next attempt.
func (p *pod) ended(ctx context.Context, end corev1.ContainerStateTerminated) (last bool) {
	state := corev1.ContainerState{Terminated: &end}
	switch {
	case p.Spec.RestartPolicy == corev1.RestartPolicyNever && end.ExitCode == 0:
		p.tell(ctx, corev1.PodSucceeded, false, nil, state)
		return true
	case p.Spec.RestartPolicy == corev1.RestartPolicyNever:
		p.tell(ctx, corev1.PodFailed, false, nil, state)
		return true
	}
	p.tell(ctx, corev1.PodRunning, false, nil, state)
	sleep(ctx, 300*time.Millisecond)
	p.last = state
	p.waits(ctx, "CrashLoopBackOff", fmt.Sprintf("back-off 10s restarting failed container=%s pod=%s_%s(%s)", p.app.Name, p.Name, p.Namespace, p.UID))
	p.events.Eventf(p.Pod, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container %s in pod %s", p.app.Name, p.Name)
	sleep(ctx, 2*time.Second)
	p.restarts++
	return false
}

func (p *pod) waits(ctx context.Context, reason, message string) {
	phase := corev1.PodPending
	if p.last.Terminated != nil {
		phase = corev1.PodRunning
	}
	p.tell(ctx, phase, false, nil, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}})
}

// tell writes the pod's state into the API.
func (p *pod) tell(ctx context.Context, phase corev1.PodPhase, ready bool, started *bool, state corev1.ContainerState) {
	now, is := metav1.Now(), corev1.ConditionFalse
	if ready {
		is = corev1.ConditionTrue
	}
	status := corev1.PodStatus{
		Phase: phase, HostIP: "127.0.0.1", StartTime: p.started, PodIP: p.ip,
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: is, LastTransitionTime: now}, {Type: corev1.ContainersReady, Status: is, LastTransitionTime: now},
			{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: now}, {Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: p.app.Name, Image: p.app.Image, ImageID: p.app.Image, Ready: ready, Started: started, RestartCount: p.restarts, State: state, LastTerminationState: p.last}},
	}
	if p.ip != "" {
		status.PodIPs = []corev1.PodIP{{IP: p.ip}}
	}
	p.patch(ctx, p.Pod, status)
}

// end stops the pod's containers within the time that it gets, and forgets it.
func (p *pod) end(ctx context.Context) {
	grace := int64(0)
	select {
	case grace = <-p.r.grace:
	default:
	}
	quiet, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if len(p.r.names) > 0 && grace > 0 {
		if l := p.app.Lifecycle; l != nil && l.PreStop != nil && l.PreStop.Sleep != nil {
			before := min(l.PreStop.Sleep.Seconds, grace-1)
			sleep(quiet, time.Duration(before)*time.Second)
			grace -= before
		}
		docker(quiet, "stop", "-t", strconv.FormatInt(grace, 10), p.r.names[len(p.r.names)-1])
	}
	for _, name := range p.r.names {
		docker(quiet, "rm", "-fv", name)
	}
	if context.Cause(ctx) == errDeleted {
		p.drop(ctx, p.Pod)
	}
	p.mu.Lock()
	delete(p.pods, p.UID)
	p.mu.Unlock()
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
