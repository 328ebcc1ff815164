package kubernetes

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"slipway.dev/services/deploy"
)

// goneTime is how long pods may take to go beyond the time that they get to end.
const goneTime = 20 * time.Second

// Remove deletes all that carries the release's label: the way to it first, then
// what would make new pods, the pods, and what they read. A Service and an
// Ingress that lead to a newer release carry that one's label.
//
// The environment's namespace stays for its next release (RemoveEnvironment).
func (t *target) Remove(ctx context.Context, release string, grace time.Duration) error {
	for _, r := range []resource{ingresses, services, scalers, deployments, jobs, replicaSets} {
		if err := t.delete(ctx, r, release, nil); err != nil {
			return err
		}
	}
	seconds := int64(grace.Round(time.Second) / time.Second)
	if grace > 0 {
		seconds += int64(lingerTime / time.Second)
	}
	if err := t.delete(ctx, pods, release, &seconds); err != nil {
		return err
	}
	if err := t.gone(ctx, release, time.Duration(seconds)*time.Second+goneTime); err != nil {
		return err
	}
	for _, r := range []resource{secrets, configMaps} {
		if err := t.delete(ctx, r, release, nil); err != nil {
			return err
		}
	}
	return nil
}

// delete deletes the release's objects of the kind; pods get so many seconds to end.
func (t *target) delete(ctx context.Context, r resource, release string, seconds *int64) error {
	found, err := list[metav1.PartialObjectMetadata](ctx, t, r, "", t.ofRelease(release))
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err, r.Resource)
	}
	for _, o := range found {
		if err := t.deleteOne(ctx, r, o, seconds); err != nil {
			return err
		}
	}
	return nil
}

func (t *target) deleteOne(ctx context.Context, r resource, o metav1.PartialObjectMetadata, seconds *int64) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	options := metav1.DeleteOptions{GracePeriodSeconds: seconds, PropagationPolicy: ptr(metav1.DeletePropagationBackground), Preconditions: &metav1.Preconditions{UID: &o.UID}}
	err := t.at(r, o.Namespace).Delete(ctx, o.Name, options)
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // gone, or another one by now
		return nil
	}
	return t.explain(ctx, deploy.StageTarget, err, r.Resource+" "+o.Name)
}

// gone waits until no pod of the release is left.
func (t *target) gone(ctx context.Context, release string, patience time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errStays)
	defer cancel()
	for tick := time.NewTicker(200 * time.Millisecond); ; {
		left, err := list[corev1.Pod](ctx, t, pods, "", t.ofRelease(release))
		if err == nil && len(left) > 0 {
			select {
			case <-ctx.Done():
				err = context.Cause(ctx)
			case <-tick.C:
				continue
			}
		}
		tick.Stop()
		switch {
		case err == nil:
			return nil
		case errors.Is(context.Cause(ctx), errStays):
			return deploy.Failf(deploy.StageTarget, err, "A pod of the release does not end; its node may be down. Slipway tries again.")
		}
		return t.explain(ctx, deploy.StageTarget, err, "pods")
	}
}

var errStays = errors.New("a pod stays")
