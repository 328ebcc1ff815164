package deploy

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"slipway.dev/models"
)

// lookTime bounds the question whether a registry has an image.
const lookTime = 20 * time.Second

// LeaveImage is the Fetch of a target that pulls an image only when an instance starts: it looks whether there is
// something to pull, so that a lost one is no riddle then, and says that the target pulls it, or that it tries to where
// the registry could not be asked. What it says is a part of a sentence, such as "ECS pulls it".
func LeaveImage(ctx context.Context, image Image, from Source, say func(string), pulls, tries string) error {
	found, err := inRegistry(ctx, image, from)
	switch {
	case err != nil:
		return err
	case found:
		say("The registry has the image; " + pulls + ".")
	default:
		say("The registry could not be asked from here; " + tries + ".")
	}
	return nil
}

// inRegistry asks the image's registry whether it has it. That the registry has no such image, or gives it to nobody, is
// a *Failure. Where it could not be asked from here, found is false and nothing is wrong: the target may reach it.
func inRegistry(ctx context.Context, image Image, from Source) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	repository, options, err := from.Open(ctx)
	if err == nil {
		_, err = remote.Head(repository.Digest(image.Digest), append(options, remote.WithContext(ctx))...)
	}
	if err == nil {
		return true, nil
	}
	if told := lost(image, err); told != nil {
		return false, told
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return false, cause
	}
	return false, nil
}

// lost says that the registry has no such image, or gives it to nobody; nil where err, of a question to it, tells neither.
func lost(image Image, err error) error {
	if answer := new(transport.Error); errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return Failf(StageImage, err, "The image %s is not in the registry any more. Build it again, or choose another one.", image.Ref())
	}
	if told, ok := errors.AsType[*models.Error](err); ok {
		return Failf(StageImage, err, "%s can't be pulled: %s", image.Ref(), told.Message)
	}
	return nil
}
