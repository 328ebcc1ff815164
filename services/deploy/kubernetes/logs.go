package kubernetes

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"slipway.dev/services/deploy"
)

const (
	maxLine   = 16 << 10               // bytes of one line that are kept
	keepLines = 30                     // of a container that failed
	again     = 250 * time.Millisecond // between looks whether a container was started again
)

// Logs yields the lines of the release's pods, those of several in the order of
// their times. Kubernetes does not tell which of a container's lines are errors.
func (t *target) Logs(ctx context.Context, release string, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		all, err := t.podsOf(ctx, release)
		if err != nil {
			yield(deploy.LogLine{}, t.explain(ctx, deploy.StageTarget, err, "pods"))
			return
		}
		var found []deploy.Instance
		for n, p := range all {
			found = append(found, instance(p, n+1))
		}
		read := t.lines
		if o.Follow {
			read = t.across
		}
		deploy.Together(ctx, found, o, read)(yield)
	}
}

// across follows one pod over the restarts of its container.
func (t *target) across(ctx context.Context, i deploy.Instance, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		for {
			for line, err := range t.lines(ctx, i, o) {
				if o.After = line.At; !yield(line, err) || err != nil {
					return
				}
			}
			o.Tail, o.Opened = 0, nil
			if !t.startsAgain(ctx, i) {
				return
			}
		}
	}
}

// startsAgain waits until a container of the pod runs anew. It tells no where the pod is gone, or goes.
func (t *target) startsAgain(ctx context.Context, i deploy.Instance) bool {
	namespace, name, _ := strings.Cut(i.ID, "/")
	for {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(again):
		}
		found, err := listBy[corev1.Pod](ctx, t, pods, namespace, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil || len(found) == 0 || found[0].DeletionTimestamp != nil {
			return false
		}
		for _, c := range found[0].Status.ContainerStatuses {
			if c.State.Running != nil {
				return true
			}
		}
	}
}

// lines yields the lines of one pod's container.
func (t *target) lines(ctx context.Context, i deploy.Instance, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return t.linesOf(ctx, i, o, false)
}

// linesOf yields the lines of one pod's container, or of the one that ran there before.
func (t *target) linesOf(ctx context.Context, i deploy.Instance, o deploy.LogOptions, before bool) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		body, err := t.openLog(ctx, i, o, before)
		if apierrors.IsNotFound(err) || apierrors.IsBadRequest(err) { // the pod is gone, or its container has not started
			if o.Opened != nil && apierrors.IsBadRequest(err) {
				o.Opened()
			}
			return
		}
		if err != nil {
			yield(deploy.LogLine{}, t.explain(ctx, deploy.StageTarget, err, "log of "+i.Name))
			return
		}
		defer body.Close()
		r := bufio.NewReaderSize(body, maxLine)
		deploy.ReadLines(ctx, i, o, "the log of a pod", func() (deploy.LogLine, error) { return readLine(r) }, yield)
	}
}

// openLog asks for the log (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log-of-the-specified-pod).
func (t *target) openLog(ctx context.Context, i deploy.Instance, o deploy.LogOptions, before bool) (io.ReadCloser, error) {
	namespace, name, _ := strings.Cut(i.ID, "/")
	q := t.raw.Get().Namespace(namespace).Resource("pods").Name(name).SubResource("log").
		Param("container", containerName).Param("timestamps", "true").
		Param("follow", strconv.FormatBool(o.Follow)).Param("previous", strconv.FormatBool(before))
	if o.Tail > 0 {
		q = q.Param("tailLines", strconv.Itoa(o.Tail))
	}
	if !o.After.IsZero() { // it counts whole seconds: lines that came before are left out here
		q = q.Param("sinceTime", o.After.UTC().Format(time.RFC3339))
	}
	return q.Stream(ctx)
}

// readLine reads one line: "time text". What is longer than a line may be is cut.
func readLine(r *bufio.Reader) (deploy.LogLine, error) {
	text, more, err := r.ReadLine()
	if err != nil {
		return deploy.LogLine{}, err
	}
	line, failed := deploy.StampedLine(string(text)) // before the reader goes on, whose bytes text is
	for more && err == nil {
		_, more, err = r.ReadLine()
	}
	if failed != nil {
		return deploy.LogLine{}, errors.Join(failed, err)
	}
	return line, nil
}

// lastLines returns what the pod's container said last, or the one before it.
func (t *target) lastLines(ctx context.Context, p corev1.Pod, before bool) []string {
	return deploy.PlainLines(t.linesOf(ctx, instance(p, 1), deploy.LogOptions{Tail: keepLines}, before))
}
