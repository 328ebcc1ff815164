package kubernetes

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"slipway.dev/services/deploy"
)

// routeTime bounds how long the cluster may take to hear of a Service that moved.
const routeTime = time.Minute

// Route moves the app's Service to the release, sees to the Ingress in front of
// it, and waits until the Service leads to the release's pods and no others.
func (t *target) Route(ctx context.Context, r deploy.Release) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, routeTime)
	defer cancel()
	if err := t.apply(ctx, deploy.StageTarget, t.door(r)); err != nil {
		return "", err
	}
	host, err := t.openGate(ctx, r)
	if err != nil {
		return "", err
	}
	if err := t.moved(ctx, r); err != nil {
		return "", err
	}
	if t.settings.https {
		return "https://" + host, nil
	}
	return "http://" + host, nil
}

// openGate applies the Ingress with the host name that the app has, else with
// the first that nobody has: of two that took one at once, the older Ingress keeps it.
func (t *target) openGate(ctx context.Context, r deploy.Release) (string, error) {
	wanted := r.Hosts(t.settings.domain)
	for n, host := range wanted {
		last := n == len(wanted)-1 // it is nobody else's
		taken, has, err := t.hosts(ctx, r)
		if err != nil {
			return "", err
		}
		if slices.Contains(wanted, has) && !taken[has] {
			host, last = has, true
		}
		if taken[host] && !last {
			continue
		}
		if err := t.apply(ctx, deploy.StageTarget, t.gate(r, host)); err != nil {
			return "", err
		}
		if taken, _, err = t.hosts(ctx, r); err != nil {
			return "", err
		}
		if !taken[host] {
			return host, nil
		}
	}
	return "", deploy.Failf(deploy.StageTarget, nil, "Every host name for %s in %s is taken by other Ingresses of the cluster. Rename the app.", r.App, r.Environment)
}

// hosts returns the host names that other Ingresses of the cluster had before
// the app's own, and the one that the app's own has.
func (t *target) hosts(ctx context.Context, r deploy.Release) (taken map[string]bool, own string, err error) {
	all, err := listBy[networkingv1.Ingress](ctx, t, ingresses, "", metav1.ListOptions{})
	if err != nil {
		return nil, "", t.explain(ctx, deploy.StageTarget, err, "Ingresses")
	}
	var mine *networkingv1.Ingress
	for i := range all {
		if all[i].Namespace == t.namespace(r) && all[i].Name == serviceOf(r) {
			mine = &all[i]
		}
	}
	taken = map[string]bool{}
	for _, other := range all {
		if mine != nil && (other.UID == mine.UID || mine.CreationTimestamp.Before(&other.CreationTimestamp)) {
			continue
		}
		for _, rule := range other.Spec.Rules {
			taken[rule.Host] = true
		}
	}
	if mine != nil && len(mine.Spec.Rules) > 0 {
		own = mine.Spec.Rules[0].Host
	}
	return taken, own, nil
}

// moved waits until the Service's endpoints are pods of the release alone.
func (t *target) moved(ctx context.Context, r deploy.Release) error {
	o := metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + serviceOf(r)}
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		there, err := t.leadsTo(ctx, r, o)
		if err == nil && !there {
			select {
			case <-ctx.Done():
				err = context.Cause(ctx)
			case <-tick.C:
				continue
			}
		}
		tick.Stop()
		if err != nil {
			return t.explain(ctx, deploy.StageTarget, err, "Service "+serviceOf(r))
		}
		return nil
	}
}

func (t *target) leadsTo(ctx context.Context, r deploy.Release, o metav1.ListOptions) (bool, error) {
	found, err := listBy[discoveryv1.EndpointSlice](ctx, t, slicesOf, t.namespace(r), o)
	if err != nil {
		return false, err
	}
	own, err := list[corev1.Pod](ctx, t, pods, t.namespace(r), t.selector(r.ID))
	if err != nil {
		return false, err
	}
	ready := 0
	for _, s := range found {
		for _, e := range s.Endpoints {
			if e.TargetRef == nil || !slices.ContainsFunc(own, func(p corev1.Pod) bool { return p.UID == e.TargetRef.UID }) {
				return false, nil
			}
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				ready++
			}
		}
	}
	return ready > 0, nil
}
