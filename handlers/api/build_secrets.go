package api

import (
	"context"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// BuildSecret is a value that commands of a build may read. It is never shown.
type BuildSecret struct {
	Name        string                 `json:"name" doc:"The id that RUN --mount names." example:"npm"`
	Kind        models.BuildSecretKind `json:"kind" enum:"secret,ssh"`
	Branches    []string               `json:"branches" nullable:"false" doc:"Branches whose code gets it, as patterns; all of them where empty."`
	Fingerprint string                 `json:"fingerprint" doc:"Changes whenever the value does."`
	Public      string                 `json:"public,omitempty" doc:"Of an SSH key: its public half."`
	UpdatedBy   string                 `json:"updated_by"`
	UpdatedAt   time.Time              `json:"updated_at"`
}

func (a *API) buildSecrets() {
	get(a, "/apps/{id}/build-secrets", "list-build-secrets", "Names of an app's build secrets", a.listBuildSecrets)
	put(a, "/apps/{id}/build-secrets/{name}", "set-build-secret", "Set a build secret", a.setBuildSecret,
		about("Commands of the Dockerfile read it by RUN --mount=type=secret,id=NAME, or have things signed with it by RUN --mount=type=ssh,id=NAME. It is never part of the image, its history or a log."))
	remove(a, "/apps/{id}/build-secrets/{name}", "delete-build-secret", "Delete a build secret", a.deleteBuildSecret)
}

func (a *API) listBuildSecrets(ctx context.Context, in *IDIn) (*answer[List[BuildSecret]], error) {
	all, err := a.Builds.Secrets(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(all, buildSecretOf), nil
}

func (a *API) setBuildSecret(ctx context.Context, in *struct {
	IDIn
	Name string `path:"name" maxLength:"200"`
	Body builds.SecretInput
}) (*answer[BuildSecret], error) {
	s, err := a.Builds.SetSecret(ctx, in.ID, in.Name, in.Body)
	return replyWith(s, buildSecretOf, err)
}

func (a *API) deleteBuildSecret(ctx context.Context, in *struct {
	IDIn
	Name string `path:"name" maxLength:"200"`
}) error {
	return a.Builds.DeleteSecret(ctx, in.ID, in.Name)
}

func buildSecretOf(s *models.BuildSecret) BuildSecret {
	return BuildSecret{Name: s.Name, Kind: s.Kind, Branches: append([]string{}, s.Branches...), Fingerprint: s.Fingerprint, Public: s.Public,
		UpdatedBy: s.UpdatedBy, UpdatedAt: s.UpdatedAt.UTC()}
}
