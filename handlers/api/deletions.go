package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/registry"
)

// DeletedImage is something that was deleted from the registry and can be restored for a while.
type DeletedImage struct {
	ID         string              `json:"id"`
	Repository string              `json:"repository" example:"payments/checkout"`
	Kind       models.DeletionKind `json:"kind" enum:"tag,image,repository"`
	Name       string              `json:"name" doc:"The tag, the digest or the repository."`
	Digest     string              `json:"digest"`
	Manifests  int64               `json:"manifests" doc:"How many it took, with platforms and signatures."`
	Tags       int64               `json:"tags"`
	Size       int64               `json:"size" doc:"Bytes that nothing else held when it was deleted."`
	RunID      string              `json:"run_id" doc:"The clean-up that did it."`
	DeletedBy  string              `json:"deleted_by" doc:"A name, for people; empty: Slipway."`
	DeletedAt  time.Time           `json:"deleted_at"`
	ExpiresAt  time.Time           `json:"expires_at" doc:"Until then it can be restored."`
}

// RestoredImage is what came back.
type RestoredImage struct {
	Repository string   `json:"repository"`
	Digest     string   `json:"digest"`
	Tags       []string `json:"tags" nullable:"false" doc:"That are there again."`
	LeftOut    []string `json:"left_out" nullable:"false" doc:"A sentence for each thing that did not come back."`
}

func (a *API) deletions() {
	const undo = "It can be restored for a while."
	erase(a, "/image-tags", "delete-image-tag", "Delete a tag; its image stays", a.deleteImageTag, about(undo))
	erase(a, "/images/{digest}", "delete-image", "Delete an image with its tags, platforms and signatures", a.deleteImage, about(undo+" What runs somewhere is not deleted: 409."))
	erase(a, "/image-repositories", "delete-image-repository", "Delete every image of a repository", a.deleteImageRepository, about(undo+" Where one of them runs nothing is deleted: 409."))
	get(a, "/deleted-images", "list-deleted-images", "What was deleted and can be restored, newest first", a.listDeletedImages, about("Name a team or a repository."))
	get(a, "/deleted-images/{id}", "get-deleted-image", "Something that was deleted and can be restored", a.getDeletedImage)
	post(a, "/deleted-images/{id}/restore", "restore-deleted-image", "Restore what was deleted", a.restoreDeletedImage,
		about("Images come back under the same digests, with what is about them and with the tags whose names are still free."))
	remove(a, "/deleted-images/{id}", "purge-deleted-image", "Delete for good what can be restored", a.purgeDeletedImage)
}

// erase is a DELETE that answers what was deleted.
func erase[I, O any](a *API, path, id, summary string, h func(context.Context, *I) (*O, error), opts ...option) {
	register(a, http.MethodDelete, path, id, summary, h, opts)
}

func (a *API) deleteImageTag(ctx context.Context, in *struct {
	RepositoryIn
	Tag string `query:"tag" required:"true" maxLength:"128"`
}) (*answer[DeletedImage], error) {
	d, err := a.Registry.DeleteTag(ctx, in.Repository, in.Tag)
	return replyWith(d, deletedOf, err)
}

func (a *API) deleteImage(ctx context.Context, in *struct {
	RepositoryIn
	Digest string `path:"digest" maxLength:"200"`
}) (*answer[DeletedImage], error) {
	d, err := a.Registry.DeleteImage(ctx, in.Repository, in.Digest)
	return replyWith(d, deletedOf, err)
}

func (a *API) deleteImageRepository(ctx context.Context, in *RepositoryIn) (*answer[DeletedImage], error) {
	d, err := a.Registry.DeleteRepository(ctx, in.Repository)
	return replyWith(d, deletedOf, err)
}

func (a *API) listDeletedImages(ctx context.Context, in *struct {
	PageIn
	Team       string `query:"team" maxLength:"100" doc:"The team's slug."`
	Repository string `query:"repository" maxLength:"300"`
	RunID      string `query:"run_id" maxLength:"100" doc:"Only what this clean-up deleted."`
}) (*answer[List[DeletedImage]], error) {
	if in.Team == "" && in.Repository == "" {
		return nil, models.InvalidField("team", "Name a team or a repository.")
	}
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	l, err := a.Registry.Deletions(ctx, registry.DeletionFilter{Page: in.page(), TeamID: team, Repository: in.Repository, RunID: in.RunID})
	if err != nil {
		return nil, err
	}
	return listOf(l, deletedOf), nil
}

func (a *API) getDeletedImage(ctx context.Context, in *IDIn) (*answer[DeletedImage], error) {
	d, err := a.Registry.Deletion(ctx, in.ID)
	return replyWith(d, deletedOf, err)
}

func (a *API) restoreDeletedImage(ctx context.Context, in *IDIn) (*answer[RestoredImage], error) {
	r, err := a.Registry.Restore(ctx, in.ID)
	return replyWith(r, func(r *models.Restored) RestoredImage {
		return RestoredImage{r.Deletion.Repository, r.Deletion.Digest, append([]string{}, r.Tags...), append([]string{}, r.LeftOut...)}
	}, err)
}

func (a *API) purgeDeletedImage(ctx context.Context, in *IDIn) error {
	return a.Registry.Purge(ctx, in.ID)
}

func deletedOf(d *models.RegistryDeletion) DeletedImage {
	return DeletedImage{d.ID, d.Repository, d.Kind, d.Name, d.Digest, d.Manifests, d.Tags, d.Size, d.RunID, d.DeletedByName, d.DeletedAt.UTC(), d.ExpiresAt.UTC()}
}
