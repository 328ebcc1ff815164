package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"slipway.dev/services/deploy"
)

// listen reads what the cluster says of the pods: probes go into the
// transcript, what keeps a pod from starting is kept for when time is up.
func (w *waiting) listen(ctx context.Context, all []corev1.Pod) error {
	mine := map[string]bool{}
	for _, p := range all {
		mine[p.Name] = true
		w.place(p)
	}
	maps.DeleteFunc(w.pulling, func(pod string, _ bool) bool { return !mine[pod] })
	found, err := listBy[corev1.Event](ctx, w.target, events, w.namespace(w.r), metav1.ListOptions{FieldSelector: "involvedObject.kind=Pod"})
	if err != nil {
		return w.explain(ctx, deploy.StageTarget, err, "events")
	}
	for _, e := range found {
		seen := max(e.Count, 1)
		if !mine[e.InvolvedObject.Name] || w.told[string(e.UID)] >= seen {
			continue
		}
		w.told[string(e.UID)] = seen
		w.hear(e)
	}
	return nil
}

// hear takes one event.
func (w *waiting) hear(e corev1.Event) {
	text := deploy.Plain(e.Message)
	switch {
	case e.Reason == "Unhealthy":
		if asked, answered, ok := probed(w.r, text); ok {
			w.story.Add(asked, answered)
		}
	case e.Reason == "Pulling":
		w.story.Add("image", "the node pulls it")
		w.pulling[e.InvolvedObject.Name] = true
	case e.Reason == "Pulled":
		delete(w.pulling, e.InvolvedObject.Name)
	case e.Reason == "FailedMount", e.Reason == "FailedAttachVolume":
		w.worry(deploy.StageStart, "A volume of the pod can't be mounted: %s", deploy.Sentence(text))
	case e.Reason == "FailedCreatePodSandBox":
		w.worry(deploy.StageStart, "The node can't make the pod: %s", deploy.Sentence(text))
	}
}

// place takes what the scheduler says of the pod. A cluster that grows may have a node for it in a minute.
func (w *waiting) place(p corev1.Pod) {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			w.worry(deploy.StageStart, "No node of the cluster takes the pod: %s Lower the app's scale, or give the cluster more room.", deploy.Sentence(short(deploy.Plain(c.Message))))
			return
		}
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue && w.trouble != nil && strings.HasPrefix(w.trouble.Message, "No node") {
			w.trouble = nil
		}
	}
}

// short drops what a scheduler adds of preemption.
func short(text string) string {
	text, _, _ = strings.Cut(text, " preemption:")
	text, _, _ = strings.Cut(text, " no new claims to deallocate")
	return text
}

// worry keeps what would be the reason if time were up now, and tells it once.
func (w *waiting) worry(stage, format string, args ...any) {
	f := deploy.Failf(stage, nil, format, args...)
	if w.trouble == nil || w.trouble.Message != f.Message {
		w.say(f.Message)
	}
	w.trouble = f
}

var probeWords = regexp.MustCompile(`^(?:Startup|Readiness) probe failed: (.*)$`)

// probed puts a kubelet's words of a probe into those of Slipway's transcripts.
func probed(r deploy.Release, text string) (asked, answered string, ok bool) {
	m := probeWords.FindStringSubmatch(text)
	if m == nil {
		return "", "", false
	}
	asked = fmt.Sprintf("GET :%d%s", r.Port, r.HealthPath)
	if handler(r).TCPSocket != nil {
		asked = fmt.Sprintf("TCP port %d", r.Port)
	}
	code, isCode := strings.CutPrefix(m[1], "HTTP probe failed with statuscode: ")
	switch {
	case isCode:
		answered = "HTTP " + code
	case strings.Contains(m[1], "connection refused"), strings.HasSuffix(m[1], "EOF"), strings.Contains(m[1], "connection reset"):
		answered = "connection refused"
	case strings.Contains(m[1], "context deadline exceeded"), strings.Contains(m[1], "i/o timeout"), strings.Contains(m[1], "Client.Timeout"):
		answered = "no answer within 3s"
	case strings.Contains(m[1], "malformed HTTP"):
		answered = "the answer is not HTTP"
	default:
		answered = "no connection"
	}
	return asked, answered, true
}

// podFailure says why a pod will never be healthy, or nothing.
func (w *waiting) podFailure(ctx context.Context, p corev1.Pod) error {
	if p.Status.Phase == corev1.PodFailed && len(p.Status.ContainerStatuses) == 0 {
		return deploy.Failf(deploy.StageStart, nil, "The node ended the pod: %s", deploy.Sentence(deploy.Plain(p.Status.Reason+" "+p.Status.Message)))
	}
	for _, c := range p.Status.ContainerStatuses {
		if end := ended(c); end != nil {
			return w.crashed(ctx, p, *end, c.State.Terminated == nil)
		}
		if c.State.Waiting != nil {
			if f := w.held(*c.State.Waiting); f != nil {
				return f
			}
		}
	}
	return nil
}

// ended returns how the container ended last, if it ever did.
func ended(c corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if c.State.Terminated != nil {
		return c.State.Terminated
	}
	return c.LastTerminationState.Terminated
}

// held says why a container can't be made.
func (w *waiting) held(s corev1.ContainerStateWaiting) error {
	text := deploy.Plain(s.Message)
	switch s.Reason {
	case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable", "SignatureValidationFailed":
		return unpulled(w.r, s.Reason, text)
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "PostStartHookError":
		return deploy.Failf(deploy.StageStart, errors.New(s.Reason), "The node can't make the container: %s", deploy.Sentence(text))
	}
	return nil
}

// unpulled says why a node could not get the image.
func unpulled(r deploy.Release, reason, text string) *deploy.Failure {
	cause := errors.New(reason + ": " + text)
	host, _, _ := strings.Cut(r.Image.Repository, "/")
	lower := strings.ToLower(text)
	switch {
	case strings.Contains(lower, "no match for platform"), strings.Contains(lower, "no matching manifest"):
		return deploy.Failf(deploy.StageImage, cause, "The image is made for another kind of processor than the node has. Build it for the cluster's platform.")
	case strings.Contains(lower, "not found"), strings.Contains(lower, "manifest unknown"):
		return deploy.Failf(deploy.StageImage, cause, "The image %s is not in the registry any more, or the nodes may not see it. Build it again, or choose another one.", r.Image.Ref())
	case strings.Contains(lower, "unauthorized"), strings.Contains(lower, "denied"), strings.Contains(lower, "authentication required"), strings.Contains(lower, "no basic auth"):
		return deploy.Failf(deploy.StageImage, cause, "The registry %s refuses the credential that the nodes got for %s.", host, r.Image.Repository)
	case isLocal(r.Image.Repository):
		return deploy.Failf(deploy.StageImage, cause, "The cluster's nodes can't pull from %s: to each of them that name means itself. Give Slipway an address that they reach (SLIPWAY_EXTERNAL_URL), or push to another registry.", host)
	case strings.Contains(lower, "server gave http response to https client"):
		return deploy.Failf(deploy.StageImage, cause, "The registry %s speaks no HTTPS, and the cluster's nodes insist on it.", host)
	case strings.Contains(lower, "x509"), strings.Contains(lower, "certificate"):
		return deploy.Failf(deploy.StageImage, cause, "The cluster's nodes do not trust the certificate of the registry %s.", host)
	}
	return deploy.Failf(deploy.StageImage, cause, "The cluster's nodes can't pull %s (%s): %s", r.Image.Ref(), reason, deploy.Sentence(text))
}

// crashed explains a container that ended before it was healthy. Before says
// that another one was started in its place already.
func (w *waiting) crashed(ctx context.Context, p corev1.Pod, end corev1.ContainerStateTerminated, before bool) error {
	code := int(end.ExitCode)
	f := deploy.Failf(deploy.StageStart, errors.New(end.Reason), "The container ended with exit code %d before it was healthy.", code)
	text := deploy.Plain(end.Message)
	switch {
	case end.Reason == "OOMKilled":
		f.OOM = true
		f.Message = "The container used more memory than it may, and the system ended it before it was healthy."
	case strings.Contains(text, "exec format error"):
		f.Message = "The image is made for another kind of processor than the node has. Build it for the cluster's platform."
	case end.Reason == "StartError", end.Reason == "ContainerCannotRun", code == 126, code == 127:
		f.Message = fmt.Sprintf("The image's command could not be run (exit code %d). Check ENTRYPOINT and CMD in the Dockerfile.", code)
		if text != "" {
			f.Message = fmt.Sprintf("The container could not be started (exit code %d): %s Check ENTRYPOINT and CMD in the Dockerfile.", code, deploy.Sentence(text))
		}
	case code == 0:
		f.Message = "The container ended by itself, without an error, before it was healthy. A deployed app has to keep running and listen on its port."
	}
	if f.ExitCode = &code; end.Reason != "StartError" {
		f.Logs = w.lastLines(ctx, p, before)
	}
	return f
}
