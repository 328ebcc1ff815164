package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

const nodeName = "kubetest"

// room is what the node has for pods.
var room = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("16Gi"), corev1.ResourcePods: resource.MustParse("110")}

// kubelet is the cluster's one node, and binds pods to it.
type kubelet struct {
	client kubernetes.Interface
	events record.EventRecorder
	mark   string // the label's value on its containers
	dir    string // where volumes are

	mu   sync.Mutex
	pods map[types.UID]*running
	work sync.WaitGroup
}

// running is a pod that runs here.
type running struct {
	cancel context.CancelCauseFunc
	grace  chan int64 // seconds that the pod gets to end
	names  []string   // of its containers, the newest last

	namespace, name string
}

func startKubelet(ctx context.Context, config *rest.Config, dir string) (*kubelet, error) {
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: c.CoreV1().Events("")})
	k := &kubelet{
		client: c, dir: dir, mark: fmt.Sprint(time.Now().UnixNano()), pods: map[types.UID]*running{},
		events: broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: nodeName}),
	}
	if _, err := docker(ctx, "network", "create", "--label", "slipway.kubetest="+k.mark, k.network()); err != nil {
		return nil, err
	}
	port, err := k.serveLogs()
	if err != nil {
		return nil, err
	}
	if err := k.register(ctx, port); err != nil {
		return nil, err
	}
	f := informers.NewSharedInformerFactory(c, 0)
	_, err = f.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.see(ctx, o) },
		UpdateFunc: func(_, o any) { k.see(ctx, o) },
		DeleteFunc: k.forget,
	})
	if err != nil {
		return nil, err
	}
	_, err = f.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(k.provision(ctx))
	f.Start(ctx.Done())
	return k, err
}

// network is the name of the pods' network in the engine.
func (k *kubelet) network() string { return "kubetest-" + k.mark }

// register makes the node known and ready.
func (k *kubelet) register(ctx context.Context, logPort int32) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName, Labels: map[string]string{corev1.LabelHostname: nodeName, corev1.LabelOSStable: "linux", corev1.LabelArchStable: arch()}}}
	if _, err := k.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return err
	}
	status := corev1.NodeStatus{
		Capacity: room, Allocatable: room,
		Conditions:      []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.Now()}},
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: logPort}},
		NodeInfo:        corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: arch(), KubeletVersion: "v1.37.2"},
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	_, err = k.client.CoreV1().Nodes().Patch(ctx, nodeName, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

var errDeleted = errors.New("the pod was deleted")

// see takes a pod up, or ends it.
func (k *kubelet) see(ctx context.Context, o any) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	has := k.pods[p.UID]
	switch {
	case p.DeletionTimestamp != nil && has != nil:
		grace := int64(30)
		if p.DeletionGracePeriodSeconds != nil {
			grace = *p.DeletionGracePeriodSeconds
		}
		select {
		case has.grace <- grace:
		default:
		}
		has.cancel(errDeleted)
	case p.DeletionTimestamp != nil: // it never ran
		k.work.Go(func() { k.drop(ctx, p) })
	case p.Spec.NodeName == "":
		p := p.DeepCopy()
		k.work.Go(func() { k.bind(ctx, p) })
	case has == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed:
		work, cancel := context.WithCancelCause(ctx)
		r := &running{cancel: cancel, grace: make(chan int64, 1), namespace: p.Namespace, name: p.Name}
		k.pods[p.UID] = r
		p := p.DeepCopy()
		k.work.Go(func() { k.runPod(work, p, r) })
	}
}

// forget ends a pod that was taken out of the API by force.
func (k *kubelet) forget(o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	p, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.pods[p.UID]; r != nil {
		select {
		case r.grace <- 0:
		default:
		}
		r.cancel(errDeleted)
	}
}

// bind is the scheduler: the one node takes what fits into it.
func (k *kubelet) bind(ctx context.Context, p *corev1.Pod) {
	for name, wanted := range p.Spec.Containers[0].Resources.Requests {
		if has, ok := room[name]; ok && wanted.Cmp(has) > 0 {
			message := fmt.Sprintf("0/1 nodes are available: 1 Insufficient %s. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.", name)
			k.patch(ctx, p, corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message}}})
			return
		}
	}
	to := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}, Target: corev1.ObjectReference{Kind: "Node", Name: nodeName}}
	_ = k.client.CoreV1().Pods(p.Namespace).Bind(ctx, to, metav1.CreateOptions{}) // bound twice is bound
}

// patch writes the pod's status.
func (k *kubelet) patch(ctx context.Context, p *corev1.Pod, status corev1.PodStatus) {
	b, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID}, "status": status})
	if err != nil {
		panic(err) // of a struct without maps of ours
	}
	_, _ = k.client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, b, metav1.PatchOptions{}, "status") // the next one tells the same
}

// drop takes the pod out of the API.
func (k *kubelet) drop(ctx context.Context, p *corev1.Pod) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	now := int64(0)
	_ = k.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &p.UID}}) // gone already is gone
}

// stop removes all containers and their network.
func (k *kubelet) stop() error {
	k.work.Wait()
	ctx := context.Background()
	out, err := docker(ctx, "ps", "-aq", "--filter", "label=slipway.kubetest="+k.mark)
	if err == nil && out != "" {
		_, err = docker(ctx, append([]string{"rm", "-fv"}, lines(out)...)...)
	}
	_, gone := docker(ctx, "network", "rm", k.network())
	return errors.Join(err, gone)
}
