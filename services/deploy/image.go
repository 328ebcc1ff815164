package deploy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"slipway.dev/models"
)

const (
	readTime    = 15 * time.Second // to read an image's manifest and config
	pullTTL     = 30 * time.Minute // of the credential that an engine pulls with
	defaultPort = 8080
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

// repositoryOf is where the images of an app live.
func (s *Service) repositoryOf(p *place) string {
	return s.Registry.Host() + "/" + p.Team.Slug + "/" + p.App.Name
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
		return s.read(ctx, p, "tag", ":"+in.Tag)
	}
	b, err := s.goodBuild(ctx, p, in.BuildID)
	if err != nil {
		return nil, err
	}
	return s.read(ctx, p, "build_id", "@"+b.ImageDigest)
}

// byTag finds the image by the tag, which must still name the digest that was looked at.
func (s *Service) byTag(ctx context.Context, p *place, in Input) (*Choice, error) {
	c, err := s.read(ctx, p, "tag", ":"+in.Tag)
	if err == nil && c.Digest != in.Image {
		return nil, models.Errorf(models.Conflict, "The tag %s moved since you looked: it named %.19s, and names %.19s now. Nothing was deployed. Look at what changes, and deploy again.",
			in.Tag, in.Image, c.Digest)
	}
	return c, err
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

// byReference takes a digest, a tag, or a full name in the app's own
// repository: images of others can't be named.
func (s *Service) byReference(ctx context.Context, p *place, ref string) (*Choice, error) {
	own := s.repositoryOf(p)
	rest, full := strings.CutPrefix(ref, own)
	switch {
	case full && (strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "@")):
		return s.read(ctx, p, "image", rest)
	case strings.HasPrefix(ref, "sha256:"):
		return s.read(ctx, p, "image", "@"+ref)
	case !strings.ContainsAny(ref, "/@:"):
		return s.read(ctx, p, "image", ":"+ref)
	}
	return nil, models.InvalidField("image", "Name an image of this app: a digest, a tag, or %s with either.", own)
}

// read asks the registry for the image; what begins with @ is a digest, with : a tag.
func (s *Service) read(ctx context.Context, p *place, field, what string) (*Choice, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	repository := s.repositoryOf(p)
	ref, err := name.ParseReference(repository+what, name.StrictValidation)
	if err != nil {
		return nil, models.InvalidField(field, "%q is neither a tag nor a digest.", strings.TrimLeft(what, "@:"))
	}
	// The principal may read this team's images; a token for the portal need not be one for the registry too.
	own := models.WithPrincipal(ctx, models.System("deploy"))
	user, password, err := s.Registry.Credential(own, repository, []string{"pull"}, readTime*2)
	if err != nil {
		return nil, err
	}
	found, err := remote.Get(ref, remote.WithContext(ctx), remote.WithAuth(&authn.Basic{Username: user, Password: password}))
	if err != nil {
		return nil, explainRead(err, field, repository, what)
	}
	c := &Choice{Image: Image{Repository: repository, Digest: found.Digest.String()}}
	if tag, ok := strings.CutPrefix(what, ":"); ok {
		c.Tag = tag
	}
	if err := c.describe(found); err != nil {
		return nil, explainRead(err, field, repository, what)
	}
	return c, s.findBuild(ctx, p, c)
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
