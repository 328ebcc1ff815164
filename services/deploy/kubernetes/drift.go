package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"slipway.dev/services/deploy"
)

const (
	maxShown = 120 // characters of a value
	maxDrift = 100 // differences
)

// Drift asks the cluster what another apply of the release's objects would
// change. Fields that others added are theirs, and no drift.
func (t *target) Drift(ctx context.Context, r deploy.Release) ([]deploy.Drift, error) {
	own, shared, err := t.wanted(ctx, r)
	if err != nil {
		return nil, err
	}
	out := []deploy.Drift{}
	for _, o := range append(own, shared...) {
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
	_, host, err := t.hosts(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	if host == "" {
		host = r.Hosts(t.settings.domain)[0]
	}
	own = []object{t.space(r), t.variables(r), t.hidden(r), t.workload(r, replicas)}
	if t.settings.isolated {
		own = append(own, t.wall(r))
	}
	if r.Scale.Autoscales() {
		own = append(own, t.scaler(r))
	}
	return own, []object{t.door(r), t.gate(r, host)}, nil
}

func (t *target) driftOf(ctx context.Context, o object) ([]deploy.Drift, error) {
	u, err := o.unstructured()
	if err != nil {
		return nil, err
	}
	title := u.GetKind() + " " + u.GetName()
	live, err := t.at(o.resource, u.GetNamespace()).Get(ctx, u.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return []deploy.Drift{{Object: title, Want: "there", Have: "gone"}}, nil
	}
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, title)
	}
	then, err := t.applyOne(ctx, deploy.StageTarget, o, true)
	if err != nil {
		if f, ok := errors.AsType[*deploy.Failure](err); ok && apierrors.IsInvalid(f.Err) { // such as a ConfigMap that can't be changed any more
			return []deploy.Drift{{Object: title, Want: "as deployed", Have: "another one, which has to be deleted first"}}, nil
		}
		return nil, err
	}
	d := &differ{object: title, hide: o.resource == secrets}
	d.compare("", then.Object, live.Object)
	return d.found, nil
}

// differ collects how two readings of an object differ.
type differ struct {
	object string
	hide   bool
	found  []deploy.Drift
}

// ignored is what the API server itself keeps of an object.
var ignored = []string{"status", "metadata.managedFields", "metadata.resourceVersion", "metadata.generation", "metadata.uid", "metadata.creationTimestamp"}

func (d *differ) compare(path string, want, have any) {
	if slices.Contains(ignored, path) || reflect.DeepEqual(want, have) {
		return
	}
	a, isMap := want.(map[string]any)
	b, alsoMap := have.(map[string]any)
	if isMap && alsoMap {
		all := maps.Clone(a)
		maps.Copy(all, b)
		for _, key := range slices.Sorted(maps.Keys(all)) {
			d.compare(strings.TrimPrefix(path+"."+key, "."), a[key], b[key])
		}
		return
	}
	x, isList := want.([]any)
	y, alsoList := have.([]any)
	if isList && alsoList && len(x) == len(y) {
		for i := range x {
			d.compare(fmt.Sprintf("%s[%d]", path, i), x[i], y[i])
		}
		return
	}
	one := deploy.Drift{Object: d.object, Field: path, Want: shown(want), Have: shown(have)}
	if d.hide {
		one.Want, one.Have = "as deployed", "another value"
	}
	d.found = append(d.found, one)
}

// shown is a value as people read it.
func shown(v any) string {
	if v == nil {
		return "nothing"
	}
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			return "?"
		}
		text = string(b)
	}
	if text = deploy.Plain(text); len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
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
