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

// inspectTime is for a provider to answer all that is asked before a rollout.
const inspectTime = 45 * time.Second

// locate looks how the image gets to the target: through a registry of the target's own, or in the target's own way. It
// leaves the subject as the target will see it: with the platforms of its image, and that where it will be.
func (s *Service) locate(ctx context.Context, target Target, row *models.Target, of *subject, list *checklist) (Found, error) {
	to, err := s.mirror(ctx, row, of.at, of.image.Image)
	if f := new(Failure); errors.As(err, &f) {
		list.fail(f.Stage, "Image", "%s", f.Message)
		return Found{}, nil
	}
	if err != nil {
		return Found{}, err
	}
	if to.Host != "" {
		return Found{}, s.lookForCopy(ctx, row, to, of, list)
	}
	if finder, ok := target.(Finder); ok {
		return find(ctx, finder, *of, list)
	}
	image := *of.image
	of.image = &image
	return Found{}, s.look(ctx, of, of.from, list, "The registry has it, and the target asks there when it pulls.")
}

// lookForCopy looks whether the image is in the target's own registry, or can be copied there.
func (s *Service) lookForCopy(ctx context.Context, row *models.Target, to models.ImagePlaceName, of *subject, list *checklist) error {
	image := *of.image
	image.Repository = to.Name()
	there := s.copySource(func(ctx context.Context) context.Context { return ctx }, to, image.Digest)
	err := describe(ctx, &image, there)
	source := of.image
	of.image = &image
	told, ok := errors.AsType[*models.Error](err)
	switch {
	case err == nil:
		of.from = there
		list.pass("Image", "It is in the registry that the target %s pulls from: %s.", row.Name, to.Name())
		return nil
	case ok && told.Code == models.NotFound:
		from := source.Repository
		err := s.look(ctx, of, of.from, list, "It is copied from "+from+" to "+to.Name()+" first, from where the target "+row.Name+" pulls.")
		of.from = there
		return err
	case ok:
		list.fail(StageImage, "Image", "The target %s pulls from %s. %s", row.Name, to.Host, told.Message)
		return nil
	}
	return err
}

// look reads the image's description from where it is now, and passes with the words where that is possible.
func (s *Service) look(ctx context.Context, of *subject, from Source, list *checklist, words string) error {
	if len(of.image.Platforms) > 0 { // it was read a moment ago
		list.pass("Image", "%s", words)
		return nil
	}
	err := describe(ctx, of.image, from)
	if told, ok := errors.AsType[*models.Error](err); ok {
		text := told.Message
		for _, field := range told.Fields {
			text = field
		}
		list.fail(StageImage, "Image", "%s", text)
		return nil
	}
	if err == nil {
		list.pass("Image", "%s", words)
	}
	return err
}

// describe fills in what the image's registry tells of it, which must answer in time. An image that is not there is NotFound.
func describe(ctx context.Context, c *Choice, from Source) error {
	limited, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	at, options, err := from.Open(limited)
	if err != nil {
		return err
	}
	found, err := remote.Get(at.Digest(c.Digest), append(options, remote.WithContext(limited))...)
	if err == nil {
		c.Platforms, c.Size, c.Ports = nil, 0, nil
		err = c.describe(found)
	}
	answer, refused := errors.AsType[*transport.Error](err)
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case refused && answer.StatusCode == http.StatusNotFound:
		return &models.Error{Code: models.NotFound, Message: "There is no image " + c.Digest + " in " + at.Name() + ". Build it again, or choose another one.", Err: err}
	case refused && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return &models.Error{Code: models.Denied, Message: "The registry " + at.RegistryStr() + " does not let Slipway read " + at.RepositoryStr() + ". An admin can check its credential under Registries.", Err: err}
	}
	return &models.Error{Code: models.Unavailable, Message: "The registry " + at.RegistryStr() + " does not answer, so the image can't be looked at. Check that it runs, and try again.", Err: err}
}

// inspect asks a target that can what it knows beyond the rest: permissions, quotas, the network.
func (s *Service) inspect(ctx context.Context, target Target, row *models.Target, of subject, list *checklist) error {
	inspector, ok := target.(Inspector)
	if !ok {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, inspectTime)
	defer cancel()
	checks, err := inspector.Inspect(limited, of.release(s.startTime()))
	if f := new(Failure); errors.As(err, &f) {
		list.fail(f.Stage, "Provider", "%s", f.Message)
		return nil
	}
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		list.fail(StageTimeout, "Provider", "The target %s did not say within %s whether the rollout can work. Look whether its provider has trouble, and try again.", row.Name, inspectTime)
		return nil
	}
	for _, c := range checks {
		c.Gate, c.stage = false, StageCheck
		*list = append(*list, c)
	}
	return err
}

// release is what is about to be rolled out, as its target sees it: without an id and without variables.
func (of subject) release(patience time.Duration) Release {
	e, app := of.at.Environment, of.at.App
	return Release{
		Team: of.at.Team.Slug, App: app.Name, AppID: app.ID, Environment: e.Name, EnvironmentID: e.ID, Image: of.image.Image, From: of.from,
		Port: of.config.Port, Health: of.config.Health, HealthPath: or(of.config.HealthPath, "/"), Scale: of.config.Scale.OrOne(), Command: of.config.Command,
		Patience: patience, Runtime: of.config.Runtime,
	}
}
