package aws

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"slipway.dev/services/deploy"
)

// listen tells what ECS says of the service, each thing once.
func (w *waiting) listen(s *types.Service) {
	for _, e := range slices.Backward(s.Events) { // the newest stands first
		if id := deref(e.Id); !w.told[id] {
			w.told[id] = true
			w.hear(deploy.Plain(deref(e.Message)))
		}
	}
}

var serviceWords = regexp.MustCompile(`^\(service [^)]*\) `)

// hear takes one event.
func (w *waiting) hear(text string) {
	text = serviceWords.ReplaceAllString(text, "")
	switch {
	case strings.Contains(text, "unable to place a task"):
		w.worry(deploy.Failf(deploy.StageStart, nil, "ECS can't place a task: %s", unplaced(text)))
	case strings.Contains(text, "was unable to"), strings.Contains(text, "is unable to"):
		w.worry(deploy.Failf(deploy.StageStart, nil, "ECS %s", deploy.Sentence(text)))
	case strings.HasPrefix(text, "has started"), strings.Contains(text, "registered"), strings.Contains(text, "steady state"):
		w.say("ECS " + deploy.Sentence(text))
		if w.trouble != nil && strings.HasPrefix(w.trouble.Message, "ECS can't place") {
			w.trouble = nil // there was room after all
		}
	}
}

// unplaced says what to do where no task fits.
func unplaced(text string) string {
	_, because, _ := strings.Cut(text, "because ")
	because = deploy.Sentence(orElse(because, text))
	switch {
	case strings.Contains(text, "insufficient"), strings.Contains(text, "No Container Instances"), strings.Contains(text, "met all of its requirements"):
		return because + " Add instances to the cluster, or lower the app's scale."
	case strings.Contains(text, "Capacity is unavailable"):
		return because + " Add subnets of other zones to the target's settings, or try again later."
	case strings.Contains(text, "limit on the number of"):
		return because + " Ask for a higher quota of Fargate under Service Quotas, or lower the app's scale."
	}
	return because
}

// worry keeps what would be the reason if time were up now, and tells it once.
func (w *waiting) worry(f *deploy.Failure) {
	if w.trouble == nil || w.trouble.Message != f.Message {
		w.say(f.Message)
	}
	w.trouble = f
}

// ended says why a task ended. Final says that the next one would end alike, so
// that nobody has to wait until ECS has tried it often enough.
func (t *target) ended(k types.Task) (f *deploy.Failure, final bool) {
	reason, app := deploy.Plain(deref(k.StoppedReason)), types.Container{}
	for _, c := range k.Containers {
		if deref(c.Name) == containerName {
			app = c
		}
	}
	why := deploy.Plain(deref(app.Reason))
	cause := errors.New(strings.TrimSpace(reason + " " + why))
	all := reason + " " + why
	switch {
	case strings.Contains(all, "CannotPull"):
		return t.unpulled(deref(app.Image), all, cause)
	case strings.Contains(all, "OutOfMemory"):
		f = deploy.Failf(deploy.StageStart, cause, "The container used more memory than it may, and the system ended it before it was healthy. Raise the app's memory.")
		f.OOM, f.ExitCode = true, exitCode(app)
		return f, true
	case strings.Contains(all, "exec format error"):
		return deploy.Failf(deploy.StageStart, cause, "%s", t.wrongPlatform()), true
	case app.ExitCode != nil && k.StopCode == types.TaskStopCodeEssentialContainerExited:
		f = deploy.Failf(deploy.StageStart, cause, "The container ended with exit code %d before it was healthy.", *app.ExitCode)
		if f.ExitCode = exitCode(app); *app.ExitCode == killed {
			f.Message = "The container was killed (exit code 137) before it was healthy, most often because it used more memory than it may."
		}
		return f, true
	case strings.Contains(all, "ResourceInitializationError"):
		return t.unready(all, cause)
	case strings.Contains(reason, "ELB health checks"), strings.Contains(reason, "container health checks"):
		return deploy.Failf(deploy.StageHealth, cause, "ECS ended a task because its health check failed: %s", deploy.Sentence(reason)), false
	case strings.Contains(all, "CannotStartContainerError"), strings.Contains(all, "CannotCreateContainerError"):
		return deploy.Failf(deploy.StageStart, cause, "The container can't be started: %s Look whether its command is in the image.", deploy.Sentence(orElse(why, reason))), true
	}
	return deploy.Failf(deploy.StageStart, cause, "ECS ended a task: %s", deploy.Sentence(orElse(all, "it does not say why"))), false
}

// killed is the exit code of what got SIGKILL.
const killed = 137

func exitCode(c types.Container) *int {
	if c.ExitCode == nil {
		return nil
	}
	return ptr(int(*c.ExitCode))
}

// hinted adds what a container's last lines tell of a way to end that ECS has no word for.
func hinted(f *deploy.Failure) *deploy.Failure {
	if slices.ContainsFunc(f.Logs, func(l string) bool { return strings.Contains(l, "exec format error") }) {
		f.Message = "The image is made for another kind of processor than the tasks have. Build it for the target's platform."
	}
	return f
}

func (t *target) wrongPlatform() string {
	return "The image is made for another kind of processor than the tasks have, which are " + platform(t.settings.architecture) + ". Build it for that platform."
}

// unpulled says why ECS could not get the image.
func (t *target) unpulled(image, text string, cause error) (*deploy.Failure, bool) {
	host, _, _ := strings.Cut(image, "/")
	lower := strings.ToLower(text)
	say := func(format string, args ...any) *deploy.Failure {
		return deploy.Failf(deploy.StageImage, cause, format, args...)
	}
	switch {
	case strings.Contains(lower, "platform"), strings.Contains(lower, "no match for"), strings.Contains(lower, "no matching manifest"):
		return say("%s", t.wrongPlatform()), true
	case strings.Contains(lower, "not found"), strings.Contains(lower, "manifest unknown"), strings.Contains(lower, "does not exist"):
		return say("The image %s is not in the registry any more, or ECS may not see it. Build it again, or choose another one.", image), true
	case strings.Contains(lower, "unauthorized"), strings.Contains(lower, "denied"), strings.Contains(lower, "authentication required"), strings.Contains(lower, "no basic auth"), strings.Contains(lower, "not authorized"):
		return say("The registry %s gives ECS no image %s. %s", host, image, t.toPull(host)), true
	case isLocal(image):
		return say("ECS can't pull from %s: to each of its machines that name means itself. Set the target's registry to one in ECR, so that Slipway copies images there.", host), true
	case strings.Contains(lower, "toomanyrequests"), strings.Contains(lower, "rate limit"):
		return say("The registry %s takes no more pulls at the moment. Set the target's registry to one in ECR, so that Slipway copies images there.", host), true
	case strings.Contains(lower, "no space left"):
		return say("The image is larger than a task's disk, which is 20 GB. Make the image smaller."), true
	case strings.Contains(lower, "timeout"), strings.Contains(lower, "i/o"), strings.Contains(lower, "no route"), strings.Contains(lower, "dial tcp"), strings.Contains(lower, "context canceled"):
		return say("The tasks' subnets do not reach the registry %s: %s %s", host, deploy.Sentence(text), wayOut), false
	}
	return say("ECS can't pull %s: %s", image, deploy.Sentence(text)), false
}

const wayOut = "They need public addresses and an internet gateway, a NAT gateway, or VPC endpoints for ECR and S3."

// toPull says what ECS needs to pull from the host.
func (t *target) toPull(host string) string {
	if ecrHost.MatchString(host) {
		return "The execution role " + last(t.settings.executionRole) + " needs the policy AmazonECSTaskExecutionRolePolicy, and the repository's own policy has to allow it where it is another account's."
	}
	return "ECS has no login for it. Set the target's registry to one in ECR, so that Slipway copies images there first."
}

var ecrHost = regexp.MustCompile(`^[0-9]{12}\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com|amazonaws\.com\.cn|on\.aws)$`)

// isLocal tells whether the registry's name means another machine to each task.
func isLocal(image string) bool {
	host, _, _ := strings.Cut(image, "/")
	name, _, _ := strings.Cut(host, ":")
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || strings.HasPrefix(name, "127.")
}

// unready says why ECS could not make a task ready for its containers.
func (t *target) unready(text string, cause error) (*deploy.Failure, bool) {
	lower := strings.ToLower(text)
	role := last(t.settings.executionRole)
	switch {
	case strings.Contains(lower, "secretsmanager") && (strings.Contains(lower, "not authorized") || strings.Contains(lower, "denied")):
		return deploy.Failf(deploy.StageStart, cause, "The execution role %s may not read the app's secrets. Let it secretsmanager:GetSecretValue on slipway/*; docs/aws.md shows the policy.", role), true
	case strings.Contains(lower, "not authorized"), strings.Contains(lower, "accessdenied"):
		return deploy.Failf(deploy.StageStart, cause, "The execution role %s lacks a permission: %s docs/aws.md shows its policy.", role, deploy.Sentence(text)), true
	case strings.Contains(lower, "log group does not exist"):
		return deploy.Failf(deploy.StageStart, cause, "Somebody removed the app's log group. Deploy again."), true
	case strings.Contains(lower, "unable to assume"), strings.Contains(lower, "assume the role"):
		return deploy.Failf(deploy.StageStart, cause, "ECS can't take the execution role %s: its trust policy has to name ecs-tasks.amazonaws.com.", role), true
	case strings.Contains(lower, "timeout"), strings.Contains(lower, "i/o"), strings.Contains(lower, "unable to pull secrets or registry auth"):
		return deploy.Failf(deploy.StageStart, cause, "The tasks' subnets do not reach AWS's own services: %s %s", deploy.Sentence(text), wayOut), false
	}
	return deploy.Failf(deploy.StageStart, cause, "ECS can't make a task ready: %s", deploy.Sentence(fmt.Sprint(text))), false
}
