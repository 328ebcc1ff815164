package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"slipway.dev/services/deploy"
)

// fieldManager owns the fields that Slipway writes.
const fieldManager = "slipway"

// resource is a kind of object as the API's paths name it.
type resource = schema.GroupVersionResource

var (
	namespaces  = resource{Version: "v1", Resource: "namespaces"}
	nodes       = resource{Version: "v1", Resource: "nodes"}
	pods        = resource{Version: "v1", Resource: "pods"}
	events      = resource{Version: "v1", Resource: "events"}
	services    = resource{Version: "v1", Resource: "services"}
	configMaps  = resource{Version: "v1", Resource: "configmaps"}
	secrets     = resource{Version: "v1", Resource: "secrets"}
	deployments = resource{Group: "apps", Version: "v1", Resource: "deployments"}
	replicaSets = resource{Group: "apps", Version: "v1", Resource: "replicasets"}
	jobs        = resource{Group: "batch", Version: "v1", Resource: "jobs"}
	ingresses   = resource{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}
	policies    = resource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}
	scalers     = resource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}
	claims      = resource{Version: "v1", Resource: "persistentvolumeclaims"}
	slicesOf    = resource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
	usages      = resource{Group: "metrics.k8s.io", Version: "v1beta1", Resource: "pods"}
	reviews     = resource{Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews"}
)

// object is what is applied, and as what.
type object struct {
	resource
	runtime.Object
}

// unstructured returns the object without what a client may not say.
func (o object) unstructured() (*unstructured.Unstructured, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o.Object)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	u := &unstructured.Unstructured{Object: fields}
	unstructured.RemoveNestedField(u.Object, "status")
	for _, at := range [][]string{{"metadata"}, {"spec", "template", "metadata"}} {
		unstructured.RemoveNestedField(u.Object, append(slices.Clone(at), "creationTimestamp")...)
	}
	return u, nil
}

// at is the client for the resource in the namespace; for what is in none it is "".
func (t *target) at(r resource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return t.objects.Resource(r)
	}
	return t.objects.Resource(r).Namespace(namespace)
}

// apply writes the objects in their order. One of the name that is not this
// target's is not touched, and a *Failure.
func (t *target) apply(ctx context.Context, stage string, all ...object) error {
	for _, o := range all {
		if _, err := t.applyOne(ctx, stage, o, false); err != nil {
			return err
		}
	}
	return nil
}

// applyOne writes one object, or with try only asks what would come of it.
func (t *target) applyOne(ctx context.Context, stage string, o object, try bool) (*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	u, err := o.unstructured()
	if err != nil {
		return nil, err
	}
	if err := t.own(ctx, stage, o.resource, u); err != nil {
		return nil, err
	}
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	if try {
		options.DryRun = []string{metav1.DryRunAll}
	}
	out, err := t.at(o.resource, u.GetNamespace()).Apply(ctx, u.GetName(), u, options)
	if err != nil {
		return nil, t.explain(ctx, stage, err, u.GetKind()+" "+u.GetName())
	}
	return out, nil
}

// own refuses to touch an object that exists and does not carry the labels of this target and environment.
func (t *target) own(ctx context.Context, stage string, r resource, u *unstructured.Unstructured) error {
	have, err := t.at(r, u.GetNamespace()).Get(ctx, u.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return t.explain(ctx, stage, err, u.GetKind()+" "+u.GetName())
	}
	if t.owns(have, u) {
		return nil
	}
	where := ""
	if u.GetNamespace() != "" {
		where = " in the namespace " + u.GetNamespace()
	}
	return deploy.Failf(stage, nil, "There is a %s %s%s that is not Slipway's, so it is not touched. Rename or remove it; or, to hand it over, label it %s=%s and %s=%s.",
		u.GetKind(), u.GetName(), where, labelTarget, t.id, labelEnvironment, u.GetLabels()[labelEnvironment])
}

// owns tells whether the object that is there carries the labels of this target, and of the environment of the one to be applied.
func (t *target) owns(have, u *unstructured.Unstructured) bool {
	labels := have.GetLabels()
	return labels[labelTarget] == t.id && labels[labelEnvironment] == u.GetLabels()[labelEnvironment]
}

// list returns the objects with the labels, of all namespaces where namespace is "".
func list[T any](ctx context.Context, t *target, r resource, namespace string, labels map[string]string) ([]T, error) {
	return listBy[T](ctx, t, r, namespace, metav1.ListOptions{LabelSelector: selectorText(labels)})
}

func listBy[T any](ctx context.Context, t *target, r resource, namespace string, o metav1.ListOptions) ([]T, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	found, err := t.at(r, namespace).List(ctx, o)
	if err != nil {
		return nil, err
	}
	out := make([]T, len(found.Items))
	for i, item := range found.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &out[i]); err != nil {
			return nil, fmt.Errorf("kubernetes: %w", err)
		}
	}
	return out, nil
}

// selectorText writes labels as a query has them.
func selectorText(labels map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		all = append(all, name+"="+labels[name])
	}
	return strings.Join(all, ",")
}

func ptr[T any](v T) *T { return &v }
