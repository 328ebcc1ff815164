package kubernetes

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

const (
	labelAppID  = "slipway.app-id" // whose a volume is, whatever the app is called
	labelVolume = "slipway.volume" // what the app's settings call it

	// volumeGroup is a group that each pod with a volume gets beside its own, and that its volumes are made over to: so
	// an app may write there whoever it runs as.
	volumeGroup = 65532
)

// claimName is the name of a volume's PersistentVolumeClaim in the environment's namespace, the same for every release of the app.
func claimName(r deploy.Release, volume string) string {
	end := "-" + mark(r.AppID+"/"+volume)
	return deploy.Cut(volume, maxLabel-len(end)) + end
}

// claim asks the cluster's storage for a volume of the release's app.
func (t *target) claim(r deploy.Release, volume string) object {
	labels := t.placeLabels(r)
	labels[labelApp], labels[labelAppID], labels[labelVolume] = r.App, r.AppID, volume
	spec := corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: t.settings.volumeSize}},
	}
	if t.settings.shared {
		spec.AccessModes[0] = corev1.ReadWriteMany
	}
	if t.settings.storage != "" {
		spec.StorageClassName = &t.settings.storage
	}
	return object{claims, &corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}, ObjectMeta: meta(claimName(r, volume), t.namespace(r), labels), Spec: spec,
	}}
}

// madeOnce is what a claim keeps from when it was made: its storage can't be applied anew, and its names are those of then.
var madeOnce = [][]string{
	{"spec", "accessModes"}, {"spec", "resources", "requests"}, {"spec", "storageClassName"},
	{"metadata", "labels", labelApp}, {"metadata", "labels", labelTeam},
}

// makeVolumes makes those of the release's volumes that are not there yet. What is there stays as it was made, for
// neither its size nor its class can be applied anew.
func (t *target) makeVolumes(ctx context.Context, stage string, r deploy.Release) error {
	for _, v := range r.Volumes {
		name := claimName(r, v.Name)
		have, err := t.at(claims, t.namespace(r)).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			if err := t.apply(ctx, stage, t.claim(r, v.Name)); err != nil {
				return err
			}
		case err != nil:
			return t.explain(ctx, stage, err, "PersistentVolumeClaim "+name)
		case have.GetDeletionTimestamp() != nil:
			return deploy.Failf(stage, nil, "The volume %s is being removed. Deploy again once it is gone.", v.Name)
		case have.GetLabels()[labelTarget] != t.id || have.GetLabels()[labelAppID] != r.AppID:
			return deploy.Failf(stage, nil, "There is a PersistentVolumeClaim %s in the namespace %s that is not Slipway's. Rename or remove it, and deploy again.", name, t.namespace(r))
		}
	}
	return nil
}

// mount gives the release's volumes to the pod.
func mount(r deploy.Release, pod *corev1.PodSpec) {
	if len(r.Volumes) == 0 {
		return
	}
	pod.SecurityContext.FSGroup, pod.SecurityContext.FSGroupChangePolicy = ptr(int64(volumeGroup)), ptr(corev1.FSGroupChangeOnRootMismatch)
	for _, v := range r.Volumes {
		name := claimName(r, v.Name)
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
		pod.Containers[0].VolumeMounts = append(pod.Containers[0].VolumeMounts, corev1.VolumeMount{Name: name, MountPath: v.Path, ReadOnly: v.ReadOnly})
	}
}

// Volumes lists the claims that carry the target's label. A claim's size is what the cluster gave it.
func (t *target) Volumes(ctx context.Context) ([]deploy.Volume, error) {
	all, err := list[corev1.PersistentVolumeClaim](ctx, t, claims, "", map[string]string{labelTarget: t.id})
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "PersistentVolumeClaims")
	}
	users, err := t.volumeUsers(ctx)
	if err != nil {
		return nil, err
	}
	var out []deploy.Volume
	for _, c := range all {
		if c.Labels[labelVolume] == "" || c.DeletionTimestamp != nil {
			continue
		}
		v := deploy.Volume{ID: c.Namespace + "/" + c.Name, EnvironmentID: c.Labels[labelEnvironment], AppID: c.Labels[labelAppID], Name: c.Labels[labelVolume], Size: -1}
		if size, ok := c.Status.Capacity[corev1.ResourceStorage]; ok {
			v.Size = size.Value()
		}
		v.UsedBy = users[v.ID]
		made := c.CreationTimestamp.UTC()
		v.CreatedAt = &made
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b deploy.Volume) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// volumeUsers are the releases whose pods have a claim, or would have it, by namespace and name of the claim.
func (t *target) volumeUsers(ctx context.Context) (map[string][]string, error) {
	labels := map[string]string{labelTarget: t.id}
	releases, err := list[appsv1.Deployment](ctx, t, deployments, "", labels)
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "Deployments")
	}
	commands, err := list[batchv1.Job](ctx, t, jobs, "", labels)
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "Jobs")
	}
	living, err := list[corev1.Pod](ctx, t, pods, "", labels) // one may end longer than its Deployment is there
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "pods")
	}
	users := map[string]map[string]bool{}
	use := func(m metav1.ObjectMeta, pod corev1.PodSpec) {
		for _, v := range pod.Volumes {
			if v.PersistentVolumeClaim == nil {
				continue
			}
			id := m.Namespace + "/" + v.PersistentVolumeClaim.ClaimName
			if users[id] == nil {
				users[id] = map[string]bool{}
			}
			users[id][m.Labels[labelDeployment]] = true
		}
	}
	for _, d := range releases {
		use(d.ObjectMeta, d.Spec.Template.Spec)
	}
	for _, c := range commands {
		use(c.ObjectMeta, c.Spec.Template.Spec)
	}
	for _, p := range living {
		use(p.ObjectMeta, p.Spec)
	}
	out := map[string][]string{}
	for id, of := range users {
		out[id] = slices.Sorted(maps.Keys(of))
	}
	return out, nil
}

// RemoveVolume deletes a claim of the target's, and with it the data: what becomes of the storage behind it says the
// storage class (its reclaim policy).
func (t *target) RemoveVolume(ctx context.Context, id string) error {
	namespace, name, _ := strings.Cut(id, "/")
	have, err := t.at(claims, namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err, "PersistentVolumeClaim "+name)
	}
	if have.GetLabels()[labelTarget] != t.id || have.GetLabels()[labelVolume] == "" {
		return deploy.Failf(deploy.StageTarget, nil, "The PersistentVolumeClaim %s is not Slipway's, so it is not touched.", id)
	}
	users, err := t.volumeUsers(ctx)
	if err != nil {
		return err
	}
	if len(users[id]) > 0 {
		return models.Errorf(models.Conflict, "A pod has the volume. Stop the app, or deploy it without the volume, and wait until the old version is gone.")
	}
	return t.deleteOne(ctx, claims, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: have.GetUID()}}, nil)
}

// keepsData tells whether the namespace has a volume. An account that may not look could have made none.
func (t *target) keepsData(ctx context.Context, namespace string) (bool, error) {
	all, err := list[metav1.PartialObjectMetadata](ctx, t, claims, namespace, map[string]string{labelTarget: t.id})
	if apierrors.IsForbidden(err) {
		return false, nil
	}
	if err != nil {
		return false, t.explain(ctx, deploy.StageTarget, err, "PersistentVolumeClaims")
	}
	return slices.ContainsFunc(all, func(o metav1.PartialObjectMetadata) bool { return o.DeletionTimestamp == nil }), nil
}
