package previews

import (
	"context"
	"strconv"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// Limits of settings.
const (
	defaultHours = 72
	maxHours     = 90 * 24
	maxAtMost    = 100
)

// SettingsInput says what previews of an app are.
type SettingsInput struct {
	Enabled    bool
	TargetID   string
	TemplateID string // empty: they get no variables
	Secrets    bool
	Hours      int
	AtMost     int
}

// settings are those of an app, with what follows from them.
type settings struct{ models.PreviewSettings }

// life is how long a preview lives after the last push.
func (s settings) life() time.Duration { return time.Duration(max(s.Hours, 1)) * time.Hour }

// settingsOf reads the app's settings; ok is false where nobody has set any.
func settingsOf(tx *gorm.DB, appID string) (set settings, ok bool, err error) {
	err = tx.Limit(1).Find(&set.PreviewSettings, "app_id = ?", appID).Error
	return set, set.AppID != "", err
}

// Settings returns what previews of the app are; the team's viewers may ask.
// Where nobody has set anything they are off.
func (s *Service) Settings(ctx context.Context, appID string) (*models.PreviewSettings, error) {
	app, err := s.app(ctx, appID, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	set, ok, err := settingsOf(s.DB.WithContext(ctx), app.ID)
	if err != nil {
		return nil, err
	}
	if !ok {
		set.PreviewSettings = models.PreviewSettings{AppID: app.ID, TeamID: app.TeamID, Hours: defaultHours}
	}
	return &set.PreviewSettings, nil
}

func (s *Service) app(ctx context.Context, id string, role models.Role) (*models.App, error) {
	var app models.App
	if err := s.DB.WithContext(ctx).Preload("Team").Take(&app, "id = ?", id).Error; err != nil {
		return nil, models.FromDB(err, "app")
	}
	return &app, models.Authorize(ctx, app.TeamID, role, "app")
}

// SetSettings says what previews of the app are from their next deployment on;
// the team's maintainers may. Where they are switched off those that there are end.
func (s *Service) SetSettings(ctx context.Context, appID string, in SettingsInput) (*models.PreviewSettings, error) {
	app, err := s.app(ctx, appID, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	if in.Hours == 0 {
		in.Hours = defaultHours
	}
	if err := s.check(ctx, app, in); err != nil {
		return nil, err
	}
	row := &models.PreviewSettings{AppID: app.ID, TeamID: app.TeamID, Enabled: in.Enabled, TargetID: in.TargetID, TemplateID: in.TemplateID,
		Secrets: in.Secrets && in.TemplateID != "", Hours: in.Hours, AtMost: in.AtMost, UpdatedAt: s.now()}
	if who := models.PrincipalFrom(ctx); who != nil {
		row.UpdatedBy = who.Name
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(row).Error; err != nil {
			return err
		}
		if err := s.settingsChanged(ctx, tx, app, row); err != nil || row.Enabled {
			return err
		}
		return s.finishAll(ctx, tx, app.ID)
	})
	return row, err
}

// finishAll tells all previews of the app to end, because it has none any more.
func (s *Service) finishAll(ctx context.Context, tx *gorm.DB, appID string) error {
	var all []models.Preview
	if err := tx.Where("app_id = ? AND state IN ?", appID, models.PreviewsGoing).Order("id").Find(&all).Error; err != nil {
		return err
	}
	for i := range all {
		if _, err := s.finish(ctx, tx, &all[i], models.PreviewOff); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) settingsChanged(ctx context.Context, tx *gorm.DB, app *models.App, row *models.PreviewSettings) error {
	err := audit.Record(ctx, tx, audit.Entry{TeamID: app.TeamID, Action: "app.previews", Subject: "app:" + app.ID, Name: app.Name, Detail: map[string]string{
		"enabled": strconv.FormatBool(row.Enabled), "target": row.TargetID, "template": row.TemplateID, "secrets": strconv.FormatBool(row.Secrets),
		"hours": strconv.Itoa(row.Hours), "at_most": strconv.Itoa(row.AtMost)}})
	if err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: app.TeamID, Kind: "app.previews", Topic: "app:" + app.ID, Parent: "team:" + app.TeamID})
}

// check refuses targets and environments that are not the team's to use, and numbers that make no sense.
func (s *Service) check(ctx context.Context, app *models.App, in SettingsInput) error {
	wrong := map[string]string{}
	if in.Hours < 1 || in.Hours > maxHours {
		wrong["hours"] = "From 1 hour to " + strconv.Itoa(maxHours) + " hours, which are 90 days."
	}
	if in.AtMost < 0 || in.AtMost > maxAtMost {
		wrong["at_most"] = "From 1 to " + strconv.Itoa(maxAtMost) + "; 0 for as many as the team may have."
	}
	if in.TargetID != "" || in.Enabled {
		ok, err := s.mayUse(ctx, app.TeamID, in.TargetID)
		if err != nil {
			return err
		}
		if !ok {
			wrong["target_id"] = "Choose a target that your team may use. An admin grants targets to teams."
		}
	}
	if in.TemplateID != "" {
		var n int64
		err := s.DB.WithContext(ctx).Model(&models.Environment{}).Where("id = ? AND team_id = ? AND kind = ?", in.TemplateID, app.TeamID, models.EnvironmentStage).Count(&n).Error
		if err != nil {
			return err
		}
		if n == 0 {
			wrong["template_id"] = "The team has no such environment."
		}
	}
	return models.InvalidFields(wrong)
}

func (s *Service) mayUse(ctx context.Context, teamID, targetID string) (bool, error) {
	all, err := s.Deploy.GrantedTargets(ctx, teamID)
	for _, t := range all {
		if t.ID == targetID {
			return true, err
		}
	}
	return false, err
}
