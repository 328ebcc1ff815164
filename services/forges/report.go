package forges

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// maxDescription is how many characters GitHub takes as a status' description; the others take as many at least.
const maxDescription = 140

// BuildChanged notes in tx that the forge has to be told of the build's new state, where its repository has a connection
// with a credential. It takes part in the transactions of builds.
func (s *Service) BuildChanged(tx *gorm.DB, b *models.Build) error {
	var at struct{ RepositoryID, ConnectionID string }
	err := tx.Table("apps").Select("repositories.id AS repository_id, connections.id AS connection_id").
		Joins("JOIN repositories ON repositories.id = apps.repository_id").Joins("JOIN connections ON connections.id = repositories.connection_id").
		Where("apps.id = ? AND connections.credential <> ?", b.AppID, models.ConnectionNone).Limit(1).Scan(&at).Error
	if err != nil || at.ConnectionID == "" {
		return err
	}
	now := s.now()
	row := models.ForgeReport{
		ID: models.NewID(), TeamID: b.TeamID, AppID: b.AppID, Commit: b.Commit, ConnectionID: at.ConnectionID, RepositoryID: at.RepositoryID,
		BuildID: b.ID, Number: b.Number, State: b.State, Description: describe(b), Version: 1, Since: now, NextAt: &now, UpdatedAt: now,
	}
	if b.RefKind == string(models.RefBranch) || b.RefKind == string(models.RefTag) {
		row.Ref = b.Ref
	}
	if err := tx.Clauses(replaceOlder).Create(&row).Error; err != nil {
		return fmt.Errorf("noting what the forge is to be told of build %s: %w", b.ID, err)
	}
	return nil
}

// replaceOlder takes over what a report is to say, unless it is about a newer build of the commit, or says it already.
var replaceOlder = clause.OnConflict{
	Columns: []clause.Column{{Name: "app_id"}, {Name: "commit"}},
	DoUpdates: append(clause.AssignmentColumns([]string{"connection_id", "repository_id", "build_id", "number", "state", "description", "ref", "since", "next_at", "updated_at"}),
		clause.Assignments(map[string]any{
			"version": gorm.Expr("forge_reports.version + 1"), "attempts": 0, "error": "",
			"held_until": gorm.Expr("CASE WHEN forge_reports.connection_id = excluded.connection_id THEN forge_reports.held_until END"),
			"sent":       gorm.Expr("CASE WHEN forge_reports.build_id = excluded.build_id THEN forge_reports.sent ELSE '' END"),
		})...),
	Where: clause.Where{Exprs: []clause.Expression{gorm.Expr(
		"forge_reports.number < excluded.number OR (forge_reports.build_id = excluded.build_id AND forge_reports.state <> excluded.state)")}},
}

// describe says where a build stands in a sentence that fits a commit status.
func describe(b *models.Build) string {
	text := "Build " + b.Title()
	switch b.State {
	case models.BuildWaiting:
		text += " waits for approval"
	case models.BuildQueued:
		text += " waits for a worker"
	case models.BuildRunning:
		text += " is running"
	case models.BuildSucceeded:
		text += " succeeded"
		if b.StartedAt != nil && b.FinishedAt != nil {
			text += " in " + b.FinishedAt.Sub(*b.StartedAt).Round(time.Second).String()
		}
	case models.BuildFailed, models.BuildCanceled:
		text += map[models.BuildState]string{models.BuildFailed: " failed", models.BuildCanceled: " was canceled"}[b.State]
		if b.Error != nil && b.Error.Message != "" {
			text += ": " + b.Error.Message
		}
	default:
		text += " is " + string(b.State)
	}
	return cut(strings.Join(strings.Fields(text), " "), maxDescription)
}

// cut shortens the text to so many characters, the last of which then says so.
func cut(text string, limit int) string {
	if runes := []rune(text); len(runes) > limit {
		return strings.TrimSpace(string(runes[:limit-1])) + "…"
	}
	return text
}

// Told is what a forge was told of a build, or is to be told.
type Told struct {
	models.ForgeReport
	Forge string // what people call the forge
	Word  string // the forge's word for the build's state
}

// Report returns what the forge was told of the build; the team's viewers may ask. ok is false where there is nothing
// to tell: the repository has no connection with a credential, or a newer build of the commit speaks for it.
func (s *Service) Report(ctx context.Context, b *models.Build) (told Told, ok bool, err error) {
	if err := models.Authorize(ctx, b.TeamID, models.RoleViewer, "build"); err != nil {
		return told, false, err
	}
	err = s.DB.WithContext(ctx).Where("build_id = ?", b.ID).Take(&told.ForgeReport).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return told, false, nil
	}
	if err != nil {
		return told, false, fmt.Errorf("reading what the forge was told of build %s: %w", b.ID, err)
	}
	var c models.Connection
	if err := s.DB.WithContext(ctx).Omit("secrets", "webhook_secret").Where("id = ?", told.ConnectionID).Take(&c).Error; err != nil {
		return told, false, models.FromDB(err, "connection")
	}
	told.Forge, told.Word = forgeName(&c), word(c.Kind, told.State)
	return told, true, nil
}

// Trouble returns the newest report of the connection that could not be sent, where the last one that was tried is such;
// the team's maintainers may ask.
func (s *Service) Trouble(ctx context.Context, connectionID string) (report models.ForgeReport, ok bool, err error) {
	if _, err := s.connection(ctx, connectionID); err != nil {
		return report, false, err
	}
	err = s.DB.WithContext(ctx).Where("connection_id = ? AND (error <> '' OR sent_at IS NOT NULL)", connectionID).Order("updated_at DESC").Limit(1).Find(&report).Error
	return report, report.Error != "", err
}

// retry has what could not be told lately tried anew in tx, because the connection was changed.
func (s *Service) retry(tx *gorm.DB, connectionID string) error {
	now := s.now()
	for _, what := range []any{&models.ForgeReport{}, &models.ForgeComment{}} {
		waiting := func() *gorm.DB { return tx.Model(what).Where("connection_id = ?", connectionID) }
		if err := waiting().Where("held_until IS NOT NULL").UpdateColumn("held_until", nil).Error; err != nil {
			return err
		}
		err := waiting().Where("error <> '' AND since > ?", now.Add(-maxAge)).
			UpdateColumns(map[string]any{"next_at": now, "since": now, "attempts": 0, "version": gorm.Expr("version + 1")}).Error
		if err != nil {
			return err
		}
	}
	return nil
}
