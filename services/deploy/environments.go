package deploy

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
	"slipway.dev/services/jobs"
)

// EnvironmentInput is what a maintainer says of a new environment.
type EnvironmentInput struct {
	TeamID   string `json:"team_id" form:"team_id"`
	TargetID string `json:"target_id" form:"target_id"`
	Name     string `json:"name" form:"name"`
}

// EnvironmentFilter narrows the list of environments.
type EnvironmentFilter struct {
	models.Page
	TeamID string `query:"team_id"`
}

// CreateEnvironment makes a stage of the team, at the right end of its board.
func (s *Service) CreateEnvironment(ctx context.Context, in EnvironmentInput) (*models.Environment, error) {
	if err := models.Authorize(ctx, in.TeamID, models.RoleMaintainer, "team"); err != nil {
		return nil, err
	}
	if !models.ValidName(in.Name) {
		return nil, models.InvalidField("name", models.NameHelp)
	}
	e := &models.Environment{ID: models.NewID(), TeamID: in.TeamID, TargetID: in.TargetID, Name: in.Name}
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var t models.Target
		if err := granted(tx, in.TeamID).Where("targets.id = ?", in.TargetID).Take(&t).Error; err != nil {
			return models.InvalidField("target_id", "Choose a target that your team may use. An admin grants targets to teams.")
		}
		if err := tx.Model(&models.Environment{}).Where("team_id = ?", in.TeamID).Select("COALESCE(MAX(position) + 1, 0)").Scan(&e.Position).Error; err != nil {
			return err
		}
		if err := tx.Create(e).Error; err != nil {
			if models.IsCode(models.FromDB(err, "environment"), models.Conflict) {
				return models.InvalidField("name", "The team has an environment %s already.", in.Name)
			}
			return err
		}
		return s.environmentChanged(ctx, tx, e, "environment.create")
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (s *Service) environmentChanged(ctx context.Context, tx *gorm.DB, e *models.Environment, action string) error {
	if err := audit.Record(ctx, tx, audit.Entry{TeamID: e.TeamID, Action: action, Subject: "environment:" + e.ID, Name: e.Name}); err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: e.TeamID, Kind: action, Topic: "environment:" + e.ID, Parent: "team:" + e.TeamID})
}

// Environments lists the environments that the principal may see, but for
// previews: of a team from left to right, of all teams team by team.
func (s *Service) Environments(ctx context.Context, f EnvironmentFilter) ([]models.Environment, error) {
	q := s.DB.WithContext(ctx).Preload("Team").Preload("Target", slim).Where("kind = ?", models.EnvironmentStage).Limit(1000)
	if f.TeamID != "" {
		if err := models.Authorize(ctx, f.TeamID, models.RoleViewer, "team"); err != nil {
			return nil, err
		}
		q = q.Where("team_id = ?", f.TeamID)
	}
	q, err := visible(ctx, q, "team_id")
	if err != nil {
		return nil, err
	}
	var all []models.Environment
	return all, q.Order("team_id, position, name").Find(&all).Error
}

// slim leaves a target's settings out, which are for admins.
func slim(tx *gorm.DB) *gorm.DB {
	return tx.Select("id", "name", "kind", "all_teams", "created_at", "updated_at")
}

// visible narrows the query to the principal's teams.
func visible(ctx context.Context, q *gorm.DB, column string) (*gorm.DB, error) {
	p := models.PrincipalFrom(ctx)
	if p == nil {
		return nil, models.Errorf(models.Unauthorized, "Sign in first.")
	}
	if !p.HasScope(models.ScopeRead) {
		return nil, models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeRead)
	}
	ids, all := p.TeamIDs()
	if all {
		return q, nil
	}
	return q.Where(column+" IN ?", append(ids, "")), nil
}

// Environment returns the environment with its team and target.
func (s *Service) Environment(ctx context.Context, id string) (*models.Environment, error) {
	return s.environment(ctx, id, models.RoleViewer)
}

func (s *Service) environment(ctx context.Context, id string, role models.Role) (*models.Environment, error) {
	var e models.Environment
	if err := s.DB.WithContext(ctx).Preload("Team").Preload("Target", slim).First(&e, "id = ?", id).Error; err != nil {
		return nil, models.FromDB(err, "environment")
	}
	return &e, models.Authorize(ctx, e.TeamID, role, "environment")
}

// MoveEnvironment puts the environment at the position of its team's board.
func (s *Service) MoveEnvironment(ctx context.Context, id string, position int) error {
	e, err := s.stage(ctx, id, models.RoleMaintainer)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var all []models.Environment
		if err := tx.Where("team_id = ? AND id <> ? AND kind = ?", e.TeamID, id, models.EnvironmentStage).Order("position, name").Find(&all).Error; err != nil {
			return err
		}
		position = min(max(position, 0), len(all))
		all = append(all[:position:position], append([]models.Environment{*e}, all[position:]...)...)
		for i, other := range all {
			if err := tx.Model(&models.Environment{}).Where("id = ?", other.ID).Update("position", i).Error; err != nil {
				return err
			}
		}
		return s.environmentChanged(ctx, tx, e, "environment.move")
	})
}

// DeleteEnvironment removes an environment in which nothing runs, with its
// variables, secrets and history.
func (s *Service) DeleteEnvironment(ctx context.Context, id string) error {
	e, err := s.stage(ctx, id, models.RoleMaintainer)
	if err != nil {
		return err
	}
	if err := s.keepsNothing(ctx, e); err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var n int64
		if err := busy(tx, id).Count(&n).Error; err != nil {
			return err
		}
		if n > 0 {
			return models.Errorf(models.Conflict, "Something still runs in %s. Stop its apps first, and wait until they have ended.", e.Name)
		}
		return s.deleteEnvironment(ctx, tx, e)
	})
}

// busy are the environment's deployments of which something runs or may come to run.
func busy(tx *gorm.DB, environmentID string) *gorm.DB {
	return tx.Model(&models.Deployment{}).Where("environment_id = ?", environmentID).
		Where("state IN ? OR (active AND NOT stopped) OR (drain_until IS NOT NULL AND retired_at IS NULL)", models.UnendedDeployments)
}

// deleteEnvironment deletes an environment in which nothing runs, and has its target forget it.
func (s *Service) deleteEnvironment(ctx context.Context, tx *gorm.DB, e *models.Environment) error {
	if err := tx.Delete(&models.Route{}, "environment_id = ?", e.ID).Error; err != nil {
		return err
	}
	if err := tx.Delete(&models.Environment{}, "id = ?", e.ID).Error; err != nil {
		return fmt.Errorf("deleting the environment: %w", err)
	}
	if err := s.Queue.Insert(ctx, tx, jobs.QueueDeployments, Removal{TargetID: e.TargetID, Environments: []string{e.ID}}); err != nil {
		return err
	}
	return s.environmentChanged(ctx, tx, e, "environment.delete")
}

// holdEnvironment holds the environment's row without changing it: of two who change something of it one waits for the other.
func holdEnvironment(tx *gorm.DB, id string) error {
	return tx.Model(&models.Environment{}).Where("id = ?", id).UpdateColumn("position", gorm.Expr("position")).Error
}
