package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// lookEvery is how often a release is looked at while no watch tells of a change.
const lookEvery = 3 * time.Second

// Wait looks at the release's pods whenever something about them changes, until
// as many as asked for are ready.
func (t *target) Wait(ctx context.Context, r deploy.Release, say func(string)) ([]deploy.Instance, error) {
	story := deploy.NewTranscript(say)
	defer story.Flush()
	w := &waiting{target: t, r: r, story: story, say: say, told: map[string]int32{}, pulling: map[string]bool{}, looked: time.Now()}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	changed := t.changes(watching, t.namespace(r), r.ID)
	for {
		healthy, err := w.look(ctx)
		if ctx.Err() != nil {
			return nil, w.tooLate(ctx)
		}
		if err != nil || healthy != nil {
			return healthy, err
		}
		left := w.left()
		if left <= 0 {
			return nil, w.late(context.DeadlineExceeded)
		}
		select {
		case <-ctx.Done():
			return nil, w.tooLate(ctx)
		case <-changed:
		case <-time.After(min(left, lookEvery)):
		}
	}
}

// left is how long the release may still take, the time in which a node got its image not counted.
func (w *waiting) left() time.Duration {
	now := time.Now()
	if len(w.pulling) == 0 {
		w.spent += now.Sub(w.looked)
	}
	w.looked = now
	if w.r.Patience == 0 {
		return lookEvery // as long as ctx
	}
	return w.r.Patience - w.spent
}

// changes tells of changes of the release's pods, its Deployments and the events
// of its namespace, until ctx ends. A watch that the cluster ends begins again.
func (t *target) changes(ctx context.Context, namespace, release string) <-chan struct{} {
	changed := make(chan struct{}, 1)
	labelled := metav1.ListOptions{LabelSelector: selectorText(t.ofRelease(release))}
	ofPods := metav1.ListOptions{FieldSelector: "involvedObject.kind=Pod"}
	for r, o := range map[resource]metav1.ListOptions{pods: labelled, deployments: labelled, events: ofPods} {
		go func() {
			for ctx.Err() == nil {
				w, err := t.at(r, namespace).Watch(ctx, o)
				if err == nil {
					tell(ctx, w, changed)
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		}()
	}
	return changed
}

// tell passes on that something changed until the watch ends.
func tell(ctx context.Context, w watch.Interface, changed chan<- struct{}) {
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-w.ResultChan():
			if !ok {
				return
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}
}

// waiting is one Wait.
type waiting struct {
	*target
	r     deploy.Release
	story *deploy.Transcript
	say   func(string)

	told    map[string]int32 // how often an event had been counted when it was told
	pulling map[string]bool  // the pods whose nodes get the image
	looked  time.Time        // when it was looked last
	spent   time.Duration    // of the release's patience
	trouble *deploy.Failure  // what keeps the pods from starting, and may yet go away
}

// look is one look: the instances when they are healthy, nothing when not yet, an error when never.
func (w *waiting) look(ctx context.Context) ([]deploy.Instance, error) {
	found, err := list[appsv1.Deployment](ctx, w.target, deployments, w.namespace(w.r), w.ofRelease(w.r.ID))
	if err != nil {
		return nil, w.explain(ctx, deploy.StageTarget, err, "Deployment "+nameOf(w.r))
	}
	if len(found) == 0 {
		return nil, deploy.Failf(deploy.StageStart, nil, "Somebody removed the Deployment %s while it started. Deploy again.", nameOf(w.r))
	}
	all, err := w.podsOf(ctx, w.r.ID)
	if err != nil {
		return nil, w.explain(ctx, deploy.StageTarget, err, "pods")
	}
	if err := w.listen(ctx, all); err != nil {
		return nil, err
	}
	for _, p := range all {
		if err := w.podFailure(ctx, p); err != nil {
			return nil, err
		}
	}
	if err := w.stuck(found[0]); err != nil {
		return nil, err
	}
	return w.healthy(found[0], all), nil
}

// healthy returns the instances once as many are ready as asked for.
func (w *waiting) healthy(d appsv1.Deployment, all []corev1.Pod) []deploy.Instance {
	var ready []deploy.Instance
	for n, p := range all {
		if i := instance(p, n+1); i.State == models.InstanceHealthy {
			ready = append(ready, i)
		}
	}
	if d.Status.ObservedGeneration < d.Generation || len(ready) < w.r.Scale.Replicas {
		return nil
	}
	return ready
}

// stuck says what the Deployment itself knows of pods that can't be made.
func (w *waiting) stuck(d appsv1.Deployment) error {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return deploy.Failf(deploy.StageStart, errors.New(c.Message), "No pod could be made: %s", refused(deploy.Plain(c.Message)))
		}
	}
	return nil
}

// podsOf returns the release's pods that serve or will, the oldest first.
func (t *target) podsOf(ctx context.Context, release string) ([]corev1.Pod, error) {
	return t.livingPods(ctx, map[string]string{labelTarget: t.id, labelDeployment: release, labelPart: partApp})
}

func (t *target) livingPods(ctx context.Context, labels map[string]string) ([]corev1.Pod, error) {
	all, err := list[corev1.Pod](ctx, t, pods, "", labels)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	slices.SortFunc(all, func(a, b corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// tooLate explains why the release was not healthy when ctx ended.
func (w *waiting) tooLate(ctx context.Context) error {
	if ctx.Err() != context.DeadlineExceeded {
		return context.Cause(ctx)
	}
	return w.late(ctx.Err())
}

func (w *waiting) late(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	f := w.trouble
	switch {
	case f != nil:
	case len(w.pulling) > 0:
		f = deploy.Failf(deploy.StageImage, cause, "The cluster's nodes were still pulling the image when the time to start was over. Deploy again, or make the image smaller.")
	default:
		f = deploy.Failf(deploy.StageHealth, cause, "The app did not become healthy in time: %s.", wanted(w.r))
	}
	if all, err := w.podsOf(ctx, w.r.ID); err == nil && len(all) > 0 {
		f.Logs = w.lastLines(ctx, all[0], false)
	}
	return f
}

func wanted(r deploy.Release) string {
	if r.Health == models.HealthTCP {
		return fmt.Sprintf("nothing listens on port %d of the pod", r.Port)
	}
	return fmt.Sprintf("GET %s on port %d never answered with a status from 200 to 399", r.HealthPath, r.Port)
}
