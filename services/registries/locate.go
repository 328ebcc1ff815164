package registries

import (
	"context"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Locate finds the registry of an image's repository that is written with its
// host, such as ghcr.io/acme/shop, among those that the team may use for the
// action; the embedded registry has the empty id. Several may be at one host,
// with credentials that see different repositories. It is NotFound where no
// registry of the team is at the host, and Denied where none of them covers the repository.
func (s *Service) Locate(ctx context.Context, teamID, repository, action string) (registryID, path string, err error) {
	host, path, ok := strings.Cut(repository, "/")
	if s.Embedded != nil && host == s.Embedded.Host() {
		return "", path, nil
	}
	if !ok || !ValidRepository(path) {
		return "", "", models.Errorf(models.NotFound, "%q names no repository of a registry.", repository)
	}
	if host == dockerHubAPI {
		host = dockerHub
	}
	var at []models.Registry
	err = s.DB.WithContext(ctx).Omit("secrets").Preload("Grants", func(tx *gorm.DB) *gorm.DB { return tx.Where("team_id = ?", teamID) }).
		Where("host = ?", host).Order("id").Find(&at).Error
	if err != nil {
		return "", "", err
	}
	var refusal error
	for i := range at {
		if at[i].AllTeams == models.RegistryNone && len(at[i].Grants) == 0 {
			continue // what is not granted is not known
		}
		if refusal = teamMay(teamID, &at[i], path, action); refusal == nil {
			return at[i].ID, path, nil
		}
	}
	if refusal != nil {
		return "", "", refusal
	}
	return "", "", models.Errorf(models.NotFound, "No registry at %s is granted to the team. An admin connects registries and grants them under Registries.", host)
}

// OpenNamed is OpenForTeam for a repository that is written with its host.
func (s *Service) OpenNamed(ctx context.Context, teamID, repository string, actions ...string) (*Remote, error) {
	id, path, err := s.Locate(ctx, teamID, repository, actions[len(actions)-1])
	if err != nil {
		return nil, err
	}
	return s.OpenForTeam(ctx, teamID, id, path, actions...)
}

// FullName is a repository's name with its host, as people and engines write
// it: the embedded registry's where the id is empty. It tells nothing that the
// caller's own records don't, so that it asks for no right.
func (s *Service) FullName(ctx context.Context, registryID, repository string) (string, error) {
	if registryID == "" {
		return s.Embedded.Host() + "/" + repository, nil
	}
	var r models.Registry
	if err := s.DB.WithContext(ctx).Select("id", "host").First(&r, "id = ?", registryID).Error; err != nil {
		return "", models.FromDB(err, "registry")
	}
	return r.Host + "/" + repository, nil
}
