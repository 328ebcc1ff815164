package catalog

import (
	"bytes"
	"context"
	"errors"
	"strconv"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"slipway.dev/models"
)

const maxDockerfile = 1 << 20

// Stages lists the stages of the app's Dockerfile on the default branch, as this process's mirror has it: what a
// build may end with. It is empty where the file can't be read here.
func (s *Service) Stages(ctx context.Context, appID string) ([]string, error) {
	app, err := s.app(ctx, appID, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	text, err := s.dockerfile(ctx, app)
	if _, told := errors.AsType[*models.Error](err); told {
		return []string{}, nil
	}
	if err != nil {
		return nil, err
	}
	return stagesOf(text), nil
}

func (s *Service) dockerfile(ctx context.Context, app *models.App) ([]byte, error) {
	if !s.Git.Has(app.RepositoryID) {
		return nil, models.Errorf(models.NotFound, "The repository was not fetched here.")
	}
	at, err := s.Git.Resolve(ctx, app.RepositoryID, "")
	if err != nil {
		return nil, err
	}
	return s.Git.ReadFile(ctx, app.RepositoryID, at.Commit.ID, app.Dockerfile, maxDockerfile)
}

// stagesOf are the names of the stages, or their numbers where they have none.
func stagesOf(text []byte) []string {
	names := []string{}
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return names
	}
	stages, _, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return names
	}
	for i, stage := range stages {
		if stage.Name == "" {
			stage.Name = strconv.Itoa(i)
		}
		names = append(names, stage.Name)
	}
	return names
}
