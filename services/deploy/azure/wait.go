package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

const (
	askTime     = 3 * time.Second  // for the app to answer one question
	hearingTime = 20 * time.Second // for Azure's DNS and ingress to hear of a new revision
)

// Wait looks at the release's revision until Azure takes it for healthy, and it
// answers at the address that the revision has for itself.
func (t *target) Wait(ctx context.Context, r deploy.Release, say func(string)) ([]deploy.Instance, error) {
	story := deploy.NewTranscript(say)
	defer story.Flush()
	w := &waiting{target: t, r: r, app: t.appName(r), story: story, say: say, told: map[string]bool{}, pulling: map[string]bool{}, began: time.Now(), looked: time.Now()}
	defer t.forget(w.app)
	for {
		healthy, err := w.look(ctx)
		if ctx.Err() != nil {
			return nil, w.tooLate(ctx)
		}
		if f, ok := errors.AsType[*deploy.Failure](err); ok && passing(err) { // Azure is away for a moment, and the release goes on starting there
			w.once(f.Message + " Slipway goes on looking.")
			err = nil
		}
		if err != nil || healthy != nil {
			return healthy, err
		}
		if w.left() <= 0 {
			return nil, w.late(context.DeadlineExceeded)
		}
		if t.pause(ctx) != nil {
			return nil, w.tooLate(ctx)
		}
	}
}

// waiting is one Wait.
type waiting struct {
	*target
	r     deploy.Release
	app   string
	story *deploy.Transcript
	say   func(string)

	told    map[string]bool // events that were heard, and what was said once
	pulling map[string]bool // replicas whose machines get the image
	probed  bool            // Azure has asked the app
	began   time.Time
	looked  time.Time       // when it was looked last
	spent   time.Duration   // of the release's patience
	trouble *deploy.Failure // what keeps it from starting, and may yet go away
	looping int             // looks in which a container was being started again
	asked   time.Time       // when the address was first asked
}

// left is how long the release may still take, the time in which a machine got its image not counted.
func (w *waiting) left() time.Duration {
	now := time.Now()
	if len(w.pulling) == 0 {
		w.spent += now.Sub(w.looked)
	}
	w.looked = now
	if w.r.Patience == 0 {
		return time.Hour // as long as ctx
	}
	return w.r.Patience - w.spent
}

func (w *waiting) once(text string) {
	if !w.told[text] {
		w.told[text] = true
		w.say(text)
	}
}

// look is one look: the instances when they are healthy, nothing when not yet, an error when never.
func (w *waiting) look(ctx context.Context) ([]deploy.Instance, error) {
	rev, err := w.revision(ctx, w.app, w.r.ID)
	if missing(err) && w.soon(ctx) {
		return nil, nil
	}
	if missing(err) {
		return nil, deploy.Failf(deploy.StageStart, err, "Somebody removed the revision %s while it started. Deploy again.", revisionOf(w.app, w.r.ID))
	}
	if err != nil {
		return nil, w.explain(ctx, deploy.StageTarget, err)
	}
	all, err := w.replicasOf(ctx, w.app, *rev.Name)
	if err != nil && !missing(err) {
		return nil, w.explain(ctx, deploy.StageTarget, err)
	}
	if err := w.listen(ctx, all); err != nil {
		return nil, err
	}
	for _, replica := range all {
		if err := w.replicaFailure(ctx, replica); err != nil {
			return nil, err
		}
	}
	if err := w.revisionFailure(ctx, rev); err != nil {
		return nil, err
	}
	return w.healthy(ctx, rev, all)
}

// soon tells whether a revision that is not there may yet come: Azure has taken it, and not all of Azure knows at once.
func (w *waiting) soon(ctx context.Context) bool {
	_, err := w.target.app(ctx, w.app)
	return err == nil && time.Since(w.began) < hearingTime
}

// replicaFailure says why a replica will never be healthy, or nothing.
func (w *waiting) replicaFailure(ctx context.Context, replica *aca.Replica) error {
	if replica.Properties == nil {
		return nil
	}
	for _, c := range replica.Properties.Containers {
		text := deploy.Plain(value(c.RunningStateDetails))
		switch {
		case imageTrouble(text):
			return w.unpulledNow(text)
		case strings.Contains(text, "CreateContainer"), strings.Contains(text, "RunContainerError"):
			return w.crashed(ctx, 0, false, createFailure)
		case strings.Contains(text, "CrashLoopBackOff"), value(c.RunningState) == aca.ContainerAppContainerRunningStateTerminated:
			if m := codeWords.FindStringSubmatch(text); m != nil {
				code, known, _, _ := exit("was terminated with exit code '" + m[1] + "'")
				return w.crashed(ctx, code, known, "")
			}
			if w.looping++; w.looping > 3 { // its exit code would be in the system log by now
				return w.crashed(ctx, 0, false, "")
			}
		}
	}
	return nil
}

// unpulledNow is unpulled, with more words from Azure where it has them.
func (w *waiting) unpulledNow(text string) error {
	if w.trouble != nil && w.trouble.Stage == deploy.StageImage {
		return w.trouble
	}
	return w.unpulled(w.r, text)
}

// revisionFailure says why Azure has given the revision up, or nothing.
func (w *waiting) revisionFailure(ctx context.Context, rev *aca.Revision) error {
	p := rev.Properties
	text := deploy.Plain(value(p.ProvisioningError))
	running := string(value(p.RunningState))
	failed := value(p.ProvisioningState) == aca.RevisionProvisioningStateFailed || running == string(aca.RevisionRunningStateFailed) || running == "ActivationFailed"
	if code, known, reason, ok := exit(text); failed && ok {
		return w.crashed(ctx, code, known, reason)
	}
	switch {
	case !failed:
		return nil
	case imageTrouble(text):
		return w.unpulledNow(text)
	case w.trouble != nil:
		return w.trouble
	case text == "":
		f := deploy.Failf(deploy.StageStart, nil, "Azure gave the revision up (%s). Its system log in the Azure portal may say more.", running)
		f.Logs = w.lastLines(ctx)
		return f
	case strings.Contains(strings.ToLower(text), "quota"):
		return deploy.Failf(deploy.StageStart, nil, "Azure has no more room for it: %s Ask for a higher quota in the portal (Quotas), or lower the app's scale.", azurelogin.Sentence(text))
	}
	return deploy.Failf(deploy.StageStart, nil, "Azure could not make the revision: %s", azurelogin.Sentence(text))
}

// crashed explains a container that ended before it was healthy.
func (w *waiting) crashed(ctx context.Context, code int, known bool, reason string) error {
	f := end(w.r, code, known, reason)
	f.Logs = w.lastLines(ctx)
	return f
}

// end says why a container ended before it was healthy.
func end(r deploy.Release, code int, known bool, reason string) *deploy.Failure {
	f := stopped(deploy.StageStart, "The container", code, known, reason, sizeText(r.Scale))
	switch {
	case known && code == 0:
		f.Message = "The container ended by itself, without an error, before it was healthy. A deployed app has to keep running and listen on its port."
	case reason == createFailure, code == 126, code == 127:
		f.Message = "The container could not be started"
		if known {
			f.Message += fmt.Sprintf(" (exit code %d)", code)
		}
		f.Message += ". Check ENTRYPOINT and CMD in the Dockerfile, and that the image is made for linux/amd64."
	default:
		f.Message += " before it was healthy."
	}
	return f
}

// healthy returns the instances once as many are ready as asked for, and the revision answers.
func (w *waiting) healthy(ctx context.Context, rev *aca.Revision, all []*aca.Replica) ([]deploy.Instance, error) {
	var ready []deploy.Instance
	for n, replica := range all {
		if i := instance(w.app, rev, replica, w.r.ID, n+1); i.State == models.InstanceHealthy {
			ready = append(ready, i)
		}
	}
	if value(rev.Properties.HealthState) != aca.RevisionHealthStateHealthy || len(ready) < max(w.r.Scale.Replicas, 1) {
		return nil, nil
	}
	app, err := w.target.app(ctx, w.app)
	if err != nil {
		return nil, w.explain(ctx, deploy.StageTarget, err)
	}
	ingress := app.Properties.Configuration.Ingress
	if ingress == nil || !value(ingress.External) || w.r.Health != models.HealthHTTP || value(ingress.TargetPort) != int32(w.r.Port) || value(rev.Properties.Fqdn) == "" {
		return ready, nil // nobody can ask it from here, and Azure's own probe has
	}
	if !w.answers(ctx, value(rev.Properties.Fqdn)) {
		return nil, nil
	}
	return ready, nil
}

// answers asks the release at the revision's own address, as visitors will. An
// address that can't be reached from here says nothing about the app.
func (w *waiting) answers(ctx context.Context, host string) bool {
	if w.asked.IsZero() {
		w.asked = time.Now()
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	asked := "GET https://" + host + w.r.HealthPath
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+w.r.HealthPath, nil)
	if err != nil {
		w.story.Add(asked, "the path is not valid")
		return false
	}
	req.Header.Set("User-Agent", "Slipway-Health")
	res, err := w.way.client.Do(req)
	if err != nil {
		w.story.Add(asked, "no connection")
		if time.Since(w.asked) < hearingTime {
			return false
		}
		w.once("The revision's address can't be reached from here; Azure's own health check counts.")
		return true
	}
	res.Body.Close()
	w.story.Add(asked, fmt.Sprintf("HTTP %d", res.StatusCode))
	return res.StatusCode >= 200 && res.StatusCode < 400
}

// lastLines is what the release's first replica said last.
func (w *waiting) lastLines(ctx context.Context) []string {
	return w.target.lastLines(ctx, w.app, w.r.ID)
}

// tooLate explains why the release was not healthy when ctx ended.
func (w *waiting) tooLate(ctx context.Context) error {
	if ctx.Err() != context.DeadlineExceeded {
		return context.Cause(ctx)
	}
	return w.late(ctx.Err())
}

func (w *waiting) late(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	f := w.trouble
	switch {
	case f != nil && !w.probed:
	case len(w.pulling) > 0:
		f = deploy.Failf(deploy.StageImage, cause, "Azure was still pulling the image when the time to start was over. Deploy again, or make the image smaller.")
	case w.r.Health == models.HealthTCP:
		f = deploy.Failf(deploy.StageHealth, cause, "The app did not become healthy in time: nothing listens on port %d of the container.", w.r.Port)
	default:
		f = deploy.Failf(deploy.StageHealth, cause, "The app did not become healthy in time: GET %s on port %d never answered with a status from 200 to 399.", w.r.HealthPath, w.r.Port)
	}
	if w.probed && w.trouble != nil {
		f.Message += " " + w.trouble.Message
	}
	f.Logs = w.lastLines(ctx)
	return f
}
