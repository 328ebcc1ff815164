package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/registry"
)

// TagMove is one move of a tag, and what is known of the image that it came to.
type TagMove struct {
	Tag         string       `json:"tag"`
	Digest      string       `json:"digest" doc:"That it named from then on; empty: it was deleted."`
	Previous    string       `json:"previous,omitempty" doc:"That it named before; empty: it was new."`
	By          string       `json:"by" doc:"A name, for people; empty: Slipway."`
	Kept        bool         `json:"kept" doc:"Whether the image is still there, so that the tag can be put back."`
	Build       *ImageBuild  `json:"build" doc:"The newest build that made the image; null for images from outside."`
	Deployments []ImagePlace `json:"deployments" nullable:"false" doc:"Where the image serves and served."`
	CreatedAt   time.Time    `json:"created_at"`
}

// SetImageTag says which image a tag shall name.
type SetImageTag struct {
	Repository string  `json:"repository" maxLength:"300" example:"payments/checkout"`
	Tag        string  `json:"tag" maxLength:"128" example:"stable"`
	Digest     string  `json:"digest" maxLength:"200" doc:"Of an image that the repository has."`
	Was        *string `json:"was,omitempty" maxLength:"200" doc:"The digest that the tag names now, empty: none. Where it names another one, nothing moves."`
}

// ImageTag is a tag with the image that it names.
type ImageTag struct {
	Repository string `json:"repository"`
	Tag        string `json:"tag"`
	Digest     string `json:"digest"`
}

func (a *API) imageTags() {
	post(a, "/image-tags", "set-image-tag", "Point a tag at an image that is there", a.setImageTag, status(http.StatusCreated), repeatable,
		about("Also puts a tag back to an image that it named before. Tags that an immutable pattern keeps are refused."))
	get(a, "/image-tags/moves", "list-image-tag-moves", "Which images a tag named, newest first", a.listImageTagMoves)
}

func (a *API) setImageTag(ctx context.Context, in *struct{ Body SetImageTag }) (*answer[ImageTag], error) {
	b := in.Body
	change := registry.Retag{Repository: b.Repository, Tag: b.Tag, Digest: b.Digest, Checked: b.Was != nil}
	if b.Was != nil {
		change.Was = *b.Was
	}
	if err := a.Registry.Tag(ctx, change); err != nil {
		return nil, err
	}
	return reply(ImageTag{b.Repository, b.Tag, b.Digest}), nil
}

func (a *API) listImageTagMoves(ctx context.Context, in *struct {
	PageIn
	ImageRepositoryIn
	Tag string `query:"tag" required:"true" maxLength:"128"`
}) (*answer[List[TagMove]], error) {
	h, err := a.Images.History(ctx, in.Repository, in.Tag, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(models.List[models.TagMove]{Items: h.Moves, Next: h.Next}, tagMoveOf), nil
}

func tagMoveOf(m *models.TagMove) TagMove {
	out := TagMove{
		Tag: m.Tag, Digest: m.Digest, Previous: m.Previous, By: m.ActorName, Kept: m.Kept,
		Deployments: sliceOf(m.Places, placeOf), CreatedAt: m.CreatedAt.UTC(),
	}
	if m.Build != nil {
		b := imageBuildOf(m.Build)
		out.Build = &b
	}
	return out
}
