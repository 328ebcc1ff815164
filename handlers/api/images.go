package api

import (
	"context"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/images"
)

// ImageRepository is a name that images are pushed to.
type ImageRepository struct {
	Name     string       `json:"name" example:"payments/checkout"`
	Image    string       `json:"image" doc:"The name to push to and pull from." example:"localhost:8080/payments/checkout"`
	Registry string       `json:"registry,omitempty" doc:"The slug of the external registry; empty: the embedded one."`
	TeamID   string       `json:"team_id" doc:"Who owns it; empty in an external registry."`
	AppID    string       `json:"app_id,omitempty" doc:"The app whose builds go here."`
	Tags     int64        `json:"tags" doc:"How many there are."`
	Size     int64        `json:"size" doc:"Bytes that its blobs take."`
	Public   bool         `json:"public" doc:"Whether anybody may pull, without a login."`
	Latest   *Image       `json:"latest" doc:"The image pushed last."`
	Running  []ImagePlace `json:"running" nullable:"false"`
}

// Image is a manifest of a repository, known by its digest.
type Image struct {
	Repository string       `json:"repository" doc:"With the registry's host." example:"localhost:8080/payments/checkout"`
	Registry   string       `json:"registry,omitempty" doc:"The slug of the external registry; empty: the embedded one."`
	Digest     string       `json:"digest"`
	MediaType  string       `json:"media_type"`
	Tags       []string     `json:"tags" nullable:"false" doc:"Those that point at it now."`
	Platforms  []string     `json:"platforms" nullable:"false" example:"[\"linux/amd64\"]"`
	Size       int64        `json:"size" doc:"Compressed bytes."`
	TeamID     string       `json:"team_id"`
	AppID      string       `json:"app_id,omitempty"`
	Build      *ImageBuild  `json:"build" doc:"The newest build that made it; null for images from outside."`
	Running    []ImagePlace `json:"running" nullable:"false" doc:"Where it serves now."`
	PushedAt   *time.Time   `json:"pushed_at" doc:"Null where the registry does not tell it."`
	MadeAt     *time.Time   `json:"made_at,omitempty" doc:"What an image of an external registry says of itself."`
	PushedBy   string       `json:"pushed_by"`
}

// ImageBuild is a build that made an image.
type ImageBuild struct {
	ID            string    `json:"id"`
	Number        int64     `json:"number"`
	AppID         string    `json:"app_id"`
	Ref           string    `json:"ref"`
	Commit        string    `json:"commit"`
	CommitSubject string    `json:"commit_subject"`
	CreatedAt     time.Time `json:"created_at"`
}

// ImagePlace is where an image serves or served.
type ImagePlace struct {
	DeploymentID  string                 `json:"deployment_id"`
	Number        int64                  `json:"number"`
	AppID         string                 `json:"app_id"`
	App           string                 `json:"app"`
	EnvironmentID string                 `json:"environment_id"`
	Environment   string                 `json:"environment"`
	State         models.DeploymentState `json:"state"`
	Active        bool                   `json:"active" doc:"Whether it serves now."`
	Stopped       bool                   `json:"stopped"`
	URL           string                 `json:"url"`
	CreatedAt     time.Time              `json:"created_at"`
}

// ImagePassport is everything that is known about an image.
type ImagePassport struct {
	Image
	OtherRepositories []string          `json:"other_repositories,omitempty" doc:"That have the same digest."`
	Annotations       map[string]string `json:"annotations,omitempty"`
	PlatformImages    []PlatformImage   `json:"images,omitempty" doc:"Of an index: the image of each platform."`
	ArtifactType      string            `json:"artifact_type,omitempty" doc:"What it is, where it is no container image."`
	Kind              string            `json:"kind,omitempty" doc:"The artifact's type in words." example:"Helm chart"`
	Subject           string            `json:"subject,omitempty" doc:"The digest of what it is about."`
	Platform          string            `json:"platform,omitempty" doc:"Of an index: the platform whose config and layers are answered."`
	Indexes           []string          `json:"indexes,omitempty" doc:"Digests of the indexes that hold it."`
	Base              *ImageBase        `json:"base,omitempty" doc:"What it was built on, where it says so."`
	Referrers         []ImageReferrer   `json:"referrers" nullable:"false" doc:"What is attested about it. Nothing of it is verified."`
	Files             []ImageFile       `json:"files" nullable:"false" doc:"That its manifest names; open one by its digest."`
	Moves             []ImageTagMove    `json:"moves" nullable:"false" doc:"Tags that came to it and went, newest first."`
	Unread            string            `json:"unread,omitempty" doc:"Why a part could not be read from its registry."`
	Config            *ImageConfig      `json:"config" doc:"Null for artifacts that are no images."`
	Layers            []ImageLayer      `json:"layers" nullable:"false"`
	Builds            []ImageBuild      `json:"builds" nullable:"false" doc:"That made it, newest first."`
	Deployments       []ImagePlace      `json:"deployments" nullable:"false" doc:"Where it serves and served, newest first."`
	Pulls             ImagePulls        `json:"pulls"`
}

// ImagePulls is how often an image was pulled.
type ImagePulls struct {
	Times  int64      `json:"times"`
	LastAt *time.Time `json:"last_at"`
	LastBy string     `json:"last_by,omitempty" doc:"A name, for people."`
}

// PlatformImage is one image of an index.
type PlatformImage struct {
	Platform string `json:"platform"`
	Digest   string `json:"digest"`
	Size     int64  `json:"size"`
}

// ImageBase is the image that another one was built on.
type ImageBase struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// ImageReferrer is an artifact about an image.
type ImageReferrer struct {
	Digest       string            `json:"digest"`
	ArtifactType string            `json:"artifact_type"`
	Kind         string            `json:"kind" doc:"In words." example:"SBOM (SPDX)"`
	About        string            `json:"about" doc:"The digest that it is about: the image, or one of an index."`
	Via          string            `json:"via" enum:"subject,index,tag" doc:"How it was found: by its subject, in the index beside the image, or under a tag made of the digest."`
	Size         int64             `json:"size"`
	PushedAt     *time.Time        `json:"pushed_at"`
	PushedBy     string            `json:"pushed_by"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Files        []ImageFile       `json:"files" nullable:"false"`
}

// ImageFile is a file that a manifest names.
type ImageFile struct {
	Digest    string `json:"digest"`
	MediaType string `json:"media_type"`
	Kind      string `json:"kind" doc:"In words."`
	Title     string `json:"title,omitempty" doc:"The file's name, where it has one."`
	Size      int64  `json:"size"`
}

// ImageTagMove is a move of a tag.
type ImageTagMove struct {
	Tag       string    `json:"tag"`
	Digest    string    `json:"digest" doc:"Where it went; empty: it was deleted."`
	Previous  string    `json:"previous" doc:"Where it was; empty: it is new."`
	By        string    `json:"by"`
	CreatedAt time.Time `json:"created_at"`
}

// ImageConfig is how an image runs.
type ImageConfig struct {
	Platform     string            `json:"platform"`
	Created      *time.Time        `json:"created"`
	User         string            `json:"user,omitempty"`
	WorkingDir   string            `json:"working_dir,omitempty"`
	Entrypoint   []string          `json:"entrypoint,omitempty"`
	Cmd          []string          `json:"cmd,omitempty"`
	Env          []string          `json:"env,omitempty"`
	ExposedPorts []string          `json:"exposed_ports,omitempty"`
	Volumes      []string          `json:"volumes,omitempty"`
	StopSignal   string            `json:"stop_signal,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Healthcheck  []string          `json:"healthcheck,omitempty"`
}

// ImageLayer is one step of an image's history.
type ImageLayer struct {
	Instruction string     `json:"instruction" doc:"That made it."`
	Comment     string     `json:"comment,omitempty"`
	CreatedAt   *time.Time `json:"created_at"`
	Digest      string     `json:"digest,omitempty" doc:"Empty where the instruction changed no file."`
	MediaType   string     `json:"media_type,omitempty"`
	Size        int64      `json:"size" doc:"Compressed bytes."`
	SharedBy    int        `json:"shared_by" doc:"How many other images that you may see have it too; the count ends at 100."`
}

func (a *API) images() {
	get(a, "/image-repositories", "list-image-repositories", "Image repositories of your teams", a.listImageRepositories)
	get(a, "/images", "list-images", "Images of a repository, or found over all that you may see", a.listImages,
		about("With a repository alone: its images, the one pushed last first. With q: what is found by a digest or a commit, in repositories that are called so (of each the image pushed last), and under tags that begin so."))
	get(a, "/images/{digest}", "get-image", "Everything about an image", a.getImage)
	get(a, "/images/{digest}/documents/{file}", "get-image-document", "A file of an image, opened", a.getImageDocument,
		about("A bill of materials answers a page of its packages, provenance what it says in fields; content is the file as it is, where it is text of at most 1 MiB. Nothing of it is verified but its digest."))
	get(a, "/images/{digest}/layers/{layer}/images", "list-images-of-layer", "Other images that have a layer too", a.listImagesOfLayer)
	get(a, "/apps/{id}/images", "list-app-images", "Images of an app, the one pushed last first", a.listAppImages)
	get(a, "/registries/{id}/repositories", "list-registry-repositories", "Repositories of a registry", a.listRegistryRepositories,
		about("The id is a registry's id or slug, or embedded. An external registry's own list where it has one, and what apps, deployments and people have named."))
	post(a, "/registries/{id}/repositories", "open-registry-repository", "Open a repository of an external registry by its name", a.openRegistryRepository)
	get(a, "/registries/{id}/tags", "list-registry-tags", "Tags of a repository", a.listRegistryTags,
		about("The id is a registry's id or slug, or embedded."))
}

func (a *API) listImageRepositories(ctx context.Context, in *PageIn) (*answer[List[ImageRepository]], error) {
	l, err := a.Images.Repositories(ctx, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(l, a.imageRepositoryOf), nil
}

func (a *API) listImages(ctx context.Context, in *struct {
	PageIn
	Repository string `query:"repository" maxLength:"300" doc:"Such as payments/checkout."`
	Text       string `query:"q" maxLength:"200" doc:"Words of a repository's name, NAME:TAG, or how a tag, a digest or a commit begins."`
	Team       string `query:"team" maxLength:"100" doc:"The slug of the team that owns the repository."`
	AppID      string `query:"app_id" maxLength:"100"`
	Running    bool   `query:"running" doc:"Only what serves now."`
	Untagged   bool   `query:"untagged" doc:"With a repository: only images that no tag names."`
}) (*answer[List[Image]], error) {
	var l models.List[models.Image]
	var err error
	switch {
	case in.Repository != "" && in.Untagged:
		l, err = a.Images.Untagged(ctx, in.Repository, in.page())
	case in.Repository != "":
		l, err = a.Images.Images(ctx, in.Repository, in.page())
	default:
		l, err = a.Images.Search(ctx, images.Query{Text: in.Text, Team: in.Team, AppID: in.AppID, Running: in.Running, Page: in.page()})
	}
	if err != nil {
		return nil, err
	}
	return listOf(l, a.imageOf), nil
}

func (a *API) listAppImages(ctx context.Context, in *struct {
	IDIn
	PageIn
}) (*answer[List[Image]], error) {
	l, err := a.Images.ForApp(ctx, in.ID, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(l, a.imageOf), nil
}

// ImageIn is a call about an image.
type ImageIn struct {
	Digest     string `path:"digest" maxLength:"200" example:"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
	Repository string `query:"repository" maxLength:"300" doc:"Where several have the image; empty: the one pushed to last. An external registry needs it."`
	Registry   string `query:"registry" maxLength:"100" doc:"The slug or id of an external registry; empty: the embedded one."`
	Platform   string `query:"platform" maxLength:"100" doc:"Of an index: whose config and layers are answered; empty: those of the first."`
}

func (in ImageIn) which() images.Which {
	return images.Which{Registry: in.Registry, Repository: in.Repository, Digest: in.Digest, Platform: in.Platform}
}

func (a *API) getImage(ctx context.Context, in *ImageIn) (*answer[ImagePassport], error) {
	p, err := a.Images.Passport(ctx, in.which())
	return replyWith(p, a.passportOf, err)
}

func (a *API) listImagesOfLayer(ctx context.Context, in *struct {
	ImageIn
	Layer string `path:"layer" maxLength:"200"`
}) (*answer[List[Image]], error) {
	_, list, err := a.Images.Sharing(ctx, in.which(), in.Layer)
	if err != nil {
		return nil, err
	}
	return whole(list, a.imageOf), nil
}

func (a *API) imageRepositoryOf(r *models.ImageRepository) ImageRepository {
	out := ImageRepository{
		Name: r.Name, Image: r.FullName(), Registry: r.Registry, TeamID: r.TeamID, Tags: r.Tags, Size: r.Size, Public: r.Public, Running: sliceOf(r.Running, placeOf),
	}
	if r.App != nil {
		out.AppID = r.App.ID
	}
	if r.Latest != nil {
		latest := a.imageOf(r.Latest)
		out.Latest = &latest
	}
	return out
}

func (a *API) imageOf(i *models.Image) Image {
	out := Image{
		Repository: i.FullName(), Registry: i.Registry, Digest: i.Digest, MediaType: i.MediaType, Platforms: append([]string{}, i.Platforms...),
		Tags: sliceOf(i.Tags, func(t *models.ImageTag) string { return t.Name }), Size: i.Size, TeamID: i.TeamID,
		Running: sliceOf(i.Running, placeOf), PushedAt: told(i.PushedAt), MadeAt: utc(i.MadeAt), PushedBy: i.PushedByName,
	}
	if i.App != nil {
		out.AppID = i.App.ID
	}
	if i.Build != nil {
		b := imageBuildOf(i.Build)
		out.Build = &b
	}
	return out
}

// told is a time that may be unknown.
func told(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return utc(&t)
}

func (a *API) passportOf(p *models.ImagePassport) ImagePassport {
	out := ImagePassport{
		Image: a.imageOf(&p.Image), OtherRepositories: p.Others, Annotations: p.Annotations, Layers: sliceOf(p.Layers, layerOf),
		Builds: sliceOf(p.Builds, imageBuildOf), Deployments: sliceOf(p.Deployments, placeOf),
		PlatformImages: sliceOf(p.Images, func(i *models.ImagePlatform) PlatformImage { return PlatformImage{i.Platform, i.Digest, i.Size} }),
		ArtifactType:   p.ArtifactType, Kind: p.Kind, Subject: p.Subject, Platform: p.Platform, Indexes: p.Indexes, Unread: p.Unread,
		Referrers: sliceOf(p.Referrers, referrerOf), Files: sliceOf(p.Files, fileOf), Moves: sliceOf(p.Moves, moveOf),
	}
	if p.Base != nil {
		out.Base = &ImageBase{p.Base.Name, p.Base.Digest}
	}
	if out.Pulls = (ImagePulls{Times: p.Pulls.Times, LastBy: p.Pulls.LastBy}); p.Pulls.Times > 0 {
		out.Pulls.LastAt = utc(&p.Pulls.LastAt)
	}
	if c := p.Config; c != nil {
		out.Config = &ImageConfig{
			c.Platform, utc(c.Created), c.User, c.WorkingDir, c.Entrypoint, c.Cmd, c.Env, c.ExposedPorts, c.Volumes, c.StopSignal, c.Labels, c.Healthcheck,
		}
	}
	return out
}

func referrerOf(r *models.ImageReferrer) ImageReferrer {
	return ImageReferrer{r.Digest, r.ArtifactType, r.Kind, r.About, r.Via, r.Size, told(r.PushedAt), r.PushedByName, r.Annotations, sliceOf(r.Files, fileOf)}
}

func fileOf(f *models.ImageFile) ImageFile {
	return ImageFile{f.Digest, f.MediaType, f.Kind, f.Title, f.Size}
}

func moveOf(m *models.RegistryTagEvent) ImageTagMove {
	return ImageTagMove{m.Tag, m.Digest, m.Previous, m.ActorName, m.CreatedAt.UTC()}
}

func layerOf(l *models.ImageLayer) ImageLayer {
	return ImageLayer{l.Instruction, l.Comment, utc(l.CreatedAt), l.Digest, l.MediaType, l.Size, l.Shared}
}

func imageBuildOf(b *models.Build) ImageBuild {
	return ImageBuild{b.ID, b.Number, b.AppID, b.Ref, b.Commit, b.CommitSubject, b.CreatedAt.UTC()}
}

func placeOf(d *models.ImageDeployment) ImagePlace {
	return ImagePlace{
		d.DeploymentID, d.Number, d.AppID, d.AppName, d.EnvironmentID, d.EnvironmentName, d.State, d.Active, d.Stopped, d.URL, d.CreatedAt.UTC(),
	}
}
