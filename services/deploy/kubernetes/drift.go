package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"slipway.dev/services/deploy"
)

// maxDrift is how many differences are told.
const maxDrift = 100

// Drift asks the cluster what another apply of the release's objects would
// change. Fields that others added are theirs, and no drift.
func (t *target) Drift(ctx context.Context, r deploy.Release) ([]deploy.Drift, error) {
	own, shared, err := t.wanted(ctx, r)
	if err != nil {
		return nil, err
	}
	out, err := t.driftOfAll(ctx, append(own, shared...))
	if err != nil {
		return nil, err
	}
	ofPull, err := t.pullDrift(ctx, r)
	out = append(out, ofPull...)
	return out[:min(len(out), maxDrift)], err
}

// driftOfAll looks at the objects in their order, and no further than there is something to tell.
func (t *target) driftOfAll(ctx context.Context, all []object) ([]deploy.Drift, error) {
	out := []deploy.Drift{}
	for _, o := range all {
		found, err := t.driftOf(ctx, o)
		if err != nil {
			return nil, err
		}
		if out = append(out, found...); len(out) > maxDrift {
			return out[:maxDrift], nil
		}
	}
	return out, nil
}

// wanted are the objects of a release that serves: its own, and those that move from one to the next.
func (t *target) wanted(ctx context.Context, r deploy.Release) (own, shared []object, err error) {
	replicas, err := t.replicas(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	host, err := t.ownHost(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	own = []object{t.space(r), t.variables(r), t.hidden(r), t.workload(r, replicas)}
	if t.settings.isolated {
		own = append(own, t.wall(r))
	}
	if r.Scale.Autoscales() {
		own = append(own, t.scaler(r))
	}
	for _, v := range r.Volumes {
		claim, _, err := t.asMade(ctx, t.claim(r, v.Name), madeOnce...)
		if err != nil {
			return nil, nil, err
		}
		own = append(own, claim)
	}
	return own, []object{t.door(r), t.gate(r, host)}, nil
}

// ownHost is the host name that the app's Ingress has from Slipway. Where somebody else wrote it, or there is none, it is
// the first one of the release that is free.
func (t *target) ownHost(ctx context.Context, r deploy.Release) (string, error) {
	taken, host, err := t.hosts(ctx, r)
	if err != nil {
		return "", err
	}
	if host != "" {
		live, err := t.at(ingresses, t.namespace(r)).Get(ctx, serviceOf(r), metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return "", t.explain(ctx, deploy.StageTarget, err, "Ingress "+serviceOf(r))
		}
		if err == nil && wrote(live, "spec", "rules") {
			return host, nil
		}
	}
	all := r.Hosts(t.settings.domain)
	if n := slices.IndexFunc(all, func(host string) bool { return !taken[host] }); n >= 0 {
		return all[n], nil
	}
	return all[len(all)-1], nil
}

// asMade is the object with the fields at the paths as the one that is there has them, because they can't be applied
// anew or are not known any more. Live is the one that is there; nil: none is.
func (t *target) asMade(ctx context.Context, o object, paths ...[]string) (made object, live *unstructured.Unstructured, err error) {
	u, err := o.unstructured()
	if err != nil {
		return o, nil, err
	}
	live, err = t.at(o.resource, u.GetNamespace()).Get(ctx, u.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return o, nil, nil
	}
	if err != nil {
		return o, nil, t.explain(ctx, deploy.StageTarget, err, u.GetKind()+" "+u.GetName())
	}
	for _, fields := range paths {
		have, found, err := unstructured.NestedFieldCopy(live.Object, fields...)
		if err == nil && found {
			err = unstructured.SetNestedField(u.Object, have, fields...)
		} else {
			unstructured.RemoveNestedField(u.Object, fields...)
		}
		if err != nil {
			return o, nil, fmt.Errorf("kubernetes: %s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	return object{o.resource, u}, live, nil
}

// driftOf tells how one object differs, or that it is not there or not Slipway's any more.
func (t *target) driftOf(ctx context.Context, o object) ([]deploy.Drift, error) {
	u, err := o.unstructured()
	if err != nil {
		return nil, err
	}
	title := u.GetKind() + " " + u.GetName()
	live, err := t.at(o.resource, u.GetNamespace()).Get(ctx, u.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return []deploy.Drift{{Object: title, Want: "there", Have: "gone"}}, nil
	case err != nil:
		return nil, t.explain(ctx, deploy.StageTarget, err, title)
	case live.GetDeletionTimestamp() != nil:
		return []deploy.Drift{{Object: title, Want: "there", Have: "being deleted"}}, nil
	case !t.owns(live, u):
		return []deploy.Drift{{Object: title, Want: "as deployed", Have: "another one, without Slipway's labels"}}, nil
	}
	then, err := t.applyOne(ctx, deploy.StageTarget, o, true)
	if why := withheld(err); why != "" {
		return []deploy.Drift{{Object: title, Want: "as deployed", Have: why}}, nil
	}
	if err != nil {
		return nil, err
	}
	d := &differ{object: title, hide: o.resource == secrets}
	d.compare("", then.Object, live.Object)
	return d.found, nil
}

// withheld says why the cluster does not take an object as it is; empty where err says something else.
func withheld(err error) string {
	f, ok := errors.AsType[*deploy.Failure](err)
	switch {
	case !ok:
		return ""
	case apierrors.IsInvalid(f.Err): // such as a ConfigMap that can't be changed any more
		return "another one, which has to be deleted first"
	case apierrors.IsBadRequest(f.Err): // such as an Ingress that the cluster's ingress controller objects to
		return cut(f.Message, maxRefusal)
	}
	return ""
}

// pullDrift looks at what the nodes pull with. Its value is made anew all the time, so that only who wrote it tells
// whether it is Slipway's.
func (t *target) pullDrift(ctx context.Context, r deploy.Release) ([]deploy.Drift, error) {
	o, err := t.pullSecret(r, "", "")
	if err != nil {
		return nil, err
	}
	o, live, err := t.asMade(ctx, o, []string{"data"})
	if err != nil {
		return nil, err
	}
	title := "Secret " + nameOf(r) + "-pull"
	if live == nil {
		if user, password, err := r.From.Credential(ctx); err == nil && user == "" && password == "" {
			return []deploy.Drift{}, nil // anybody may pull
		}
		return []deploy.Drift{{Object: title, Want: "there", Have: "gone"}}, nil
	}
	found, err := t.driftOf(ctx, o)
	if err == nil && len(found) == 0 && !wrote(live, "data", corev1.DockerConfigJsonKey) {
		found = append(found, deploy.Drift{Object: title, Field: "data." + corev1.DockerConfigJsonKey, Want: "as deployed", Have: "another value"})
	}
	return found, err
}

// wrote tells whether the field is as Slipway applied it: the API server notes who wrote each one last
// (https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management).
func wrote(live *unstructured.Unstructured, path ...string) bool {
	for _, entry := range live.GetManagedFields() {
		if entry.Manager != fieldManager || entry.Operation != metav1.ManagedFieldsOperationApply || entry.FieldsV1 == nil {
			continue
		}
		var owned map[string]any
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned) != nil {
			continue
		}
		fields := make([]string, len(path))
		for i, name := range path {
			fields[i] = "f:" + name
		}
		if _, found, err := unstructured.NestedFieldNoCopy(owned, fields...); found && err == nil {
			return true
		}
	}
	return false
}

// Restore applies the release's objects again. The Service and the Ingress are
// put back only while they lead to the release: in between a newer one may take them over.
func (t *target) Restore(ctx context.Context, r deploy.Release) error {
	own, shared, err := t.wanted(ctx, r)
	if err != nil {
		return err
	}
	if err := t.apply(ctx, deploy.StageTarget, own...); err != nil {
		return err
	}
	if err := t.lendCredential(ctx, deploy.StageTarget, r); err != nil {
		return err
	}
	for _, o := range shared {
		if err := t.putBack(ctx, o, r.ID); err != nil {
			return err
		}
	}
	return nil
}

// putBack writes an object that the release shares with others of its app, if
// nobody else has written it since it was looked at.
func (t *target) putBack(ctx context.Context, o object, release string) error {
	u, err := o.unstructured()
	if err != nil {
		return err
	}
	at, what := t.at(o.resource, u.GetNamespace()), u.GetKind()+" "+u.GetName()
	live, err := at.Get(ctx, u.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		if _, err := at.Create(ctx, u, metav1.CreateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsAlreadyExists(err) {
			return t.explain(ctx, deploy.StageTarget, err, what)
		}
		return nil
	case err != nil:
		return t.explain(ctx, deploy.StageTarget, err, what)
	case !leads(live, t.id, release):
		return nil
	}
	u.SetResourceVersion(live.GetResourceVersion())
	if _, err := at.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: fieldManager, Force: true}); err != nil {
		return t.explain(ctx, deploy.StageTarget, err, what)
	}
	return nil
}

// leads tells whether a Service or an Ingress of the target leads to the release.
func leads(u *unstructured.Unstructured, target, release string) bool {
	return u.GetLabels()[labelTarget] == target && u.GetLabels()[labelDeployment] == release
}
