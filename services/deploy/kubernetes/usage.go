package kubernetes

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"slipway.dev/services/deploy"
)

// podUsage is what the metrics API says of a pod
// (https://github.com/kubernetes/metrics/blob/master/pkg/apis/metrics/v1beta1/types.go).
type podUsage struct {
	metav1.ObjectMeta `json:"metadata"`
	Containers        []struct {
		Usage map[string]quantity.Quantity `json:"usage"`
	} `json:"containers"`
}

// Usage asks the cluster's metrics API, in one question for all. A cluster
// without one, or that does not let Slipway read it, can't tell.
func (t *target) Usage(ctx context.Context) ([]deploy.Usage, error) {
	all, err := list[podUsage](ctx, t, usages, "", map[string]string{labelTarget: t.id, labelPart: partApp})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsServiceUnavailable(err), apierrors.IsForbidden(err):
		return []deploy.Usage{}, nil
	case err != nil:
		return nil, t.explain(ctx, deploy.StageTarget, err, "metrics")
	}
	out := []deploy.Usage{}
	for _, p := range all {
		u := deploy.Usage{Instance: p.Namespace + "/" + p.Name}
		for _, c := range p.Containers {
			cpu, memory := c.Usage["cpu"], c.Usage["memory"]
			u.CPU += cpu.MilliValue()
			u.Memory += memory.Value()
		}
		out = append(out, u)
	}
	return out, nil
}
