package builds

import (
	"context"
	"path"
	"strings"

	"slipway.dev/models"
)

// maxShownFile bounds how much of a Dockerfile is shown.
const maxShownFile = 256 << 10

// DockerfileOf returns a build with its steps, and the text of the Dockerfile at
// its commit, the first 256 KiB of it. The team's viewers may read it. It fails
// with NotFound where the commit has no such file, and with Unavailable where
// this machine has no copy of the repository.
func (s *Service) DockerfileOf(ctx context.Context, id string) (*models.Build, string, error) {
	b, err := s.Get(ctx, id)
	if err != nil {
		return nil, "", err
	}
	text, err := s.Git.ReadFile(ctx, b.App.RepositoryID, b.Commit, path.Clean(b.Dockerfile), maxShownFile)
	if err != nil {
		return nil, "", err
	}
	return b, strings.ToValidUTF8(string(text), "\uFFFD"), nil
}
