package builds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
	"slipway.dev/services/registries"
)

const (
	credentialLife = time.Hour
	registryWithin = 30 * time.Second
	maxManifest    = 4 << 20
	maxWeighed     = 32 // images of an index that are looked at for its size
)

// Destination is where a build's image goes.
type Destination struct {
	Repository string // such as localhost:8080/payments/checkout
	Tag        string // the one tag that the builder pushes
	PlainHTTP  bool   // HTTP is right although the registry is on another machine
	// Credential returns a user name and a password that may push and pull.
	Credential func(ctx context.Context) (username, password string, err error)
	Transport  http.RoundTripper  // nil: the usual one
	Remote     *registries.Remote // of an external registry: the way to it from this process
}

// Name is the image's full name with its tag.
func (d Destination) Name() string { return d.Repository + ":" + d.Tag }

// Host is the registry's part of the name.
func (d Destination) Host() string {
	host, _, _ := strings.Cut(d.Repository, "/")
	return host
}

// Open returns the repository and the options to reach it from this process.
func (d Destination) Open(ctx context.Context) (name.Repository, []remote.Option, error) {
	if d.Remote != nil {
		return d.Remote.Repository, append(d.Remote.Options(), remote.WithContext(ctx)), nil
	}
	naming := []name.Option{name.StrictValidation}
	if d.PlainHTTP {
		naming = append(naming, name.Insecure)
	}
	repo, err := name.NewRepository(d.Repository, naming...)
	if err != nil {
		return repo, nil, fmt.Errorf("the image name %s: %w", d.Repository, err)
	}
	user, password, err := d.Credential(ctx)
	if err != nil {
		return repo, nil, err
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithUserAgent("slipway")}
	if password != "" {
		options = append(options, remote.WithAuth(&authn.Basic{Username: user, Password: password}))
	}
	if d.Transport != nil {
		options = append(options, remote.WithTransport(d.Transport))
	}
	return repo, options, nil
}

// Ping fails with a *Error where the registry does not answer this process.
func (d Destination) Ping(ctx context.Context) error {
	if d.Remote != nil {
		_, err := d.Remote.GivesTokens(ctx)
		return d.Explain(err)
	}
	repo, _, err := d.Open(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, registryWithin)
	defer cancel()
	through := d.Transport
	if through == nil {
		through = remote.DefaultTransport
	}
	if _, err := transport.Ping(ctx, repo.Registry, through); err != nil {
		return d.Explain(err)
	}
	return nil
}

// Explain turns a failure to reach the registry or to write to it into a *Error.
func (d Destination) Explain(err error) error {
	var answered *transport.Error
	switch {
	case err == nil:
		return nil
	case OverQuota(err.Error()) != "":
		return Failure(ClassInfrastructure, OverQuota(err.Error()), err)
	case d.Remote != nil && !full(err.Error()):
		return told(d.Remote.Explain(err))
	case full(err.Error()):
		return Failure(ClassInfrastructure, fmt.Sprintf("The registry %s has no space left. An administrator has to free some; then retry the build.", d.Host()), err)
	case errors.As(err, &answered) && answered.StatusCode == http.StatusConflict && len(answered.Errors) > 0:
		return Failure(ClassUser, "The registry refused the push: "+answered.Errors[0].Message, err)
	case errors.As(err, &answered) && (answered.StatusCode == http.StatusUnauthorized || answered.StatusCode == http.StatusForbidden):
		return Failure(ClassInfrastructure, fmt.Sprintf("The registry %s refuses to take the image %s: the credential is not valid for it.", d.Host(), d.Repository), err)
	case errors.As(err, &answered):
		return Failure(ClassInfrastructure, fmt.Sprintf("The registry %s answered with an error (HTTP %d) when the image was pushed. Retry the build; if it happens again, its log says why.", d.Host(), answered.StatusCode), err)
	}
	return Failure(ClassInfrastructure, fmt.Sprintf("The registry %s can't be reached from the worker, so the image could not be pushed. Start the registry or correct its address; then retry the build.", d.Host()), err)
}

// destination is where the image goes: the app's external registry, or the embedded one.
func (r *run) destination(ctx context.Context) (Destination, error) {
	app := r.build.App
	if app.RegistryID == "" {
		return r.embedded(), nil
	}
	if r.Registries == nil {
		return Destination{}, Failure(ClassInfrastructure, "This worker knows no external registries. An admin has to bring it to the portal's version.", nil)
	}
	to, err := r.Registries.OpenForTeam(ctx, app.TeamID, app.RegistryID, app.ImageRepository, registries.Pull, registries.Push)
	if models.IsCode(err, models.NotFound) {
		return Destination{}, Failure(ClassUser, "The registry that the images of "+app.Name+" go to is not connected any more. Choose another one in the app's build settings.", err)
	}
	if err != nil {
		return Destination{}, told(err)
	}
	return Destination{
		Repository: to.Name(), Tag: numberTag(r.build), PlainHTTP: to.Registry.PlainHTTP, Remote: to,
		Credential: func(ctx context.Context) (string, string, error) {
			user, password, err := to.Lend(ctx)
			r.mask.Add(password)
			return user, password, told(to.Explain(err))
		},
	}, nil
}

// pushName is the name under which an engine has the image while it is pushed.
func (r *run) pushName(ctx context.Context) (string, error) {
	app := r.build.App
	if app.RegistryID == "" || r.Registries == nil {
		return r.embedded().Name(), nil
	}
	repository, err := r.Registries.FullName(ctx, app.RegistryID, app.ImageRepository)
	if models.IsCode(err, models.NotFound) {
		return "", nil // nothing is pushed there any more
	}
	return repository + ":" + numberTag(r.build), err
}

// embedded is the app's repository in the portal's own registry.
func (r *run) embedded() Destination {
	b := r.build
	repository := r.Registry.Host() + "/" + b.App.Team.Slug + "/" + b.App.Name
	return Destination{
		Repository: repository, Tag: numberTag(b), PlainHTTP: r.PlainHTTP,
		Credential: func(ctx context.Context) (string, string, error) {
			user, password, err := r.Registry.Credential(r.asItself(ctx), repository, []string{"pull", "push"}, credentialLife)
			r.mask.Add(password)
			return user, password, told(err)
		},
	}
}

// free fails where the image would move a tag that must not move, before anything is built for it.
func (r *run) free(ctx context.Context) error {
	b := r.build
	if r.CheckTags == nil || b.App.RegistryID != "" {
		return nil // a registry elsewhere has rules of its own
	}
	tags := commitTags(b)
	if tag := refTag(b); tag != "" {
		tags = append(tags, tag)
	}
	err := r.CheckTags(r.asItself(ctx), r.embedded().Repository, append(tags, numberTag(b)))
	if refused, ok := errors.AsType[*models.Error](err); ok {
		return Failure(ClassUser, "Nothing was built. "+refused.Message, err)
	}
	return err
}

// asItself acts for the build alone: what it is given ends with it, and the tags that it makes are its own.
func (r *run) asItself(ctx context.Context) context.Context {
	b := r.build
	return models.WithPrincipal(ctx, models.SystemFor("build:"+b.ID, "build "+b.Title()+" of "+b.App.Name))
}

// tag gives the pushed image its annotations and its names, and the build the
// image. An annotation changes the digest, so what is deployed and shown is the
// annotated manifest. Only the worker that holds the build gets to move tags.
func (r *run) tag(ctx context.Context, digest string) error {
	return r.step(StepPush, "Push the image", func() error {
		ctx, cancel := context.WithTimeout(ctx, registryWithin)
		defer cancel()
		to, err := r.destination(ctx)
		if err != nil {
			return err
		}
		var tags []string
		err = insist(ctx, func() (err error) {
			tags, err = r.tags(ctx)
			return err
		})
		if err != nil {
			return err
		}
		names := tags
		if r.inlineCache {
			names = append(names[:len(names):len(names)], cacheTag)
		}
		image, err := annotate(ctx, to, digest, r.annotations(), names)
		if err != nil {
			return to.Explain(err)
		}
		b := r.build
		b.ImageRepository, b.ImageDigest, b.ImageTags, b.ImageSize = to.Repository, image.digest, tags, image.size
		r.log.Print(StepPush, "%s@%s", to.Repository, image.digest)
		return nil
	})
}

// tags are the names that the image gets, the build's own last. The branch's
// name stays where it is when a newer build of the branch was quicker.
func (r *run) tags(ctx context.Context) ([]string, error) {
	b := r.build
	tags := commitTags(b)
	var held, newer int64
	err := r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := r.Jobs.Held(tx.Model(&models.Build{}), b.ID).Count(&held).Error; err != nil {
			return err
		}
		return tx.Model(&models.Build{}).Where("app_id = ? AND ref = ? AND ref_kind = ? AND number > ? AND state = ?",
			b.AppID, b.Ref, b.RefKind, b.Number, models.BuildSucceeded).Count(&newer).Error
	})
	if err != nil {
		return nil, fmt.Errorf("looking for newer builds: %w", err)
	}
	if held == 0 {
		return nil, jobs.ErrTaken
	}
	if tag := refTag(b); tag != "" && newer == 0 {
		tags = append(tags, tag)
	}
	return append(tags, numberTag(b)), nil
}

type published struct {
	digest string
	size   int64
}

// stored is the manifest of an image that is in its repository, and the way there.
type stored struct {
	repo    name.Repository
	options []remote.Option
	puller  *remote.Puller
	have    *remote.Descriptor
}

// readStored reads the manifest with the digest.
func readStored(ctx context.Context, to Destination, digest string) (p stored, err error) {
	if p.repo, p.options, err = to.Open(ctx); err != nil {
		return p, err
	}
	if p.puller, err = remote.NewPuller(p.options...); err != nil {
		return p, err
	}
	p.have, err = p.puller.Get(ctx, p.repo.Digest(digest))
	return p, err
}

// tag writes the manifest under the tags.
func (p stored) tag(ctx context.Context, m *manifest, tags []string) (published, error) {
	pusher, err := remote.NewPusher(p.options...)
	if err != nil {
		return published{}, err
	}
	for _, tag := range tags {
		if err := pusher.Put(ctx, p.repo.Tag(tag), m); err != nil {
			return published{}, err
		}
	}
	return m.published()
}

// copyTags gives the manifest that is there more names.
func copyTags(ctx context.Context, to Destination, digest string, tags []string) (published, error) {
	p, err := readStored(ctx, to, digest)
	if err != nil {
		return published{}, err
	}
	m := &manifest{raw: p.have.Manifest, kind: p.have.MediaType}
	if sized, err := withAnnotations(p.have.Manifest, p.have.MediaType, nil); err == nil {
		m.size = sized.size
	}
	return p.tag(ctx, m, tags)
}

// annotate writes the manifest anew with the annotations, as an OCI one, under the tags.
func annotate(ctx context.Context, to Destination, digest string, annotations map[string]string, tags []string) (published, error) {
	p, err := readStored(ctx, to, digest)
	if err != nil {
		return published{}, err
	}
	m, err := withAnnotations(p.have.Manifest, p.have.MediaType, annotations)
	if err != nil {
		return published{}, err
	}
	if m.kind.IsIndex() {
		if m.size, err = sizeOf(ctx, p.puller, p.repo, p.have.Manifest); err != nil {
			return published{}, err
		}
	}
	return p.tag(ctx, m, tags)
}

// weigh is how many bytes the image holds.
func weigh(ctx context.Context, at *registries.Remote, digest string) (int64, error) {
	puller, err := remote.NewPuller(at.Options()...)
	if err != nil {
		return 0, err
	}
	have, err := puller.Get(ctx, at.Repository.Digest(digest))
	if err != nil {
		return 0, err
	}
	m, err := withAnnotations(have.Manifest, have.MediaType, nil)
	if err != nil || !m.kind.IsIndex() {
		return m.bytes(), err
	}
	return sizeOf(ctx, puller, at.Repository, have.Manifest)
}

// bytes is the size; 0 where there is no manifest.
func (m *manifest) bytes() int64 {
	if m == nil {
		return 0
	}
	return m.size
}

// sizeOf is how much the images that an index names hold together; attestations count for nothing.
func sizeOf(ctx context.Context, puller *remote.Puller, repo name.Repository, raw []byte) (size int64, err error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return 0, err
	}
	for _, d := range index.Manifests[:min(len(index.Manifests), maxWeighed)] {
		if d.Platform == nil || d.Platform.OS == "unknown" {
			continue
		}
		child, err := puller.Get(ctx, repo.Digest(d.Digest.String()))
		if err != nil {
			return 0, err
		}
		m, err := withAnnotations(child.Manifest, child.MediaType, nil)
		if err != nil {
			return 0, err
		}
		size += m.size
	}
	return size, nil
}

// manifest is a manifest as it is stored. It pushes without its layers, which are there.
type manifest struct {
	raw  []byte
	kind types.MediaType
	size int64
}

// RawManifest returns the bytes that the digest is of.
func (m *manifest) RawManifest() ([]byte, error) { return m.raw, nil }

// MediaType returns the manifest's type.
func (m *manifest) MediaType() (types.MediaType, error) { return m.kind, nil }

func (m *manifest) published() (published, error) {
	hash, _, err := v1.SHA256(strings.NewReader(string(m.raw)))
	return published{hash.String(), m.size}, err
}

// withAnnotations adds the annotations to an image's manifest, or to an index.
// Docker's own manifest type knows no annotations, so it becomes the OCI type, whose form is the same.
func withAnnotations(raw []byte, kind types.MediaType, annotations map[string]string) (*manifest, error) {
	if len(raw) > maxManifest {
		return nil, errors.New("the manifest is too large")
	}
	m := &manifest{}
	var err error
	if kind.IsIndex() {
		var index v1.IndexManifest
		if err = json.Unmarshal(raw, &index); err != nil {
			return nil, err
		}
		index.MediaType, index.Annotations = types.OCIImageIndex, annotations
		m.kind = index.MediaType
		m.raw, err = json.Marshal(index)
		return m, err
	}
	var image v1.Manifest
	if err = json.Unmarshal(raw, &image); err != nil {
		return nil, err
	}
	image.MediaType, image.Annotations = types.OCIManifestSchema1, annotations
	image.Config.MediaType = types.OCIConfigJSON
	m.size = image.Config.Size
	for i, l := range image.Layers {
		if l.MediaType == types.DockerLayer {
			image.Layers[i].MediaType = types.OCILayer
		}
		m.size += l.Size
	}
	m.kind = image.MediaType
	m.raw, err = json.Marshal(image)
	return m, err
}
