package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/replicaset"
)

// startControllers runs those of kube-controller-manager that a rollout and its
// removal need. They end with ctx.
func startControllers(ctx context.Context, config *rest.Config) error {
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	f := informers.NewSharedInformerFactory(c, 0)
	others := metadatainformer.NewSharedInformerFactory(meta, 0)
	pods, replicaSets := f.Core().V1().Pods(), f.Apps().V1().ReplicaSets()
	deployments, err := deployment.NewDeploymentController(ctx, f.Apps().V1().Deployments(), replicaSets, pods, c)
	if err != nil {
		return err
	}
	jobs, err := job.NewController(ctx, c, pods, f.Batch().V1().Jobs(), nil, nil)
	if err != nil {
		return err
	}
	sets := replicaset.NewReplicaSetController(ctx, replicaSets, pods, c, 50)
	slices := endpointslice.NewController(ctx, pods, f.Core().V1().Services(), f.Core().V1().Nodes(), f.Discovery().V1().EndpointSlices(), 100, c, 0)
	spaces := namespace.NewNamespaceController(ctx, c, meta, c.Discovery().ServerPreferredNamespacedResources, f.Core().V1().Namespaces(), 5*time.Minute, corev1.FinalizerKubernetes)
	started := make(chan struct{})
	garbage, err := garbagecollector.NewGarbageCollector(ctx, c, meta, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.Discovery())),
		garbagecollector.DefaultIgnoredResources(), informerfactory.NewInformerFactory(f, others), started)
	if err != nil {
		return err
	}
	f.Start(ctx.Done())
	others.Start(ctx.Done())
	close(started)
	go deployments.Run(ctx, 4)
	go jobs.Run(ctx, 2)
	go sets.Run(ctx, 4)
	go slices.Run(ctx, 2)
	go spaces.Run(ctx, 2)
	go garbage.Run(ctx, 5, 30*time.Second)
	go garbage.Sync(ctx, c.Discovery(), 30*time.Second)
	return nil
}
