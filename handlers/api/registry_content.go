package api

import (
	"context"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/images"
)

// RegistryTag is a tag of a repository and the image that it names.
type RegistryTag struct {
	Name    string     `json:"name"`
	MovedAt *time.Time `json:"moved_at" doc:"When it came to the image; null where the registry does not tell it."`
	MovedBy string     `json:"moved_by"`
	Image   Image      `json:"image" doc:"The digest is empty where an external registry was too slow to tell it."`
}

// RegistryIn is a call about a registry.
type RegistryIn struct {
	ID string `path:"id" maxLength:"100" doc:"A registry's id or slug, or embedded." example:"embedded"`
}

// OpenRepositoryBody names a repository of an external registry.
type OpenRepositoryBody struct {
	Repository string `json:"repository" maxLength:"300" doc:"Without the registry's host." example:"acme/shop"`
}

func (a *API) listRegistryRepositories(ctx context.Context, in *struct {
	RegistryIn
	PageIn
	Text string `query:"q" maxLength:"200" doc:"Part of the name."`
}) (*answer[List[ImageRepository]], error) {
	if in.ID == images.EmbeddedRegistry {
		l, err := a.Images.FindRepositories(ctx, images.Query{Text: in.Text, Page: in.page()})
		if err != nil {
			return nil, err
		}
		return listOf(l, a.imageRepositoryOf), nil
	}
	l, err := a.Images.External(ctx, in.ID, in.Text, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(l.List, a.imageRepositoryOf), nil
}

func (a *API) openRegistryRepository(ctx context.Context, in *struct {
	RegistryIn
	Body OpenRepositoryBody
}) (*answer[ImageRepository], error) {
	r, err := a.Images.OpenRepository(ctx, in.ID, in.Body.Repository)
	return replyWith(r, a.imageRepositoryOf, err)
}

func (a *API) listRegistryTags(ctx context.Context, in *struct {
	RegistryIn
	PageIn
	Repository string `query:"repository" required:"true" maxLength:"300" doc:"Such as payments/checkout."`
	Text       string `query:"q" maxLength:"200" doc:"Part of the tag."`
	Sort       string `query:"sort" enum:"newest,name,size" doc:"In external registries always name. Newest where empty."`
}) (*answer[List[RegistryTag]], error) {
	l, err := a.Images.Tags(ctx, images.TagQuery{Registry: in.ID, Repository: in.Repository, Text: in.Text, Sort: images.TagSort(in.Sort), Page: in.page()})
	if err != nil {
		return nil, err
	}
	return listOf(l, a.registryTagOf), nil
}

func (a *API) registryTagOf(i *models.Image) RegistryTag {
	t := i.Tags[0]
	return RegistryTag{t.Name, told(t.MovedAt), t.MovedByName, a.imageOf(i)}
}
