package deploy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"slipway.dev/models"
	"slipway.dev/services/registries"
)

const (
	readTime    = 15 * time.Second // to read an image's manifest and config
	pullTTL     = 30 * time.Minute // of the credential that an engine pulls with
	lookTTL     = 2 * time.Minute  // of the credential that an engine only looks with
	defaultPort = 8080
	maxConfig   = 4 << 20 // bytes of an image's config that are read
)

// Choice is an image that can be deployed, as its registry describes it.
type Choice struct {
	Image
	Tag         string   // the tag that named it, for people
	Platforms   []string // such as linux/amd64
	Size        int64    // compressed bytes, of one platform
	Ports       []int    // what the image EXPOSEs
	HealthCheck bool     // the image has a HEALTHCHECK
	Build       *models.Build
}

// own is the app's repository in the embedded registry.
func (s *Service) own(p *place) string {
	return s.Registry.Host() + "/" + p.Team.Slug + "/" + p.App.Name
}

// repositoryOf is where the images of an app live: where its builds push to.
func (s *Service) repositoryOf(ctx context.Context, p *place) (string, error) {
	if p.App.RegistryID == "" || s.Registries == nil {
		return s.own(p), nil
	}
	return s.Registries.FullName(ctx, p.App.RegistryID, p.App.ImageRepository)
}

// choose finds the image that the input names, or the app's newest good build's.
func (s *Service) choose(ctx context.Context, p *place, in Input) (*Choice, error) {
	seen := in.Tag != "" && strings.HasPrefix(in.Image, "sha256:") // the tag, and which image it named
	named := 0
	for _, s := range []string{in.Image, in.BuildID, in.Tag} {
		if s != "" {
			named++
		}
	}
	if named > 1 && !(seen && in.BuildID == "") {
		return nil, models.InvalidField("image", "Name the image by only one of image, build_id and tag; beside a tag, image may be the digest that it has to name.")
	}
	switch {
	case seen:
		return s.byTag(ctx, p, in)
	case in.Image != "":
		return s.byReference(ctx, p, in.Image)
	case in.Tag != "":
		repository, err := s.repositoryOf(ctx, p)
		if err != nil {
			return nil, err
		}
		return s.read(ctx, p, "tag", repository, ":"+in.Tag)
	}
	b, err := s.goodBuild(ctx, p, in.BuildID)
	if err != nil {
		return nil, err
	}
	repository, err := s.builtTo(ctx, p, b)
	if err != nil {
		return nil, err
	}
	return s.read(ctx, p, "build_id", repository, "@"+b.ImageDigest)
}

// byTag finds the image by the tag, which must still name the digest that was looked at.
func (s *Service) byTag(ctx context.Context, p *place, in Input) (*Choice, error) {
	repository, err := s.repositoryOf(ctx, p)
	if err != nil {
		return nil, err
	}
	c, err := s.read(ctx, p, "tag", repository, ":"+in.Tag)
	if err == nil && c.Digest != in.Image {
		return nil, models.Errorf(models.Conflict, "The tag %s moved since you looked: it named %.19s, and names %.19s now. Nothing was deployed. Look at what changes, and deploy again.",
			in.Tag, in.Image, c.Digest)
	}
	return c, err
}

// builtTo is where the build's image is. The embedded registry's may have been
// recorded under a host name that the portal had before.
func (s *Service) builtTo(ctx context.Context, p *place, b *models.Build) (string, error) {
	own := s.own(p)
	if b.ImageRepository == "" || b.ImageRepository == own || s.Registries == nil {
		return own, nil
	}
	_, _, err := s.Registries.Locate(ctx, p.App.TeamID, b.ImageRepository, registries.Pull)
	if models.IsCode(err, models.NotFound) && strings.HasSuffix(b.ImageRepository, "/"+p.Team.Slug+"/"+p.App.Name) {
		return own, nil
	}
	if models.IsCode(err, models.NotFound) || models.IsCode(err, models.Denied) {
		return b.ImageRepository, nil // reading it says why not
	}
	return b.ImageRepository, err
}

// Deployable tells whether the build's image is in a registry that deployments of its team may pull from.
func (s *Service) Deployable(ctx context.Context, b *models.Build) (bool, error) {
	if err := models.Authorize(ctx, b.TeamID, models.RoleViewer, "build"); err != nil {
		return false, err
	}
	host, _, _ := strings.Cut(b.ImageRepository, "/")
	if b.ImageRepository == "" || host == s.Registry.Host() {
		return true, nil
	}
	if s.Registries == nil {
		return false, nil
	}
	_, _, err := s.Registries.Locate(ctx, b.TeamID, b.ImageRepository, registries.Pull)
	if models.IsCode(err, models.NotFound) || models.IsCode(err, models.Denied) {
		return false, nil
	}
	return err == nil, err
}

// goodBuild returns the app's build, or its newest one that succeeded where id is empty.
func (s *Service) goodBuild(ctx context.Context, p *place, id string) (*models.Build, error) {
	q := s.DB.WithContext(ctx).Where("app_id = ?", p.App.ID)
	var b models.Build
	if id == "" {
		err := q.Where("state = ? AND image_digest <> ''", models.BuildSucceeded).Order("number DESC").Take(&b).Error
		if models.IsCode(models.FromDB(err, "build"), models.NotFound) {
			return nil, models.InvalidField("image", "%s has no good build yet. Build it first, or push an image.", p.App.Name)
		}
		return &b, err
	}
	if err := q.First(&b, "id = ?", id).Error; err != nil {
		if models.IsCode(models.FromDB(err, "build"), models.NotFound) {
			return nil, models.InvalidField("build_id", "%s has no such build.", p.App.Name)
		}
		return nil, err
	}
	if b.State != models.BuildSucceeded || b.ImageDigest == "" {
		return nil, models.InvalidField("build_id", "Build %s is %s and has no image to deploy.", b.Title(), b.State)
	}
	return &b, nil
}

// byReference takes a digest or a tag in the app's own repository, or a full
// name: in that repository, in the app's one of the embedded registry, or in
// whichever one of an external registry that the team is granted. Images of
// other apps in the embedded registry can't be named.
func (s *Service) byReference(ctx context.Context, p *place, ref string) (*Choice, error) {
	repository, err := s.repositoryOf(ctx, p)
	if err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(ref, "sha256:"):
		return s.read(ctx, p, "image", repository, "@"+ref)
	case !strings.ContainsAny(ref, "/@:"):
		return s.read(ctx, p, "image", repository, ":"+ref)
	}
	named, what := split(ref)
	host, _, _ := strings.Cut(named, "/")
	if what != "" && (named == repository || named == s.own(p) || s.Registries != nil && host != s.Registry.Host() && strings.Contains(named, "/")) {
		return s.read(ctx, p, "image", named, what)
	}
	return nil, models.InvalidField("image", "Name an image of this app: a digest, a tag, %s with either, or an image in an external registry that your team may pull from.", repository)
}

// split takes an image's name apart: its repository, and a digest with its @ or a tag with its colon. A digest wins over a tag.
func split(ref string) (repository, what string) {
	if named, digest, ok := strings.Cut(ref, "@"); ok {
		named, _ := split(named)
		return named, "@" + digest
	}
	if i := strings.LastIndex(ref, ":"); i > strings.LastIndex(ref, "/") {
		return ref[:i], ref[i:]
	}
	return ref, ""
}

// read asks the repository's registry for the image; what begins with @ is a digest, with : a tag.
func (s *Service) read(ctx context.Context, p *place, field, repository, what string) (*Choice, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	at, err := s.openSource(ctx, p.App.TeamID, repository, readTime*2)
	if err != nil {
		return nil, aboutField(err, field)
	}
	ref, options, err := at.reference(what)
	if err != nil {
		return nil, models.InvalidField(field, "%q is neither a tag nor a digest.", strings.TrimLeft(what, "@:"))
	}
	found, err := remote.Get(ref, append(options, remote.WithContext(ctx))...)
	if err != nil {
		return nil, at.explain(err, field, what)
	}
	c := &Choice{Image: Image{Repository: repository, Digest: found.Digest.String()}}
	if tag, ok := strings.CutPrefix(what, ":"); ok {
		c.Tag = tag
	}
	if err := c.describe(found); err != nil {
		return nil, at.explain(err, field, what)
	}
	return c, s.findBuild(ctx, p, c)
}

// aboutField makes a refusal one about the field that named the image.
func aboutField(err error, field string) error {
	if told, ok := errors.AsType[*models.Error](err); ok && (told.Code == models.NotFound || told.Code == models.Denied) {
		return models.InvalidField(field, "%s", told.Message)
	}
	return err
}

func (at source) explain(err error, field, what string) error {
	if at.external == nil {
		return explainRead(err, field, at.repository, what)
	}
	if answer := new(transport.Error); errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return models.InvalidField(field, "There is no image %s%s in the registry. Build it again, or choose another one.", at.repository, what)
	}
	return aboutField(at.external.Explain(err), field)
}

func explainRead(err error, field, repository, what string) error {
	if answer := new(transport.Error); errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return models.InvalidField(field, "There is no image %s%s in the registry. Build it again, or choose another one.", repository, what)
	}
	host, _, _ := strings.Cut(repository, "/")
	return &models.Error{Code: models.Unavailable, Message: "The registry " + host + " does not answer, so the image can't be looked at. Check that it runs, and try again.", Err: err}
}

// describe reads platforms, size and what the config says of ports and health.
func (c *Choice) describe(d *remote.Descriptor) error {
	img, err := c.image(d)
	if err != nil {
		return err
	}
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	for _, l := range m.Layers {
		c.Size += l.Size
	}
	if m.Config.Size > maxConfig {
		return models.InvalidField("image", "The image's config is larger than %d MiB.", maxConfig>>20)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return err
	}
	if len(c.Platforms) == 0 {
		c.Platforms = []string{file.OS + "/" + file.Architecture}
	}
	c.HealthCheck = file.Config.Healthcheck != nil && len(file.Config.Healthcheck.Test) > 0 && file.Config.Healthcheck.Test[0] != "NONE"
	for exposed := range file.Config.ExposedPorts {
		number, protocol, _ := strings.Cut(exposed, "/")
		if n, err := strconv.Atoi(number); err == nil && (protocol == "" || protocol == "tcp") {
			c.Ports = append(c.Ports, n)
		}
	}
	slices.Sort(c.Ports)
	return nil
}

// image returns the image, or the first one for a known platform of an index.
func (c *Choice) image(d *remote.Descriptor) (v1.Image, error) {
	if !d.MediaType.IsIndex() {
		return d.Image()
	}
	index, err := d.ImageIndex()
	if err != nil {
		return nil, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var first *v1.Hash
	for _, child := range m.Manifests {
		if child.Platform == nil || child.Platform.OS == "unknown" || !child.MediaType.IsImage() {
			continue // attestations
		}
		c.Platforms = append(c.Platforms, child.Platform.OS+"/"+child.Platform.Architecture)
		if first == nil {
			first = &child.Digest
		}
	}
	if first == nil {
		return d.Image()
	}
	return index.Image(*first)
}

// findBuild links the image to the build that made it.
func (s *Service) findBuild(ctx context.Context, p *place, c *Choice) error {
	var b models.Build
	err := s.DB.WithContext(ctx).Where("app_id = ? AND image_digest = ? AND state = ?", p.App.ID, c.Digest, models.BuildSucceeded).Order("number DESC").Limit(1).Find(&b).Error
	if b.ID != "" {
		c.Build = &b
	}
	return err
}

// port is what instances listen on: the app's setting, else the image's first EXPOSE, else 8080.
func (c *Choice) port(app *models.App) int {
	switch {
	case app.Port > 0:
		return app.Port
	case len(c.Ports) > 0:
		return c.Ports[0]
	}
	return defaultPort
}
