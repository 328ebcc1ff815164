package aws

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Wait looks at the release's service until ECS says that the deployment of our
// task definition, and of no other, is complete, and all its tasks are healthy.
func (t *target) Wait(ctx context.Context, r deploy.Release, say func(string)) ([]deploy.Instance, error) {
	story := deploy.NewTranscript(say)
	defer story.Flush()
	w := &waiting{target: t, c: t.as(r.Subject()), r: r, story: story, say: say, told: map[string]bool{}, looked: time.Now(), began: time.Now()}
	defer t.changed()
	for p := new(pace); ; {
		healthy, err := w.look(ctx)
		w.away = w.away && err != nil
		switch {
		case ctx.Err() != nil:
			return nil, w.tooLate(ctx)
		case err == nil && len(healthy) > 0:
			return healthy, nil
		case passing(err) && w.left() > 0:
			w.tellAway()
		case err != nil:
			return nil, t.explain(ctx, deploy.StageTarget, err, "look at the service "+nameOf(r))
		case w.left() <= 0:
			return nil, w.late(context.DeadlineExceeded)
		}
		if p.wait(ctx) != nil {
			return nil, w.tooLate(ctx)
		}
	}
}

// waiting is one Wait.
type waiting struct {
	*target
	c     *clients
	r     deploy.Release
	story *deploy.Transcript
	say   func(string)

	definition string          // ours
	told       map[string]bool // the service's events that were told
	free       bool            // what it waits for now does not count as time to start
	began      time.Time
	looked     time.Time       // when it was looked last
	spent      time.Duration   // of the release's patience
	trouble    *deploy.Failure // what keeps tasks from starting, and may yet go away
	away       bool            // AWS gives no answer, and that was told
}

// tellAway says once that AWS gives no answer that helps.
func (w *waiting) tellAway() {
	if !w.away {
		w.say("AWS gives no answer at the moment; Slipway goes on asking.")
	}
	w.away = true
}

// left is how long the release may still take: the time in which ECS makes tasks
// ready and pulls the image, and in which all are healthy and it only has to say so, is not counted.
func (w *waiting) left() time.Duration {
	now := time.Now()
	if !w.free {
		w.spent += now.Sub(w.looked)
	}
	w.looked = now
	if w.r.Patience == 0 {
		return time.Hour // as long as ctx
	}
	return w.r.Patience - w.spent
}

// look is one look: the instances when they are healthy, none when not yet, an error when never.
func (w *waiting) look(ctx context.Context) ([]deploy.Instance, error) {
	s, err := w.ours(ctx)
	if errors.Is(err, errGone) && time.Since(w.began) < seenTime { // it was made just now
		return []deploy.Instance{}, nil
	}
	if errors.Is(err, errGone) {
		return nil, deploy.Failf(deploy.StageStart, nil, "Somebody removed the service %s or its task definition while it started. Deploy again.", nameOf(w.r))
	}
	if err != nil {
		return nil, err
	}
	w.listen(s)
	all, err := w.tasksOf(ctx, w.c, nameOf(w.r))
	if err != nil {
		return nil, err
	}
	main := primaryOf(s)
	if main == nil || deref(main.TaskDefinition) != w.definition {
		return nil, w.replaced(main)
	}
	healthy, err := w.healthy(ctx, s, all)
	if err != nil || len(healthy) > 0 { // a task that ended long ago does not count then
		return healthy, err
	}
	return healthy, w.judge(ctx, main, all)
}

// ours is the release's service, once its task definition is known, or errGone.
func (w *waiting) ours(ctx context.Context) (*types.Service, error) {
	if w.definition == "" {
		var err error
		if w.definition, err = w.target.definition(ctx, w.c, w.r); err != nil {
			return nil, err
		}
		if w.definition == "" {
			return nil, errGone
		}
	}
	return w.service(ctx, w.c, nameOf(w.r))
}

// judge says whether the release has failed already.
func (w *waiting) judge(ctx context.Context, main *types.Deployment, all []types.Task) error {
	var last *deploy.Failure
	for _, k := range all {
		if deref(k.LastStatus) != stopped || deref(k.StartedBy) == startedBy {
			continue
		}
		f, final := w.ended(k)
		last = f
		if final {
			f.Logs = w.lastLines(ctx, w.c, logGroup(w.r), k)
			return hinted(f)
		}
	}
	if main.RolloutState == types.DeploymentRolloutStateFailed {
		return w.gaveUp(deref(main.RolloutStateReason), last)
	}
	if last != nil {
		w.worry(last)
	}
	return nil
}

func primaryOf(s *types.Service) *types.Deployment {
	for i := range s.Deployments {
		if deref(s.Deployments[i].Status) == primary {
			return &s.Deployments[i]
		}
	}
	return nil
}

// replaced says that the service's deployment is not ours any more.
func (w *waiting) replaced(now *types.Deployment) error {
	what := "no task definition"
	if now != nil {
		what = last(deref(now.TaskDefinition))
	}
	if now != nil && strings.Contains(deref(now.RolloutStateReason), "rolling back") {
		return deploy.Failf(deploy.StageStart, nil, "ECS rolled the service back to %s: %s%s", what, deploy.Sentence(deploy.Plain(deref(now.RolloutStateReason))), w.because())
	}
	return deploy.Failf(deploy.StageStart, nil, "Somebody changed the service %s while it started: it runs %s now. Deploy again.%s", nameOf(w.r), what, w.because())
}

// gaveUp says that ECS starts no more tasks of the release.
func (w *waiting) gaveUp(reason string, last *deploy.Failure) error {
	if last == nil {
		last = w.trouble
	}
	if last == nil {
		return deploy.Failf(deploy.StageStart, errors.New(reason), "ECS gave the release up: %s Look at its events in AWS's console.", deploy.Sentence(deploy.Plain(reason)))
	}
	last.Message = "ECS gave the release up (" + strings.TrimRight(deploy.Plain(reason), ". ") + "). " + last.Message
	return last
}

// because adds what was known to be wrong.
func (w *waiting) because() string {
	if w.trouble == nil {
		return ""
	}
	return " Before that: " + w.trouble.Message
}

// healthy returns the instances once ECS calls the deployment complete and each of them is healthy.
func (w *waiting) healthy(ctx context.Context, s *types.Service, all []types.Task) ([]deploy.Instance, error) {
	var living []types.Task
	w.free = false
	for _, k := range all {
		if serves(k) {
			living = append(living, k)
			w.free = w.free || deref(k.LastStatus) != running
		}
	}
	found, err := w.instances(ctx, w.c, living)
	if err != nil {
		return nil, err
	}
	answers, err := w.answers(ctx, s, found)
	if err != nil {
		return nil, err
	}
	var ready []deploy.Instance
	for _, i := range found {
		if i.State == models.InstanceHealthy && answers[i.Address].healthy {
			ready = append(ready, i)
		}
	}
	if len(ready) < w.r.Scale.OrOne().Replicas {
		return []deploy.Instance{}, nil // not yet
	}
	if main := primaryOf(s); main.RolloutState != types.DeploymentRolloutStateCompleted {
		w.free = true
		return []deploy.Instance{}, nil // not yet
	}
	return ready, nil
}

// answers are what the health checks of the instances gave: the load balancer's, or where there is none Slipway's own.
func (w *waiting) answers(ctx context.Context, s *types.Service, found []deploy.Instance) (map[string]health, error) {
	path, _ := asked(w.r)
	question := fmt.Sprintf("GET :%d%s", w.r.Port, path)
	out := map[string]health{}
	if len(s.LoadBalancers) > 0 {
		var err error
		if out, err = w.healths(ctx, w.c, deref(s.LoadBalancers[0].TargetGroupArn)); err != nil {
			return nil, err
		}
	}
	for _, i := range found {
		if i.Address == "" {
			continue
		}
		if len(s.LoadBalancers) == 0 {
			out[i.Address], question = w.probe(ctx, i.Address)
		}
		if a := out[i.Address].answer; a != "" {
			w.story.Add(question, a)
		}
	}
	return out, nil
}

// probe asks a task at its public address.
func (w *waiting) probe(ctx context.Context, address string) (health, string) {
	p := deploy.Prober{Dial: w.Dial}
	if w.r.Health == models.HealthTCP {
		answer, ok := p.TCP(ctx, address)
		return health{healthy: ok, answer: answer}, fmt.Sprintf("TCP port %d", w.r.Port)
	}
	answer, ok := p.HTTP(ctx, address, w.r.HealthPath)
	return health{healthy: ok, answer: answer}, fmt.Sprintf("GET :%d%s", w.r.Port, w.r.HealthPath)
}

var answeredWith = regexp.MustCompile(`codes: \[([0-9, ]+)\]`)

// answer puts what a load balancer says of a target into the words of Slipway's transcripts.
func answer(h *elbtypes.TargetHealth) string {
	text := deploy.Plain(deref(h.Description))
	switch h.Reason {
	case elbtypes.TargetHealthReasonEnumResponseCodeMismatch:
		if m := answeredWith.FindStringSubmatch(text); m != nil {
			return "HTTP " + m[1]
		}
		return text
	case elbtypes.TargetHealthReasonEnumTimeout:
		return fmt.Sprintf("no answer within %d s", healthTime)
	case elbtypes.TargetHealthReasonEnumFailedHealthChecks:
		return "no connection"
	case elbtypes.TargetHealthReasonEnumIpUnusable, elbtypes.TargetHealthReasonEnumInvalidState, elbtypes.TargetHealthReasonEnumHealthCheckDisabled:
		return text
	}
	if h.State == elbtypes.TargetHealthStateEnumHealthy {
		return "healthy"
	}
	return ""
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
	case f != nil:
	case w.free && w.story.Answer() == "":
		f = deploy.Failf(deploy.StageImage, cause, "ECS was still making the tasks ready and pulling the image when the time to start was over. Deploy again, or make the image smaller.")
	case w.free:
		f = deploy.Failf(deploy.StageTimeout, cause, "The app is healthy, but ECS did not call its deployment complete in time. Deploy again.")
	default:
		f = deploy.Failf(deploy.StageHealth, cause, "The app did not become healthy in time: %s.", w.wanted())
	}
	if all, err := w.tasksOf(ctx, w.c, nameOf(w.r)); err == nil && len(all) > 0 {
		f.Logs = w.lastLines(ctx, w.c, logGroup(w.r), all[0])
	}
	return f
}

func (w *waiting) wanted() string {
	path, _ := asked(w.r)
	said := ""
	if a := w.story.Answer(); a != "" {
		said = " (last: " + a + ")"
	}
	switch {
	case w.r.Health == models.HealthTCP && w.settings.listener == "":
		return fmt.Sprintf("nothing listens on port %d of the task%s", w.r.Port, said)
	case w.r.Health == models.HealthTCP:
		return fmt.Sprintf("the load balancer gets no answer on port %d of the task%s. Look whether the app listens there on all addresses, and whether the tasks' security groups let the load balancer in", w.r.Port, said)
	case w.settings.listener == "":
		return fmt.Sprintf("GET %s on port %d never answered with a status from 200 to 399%s", path, w.r.Port, said)
	}
	return fmt.Sprintf("the load balancer's GET %s on port %d never got a status from 200 to 399%s. Look whether the path is right, and whether the tasks' security groups let the load balancer in", path, w.r.Port, said)
}
