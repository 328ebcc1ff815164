package catalog

import (
	"context"
	"fmt"

	"slipway.dev/models"
)

// CountApps counts the apps of each of the repositories, which a list returned; by repository id.
func (s *Service) CountApps(ctx context.Context, list []models.Repository) (map[string]int, error) {
	ids := make([]string, 0, len(list))
	for _, r := range list {
		ids = append(ids, r.ID)
	}
	var rows []struct {
		RepositoryID string
		N            int
	}
	err := s.DB.WithContext(ctx).Model(&models.App{}).Select("repository_id, COUNT(*) AS n").Where("repository_id IN ?", ids).Group("repository_id").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("counting apps: %w", err)
	}
	counts := make(map[string]int, len(rows))
	for _, row := range rows {
		counts[row.RepositoryID] = row.N
	}
	return counts, nil
}
