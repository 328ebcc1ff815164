package buildtest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// Case is a build that is set up to end in a certain way.
type Case struct {
	Builder builds.Builder
	Request builds.Request
	Step    string          // how the name of the step ends that it ends in
	Pull    []remote.Option // to read what it pushed
}

// Cases set up one build each, with a step that fails, or that never ends, or that pushes an image.
type Cases struct{ Succeeds, Fails, Hangs func(t *testing.T) Case }

// Shared is the part of the suite that every kind passes, wherever its builds run. Run has it too.
func Shared(t *testing.T, c Cases) {
	for _, test := range []struct {
		name string
		set  func(t *testing.T) Case
		run  func(t *testing.T, c Case)
	}{
		{"the digest that a build returns is in the registry", c.Succeeds, succeeds},
		{"a build that fails says so to people, at its step", c.Fails, fails},
		{"a build ends within two seconds of its context and closes its steps", c.Hangs, hangs},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, test.set(t))
		})
	}
}

func succeeds(t *testing.T, c Case) {
	seen := NewSeen()
	result, err := c.Builder.Build(t.Context(), c.Request, seen.Emit)
	if err != nil {
		t.Fatal(err)
	}
	seen.checkEnds(t)
	repository := result.Repository
	if repository == "" {
		repository = c.Request.Image.Repository
	}
	ref, err := name.NewDigest(repository+"@"+result.Digest, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Get(ref, append(c.Pull, remote.WithContext(t.Context()))...); err != nil {
		t.Errorf("the registry has no %s: %v", ref, err)
	}
	if s := seen.Find(c.Step); s == nil || s.State != models.StepSucceeded {
		t.Errorf("the step is %+v", s)
	}
}

func fails(t *testing.T, c Case) {
	seen := NewSeen()
	_, err := c.Builder.Build(t.Context(), c.Request, seen.Emit)
	failed := Failed(t, err, builds.ClassUser)
	seen.checkEnds(t)
	s := seen.Find(c.Step)
	if s == nil || s.State != models.StepFailed || failed.Step != s.Step || strings.TrimSpace(failed.Message) == "" {
		t.Errorf("the step is %+v, the failure %+v", s, failed)
	}
}

func hangs(t *testing.T, c Case) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	seen := NewSeen()
	ended := make(chan error, 1)
	go func() {
		_, err := c.Builder.Build(ctx, c.Request, seen.Emit)
		ended <- err
	}()
	late := time.After(3 * time.Minute)
	for {
		if s := seen.Find(c.Step); s != nil && s.State == models.StepRunning {
			break
		}
		select {
		case <-seen.changed:
		case <-late:
			t.Fatal("the step never began")
		}
	}
	cancel(context.Canceled)
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the build went well")
		}
	case <-time.After(time.Minute):
		t.Fatal("the build went on")
	}
	seen.checkEnds(t)
	if s := seen.Find(c.Step); s.State != models.StepCanceled {
		t.Errorf("the step is %s", s.State)
	}
}

// dockerfiles are the cases of a kind that builds the files of a checkout.
func dockerfiles(kind func(t *testing.T) Kind) Cases {
	with := func(step string) func(t *testing.T) Case {
		return func(t *testing.T) Case {
			k := kind(t)
			line := "RUN echo " + unique() + " && " + step
			return Case{Builder: k.Builder, Request: Request(t, Registry(t), Files{"Dockerfile": k.from(t, line)}), Step: step}
		}
	}
	return Cases{Succeeds: with("true"), Fails: with("exit 3"), Hangs: with("sleep 600")}
}
