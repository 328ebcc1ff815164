package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// provision gives each claim a directory of this machine, which goes with it.
func (k *kubelet) provision(ctx context.Context) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if c, ok := o.(*corev1.PersistentVolumeClaim); ok && c.Status.Phase != corev1.ClaimBound {
				k.bindClaim(ctx, c)
			}
		},
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if c, ok := o.(*corev1.PersistentVolumeClaim); ok {
				_ = os.RemoveAll(k.storage(c)) // what stays goes with the directory of the test
			}
		},
	}
}

func (k *kubelet) storage(c *corev1.PersistentVolumeClaim) string {
	return filepath.Join(k.dir, "volumes", string(c.UID))
}

func (k *kubelet) bindClaim(ctx context.Context, c *corev1.PersistentVolumeClaim) {
	if err := os.MkdirAll(k.storage(c), 0o770); err != nil {
		return // the claim stays pending
	}
	status := corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, AccessModes: c.Spec.AccessModes, Capacity: c.Spec.Resources.Requests}
	b, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": c.UID}, "status": status})
	if err != nil {
		panic(err) // of a struct without maps of ours
	}
	_, _ = k.client.CoreV1().PersistentVolumeClaims(c.Namespace).Patch(ctx, c.Name, types.StrategicMergePatchType, b, metav1.PatchOptions{}, "status") // gone already is gone
}

// mounts are the arguments of docker run for the pod's claims, once all are bound. As a kubelet does for volumes of a
// disk, it makes them over to the pod's group.
func (p *pod) mounts(ctx context.Context) (args []string, bound bool) {
	group := -1
	if s := p.Spec.SecurityContext; s != nil && s.FSGroup != nil {
		group = int(*s.FSGroup)
		args = append(args, "--group-add", strconv.Itoa(group))
	}
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim == nil {
			continue
		}
		c, err := p.client.CoreV1().PersistentVolumeClaims(p.Namespace).Get(ctx, v.PersistentVolumeClaim.ClaimName, metav1.GetOptions{})
		if err != nil || c.Status.Phase != corev1.ClaimBound {
			return nil, false
		}
		if os.Chown(p.storage(c), -1, group) != nil || os.Chmod(p.storage(c), 0o770|os.ModeSetgid) != nil {
			_ = os.Chmod(p.storage(c), 0o777) // only root may give a directory to a group
		}
		for _, m := range p.app.VolumeMounts {
			if m.Name != v.Name {
				continue
			}
			mode := "rw"
			if m.ReadOnly {
				mode = "ro"
			}
			args = append(args, "-v", p.storage(c)+":"+m.MountPath+":"+mode)
		}
	}
	return args, true
}
