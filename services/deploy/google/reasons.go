package google

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/api/run/v2"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/googlelogin"
)

// failure says why the revision will never be ready
// (https://cloud.google.com/run/docs/troubleshooting).
func (w *waiting) failure(ctx context.Context, c *run.GoogleCloudRunV2Condition) error {
	if f := w.condition(w.r, c); f != nil {
		return f
	}
	for end := time.Now().Add(w.pace.settle); ; { // the log comes a little later than the condition
		w.listen(ctx, true)
		if w.end.known() || time.Now().After(end) {
			break
		}
		if err := deploy.WaitFor(ctx, w.pace.look); err != nil {
			return err
		}
	}
	f := w.ended(c)
	f.Logs = w.lastLines(ctx, w.a, w.ofRelease(w.r.ID))
	return f
}

// condition says why what is not the app's doing failed, or nothing.
func (t *target) condition(r deploy.Release, c *run.GoogleCloudRunV2Condition) *deploy.Failure {
	text := deploy.Plain(c.Message)
	cause := errors.New(or(c.Reason, c.RevisionReason+c.ExecutionReason) + ": " + text)
	host, _, _ := strings.Cut(r.Image.Repository, "/")
	switch {
	case strings.Contains(text, "must support amd64/linux"), strings.Contains(text, "exec format error"):
		return deploy.Failf(deploy.StageImage, cause, "The image is made for another kind of processor. Cloud Run takes linux/amd64: build it for that platform.")
	case c.Reason == "CONTAINER_MISSING":
		return deploy.Failf(deploy.StageImage, cause, "Cloud Run does not find the image %s. It is not in the registry any more, or in one that Cloud Run does not pull from.", r.Image.Ref())
	case c.Reason == "CONTAINER_PERMISSION_DENIED":
		return deploy.Failf(deploy.StageImage, cause, "Cloud Run may not pull %s from %s. Grant its service agent (service-PROJECT_NUMBER@serverless-robot-prod.iam.gserviceaccount.com) and Slipway's account roles/artifactregistry.reader on that repository.", r.Image.Repository, host)
	case c.Reason == "CONTAINER_IMAGE_UNAUTHORIZED", c.Reason == "CONTAINER_IMAGE_AUTHORIZATION_CHECK_FAILED":
		return deploy.Failf(deploy.StageImage, cause, "The project's Binary Authorization policy does not let the image run: %s", deploy.Sentence(text))
	case c.Reason == "SECRETS_ACCESS_CHECK_FAILED":
		return deploy.Failf(deploy.StageStart, cause, "The apps' account %s may not read the app's secrets: the permission secretmanager.versions.access is missing. Grant it roles/secretmanager.secretAccessor in the project %s.", t.settings.runAs, t.settings.Project)
	case c.Reason == "VPC_NETWORK_NOT_FOUND":
		return deploy.Failf(deploy.StageStart, cause, "The VPC network %s is not there. Check the network and the subnet in the target's settings.", t.settings.network)
	case c.RevisionReason == "ACTIVE_REVISION_LIMIT_REACHED", quotaWords.MatchString(text):
		return deploy.Failf(deploy.StageStart, cause, "A quota of the project %s has no room in %s: %s Ask Google for more under IAM & Admin → Quotas, or lower the app's scale.", t.settings.Project, t.settings.region, deploy.Sentence(text))
	case googlelogin.Lacks(text) != "":
		return deploy.Failf(deploy.StageStart, cause, "%s", t.denied(text, "", "revision"))
	case c.Reason == "INTERNAL":
		return deploy.Failf(deploy.StageTarget, cause, "Cloud Run failed by a fault of its own: %s Deploy again.", deploy.Sentence(text))
	}
	return nil
}

// ended explains an app that did not come up.
func (w *waiting) ended(c *run.GoogleCloudRunV2Condition) *deploy.Failure {
	text := deploy.Plain(c.Message)
	cause := errors.New(or(c.RevisionReason, c.Reason) + ": " + text)
	_, wanted := w.asked()
	switch {
	case w.end.memory != "":
		f := deploy.Failf(deploy.StageStart, cause, "The container used more memory than it may (%s), and Cloud Run ended it before it was healthy.", w.end.memory)
		f.OOM = true
		return f
	case w.end.code != nil && (*w.end.code == 126 || *w.end.code == 127), strings.Contains(text, "exec likely failed"), strings.Contains(text, "error finding executable"):
		f := deploy.Failf(deploy.StageStart, cause, "The image's command could not be run. Check ENTRYPOINT and CMD in the Dockerfile.")
		f.ExitCode = w.end.code
		return f
	case w.end.code != nil && *w.end.code == 0:
		f := deploy.Failf(deploy.StageStart, cause, "The container ended by itself, without an error, before it was healthy. A deployed app has to keep running and listen on its port.")
		f.ExitCode = w.end.code
		return f
	case w.end.code != nil:
		f := deploy.Failf(deploy.StageStart, cause, "The container ended with exit code %d before it was healthy.", *w.end.code)
		f.ExitCode = w.end.code
		return f
	case w.end.signal != 0:
		return deploy.Failf(deploy.StageStart, cause, "The container was ended by signal %d before it was healthy.", w.end.signal)
	case w.end.probe != "", c.RevisionReason == "HEALTH_CHECK_CONTAINER_ERROR", c.Reason == "PROGRESS_DEADLINE_EXCEEDED":
		return deploy.Failf(deploy.StageHealth, cause, "The app did not become healthy in time: %s.", wanted)
	}
	return deploy.Failf(deploy.StageStart, cause, "Cloud Run could not start the revision: %s", deploy.Sentence(text))
}

// The words of Cloud Run's own log of an instance.
var (
	probeWords  = regexp.MustCompile(`STARTUP (?:HTTP|TCP) probe failed (\d+) times? consecutively`)
	statusWords = regexp.MustCompile(`Connection failed with status ([A-Z_]+)`)
	exitWords   = regexp.MustCompile(`Container called exit\((\d+)\)`)
	signalWords = regexp.MustCompile(`Container terminated on signal (\d+)`)
	memoryWords = regexp.MustCompile(`Memory limit of (\S+ \S+) exceeded(?: with (\S+ \S+) used)?`)
)

// listen reads what Cloud Run's own log says of the revision since the last time, where it is time again or now.
func (w *waiting) listen(ctx context.Context, now bool) {
	w.log.listen(now, w.say, func() error {
		found, err := w.entries(ctx, w.a, w.ofRelease(w.r.ID)+" AND "+w.logName(logSystem), oldestFirst, 0)
		for _, e := range found {
			if !w.heard[e.InsertId] {
				w.heard[e.InsertId] = true
				w.hear(deploy.Plain(e.TextPayload))
			}
		}
		return err
	})
}

func (w *waiting) hear(text string) {
	if m := exitWords.FindStringSubmatch(text); m != nil {
		if code, err := strconv.Atoi(m[1]); err == nil {
			w.end.code = &code
		}
	}
	if m := signalWords.FindStringSubmatch(text); m != nil {
		w.end.signal, _ = strconv.Atoi(m[1])
	}
	if m := memoryWords.FindStringSubmatch(text); m != nil {
		w.end.memory = "its limit is " + m[1]
		if m[2] != "" {
			w.end.memory = m[2] + " of " + m[1]
		}
	}
	if m := probeWords.FindStringSubmatch(text); m != nil {
		asked, _ := w.asked()
		w.end.probe = probed(text)
		w.story.Add(asked, fmt.Sprintf("%s, %s times in a row", w.end.probe, m[1]))
	}
}

// probed puts Cloud Run's words of a probe into those of Slipway's transcripts. It
// does not tell which status an app answered with.
func probed(text string) string {
	m := statusWords.FindStringSubmatch(text)
	switch {
	case m == nil && strings.Contains(text, "HTTP"):
		return "no status from 200 to 399"
	case m == nil, strings.HasSuffix(m[1], "CONNECTION_FAILED"), m[1] == "CANCELLED":
		return "connection refused"
	case strings.Contains(m[1], "DEADLINE"), strings.Contains(m[1], "TIMED_OUT"):
		return "no answer within " + probeEvery.String()
	}
	return "no answer (" + m[1] + ")"
}
