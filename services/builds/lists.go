package builds

import (
	"context"
	"fmt"

	"slipway.dev/models"
)

// Newest returns the newest build of each of the apps, by app id, with their
// steps; builds that the principal may not see are left out.
func (s *Service) Newest(ctx context.Context, appIDs []string) (map[string]models.Build, error) {
	p := models.PrincipalFrom(ctx)
	if p == nil {
		return nil, models.Errorf(models.Unauthorized, "Sign in first.")
	}
	ids, all := p.TeamIDs()
	// One look at the end of the index for each app, however many builds it has.
	newest := s.DB.WithContext(ctx).Model(&models.App{}).Select("(SELECT MAX(builds.id) FROM builds WHERE builds.app_id = apps.id)").Where("apps.id IN ?", appIDs)
	if !all {
		newest = newest.Where("apps.team_id IN ?", ids)
	}
	var found []models.Build
	if err := s.DB.WithContext(ctx).Where("id IN (?)", newest).Find(&found).Error; err != nil {
		return nil, fmt.Errorf("reading the newest builds: %w", err)
	}
	if err := s.AddSteps(ctx, found); err != nil {
		return nil, err
	}
	byApp := make(map[string]models.Build, len(found))
	for _, b := range found {
		byApp[b.AppID] = b
	}
	return byApp, nil
}

// AddSteps adds their steps to builds that a list returned.
func (s *Service) AddSteps(ctx context.Context, list []models.Build) error {
	at := make(map[string]*models.Build, len(list))
	ids := make([]string, 0, len(list))
	for i := range list {
		at[list[i].ID] = &list[i]
		ids = append(ids, list[i].ID)
	}
	var steps []models.BuildStep
	err := s.DB.WithContext(ctx).Select("build_id", "id", "seq", "state", "started_at", "duration_ms").
		Where("build_id IN ?", ids).Order("build_id, seq").Find(&steps).Error
	if err != nil {
		return fmt.Errorf("reading the steps of builds: %w", err)
	}
	for _, step := range steps {
		at[step.BuildID].Steps = append(at[step.BuildID].Steps, step)
	}
	return nil
}
