package forges

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// What a credential may not write, as problems name it.
const (
	thingStatuses = "commit statuses"
	thingComments = "comments on pull requests"
)

// nothingLeft is what a comment says once there is nothing to say any more.
const nothingLeft = "Slipway has nothing to say about this pull request any more."

// NoteComment notes in tx that what the comment on the pull request says may have changed, where the repository has a
// connection with a credential. The text is made when it is sent.
func (s *Service) NoteComment(tx *gorm.DB, repositoryID string, number int64) error {
	var c models.Connection
	err := tx.Select("connections.id", "connections.team_id").Joins("JOIN repositories ON repositories.connection_id = connections.id").
		Where("repositories.id = ? AND connections.credential <> ?", repositoryID, models.ConnectionNone).Limit(1).Find(&c).Error
	if err != nil || c.ID == "" {
		return err
	}
	now := s.now()
	row := models.ForgeComment{ID: models.NewID(), TeamID: c.TeamID, RepositoryID: repositoryID, ConnectionID: c.ID, Number: number, Version: 1, Since: now, NextAt: &now, UpdatedAt: now}
	changed := clause.OnConflict{
		Columns: []clause.Column{{Name: "repository_id"}, {Name: "number"}},
		DoUpdates: append(clause.AssignmentColumns([]string{"connection_id", "since", "next_at", "updated_at"}),
			clause.Assignments(map[string]any{"version": gorm.Expr("forge_comments.version + 1"), "attempts": 0, "error": ""})...),
	}
	if err := tx.Clauses(changed).Create(&row).Error; err != nil {
		return fmt.Errorf("noting that a comment on a pull request is to be written: %w", err)
	}
	return nil
}

// Comment returns what is known of the comment on the pull request; the team's viewers may ask. ok is false where none
// is to be written.
func (s *Service) Comment(ctx context.Context, teamID, repositoryID string, number int64) (c models.ForgeComment, ok bool, err error) {
	if err := models.Authorize(ctx, teamID, models.RoleViewer, "repository"); err != nil {
		return c, false, err
	}
	err = s.DB.WithContext(ctx).Where("repository_id = ? AND number = ? AND team_id = ?", repositoryID, number, teamID).Limit(1).Find(&c).Error
	return c, c.ID != "", err
}

// keepComments is how long it is known which comment at a forge is Slipway's.
const keepComments = 365 * 24 * time.Hour

// PruneComments forgets comments that were last changed long ago. They stay at their forges.
func (s *Service) PruneComments(ctx context.Context) error {
	err := s.DB.WithContext(ctx).Where("next_at IS NULL AND updated_at < ?", s.now().Add(-keepComments)).Delete(&models.ForgeComment{}).Error
	if err != nil {
		return fmt.Errorf("forgetting old comments: %w", err)
	}
	return nil
}

// SendComments writes every comment that is due. Every worker runs it regularly. What goes wrong is written down and
// tried again later; it is no error of SendComments.
func (s *Service) SendComments(ctx context.Context) error {
	if s.CommentText == nil {
		return nil
	}
	ctx = models.WithPrincipal(ctx, models.System("forges"))
	now := s.now()
	held := s.DB.Model(&models.ForgeComment{}).Select("connection_id").Where("held_until > ?", now)
	var due []models.ForgeComment
	err := s.DB.WithContext(ctx).Where("next_at <= ? AND (leased_until IS NULL OR leased_until <= ?) AND connection_id NOT IN (?)", now, now, held).
		Order("next_at").Limit(ofALook).Find(&due).Error
	if err != nil {
		return fmt.Errorf("looking for comments that are to be written: %w", err)
	}
	look := newLook()
	for i := range due {
		look.send("pull request "+due[i].ID, due[i].ConnectionID, func() (bool, error) { return s.comment(ctx, &due[i]) })
	}
	return look.wait()
}

// comment brings one comment up to date: reserve it, make its text, call the forge where that one has another text,
// write down what came of it.
func (s *Service) comment(ctx context.Context, c *models.ForgeComment) (down bool, err error) {
	if mine, err := s.reserveComment(ctx, c); err != nil || !mine {
		return false, err
	}
	text, err := s.CommentText(ctx, c.RepositoryID, c.Number)
	if err != nil {
		return false, err // the lease ends by itself
	}
	if text == "" && c.ExternalID == "" {
		return false, s.settleComment(ctx, c, map[string]any{"next_at": nil, "tried_at": nil})
	}
	if text == "" {
		text = nothingLeft
	}
	if sum := sha256.Sum256([]byte(text)); hex.EncodeToString(sum[:]) == c.Sent {
		return false, s.settleComment(ctx, c, map[string]any{"next_at": nil, "attempts": 0, "error": ""})
	}
	o, err := s.Open(ctx, c.ConnectionID)
	if err == nil {
		call, cancel := context.WithTimeout(ctx, 2*callTime)
		defer cancel()
		if err = s.write(call, o, c, text); err == nil {
			return false, s.commented(ctx, c, text)
		}
	}
	if ctx.Err() != nil {
		return false, nil // this worker stops; another one writes it once the lease is over
	}
	p := s.problemOf(o, thingComments, err)
	slog.DebugContext(ctx, "a comment could not be written", "repository", c.RepositoryID, "pull_request", c.Number, "reason", p.message)
	return p.passes, s.settleComment(ctx, c, s.later(o, c.Attempts, c.Since, p))
}

// reserveComment leases the comment and, before it is written for the first time, notes when that was tried.
func (s *Service) reserveComment(ctx context.Context, c *models.ForgeComment) (mine bool, err error) {
	now := s.now()
	row := s.DB.WithContext(ctx).Model(&models.ForgeComment{}).
		Where("id = ? AND version = ? AND next_at <= ? AND (leased_until IS NULL OR leased_until <= ?)", c.ID, c.Version, now, now).
		UpdateColumns(map[string]any{"leased_until": now.Add(lease), "tried_at": gorm.Expr("COALESCE(tried_at, ?)", now)})
	return row.RowsAffected == 1, row.Error
}

// commented writes down that the forge has the text.
func (s *Service) commented(ctx context.Context, c *models.ForgeComment, text string) error {
	now, sum := s.now(), sha256.Sum256([]byte(text))
	return s.settleComment(ctx, c, map[string]any{
		"external_id": c.ExternalID, "sent": hex.EncodeToString(sum[:]), "sent_at": now, "next_at": nil, "held_until": nil, "error": "", "attempts": 0, "updated_at": now,
	})
}

// settleComment ends the work on the comment. Where it was to say something else meanwhile it stays due: only what is
// known of the forge is kept.
func (s *Service) settleComment(ctx context.Context, c *models.ForgeComment, change map[string]any) error {
	change["leased_until"] = nil
	db := s.DB.WithContext(context.WithoutCancel(ctx)).Model(&models.ForgeComment{})
	row := db.Where("id = ? AND version = ?", c.ID, c.Version).UpdateColumns(change)
	if row.Error != nil || row.RowsAffected > 0 {
		return row.Error
	}
	late := map[string]any{"leased_until": nil}
	for _, known := range []string{"held_until", "external_id", "sent", "sent_at"} {
		if v, ok := change[known]; ok {
			late[known] = v
		}
	}
	return s.DB.WithContext(context.WithoutCancel(ctx)).Model(&models.ForgeComment{}).Where("id = ?", c.ID).UpdateColumns(late).Error
}

// marker stands in a comment, so that it is found again where nobody knows the forge's id of it.
func marker(c *models.ForgeComment) string { return "<!-- slipway:" + c.ID + " -->" }

// write edits the comment at the forge, or writes it where there is none. One that a person deleted is written anew; one
// that was written by a worker that died before it could say so is found by its marker.
func (s *Service) write(ctx context.Context, o Opened, c *models.ForgeComment, text string) error {
	var r models.Repository
	if err := s.DB.WithContext(ctx).Omit("credential_secret").Where("id = ?", c.RepositoryID).Take(&r).Error; err != nil {
		return models.FromDB(err, "repository")
	}
	path, err := pathAt(&o.Connection, &r)
	if err != nil {
		return err
	}
	at, err := s.commenter(ctx, o, path, r.ExternalID, c.Number)
	if err != nil {
		return err
	}
	body := marker(c) + "\n" + text
	if c.ExternalID == "" && c.TriedAt != nil {
		if c.ExternalID, err = find(ctx, at, marker(c), c.TriedAt.Add(-clockSkew)); err != nil {
			return err
		}
	}
	if c.ExternalID != "" {
		err := at.edit(ctx, c.ExternalID, body)
		if a, ok := answerOf(err); !ok || a.status != http.StatusNotFound && a.status != http.StatusGone {
			return err
		}
	}
	c.ExternalID, err = at.create(ctx, body)
	return err
}
