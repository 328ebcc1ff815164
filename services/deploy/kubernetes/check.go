package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"
	"slipway.dev/services/deploy"
)

const (
	// oldest is the first version with all that is applied: a pod that sleeps
	// before it ends came with 1.29 and is on by default since 1.30.
	oldest      = "1.30"
	oldestMinor = 30

	rightsFor   = 5 * time.Minute // so long rights that were all there are not asked for again
	askTogether = 8               // questions about rights at once
)

// rights are the verbs that Slipway's account needs on each resource, in all
// namespaces. docs/kubernetes.md grants the same.
var rights = map[resource][]string{
	namespaces:                            {"get", "list", "create", "patch", "delete"},
	pods:                                  {"list", "watch", "delete"},
	{Version: "v1", Resource: "pods/log"}: {"get"},
	events:                                {"list", "watch"},
	services:                              {"get", "list", "create", "patch", "delete"},
	configMaps:                            {"get", "list", "create", "patch", "delete"},
	secrets:                               {"get", "list", "create", "patch", "delete"},
	deployments:                           {"get", "list", "watch", "create", "patch", "delete"},
	replicaSets:                           {"list", "delete"},
	jobs:                                  {"get", "list", "create", "patch", "delete"},
	ingresses:                             {"get", "list", "create", "patch", "delete"},
	policies:                              {"get", "create", "patch"},
	scalers:                               {"get", "list", "create", "patch", "delete"},
	slicesOf:                              {"list"},
}

// Check reaches the cluster and asks whether the account may do all that a rollout does.
func (t *target) Check(ctx context.Context) (deploy.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	text, err := t.raw.Get().AbsPath("/version").DoRaw(ctx)
	if err != nil {
		return deploy.Info{}, t.explain(ctx, deploy.StageTarget, err, "version")
	}
	var v version.Info
	if err := json.Unmarshal(text, &v); err != nil {
		return deploy.Info{}, deploy.Failf(deploy.StageTarget, err, "What answers at %s is not a Kubernetes API server.", t.host)
	}
	if old(v) {
		return deploy.Info{}, deploy.Failf(deploy.StageTarget, nil, "The cluster is Kubernetes %s.%s. Slipway needs %s or newer.", v.Major, v.Minor, oldest)
	}
	if err := t.checkRights(ctx); err != nil {
		return deploy.Info{}, err
	}
	info := deploy.Info{Version: "Kubernetes " + strings.TrimPrefix(v.GitVersion, "v"), Autoscales: true, SingleMount: !t.settings.shared}
	t.room(ctx, &info)
	return info, nil
}

func old(v version.Info) bool {
	var minor int
	if _, err := fmt.Sscanf(v.Minor, "%d", &minor); err != nil {
		return false // whoever names versions in another way knows why
	}
	return v.Major == "1" && minor < oldestMinor
}

// room looks how large a pod may be and for which platform. An account that may not see nodes does without.
func (t *target) room(ctx context.Context, info *deploy.Info) {
	all, err := listBy[corev1.Node](ctx, t, nodes, "", metav1.ListOptions{})
	if err != nil {
		return
	}
	var platforms []string
	for _, n := range all {
		if n.Spec.Unschedulable {
			continue
		}
		info.CPU = max(info.CPU, n.Status.Allocatable.Cpu().MilliValue())
		info.Memory = max(info.Memory, n.Status.Allocatable.Memory().Value())
		if p := n.Status.NodeInfo.OperatingSystem + "/" + n.Status.NodeInfo.Architecture; p != "/" && !slices.Contains(platforms, p) {
			platforms = append(platforms, p)
		}
	}
	if len(platforms) == 1 {
		info.Platform = platforms[0]
	}
}

// checkRights asks the cluster for each right, and names those that are missing.
func (t *target) checkRights(ctx context.Context) error {
	t.mu.Lock()
	fresh := time.Since(t.allowed) < rightsFor
	t.mu.Unlock()
	if fresh {
		return nil
	}
	missing, err := t.missingRights(ctx)
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err, "question for rights")
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return deploy.Failf(deploy.StageTarget, nil, "The cluster does not let Slipway %s. Give its account the rights that docs/kubernetes.md lists.", strings.Join(missing, ", "))
	}
	t.mu.Lock()
	t.allowed = time.Now()
	t.mu.Unlock()
	return nil
}

func (t *target) missingRights(ctx context.Context) (missing []string, failed error) {
	var mu sync.Mutex
	var asking sync.WaitGroup
	slots := make(chan struct{}, askTogether)
	for r, verbs := range rights {
		for _, verb := range verbs {
			asking.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				ok, err := t.may(ctx, r, verb)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					failed = err
				case !ok:
					missing = append(missing, verb+" "+named(r.Resource, r.Group))
				}
			})
		}
	}
	asking.Wait()
	return missing, failed
}

// may asks whether the account has one right in all namespaces
// (https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-access-review-v1/).
func (t *target) may(ctx context.Context, r resource, verb string) (bool, error) {
	name, sub, _ := strings.Cut(r.Resource, "/")
	ask := &authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"},
		Spec:     authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Group: r.Group, Resource: name, Subresource: sub, Verb: verb}},
	}
	u, err := object{reviews, ask}.unstructured()
	if err != nil {
		return false, err
	}
	answer, err := t.at(reviews, "").Create(ctx, u, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	var out authorizationv1.SelfSubjectAccessReview
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, &out); err != nil {
		return false, fmt.Errorf("kubernetes: %w", err)
	}
	return out.Status.Allowed, nil
}
