package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/logs"
)

// push sends the image to the registry and returns the manifest's digest.
func (d *Docker) push(ctx context.Context, r builds.Request, emit func(builds.Event)) (digest string, err error) {
	step := builds.Event{At: time.Now(), Step: builds.StepPush, State: models.StepRunning, Name: "Push the image"}
	emit(step)
	digest, err = d.enginePush(ctx, r, emit)
	if refused, ok := errors.AsType[*pushError](err); ok && unreachable(refused.text) {
		note(emit, "The Docker Engine does not reach the registry (%s); this worker pushes the image.", lastPart(refused.text))
		digest, err = d.workerPush(ctx, r)
	}
	step.At, step.State = time.Now(), models.StepSucceeded
	switch {
	case err != nil && ctx.Err() != nil:
		step.State, err = models.StepCanceled, context.Cause(ctx)
	case err != nil:
		err = explainPush(r, err)
		step.State, step.Error = models.StepFailed, err.Error()
		if failed, ok := errors.AsType[*builds.Error](err); ok {
			step.Error = failed.Message
		}
	}
	emit(step)
	return digest, err
}

func note(emit func(builds.Event), format string, args ...any) {
	emit(builds.Event{At: time.Now(), Step: builds.StepPush, Stream: logs.Slipway, Output: fmt.Appendf(nil, format+"\n", args...)})
}

// pushError is what the engine said against a push.
type pushError struct{ text string }

func (e *pushError) Error() string { return e.text }

// progress is one line of the engine's report of a push.
type progress struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Detail struct {
		Total int64 `json:"total"`
	} `json:"progressDetail"`
	Error *struct {
		Message string `json:"message"`
	} `json:"errorDetail"`
	Aux *struct {
		Digest string `json:"Digest"`
	} `json:"aux"`
}

func (d *Docker) enginePush(ctx context.Context, r builds.Request, emit func(builds.Event)) (digest string, err error) {
	user, password, err := r.Image.Credential(ctx)
	if err != nil {
		return "", err
	}
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: user, Password: password, ServerAddress: r.Image.Host()})
	if err != nil {
		return "", err
	}
	report, err := d.Client.ImagePush(ctx, r.Image.Name(), image.PushOptions{RegistryAuth: auth})
	if err != nil {
		return "", d.silent(err)
	}
	defer report.Close()
	sizes := map[string]int64{}
	for lines := json.NewDecoder(report); ; {
		var p progress
		if err := lines.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return "", d.silent(err)
		}
		switch {
		case p.Error != nil:
			return "", &pushError{p.Error.Message}
		case p.Aux != nil && p.Aux.Digest != "":
			digest = p.Aux.Digest
		}
		sizes[p.ID] = max(sizes[p.ID], p.Detail.Total)
		tellLayer(emit, p, sizes[p.ID])
	}
	if digest == "" {
		return "", errors.New("the engine did not say the digest of what it pushed")
	}
	return digest, nil
}

// tellLayer writes what became of a layer into the log, and waits that people would wonder about.
func tellLayer(emit func(builds.Event), p progress, size int64) {
	switch {
	case p.Status == "Pushed":
		note(emit, "Layer %s: pushed, %s", p.ID, models.Bytes(size))
	case p.Status == "Layer already exists", strings.HasPrefix(p.Status, "Mounted from"):
		note(emit, "Layer %s: is there already", p.ID)
	case strings.HasPrefix(p.Status, "Retrying in"):
		note(emit, "Layer %s: %s", p.ID, p.Status)
	}
}

// workerPush takes the image out of the engine and pushes it from this process.
func (d *Docker) workerPush(ctx context.Context, r builds.Request) (digest string, err error) {
	repo, options, err := r.Image.Open(ctx)
	if err != nil {
		return "", err
	}
	if err := r.Image.Ping(ctx); err != nil { // before gigabytes are moved for nothing
		return "", err
	}
	archive := filepath.Join(r.Scratch, "image.tar")
	if err := d.save(ctx, r.Image.Name(), archive); err != nil {
		return "", err
	}
	tag, err := name.NewTag(r.Image.Name())
	if err != nil {
		return "", err
	}
	img, err := tarball.ImageFromPath(archive, &tag)
	if err != nil {
		return "", err
	}
	if err := remote.Write(repo.Tag(r.Image.Tag), img, options...); err != nil {
		return "", r.Image.Explain(err)
	}
	hash, err := img.Digest()
	return hash.String(), err
}

func (d *Docker) save(ctx context.Context, name, path string) error {
	stream, err := d.Client.ImageSave(ctx, []string{name})
	if err != nil {
		return d.silent(err)
	}
	defer stream.Close()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, stream)
	if err = errors.Join(err, file.Close()); err != nil && noSpace(err.Error()) {
		return builds.Failure(builds.ClassInfrastructure, "The worker's disk is full. An administrator has to free space; then retry the build.", err)
	}
	return err
}

func explainPush(r builds.Request, err error) error {
	if _, ok := errors.AsType[*builds.Error](err); ok {
		return err
	}
	refused, ok := errors.AsType[*pushError](err)
	if !ok {
		return err
	}
	return builds.Failure(builds.ClassInfrastructure, refusal(r, refused.text), err)
}

// refusal says why the registry did not take the image.
func refusal(r builds.Request, text string) string {
	host := r.Image.Host()
	switch {
	case builds.OverQuota(text) != "":
		return builds.OverQuota(text)
	case noSpace(text):
		return fmt.Sprintf("The registry %s has no space left. An administrator has to free some; then retry the build.", host)
	case strings.Contains(text, "denied"), strings.Contains(text, "unauthorized"), strings.Contains(text, "401"), strings.Contains(text, "no basic auth"):
		return fmt.Sprintf("The registry %s refuses to take the image %s: the credential is not valid for it.", host, r.Image.Repository)
	case unreachable(text):
		return fmt.Sprintf("The engine does not reach the registry %s (%s), so the image could not be pushed. Start the registry or correct its address; then retry the build.", host, lastPart(text))
	}
	return fmt.Sprintf("The registry %s did not take the image: %s", host, sentence(text))
}
