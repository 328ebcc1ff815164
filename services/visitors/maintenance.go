package visitors

import (
	"context"
	"crypto/rand"
	"net/netip"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

const (
	maxMessage = 1000 // bytes
	maxAllow   = 50
)

// MaintenanceInput keeps visitors away from an app in an environment.
type MaintenanceInput struct {
	EnvironmentID string
	AppID         string
	Message       string     // what visitors read
	EndsAt        *time.Time // nil: somebody ends it
	Allow         []string   // addresses and ranges from where the app is reached all the same
	NewCode       bool       // where it is on already: the former code counts no longer
}

// Maintenance returns the maintenance of the place; nil where visitors reach the app.
func (s *Service) Maintenance(ctx context.Context, environmentID, appID string) (*models.Maintenance, error) {
	p, err := s.place(ctx, environmentID, appID, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	return s.maintenance(s.DB.WithContext(ctx), p)
}

// Maintenances lists the maintenance that is on in the environment.
func (s *Service) Maintenances(ctx context.Context, environmentID string) ([]models.Maintenance, error) {
	if _, err := s.environment(ctx, environmentID); err != nil {
		return nil, err
	}
	var all []models.Maintenance
	return all, s.DB.WithContext(ctx).Where("environment_id = ? AND (ends_at IS NULL OR ends_at > ?)", environmentID, s.now()).Order("app_id").Find(&all).Error
}

func (s *Service) maintenance(db *gorm.DB, p *place) (*models.Maintenance, error) {
	var rows []models.Maintenance
	err := db.Limit(1).Find(&rows, "environment_id = ? AND app_id = ? AND (ends_at IS NULL OR ends_at > ?)", p.Environment.ID, p.App.ID, s.now()).Error
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return &rows[0], nil
}

// StartMaintenance keeps visitors away from the place at once, or changes what
// they read meanwhile. Code is what lets a visitor reach the app all the same;
// it is told when it is made and never again, and is empty where the former one stays.
func (s *Service) StartMaintenance(ctx context.Context, in MaintenanceInput) (m *models.Maintenance, code string, err error) {
	p, err := s.stage(ctx, in.EnvironmentID, in.AppID)
	if err != nil {
		return nil, "", err
	}
	if err := s.behindProxy(ctx, p); err != nil {
		return nil, "", err
	}
	m = &models.Maintenance{EnvironmentID: p.Environment.ID, AppID: p.App.ID, Message: strings.TrimSpace(in.Message), EndsAt: in.EndsAt, StartedByName: actor(ctx), StartedAt: s.now()}
	if m.Allow, err = s.checkMaintenance(m, in.Allow); err != nil {
		return nil, "", err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		was, err := s.maintenance(tx, p)
		if err != nil {
			return err
		}
		if was != nil && !in.NewCode {
			m.CodeHash, m.StartedAt = was.CodeHash, was.StartedAt
		} else {
			code = strings.ToLower(rand.Text())
			m.CodeHash = models.HashCode(code)
		}
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(m).Error; err != nil {
			return err
		}
		detail := map[string]string{"message": m.Message}
		if m.EndsAt != nil {
			detail["ends_at"] = m.EndsAt.UTC().Format(time.RFC3339)
		}
		return p.changed(ctx, tx, "maintenance.start", p.App.Name, detail)
	})
	if err != nil {
		return nil, "", err
	}
	return m, code, nil
}

// checkMaintenance reads the ranges and refuses what makes no sense.
func (s *Service) checkMaintenance(m *models.Maintenance, allow []string) (ranges []netip.Prefix, err error) {
	wrong := map[string]string{}
	if len(m.Message) > maxMessage {
		wrong["message"] = "At most 1000 bytes."
	}
	if m.EndsAt != nil && !m.EndsAt.After(s.now()) {
		wrong["ends_at"] = "The end has to be in the future."
	}
	for _, text := range allow {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		r, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil && addr.Zone() == "" {
			addr = addr.Unmap()
			r, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			wrong["allow"] = "Write addresses and ranges such as 203.0.113.7 or 10.0.0.0/8, one on each line."
			break
		}
		ranges = append(ranges, r.Masked())
	}
	if len(ranges) > maxAllow {
		wrong["allow"] = "At most 50 ranges."
	}
	return ranges, models.InvalidFields(wrong)
}

// EndMaintenance lets visitors reach the place again.
func (s *Service) EndMaintenance(ctx context.Context, environmentID, appID string) error {
	p, err := s.place(ctx, environmentID, appID, models.RoleMaintainer)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		gone := tx.Delete(&models.Maintenance{}, "environment_id = ? AND app_id = ?", p.Environment.ID, p.App.ID)
		if gone.Error != nil {
			return gone.Error
		}
		if gone.RowsAffected == 0 {
			return models.Errorf(models.Conflict, "%s is not in maintenance in %s.", p.App.Name, p.Name)
		}
		return p.changed(ctx, tx, "maintenance.end", p.App.Name, nil)
	})
}
