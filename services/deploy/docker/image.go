package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// fetchTime bounds the transfer of an image.
const fetchTime = 15 * time.Minute

// Fetch makes the engine have the image: it has it already, it pulls it by
// digest, or, where the engine itself can't reach the registry (Docker Desktop
// runs in a machine of its own), it is handed the image through the API.
func (t *target) Fetch(ctx context.Context, img deploy.Image, from deploy.Source, say func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	if _, err := t.imageID(ctx, img); err == nil {
		say("The engine has the image already.")
		return nil
	} else if !errdefs.IsNotFound(err) {
		return t.unreachable(err)
	}
	user, password, err := from.Credential(ctx)
	if err != nil {
		return noCredential(img, err)
	}
	pulled := t.pull(ctx, img, user, password, say)
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	if pulled == nil || ctx.Err() != nil {
		return late(ctx, img, pulled)
	}
	if f := fullDisk(img, pulled); f != nil {
		return f
	}
	if client.IsErrConnectionFailed(pulled) {
		return t.unreachable(pulled)
	}
	say("The engine can't pull from the registry; Slipway carries the image over.")
	return t.carry(ctx, img, from)
}

// late explains a pull that its time has ended; nil where it came to its own end.
func late(ctx context.Context, img deploy.Image, err error) error {
	if err == nil {
		return nil
	}
	return ExplainImage(ctx, img, context.DeadlineExceeded)
}

// fullDisk tells that the engine has no room for the image; nil: that is not what the error says.
func fullDisk(img deploy.Image, err error) *deploy.Failure {
	if !strings.Contains(err.Error(), "no space left on device") {
		return nil
	}
	return deploy.Failf(deploy.StageImage, err, "The target's disk is full, so the image %s does not fit. Remove images and volumes that nobody uses there, or give it a larger disk, and deploy again.", img.Ref())
}

// imageID returns the engine's own id of the image.
func (t *target) imageID(ctx context.Context, img deploy.Image) (string, error) {
	found, err := t.inspectImage(ctx, img)
	return found.ID, err
}

func (t *target) inspectImage(ctx context.Context, img deploy.Image) (image.InspectResponse, error) {
	found, err := t.docker.ImageInspect(ctx, img.Ref())
	if errdefs.IsNotFound(err) {
		found, err = t.docker.ImageInspect(ctx, carriedTag(img))
	}
	return found, err
}

// carriedTag is the name of an image that came through the API, which leaves no digest in the engine.
func carriedTag(img deploy.Image) string {
	return "slipway.carried/image:" + strings.ReplaceAll(img.Digest, ":", "-")
}

func (t *target) pull(ctx context.Context, img deploy.Image, user, password string, say func(string)) error {
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: user, Password: password})
	if err != nil {
		return err
	}
	answer, err := t.docker.ImagePull(ctx, img.Ref(), image.PullOptions{RegistryAuth: auth})
	if err != nil {
		return err
	}
	defer answer.Close()
	return follow(answer, say)
}

// message is one line of the engine's progress.
type message struct {
	ID       string `json:"id"`
	Status   string `json:"status"`
	Error    string `json:"error"`
	Progress struct {
		Current int64 `json:"current"`
		Total   int64 `json:"total"`
	} `json:"progressDetail"`
}

// follow reads the engine's progress to its end and tells how much has come.
func follow(r io.Reader, say func(string)) error {
	current, total := map[string]int64{}, map[string]int64{}
	for d := json.NewDecoder(io.LimitReader(r, 64<<20)); ; {
		var m message
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading the engine's progress: %w", err)
		}
		if m.Error != "" {
			return errors.New(m.Error)
		}
		if m.Status == "Downloading" && m.Progress.Total > 0 {
			current[m.ID], total[m.ID] = m.Progress.Current, m.Progress.Total
			say(fmt.Sprintf("Downloading: %.1f of %.1f MB.", megabytes(current), megabytes(total)))
		}
	}
}

func megabytes(sizes map[string]int64) float64 {
	var sum int64
	for _, n := range sizes {
		sum += n
	}
	return float64(sum) / 1e6
}

// carry reads the image from its registry and loads it into the engine.
func (t *target) carry(ctx context.Context, img deploy.Image, from deploy.Source) error {
	found, err := t.read(ctx, img, from)
	if err != nil {
		return ExplainImage(ctx, img, err)
	}
	tag, err := name.NewTag(carriedTag(img))
	if err != nil {
		return err
	}
	archive, writer := io.Pipe()
	go func() { writer.CloseWithError(tarball.Write(tag, found, writer)) }()
	defer archive.Close()
	answer, err := t.docker.ImageLoad(ctx, archive, client.ImageLoadWithQuiet(true))
	if err != nil {
		return ExplainImage(ctx, img, err)
	}
	defer answer.Body.Close()
	if err := follow(answer.Body, func(string) {}); err != nil {
		return ExplainImage(ctx, img, err)
	}
	return nil
}

func (t *target) read(ctx context.Context, img deploy.Image, from deploy.Source) (v1.Image, error) {
	repository, options, err := from.Open(ctx)
	if err != nil {
		return nil, err
	}
	info, err := t.docker.ServerVersion(ctx)
	if err != nil {
		return nil, err
	}
	options = append(options, remote.WithContext(ctx), remote.WithPlatform(v1.Platform{OS: info.Os, Architecture: info.Arch}))
	found, err := remote.Image(repository.Digest(img.Digest), options...)
	if err != nil {
		return nil, err
	}
	return found, whole(img, found)
}

// whole refuses an image with layers that would be read from addresses which
// its manifest names: whoever pushed it could have Slipway call any host.
func whole(img deploy.Image, found v1.Image) error {
	m, err := found.Manifest()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(m.Layers, func(l v1.Descriptor) bool { return len(l.URLs) > 0 }) {
		return deploy.Failf(deploy.StageImage, nil, "The image %s has layers that are kept outside of the registry. Push it with all of its layers.", img.Ref())
	}
	return nil
}

// ExplainImage says why an image could not be had.
func ExplainImage(ctx context.Context, img deploy.Image, err error) error {
	if told := new(deploy.Failure); errors.As(err, &told) {
		return told
	}
	if told, ok := errors.AsType[*models.Error](err); ok {
		what := ""
		if told.Code == models.NotFound {
			what = " Build it again, or choose another one."
		}
		return deploy.Failf(deploy.StageImage, err, "%s can't be pulled: %s%s", img.Ref(), told.Message, what)
	}
	host, _, _ := strings.Cut(img.Repository, "/")
	if answer := new(transport.Error); errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusNotFound:
			return deploy.Failf(deploy.StageImage, err, "The image %s is not in the registry any more. Build it again, or choose another one.", img.Ref())
		case http.StatusUnauthorized, http.StatusForbidden:
			return deploy.Failf(deploy.StageImage, err, "The registry %s refuses the credential for %s. Ask an admin to renew it under Admin → Registries.", host, img.Repository)
		}
		return deploy.Failf(deploy.StageImage, err, "The registry %s answers with an error (HTTP %d). Try again when it is well.", host, answer.StatusCode)
	}
	if fault := fullDisk(img, err); fault != nil {
		return fault
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return deploy.Failf(deploy.StageTimeout, err, "The image %s did not arrive in time. Look whether the way from the target to the registry is slow, and deploy again: what has arrived is kept.", img.Ref())
	}
	return deploy.Failf(deploy.StageImage, err, "The registry %s does not answer, so the image can't be pulled. Check that it runs, and deploy again.", host)
}

// Find asks the engine for the image, the engine its registry, and Slipway itself where the engine can't.
func (t *target) Find(ctx context.Context, img deploy.Image, from deploy.Source) (deploy.Found, error) {
	have, err := t.inspectImage(ctx, img)
	if err == nil {
		return deploy.Found{Here: true, Platforms: []string{have.Os + "/" + have.Architecture}}, nil
	}
	if !errdefs.IsNotFound(err) {
		return deploy.Found{}, t.unreachable(err)
	}
	user, password, err := from.Credential(ctx)
	if err != nil {
		return deploy.Found{}, noCredential(img, err)
	}
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: user, Password: password})
	if err != nil {
		return deploy.Found{}, err
	}
	seen, err := t.docker.DistributionInspect(ctx, img.Ref(), auth)
	if err == nil {
		var found deploy.Found
		for _, p := range seen.Platforms {
			if p.OS != "" && p.OS != "unknown" {
				found.Platforms = append(found.Platforms, p.OS+"/"+p.Architecture)
			}
		}
		return found, nil
	}
	if client.IsErrConnectionFailed(err) {
		return deploy.Found{}, t.unreachable(err)
	}
	return t.findToCarry(ctx, img, from)
}

// findToCarry looks whether Slipway can read the image.
func (t *target) findToCarry(ctx context.Context, img deploy.Image, from deploy.Source) (deploy.Found, error) {
	repository, options, err := from.Open(ctx)
	if err == nil {
		_, err = remote.Head(repository.Digest(img.Digest), append(options, remote.WithContext(ctx))...)
	}
	if err != nil {
		return deploy.Found{}, ExplainImage(ctx, img, err)
	}
	return deploy.Found{Carried: true}, nil
}

// noCredential explains why there is no credential to pull with.
func noCredential(img deploy.Image, err error) error {
	if told, ok := errors.AsType[*models.Error](err); ok {
		return deploy.Failf(deploy.StageImage, err, "%s can't be pulled: %s", img.Ref(), told.Message)
	}
	return deploy.Failf(deploy.StageImage, err, "No credential could be made to pull %s.", img.Ref())
}
