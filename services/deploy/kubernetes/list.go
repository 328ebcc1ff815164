package kubernetes

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// List returns the pods of all releases. A release without a pod is one instance
// by the name of its Deployment, so that it is not taken for gone. So is one of
// which only the variables are there: they are made first and deleted last, so
// that whatever else is left of a release is left beside them. Beside the Job of
// its command they say nothing yet.
func (t *target) List(ctx context.Context) ([]deploy.Instance, error) {
	labels := map[string]string{labelTarget: t.id}
	bases, err := list[metav1.PartialObjectMetadata](ctx, t, configMaps, "", labels)
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "ConfigMaps")
	}
	commands, err := list[metav1.PartialObjectMetadata](ctx, t, jobs, "", labels)
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "Jobs")
	}
	releases, err := list[appsv1.Deployment](ctx, t, deployments, "", labels)
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "Deployments")
	}
	labels[labelPart] = partApp
	all, err := t.livingPods(ctx, labels)
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "pods")
	}
	var out []deploy.Instance
	seen := map[string]int{}
	for _, p := range all {
		release := p.Labels[labelDeployment]
		seen[release]++
		out = append(out, instance(p, seen[release]))
	}
	for _, d := range releases {
		if release := d.Labels[labelDeployment]; seen[release] == 0 && d.DeletionTimestamp == nil {
			out = append(out, podless(d))
		}
		seen[d.Labels[labelDeployment]]++
	}
	for _, c := range commands {
		seen[c.Labels[labelDeployment]]++
	}
	for _, b := range bases {
		if release := b.Labels[labelDeployment]; release != "" && seen[release] == 0 {
			out = append(out, deploy.Instance{ID: b.Namespace + "/" + b.Name, Release: release, Replica: 1, Name: b.Name, State: models.InstanceFailing,
				Message: "Nothing of it runs: its Deployment is gone. Restart the deployment to run it again."})
		}
	}
	return out, nil
}

// podless is a release of which no pod runs.
func podless(d appsv1.Deployment) deploy.Instance {
	i := deploy.Instance{ID: d.Namespace + "/" + d.Name, Release: d.Labels[labelDeployment], Replica: 1, Name: d.Name, State: models.InstanceStarting, Message: "The cluster has not made a pod yet."}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			i.State, i.Message = models.InstanceFailing, refused(deploy.Plain(c.Message))
		}
	}
	return i
}

// instance reads a pod as the so-manieth instance of its release.
func instance(p corev1.Pod, replica int) deploy.Instance {
	i := deploy.Instance{ID: p.Namespace + "/" + p.Name, Release: p.Labels[labelDeployment], Replica: replica, Name: p.Name}
	if p.Status.StartTime != nil {
		at := p.Status.StartTime.UTC().Truncate(time.Microsecond)
		i.StartedAt = &at
	}
	if p.Status.PodIP != "" && len(p.Spec.Containers) > 0 && len(p.Spec.Containers[0].Ports) > 0 {
		i.Address = net.JoinHostPort(p.Status.PodIP, strconv.Itoa(int(p.Spec.Containers[0].Ports[0].ContainerPort)))
	}
	i.State, i.Message = models.InstanceStarting, ""
	for _, c := range p.Status.ContainerStatuses {
		i.Restarts = int(c.RestartCount)
		i.State, i.Message = stateOf(c)
		if end := c.State.Terminated; end != nil {
			code := int(end.ExitCode)
			i.ExitCode = &code
		}
	}
	if p.Status.Phase == corev1.PodFailed && i.Message == "" {
		i.State, i.Message = models.InstanceFailing, "The node ended the pod: "+deploy.Sentence(deploy.Plain(p.Status.Reason+" "+p.Status.Message))
	}
	if c := condition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		i.Message = "No node of the cluster takes the pod: " + deploy.Sentence(short(deploy.Plain(c.Message)))
	}
	return i
}

func condition(p corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// stateOf says how a container is. One that was ready once and is not now fails its probe.
func stateOf(c corev1.ContainerStatus) (models.InstanceState, string) {
	switch {
	case c.State.Terminated != nil && c.State.Terminated.Reason == "OOMKilled":
		return models.InstanceFailing, "It used more memory than it may, and the system ended it (exit code 137)."
	case c.State.Terminated != nil:
		return models.InstanceFailing, fmt.Sprintf("It ended with exit code %d.", c.State.Terminated.ExitCode)
	case c.State.Waiting != nil && c.LastTerminationState.Terminated != nil:
		return models.InstanceFailing, fmt.Sprintf("It ended with exit code %d and is started again.", c.LastTerminationState.Terminated.ExitCode)
	case c.State.Waiting != nil && c.State.Waiting.Reason != "ContainerCreating" && c.State.Waiting.Reason != "PodInitializing":
		return models.InstanceFailing, "It does not start: " + deploy.Sentence(deploy.Plain(c.State.Waiting.Reason+": "+c.State.Waiting.Message))
	case c.Ready:
		return models.InstanceHealthy, ""
	case c.Started != nil && *c.Started:
		return models.InstanceFailing, "Its health check fails, so that no visitors come to it."
	}
	return models.InstanceStarting, ""
}
