package visitors

import (
	"context"
	"strconv"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// Bounds of the limits, in seconds and bytes.
const (
	maxConnect   = 60
	maxFirstByte = 3600
	minIdle      = 5
	maxIdle      = 24 * 3600
	maxBody      = 1 << 40
)

// Limits returns the limits of the place as they were set; what is 0 there is the default.
func (s *Service) Limits(ctx context.Context, environmentID, appID string) (*models.PlaceLimits, error) {
	p, err := s.place(ctx, environmentID, appID, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	row := &models.PlaceLimits{}
	err = s.DB.WithContext(ctx).Limit(1).Find(row, "environment_id = ? AND app_id = ?", p.Environment.ID, p.App.ID).Error
	row.EnvironmentID, row.AppID = p.Environment.ID, p.App.ID
	return row, err
}

// SetLimits bounds the requests to the place from now on.
func (s *Service) SetLimits(ctx context.Context, in models.PlaceLimits) (*models.PlaceLimits, error) {
	p, err := s.stage(ctx, in.EnvironmentID, in.AppID)
	if err != nil {
		return nil, err
	}
	if err := s.behindProxy(ctx, p); err != nil {
		return nil, err
	}
	if err := checkLimits(in); err != nil {
		return nil, err
	}
	in.EnvironmentID, in.AppID, in.UpdatedBy, in.UpdatedAt = p.Environment.ID, p.App.ID, actor(ctx), s.now()
	return &in, s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&in).Error; err != nil {
			return err
		}
		return p.changed(ctx, tx, "limits.set", p.App.Name, map[string]string{"connect": strconv.FormatInt(in.Connect, 10),
			"first_byte": strconv.FormatInt(in.FirstByte, 10), "idle": strconv.FormatInt(in.Idle, 10), "body": strconv.FormatInt(in.Body, 10)})
	})
}

func checkLimits(in models.PlaceLimits) error {
	wrong := map[string]string{}
	within := func(field string, n, least, most int64) {
		if n != 0 && (n < least || n > most) {
			wrong[field] = "From " + strconv.FormatInt(least, 10) + " to " + strconv.FormatInt(most, 10) + " seconds."
		}
	}
	within("connect", in.Connect, 1, maxConnect)
	within("first_byte", in.FirstByte, 1, maxFirstByte)
	within("idle", in.Idle, minIdle, maxIdle)
	if in.Body < -1 || in.Body > maxBody {
		wrong["body"] = "At most 1 TiB; -1 for any size."
	}
	return models.InvalidFields(wrong)
}
