package deploy

import (
	"context"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Scope names where variables are set: for every environment of a team, for
// every app in an environment, or for one app in an environment.
type Scope struct {
	TeamID        string // needed where EnvironmentID is empty
	EnvironmentID string // empty: the team's
	AppID         string // empty: every app
}

// level is a scope that the caller may use, with what it belongs to.
type level struct {
	Team        *models.Team
	Environment *models.Environment // nil: the team's
	App         *models.App         // nil: every app
}

func (s *Service) level(ctx context.Context, in Scope, role models.Role) (*level, error) {
	if in.EnvironmentID == "" {
		if err := models.Authorize(ctx, in.TeamID, role, "team"); err != nil {
			return nil, err
		}
		if in.AppID != "" {
			return nil, models.InvalidField("app_id", "An app has variables of its own in an environment: name it too.")
		}
		var t models.Team
		err := s.DB.WithContext(ctx).First(&t, "id = ?", in.TeamID).Error
		return &level{Team: &t}, models.FromDB(err, "team")
	}
	e, err := s.environment(ctx, in.EnvironmentID, role)
	if err == nil && role != models.RoleViewer {
		err = e.OfPeople()
	}
	if err != nil {
		return nil, err
	}
	if in.AppID != "" {
		p, err := s.place(ctx, in.EnvironmentID, in.AppID, role)
		if err != nil {
			return nil, err
		}
		return &level{p.Team, p.Environment, p.App}, nil
	}
	return &level{Team: e.Team, Environment: e}, nil
}

func (l *level) environmentID() string {
	if l.Environment == nil {
		return ""
	}
	return l.Environment.ID
}

func (l *level) appID() string {
	if l.App == nil {
		return ""
	}
	return l.App.ID
}

// name is what people call the level.
func (l *level) name() string {
	switch {
	case l.Environment == nil:
		return l.Team.Name
	case l.App == nil:
		return l.Environment.Name
	}
	return l.App.Name + " in " + l.Environment.Name
}

// topic is what the level's changes are about.
func (l *level) topic() string {
	if l.Environment == nil {
		return "team:" + l.Team.ID
	}
	return "environment:" + l.Environment.ID
}

// below narrows a query to what belongs to the team or to the environment, of
// an app to the app's: variables or their changes.
func (l *level) below(tx *gorm.DB) *gorm.DB {
	if l.Environment == nil {
		return tx.Where("team_id = ? AND environment_id IS NULL", l.Team.ID)
	}
	tx = tx.Where("environment_id = ?", l.Environment.ID)
	if l.App != nil {
		tx = tx.Where("app_id = ?", l.App.ID)
	}
	return tx
}

// exactly narrows a query to the level alone.
func (l *level) exactly(tx *gorm.DB) *gorm.DB {
	if l.App != nil {
		return l.below(tx)
	}
	return l.below(tx).Where("app_id = ''")
}

// hold has all who change variables of the level take turns until the transaction ends.
func (l *level) hold(tx *gorm.DB) error {
	if l.Environment == nil {
		return tx.Model(&models.Team{}).Where("id = ?", l.Team.ID).UpdateColumn("name", gorm.Expr("name")).Error
	}
	return holdEnvironment(tx, l.Environment.ID)
}

// checkRoom refuses more variables than anyone needs, and more than a program can be started with.
func (l *level) checkRoom(tx *gorm.DB, v *models.Variable, size int64) error {
	var taken struct{ Count, Size int64 }
	err := l.exactly(tx.Model(&models.Variable{})).Where("id <> ?", v.ID).Select("COUNT(*) AS count, COALESCE(SUM(size), 0) AS size").Scan(&taken).Error
	switch {
	case err != nil:
		return err
	case taken.Count >= maxVariables:
		return models.Errorf(models.Conflict, "%s has %d variables; no more fit. Delete some first.", l.name(), taken.Count)
	case taken.Size+size > maxValues:
		return models.InvalidField("value", "The values of %s hold at most 256 KiB together. Put larger things into a file of the image or a store.", l.name())
	}
	return nil
}

// detail names the level in the audit log.
func (l *level) detail() map[string]string {
	if l.Environment == nil {
		return map[string]string{"team": l.Team.Slug}
	}
	return map[string]string{"environment": l.Environment.Name, "app": l.appID()}
}
