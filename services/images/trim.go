package images

import (
	"context"
	"fmt"

	"slipway.dev/models"
)

// defaultKept is how many bytes of what was read from external registries are kept.
const defaultKept = 256 << 20

// Trim forgets what was read from external registries longest ago, until what
// is kept is within the limit. It is read again when somebody wants it.
func (s *Service) Trim(ctx context.Context) error {
	limit := s.Kept
	if limit == 0 {
		limit = defaultKept
	}
	db := s.DB.WithContext(ctx)
	rows, err := db.Model(&models.RegistryDocument{}).Select("read_at", "size").Order("read_at DESC").Rows()
	if err != nil {
		return fmt.Errorf("measuring what was read of registries: %w", err)
	}
	defer rows.Close()
	var sum int64
	for rows.Next() {
		var d models.RegistryDocument
		if err := rows.Scan(&d.ReadAt, &d.Size); err != nil {
			return fmt.Errorf("measuring what was read of registries: %w", err)
		}
		if sum += d.Size; sum > limit {
			rows.Close()
			return db.Where("read_at <= ?", d.ReadAt).Delete(&models.RegistryDocument{}).Error
		}
	}
	return rows.Err()
}
