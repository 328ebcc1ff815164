package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"slipway.dev/services/deploy"
)

const (
	maxEvents = 100
	endOfID   = 12 // characters of a release's id that its objects' names end in (nameOf)
)

// Resources lists the release's objects by their kinds, the environment's namespace first. A Service and an Ingress are
// among them while they lead to the release.
func (t *target) Resources(ctx context.Context, release string) ([]deploy.Resource, error) {
	out := []deploy.Resource{}
	environment, app := "", ""
	for _, kind := range []struct {
		resource
		name string
	}{
		{ingresses, "Ingress"}, {services, "Service"}, {deployments, "Deployment"}, {scalers, "HorizontalPodAutoscaler"},
		{jobs, "Job"}, {replicaSets, "ReplicaSet"}, {pods, "Pod"}, {configMaps, "ConfigMap"}, {secrets, "Secret"},
	} {
		found, err := list[metav1.PartialObjectMetadata](ctx, t, kind.resource, "", t.ofRelease(release))
		if err != nil {
			return nil, t.explain(ctx, deploy.StageTarget, err, kind.Resource)
		}
		for _, o := range found {
			environment, app = o.Labels[labelEnvironment], o.Labels[labelApp]
			out = append(out, deploy.Resource{Kind: kind.name, Name: o.Namespace + "/" + o.Name})
		}
	}
	if environment == "" {
		return out, nil
	}
	kept, err := list[metav1.PartialObjectMetadata](ctx, t, claims, "", map[string]string{labelTarget: t.id, labelEnvironment: environment, labelApp: app})
	if err != nil && !apierrors.IsForbidden(err) { // an account that may not look could have made none
		return nil, t.explain(ctx, deploy.StageTarget, err, "PersistentVolumeClaims")
	}
	for _, c := range kept {
		out = append(out, deploy.Resource{Kind: "PersistentVolumeClaim", Name: c.Namespace + "/" + c.Name})
	}
	spaces, err := list[metav1.PartialObjectMetadata](ctx, t, namespaces, "", map[string]string{labelTarget: t.id, labelEnvironment: environment})
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "namespaces")
	}
	for _, s := range spaces {
		out = slices.Insert(out, 0, deploy.Resource{Kind: "Namespace", Name: s.Name})
	}
	return out, nil
}

// Events returns what the cluster says of the release's objects, those of pods that are gone too, for as long as the
// cluster keeps it: an hour by default.
func (t *target) Events(ctx context.Context, release string) ([]deploy.Event, error) {
	bases, err := list[metav1.PartialObjectMetadata](ctx, t, configMaps, "", t.ofRelease(release))
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "ConfigMaps")
	}
	out := []deploy.Event{}
	if len(bases) == 0 || len(release) < endOfID {
		return out, nil
	}
	found, err := listBy[corev1.Event](ctx, t, events, bases[0].Namespace, metav1.ListOptions{})
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "events")
	}
	mark := "-" + release[len(release)-endOfID:]
	for _, e := range found {
		if !strings.Contains(e.InvolvedObject.Name, mark) {
			continue
		}
		text := e.Reason + ": " + deploy.Plain(e.Message)
		if n := max(e.Count, 1); n > 1 {
			text += fmt.Sprintf(" (%d times)", n)
		}
		out = append(out, deploy.Event{At: happened(e), Object: e.InvolvedObject.Kind + " " + e.InvolvedObject.Name, Text: text, Warning: e.Type == corev1.EventTypeWarning})
	}
	slices.SortStableFunc(out, func(a, b deploy.Event) int { return cmp.Compare(b.At.UnixNano(), a.At.UnixNano()) })
	return out[:min(len(out), maxEvents)], nil
}

// happened is when the event was seen last.
func happened(e corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}
