package builds

import (
	"context"
	"path"
	"strings"

	"slipway.dev/models"
)

// maxShownFile bounds how much of a Dockerfile is shown.
const maxShownFile = 256 << 10

// Findings returns the Dockerfile that the build was made of and what its checks say; the team's viewers may read it.
// It is there once the build has read it.
func (s *Service) Findings(ctx context.Context, id string) (*models.BuildDockerfile, error) {
	if _, err := s.build(ctx, id, models.RoleViewer); err != nil {
		return nil, err
	}
	var file models.BuildDockerfile
	if err := s.DB.WithContext(ctx).Where("build_id = ?", id).Take(&file).Error; err != nil {
		return nil, models.FromDB(err, "Dockerfile")
	}
	return &file, nil
}

// Dockerfile returns a build with its steps and its Dockerfile: as Findings, and
// where the build has not read it, as with one that runs elsewhere, the first
// 256 KiB of it from this machine's copy of the repository. The team's viewers
// may read it. It fails with NotFound where the commit has no such file, and
// with Unavailable where this machine has no copy.
func (s *Service) Dockerfile(ctx context.Context, id string) (*models.Build, *models.BuildDockerfile, error) {
	b, err := s.Get(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	file, err := s.Findings(ctx, id)
	if err == nil || !models.IsCode(err, models.NotFound) {
		return b, file, err
	}
	text, err := s.Git.ReadFile(ctx, b.App.RepositoryID, b.Commit, path.Clean(b.Dockerfile), maxShownFile)
	if err != nil {
		return nil, nil, err
	}
	return b, &models.BuildDockerfile{BuildID: b.ID, Path: b.Dockerfile, Text: strings.ToValidUTF8(string(text), "\uFFFD")}, nil
}
