package kubernetes

import (
	"context"
	"errors"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Fetch leaves the image to the nodes, which pull it when a pod starts there. It
// looks whether there is something to pull, so that a lost image is no riddle.
func (t *target) Fetch(ctx context.Context, image deploy.Image, from deploy.Source, say func(string)) error {
	return deploy.LeaveImage(ctx, image, from, say, "the cluster's nodes pull it", "the cluster's nodes try to pull the image")
}

// Start applies the release's objects. The way of its visitors is only tried:
// what the cluster would refuse then is said now, while it harms nobody.
func (t *target) Start(ctx context.Context, r deploy.Release) error {
	if r.Health == models.HealthImage {
		return deploy.Failf(deploy.StageHealth, nil, "Kubernetes does not run an image's HEALTHCHECK. Choose an HTTP path or the TCP port in the app's settings.")
	}
	if err := t.applyBase(ctx, deploy.StageStart, r); err != nil {
		return err
	}
	replicas, err := t.replicas(ctx, r)
	if err != nil {
		return err
	}
	if err := t.apply(ctx, deploy.StageStart, t.workload(r, replicas)); err != nil {
		return err
	}
	if r.Scale.Autoscales() {
		if err := t.apply(ctx, deploy.StageStart, t.scaler(r)); err != nil {
			return err
		}
	}
	for _, o := range []object{t.door(r), t.gate(r, r.Hosts(t.settings.domain)[0])} {
		if _, err := t.applyOne(ctx, deploy.StageStart, o, true); err != nil {
			return err
		}
	}
	return nil
}

// applyBase applies what the release's pods and its command need.
func (t *target) applyBase(ctx context.Context, stage string, r deploy.Release) error {
	base := []object{t.space(r)}
	if t.settings.isolated {
		base = append(base, t.wall(r))
	}
	if err := t.apply(ctx, stage, append(base, t.variables(r), t.hidden(r))...); err != nil {
		return err
	}
	if err := t.makeVolumes(ctx, stage, r); err != nil {
		return err
	}
	return t.lendCredential(ctx, stage, r)
}

// lendCredential gives the nodes what they pull the image with.
func (t *target) lendCredential(ctx context.Context, stage string, r deploy.Release) error {
	user, password, err := r.From.Credential(ctx)
	if told, ok := errors.AsType[*models.Error](err); ok {
		return deploy.Failf(deploy.StageImage, err, "%s can't be pulled: %s", r.Image.Ref(), told.Message)
	}
	if err != nil {
		return deploy.Failf(deploy.StageImage, err, "No credential could be made to pull %s.", r.Image.Ref())
	}
	if user == "" && password == "" {
		return nil // anybody may pull
	}
	o, err := t.pullSecret(r, user, password)
	if err != nil {
		return err
	}
	return t.apply(ctx, stage, o)
}

// replicas is how many pods the Deployment gets: once an autoscaler has chosen, it is not disturbed.
func (t *target) replicas(ctx context.Context, r deploy.Release) (int, error) {
	if !r.Scale.Autoscales() {
		return r.Scale.Replicas, nil
	}
	found, err := list[appsv1.Deployment](ctx, t, deployments, t.namespace(r), t.ofRelease(r.ID))
	if err != nil {
		return 0, t.explain(ctx, deploy.StageStart, err, "Deployment "+nameOf(r))
	}
	if len(found) == 0 || found[0].Spec.Replicas == nil {
		return r.Scale.Replicas, nil
	}
	return min(max(int(*found[0].Spec.Replicas), r.Scale.Replicas), r.Scale.Max), nil
}

// ofRelease are the labels by which a release's objects are found.
func (t *target) ofRelease(release string) map[string]string {
	return map[string]string{labelTarget: t.id, labelDeployment: release}
}

// isLocal tells whether the registry's name means another machine to each node.
func isLocal(repository string) bool {
	host, _, _ := strings.Cut(repository, "/")
	name, _, _ := strings.Cut(host, ":")
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || strings.HasPrefix(name, "127.")
}
