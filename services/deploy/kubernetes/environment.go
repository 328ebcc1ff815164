package kubernetes

import (
	"context"
	"log/slog"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"slipway.dev/services/deploy"
)

// RemoveEnvironment deletes the environment's namespace with all that is in it.
// One in which others run pods stays, for them to delete, and so does one with volumes, which are data.
func (t *target) RemoveEnvironment(ctx context.Context, environmentID string) error {
	found, err := list[metav1.PartialObjectMetadata](ctx, t, namespaces, "", map[string]string{labelTarget: t.id, labelEnvironment: environmentID})
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err, "namespaces")
	}
	for _, ns := range found {
		all, err := listBy[corev1.Pod](ctx, t, pods, ns.Name, metav1.ListOptions{})
		if err != nil {
			return t.explain(ctx, deploy.StageTarget, err, "pods")
		}
		if slices.ContainsFunc(all, func(p corev1.Pod) bool { return p.Labels[labelTarget] != t.id }) {
			slog.WarnContext(ctx, "the namespace of an environment that was deleted stays, for others run pods in it", "namespace", ns.Name)
			continue
		}
		kept, err := t.keepsData(ctx, ns.Name)
		if err != nil {
			return err
		}
		if kept {
			slog.WarnContext(ctx, "the namespace of an environment that was deleted stays, for it has volumes with data", "namespace", ns.Name)
			continue
		}
		if err := t.deleteOne(ctx, namespaces, ns, nil); err != nil {
			return err
		}
	}
	return nil
}
