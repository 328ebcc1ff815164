package buildkit

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	solver "github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

var (
	exitCode   = regexp.MustCompile(`exit code: (\d+)`)
	errorLine  = regexp.MustCompile(`parse error (?:on )?line (\d+): (.+)$`)
	missing    = regexp.MustCompile(`"([^"]+)"(?:: not found| not found: not found)`)
	wrappers   = regexp.MustCompile(`^(failed to solve( with frontend dockerfile\.v0)?|failed to create LLB definition|failed to build LLB|rpc error: code = \w+ desc = [^:]*)(: |$)`)
	baseOfStep = regexp.MustCompile(`^\[internal\] load metadata for (\S+)$`)
	command    = regexp.MustCompile(`^\[[^\]]*\] (.*)$`)
)

// explain turns the engine's error into one that says what failed, where and what to do.
func (b *Builder) explain(err error, steps *tracker, file *dockerfile, r builds.Request) error {
	text := file.original(unwrapped(err.Error()))
	e := &builds.Error{Err: err, BuildError: models.BuildError{Class: builds.ClassUser, Message: sentence(text)}}
	at := span{}
	if v := steps.failed; v != nil {
		e.Step, at = v.id, file.at(stepName(v.name))
	}
	for _, s := range solver.Sources(err) {
		if len(s.Ranges) > 0 {
			at = span{int(s.Ranges[0].Start.Line), int(s.Ranges[len(s.Ranges)-1].End.Line)}
		}
	}
	switch {
	case lost(err, text):
		e.Class, e.Lost = builds.ClassInfrastructure, true
		e.Message = b.Engine.describe() + " stopped answering during the build. When it runs again, retry the build."
	case steps.failed != nil && steps.failed.id == builds.StepPush:
		e.Class, e.Message = builds.ClassInfrastructure, refusal(r, text)
	case noSpace(text):
		e.Class = builds.ClassInfrastructure
		e.Message = b.Engine.describe() + " has no space left on its disk. An administrator can free some, for a Docker Engine with docker system prune; then retry the build."
	case absent(text) != nil:
		e.Message = unmounted(absent(text), r, file)
	case errorLine.MatchString(text):
		e.Message, at = oldSyntax(text, file)
	case strings.Contains(text, "security.insecure is not allowed"), strings.Contains(text, "network.host is not allowed"):
		e.Message = "The Dockerfile asks for rights that builds don't have here: " + text + "."
	case steps.failed != nil:
		at = describe(e, steps.failed, text, at, file, r)
	}
	file.locate(&e.BuildError, at)
	return e
}

// describe says what a failed step did wrong, and returns the lines it comes from.
func describe(e *builds.Error, v *vertex, text string, at span, file *dockerfile, r builds.Request) span {
	where := file.path
	if at.from > 0 {
		where = fmt.Sprintf("%s, line %d", file.path, at.from)
	}
	what := v.name
	if m := command.FindStringSubmatch(v.name); m != nil {
		what = m[1]
	}
	if m := baseOfStep.FindStringSubmatch(v.name); m != nil {
		return baseImage(e, m[1], text, file)
	}
	if m := exitCode.FindStringSubmatch(text); m != nil {
		e.ExitCode, _ = strconv.Atoi(m[1])
		e.Message = fmt.Sprintf("“%s” failed with exit code %d (%s).", brief(what), e.ExitCode, where)
		if e.ExitCode == 137 {
			e.Message += " It was killed, most likely because it used too much memory."
		}
		return at
	}
	if m := missing.FindStringSubmatch(text); m != nil && (strings.HasPrefix(what, "COPY") || strings.HasPrefix(what, "ADD")) {
		e.Message = fmt.Sprintf("“%s” failed (%s): the build context %q has no %s, or .dockerignore leaves it out.", brief(what), where, r.Context, m[1])
		return at
	}
	e.Message = fmt.Sprintf("“%s” failed (%s): %s", brief(what), where, sentence(text))
	return at
}

// baseImage says why an image that a FROM names could not be had.
func baseImage(e *builds.Error, ref, text string, file *dockerfile) span {
	at := file.base(ref)
	switch {
	case unreachable(text):
		e.Class = builds.ClassInfrastructure
		e.Message = fmt.Sprintf("The base image %s can't be fetched: the engine does not reach its registry (%s).", ref, lastPart(text))
	case strings.Contains(text, "denied"), strings.Contains(text, "unauthorized"), strings.Contains(text, "401"):
		e.Message = fmt.Sprintf("The base image %s does not exist or needs a login. Check its name, or use one that can be pulled without a login.", ref)
	case strings.Contains(text, "not found"):
		e.Message = fmt.Sprintf("The base image %s does not exist. Check its name and tag.", ref)
	default:
		e.Message = fmt.Sprintf("The base image %s can't be fetched: %s", ref, sentence(lastPart(text)))
	}
	return at
}

var (
	absentSecret = regexp.MustCompile(`secret ([^\s:]+):? not found`)
	absentKey    = regexp.MustCompile(`unset ssh forward key (\S+)`)
)

// absent is what a command mounts and the request has not, as the engine says it; nil where it says something else.
func absent(text string) *mount {
	if m := absentSecret.FindStringSubmatch(text); m != nil {
		return &mount{kind: models.BuildSecretMount, id: m[1]}
	}
	if m := absentKey.FindStringSubmatch(text); m != nil {
		return &mount{kind: models.BuildSecretSSH, id: strings.TrimRight(m[1], ".,;")}
	}
	return nil
}

// unmounted names what is missing and the line that asks for it.
func unmounted(m *mount, r builds.Request, file *dockerfile) string {
	for _, known := range file.mounts {
		if known.kind == m.kind && known.id == m.id {
			m.line = known.line
		}
	}
	return missingSecret(*m, r, file)
}

// oldSyntax is a complaint of the engine about a line that this process understood.
func oldSyntax(text string, file *dockerfile) (string, span) {
	m := errorLine.FindStringSubmatch(text)
	line, _ := strconv.Atoi(m[1])
	return fmt.Sprintf("The engine does not understand line %d of %s: %s. The engine is older than what the line uses.", line, file.path, strings.TrimSuffix(m[2], ".")), span{line, line}
}

// lost tells whether the engine went away.
func lost(err error, text string) bool {
	if grpcerrors.Code(err) == codes.Unavailable || errors.Is(err, syscall.ECONNREFUSED) {
		return true
	}
	return !errors.Is(err, context.Canceled) && (strings.HasSuffix(text, ": EOF") || strings.Contains(text, "error reading from server"))
}

func noSpace(text string) bool { return strings.Contains(text, syscall.ENOSPC.Error()) }

// unreachable tells whether text speaks of a network failure rather than of an answer.
func unreachable(text string) bool {
	for _, sign := range []string{
		"connection refused", "no such host", "i/o timeout", "network is unreachable", "no route to host", "server misbehaving",
		"TLS handshake timeout", "server gave HTTP response to HTTPS client", "x509:", "Client.Timeout exceeded", "connection reset",
		"temporary failure in name resolution",
	} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// unwrapped takes away what the layers of the engine put before the reason.
func unwrapped(text string) string {
	for {
		short := wrappers.ReplaceAllString(text, "")
		if short == text || short == "" {
			return text
		}
		text = short
	}
}

func lastPart(text string) string {
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}

func sentence(text string) string {
	text = strings.TrimSpace(text)
	if len(text) > 600 {
		text = strings.ToValidUTF8(text[:600], "") + " …"
	}
	return strings.TrimSuffix(text, ".") + "."
}

func brief(name string) string {
	if runes := []rune(name); len(runes) > 120 {
		return string(runes[:120]) + "…"
	}
	return name
}
