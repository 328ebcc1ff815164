package api

import (
	"context"
	"time"

	"slipway.dev/models"
)

// ImageRepository is a name that images are pushed to.
type ImageRepository struct {
	Name    string       `json:"name" example:"payments/checkout"`
	Image   string       `json:"image" doc:"The name to push to and pull from." example:"localhost:8080/payments/checkout"`
	TeamID  string       `json:"team_id"`
	AppID   string       `json:"app_id,omitempty" doc:"The app whose builds go here."`
	Tags    int64        `json:"tags" doc:"How many there are."`
	Size    int64        `json:"size" doc:"Bytes that its blobs take."`
	Public  bool         `json:"public" doc:"Whether anybody may pull, without a login."`
	Latest  *Image       `json:"latest" doc:"The image pushed last."`
	Running []ImagePlace `json:"running" nullable:"false"`
}

// Image is a manifest of a repository, known by its digest.
type Image struct {
	Repository string       `json:"repository" doc:"With the registry's host." example:"localhost:8080/payments/checkout"`
	Digest     string       `json:"digest"`
	MediaType  string       `json:"media_type"`
	Tags       []string     `json:"tags" nullable:"false" doc:"Those that point at it now."`
	Platforms  []string     `json:"platforms" nullable:"false" example:"[\"linux/amd64\"]"`
	Size       int64        `json:"size" doc:"Compressed bytes."`
	TeamID     string       `json:"team_id"`
	AppID      string       `json:"app_id,omitempty"`
	Build      *ImageBuild  `json:"build" doc:"The newest build that made it; null for images from outside."`
	Running    []ImagePlace `json:"running" nullable:"false" doc:"Where it serves now."`
	PushedAt   time.Time    `json:"pushed_at"`
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
}

func (a *API) images() {
	get(a, "/image-repositories", "list-image-repositories", "Image repositories of your teams", a.listImageRepositories)
	get(a, "/images", "list-images", "Images of a repository, the one pushed last first", a.listImages)
	get(a, "/images/{digest}", "get-image", "Everything about an image", a.getImage)
	get(a, "/apps/{id}/images", "list-app-images", "Images of an app, the one pushed last first", a.listAppImages)
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
	Repository string `query:"repository" required:"true" maxLength:"300" doc:"Such as payments/checkout."`
}) (*answer[List[Image]], error) {
	l, err := a.Images.Images(ctx, in.Repository, in.page())
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

func (a *API) getImage(ctx context.Context, in *struct {
	Digest     string `path:"digest" maxLength:"200" example:"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
	Repository string `query:"repository" maxLength:"300" doc:"Where several have the image; empty: the one pushed to last."`
}) (*answer[ImagePassport], error) {
	p, err := a.Images.Find(ctx, in.Repository, in.Digest)
	return replyWith(p, a.passportOf, err)
}

func (a *API) imageRepositoryOf(r *models.ImageRepository) ImageRepository {
	out := ImageRepository{
		Name: r.Name, Image: a.Registry.Host() + "/" + r.Name, TeamID: r.TeamID, Tags: r.Tags, Size: r.Size, Public: r.Public, Running: sliceOf(r.Running, placeOf),
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
		Repository: a.Registry.Host() + "/" + i.Repository, Digest: i.Digest, MediaType: i.MediaType, Platforms: append([]string{}, i.Platforms...),
		Tags: sliceOf(i.Tags, func(t *models.ImageTag) string { return t.Name }), Size: i.Size, TeamID: i.TeamID,
		Running: sliceOf(i.Running, placeOf), PushedAt: i.PushedAt.UTC(), PushedBy: i.PushedByName,
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

func (a *API) passportOf(p *models.ImagePassport) ImagePassport {
	out := ImagePassport{
		Image: a.imageOf(&p.Image), OtherRepositories: p.Others, Annotations: p.Annotations, Layers: sliceOf(p.Layers, layerOf),
		Builds: sliceOf(p.Builds, imageBuildOf), Deployments: sliceOf(p.Deployments, placeOf),
		PlatformImages: sliceOf(p.Images, func(i *models.ImagePlatform) PlatformImage { return PlatformImage{i.Platform, i.Digest, i.Size} }),
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

func layerOf(l *models.ImageLayer) ImageLayer {
	return ImageLayer{l.Instruction, l.Comment, utc(l.CreatedAt), l.Digest, l.MediaType, l.Size}
}

func imageBuildOf(b *models.Build) ImageBuild {
	return ImageBuild{b.ID, b.Number, b.AppID, b.Ref, b.Commit, b.CommitSubject, b.CreatedAt.UTC()}
}

func placeOf(d *models.ImageDeployment) ImagePlace {
	return ImagePlace{
		d.DeploymentID, d.Number, d.AppID, d.AppName, d.EnvironmentID, d.EnvironmentName, d.State, d.Active, d.Stopped, d.URL, d.CreatedAt.UTC(),
	}
}
