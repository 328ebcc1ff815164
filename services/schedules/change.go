package schedules

import (
	"context"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/git"
)

// New is what makes a schedule.
type New struct {
	Cron     string `json:"cron" form:"cron" maxLength:"200" doc:"Minute, hour, day of the month, month, day of the week; or a word such as @daily." example:"0 2 * * 1-5"`
	TimeZone string `json:"time_zone,omitempty" form:"time_zone" maxLength:"100" doc:"A name of the IANA database; UTC where empty." example:"Europe/Berlin"`
	Ref      string `json:"ref,omitempty" form:"ref" maxLength:"300" doc:"A branch or a tag; the default branch where empty."`
	NoCache  bool   `json:"no_cache,omitempty" form:"no_cache" doc:"Build every step anew."`
	OnlyNew  bool   `json:"only_new,omitempty" form:"only_new" doc:"Build only a commit that the ref's last build was not about."`
	Enabled  *bool  `json:"enabled,omitempty" form:"enabled" doc:"True where absent."`
}

// Change is what may change of a schedule; what is absent stays as it is.
type Change struct {
	Cron     *string `json:"cron,omitempty" maxLength:"200"`
	TimeZone *string `json:"time_zone,omitempty" maxLength:"100"`
	Ref      *string `json:"ref,omitempty" maxLength:"300"`
	NoCache  *bool   `json:"no_cache,omitempty"`
	OnlyNew  *bool   `json:"only_new,omitempty"`
	Enabled  *bool   `json:"enabled,omitempty"`
}

// Create makes a schedule of the app; the team's developers may.
func (s *Service) Create(ctx context.Context, appID string, in New) (*Listed, error) {
	app, err := s.app(ctx, appID, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	row := &models.Schedule{
		ID: models.NewID(), TeamID: app.TeamID, AppID: app.ID, Cron: tidy(in.Cron), TimeZone: strings.TrimSpace(in.TimeZone), Ref: strings.TrimSpace(in.Ref),
		NoCache: in.NoCache, OnlyNew: in.OnlyNew, Enabled: in.Enabled == nil || *in.Enabled,
	}
	if row.TimeZone == "" {
		row.TimeZone = "UTC"
	}
	if p := models.PrincipalFrom(ctx); p != nil {
		row.CreatedBy, row.CreatedByName = p.UserID, p.Name
	}
	if err := s.plan(row); err != nil {
		return nil, err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var others int64
		if err := tx.Model(&models.Schedule{}).Where("app_id = ?", app.ID).Count(&others).Error; err != nil {
			return err
		}
		if others >= maxOfApp {
			return models.Errorf(models.Conflict, "%s has %d schedules already, and no app may have more. Delete one first.", app.Name, others)
		}
		if err := tx.Omit("App").Create(row).Error; err != nil {
			return err
		}
		return record(ctx, tx, row, "schedule.create")
	})
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, row.ID)
}

// Update changes a schedule, or switches it on or off; the team's developers may. Its next turn is counted from now.
func (s *Service) Update(ctx context.Context, id string, in Change) (*Listed, error) {
	row, err := s.schedule(ctx, id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	in.apply(row)
	if err := s.plan(row); err != nil {
		return nil, err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		moved := tx.Model(&models.Schedule{}).Where("id = ?", id).Updates(map[string]any{
			"cron": row.Cron, "time_zone": row.TimeZone, "ref": row.Ref, "no_cache": row.NoCache, "only_new": row.OnlyNew, "enabled": row.Enabled,
			"next_at": row.NextAt, "error": "", "turn": gorm.Expr("turn + 1"), "leased_until": nil, "updated_at": s.now(),
		})
		if moved.Error != nil {
			return moved.Error
		}
		if moved.RowsAffected == 0 {
			return models.Errorf(models.NotFound, "No such schedule.")
		}
		return record(ctx, tx, row, "schedule.update")
	})
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, id)
}

func (c Change) apply(row *models.Schedule) {
	if c.Cron != nil {
		row.Cron = tidy(*c.Cron)
	}
	if c.TimeZone != nil {
		row.TimeZone = strings.TrimSpace(*c.TimeZone)
	}
	if c.Ref != nil {
		row.Ref = strings.TrimSpace(*c.Ref)
	}
	for _, box := range []struct{ to, from *bool }{{&row.NoCache, c.NoCache}, {&row.OnlyNew, c.OnlyNew}, {&row.Enabled, c.Enabled}} {
		if box.from != nil {
			*box.to = *box.from
		}
	}
}

// tidy writes an expression with single spaces.
func tidy(expression string) string { return strings.Join(strings.Fields(expression), " ") }

// plan checks the schedule and finds its next turn.
func (s *Service) plan(row *models.Schedule) error {
	wrong := map[string]string{}
	table, err := newTimetable(row.Cron, row.TimeZone)
	if err != nil {
		told, ok := err.(*models.Error)
		if !ok {
			return err
		}
		wrong = told.Fields
	}
	if row.Ref != "" && (!git.ValidRef(row.Ref) || git.ValidCommit(row.Ref)) {
		wrong["ref"] = "Use the name of a branch or a tag; a commit never changes."
	}
	if len(wrong) > 0 {
		return models.InvalidFields(wrong)
	}
	row.NextAt = nil
	if row.Enabled {
		row.NextAt = after(table, s.now())
	}
	return nil
}

// after is the timetable's next turn, as it is stored; nil where there is none.
func after(table timetable, now time.Time) *time.Time {
	next := table.next(now).UTC()
	if next.IsZero() {
		return nil
	}
	return &next
}

// Delete deletes a schedule; the team's developers may. Its builds stay.
func (s *Service) Delete(ctx context.Context, id string) error {
	row, err := s.schedule(ctx, id, models.RoleDeveloper)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Delete(&models.Schedule{}, "id = ?", id).Error; err != nil {
			return err
		}
		return record(ctx, tx, row, "schedule.delete")
	})
}
