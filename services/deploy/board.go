package deploy

import (
	"context"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

const (
	maxWhole  = 1000 // apps of a board that is not paged
	maxVacant = 200  // environments of teams without apps
)

// BoardFilter narrows the board. Its apps are in the order of their teams' slugs and their names.
type BoardFilter struct {
	models.Page
	TeamID    string   // empty: all the principal's teams
	AppIDs    []string // only these apps; empty: all
	Text      string   // a part of the app's name
	Differs   bool     // only apps of which an environment does not run the image of the one to its left
	Unhealthy bool     // only apps that don't serve as they should somewhere
	Whole     bool     // not in pages: at most a thousand apps at once
}

// narrowed tells whether apps may be left out.
func (f BoardFilter) narrowed() bool {
	return len(f.AppIDs) > 0 || f.Text != "" || f.Differs || f.Unhealthy
}

// Board is what runs where.
type Board struct {
	Environments []models.Environment // of the teams of the apps, team by team from left to right; at the end also those of teams without apps
	Apps         []models.App         // with Team and Repository
	Next         string               // the cursor of the next page; empty: there is none
	cells        map[string]Cell      // by environment id + "/" + app id
	left         map[string]*models.Environment
	frozen       map[string]Freeze
}

// Cell is an app in an environment.
type Cell struct {
	Active *models.Deployment // what serves, with Build and Instances; nil: nothing yet
	Latest *models.Deployment // the newest attempt; nil where Active is it
	Phase  string             // of Latest while it runs: pull, start, health …
	Held   *models.AutoDeploy // automatic deployments that a rollback keeps off; nil: none
	Closed bool               // visitors get the maintenance page
	Step   *Step              // how it differs from the environment to its left; nil where nothing serves there
}

// Freeze is a time in which nothing is deployed to an environment.
type Freeze struct {
	Name  string
	Until time.Time
}

// Cell returns an app in an environment; empty where it never was deployed.
func (b *Board) Cell(environmentID, appID string) Cell { return b.cells[environmentID+"/"+appID] }

// Stages are the environments of a team, from left to right.
func (b *Board) Stages(teamID string) []models.Environment {
	var list []models.Environment
	for _, e := range b.Environments {
		if e.TeamID == teamID {
			list = append(list, e)
		}
	}
	return list
}

// Left is the environment to the left of another one on its team's board, and false for the first.
func (b *Board) Left(environmentID string) (*models.Environment, bool) {
	e := b.left[environmentID]
	return e, e != nil
}

// Frozen tells which freeze keeps deployments out of the environment now, and false where none does.
func (b *Board) Frozen(environmentID string) (Freeze, bool) {
	f, ok := b.frozen[environmentID]
	return f, ok
}

// pipeline narrows a query of environments to those that stand on boards: the stages that an app goes through.
// Everything that goes from left to right asks through it.
func pipeline(tx *gorm.DB) *gorm.DB {
	return tx.Model(&models.Environment{}).Where("environments.kind = ?", models.EnvironmentStage)
}

// leftToRight is the order of the environments of a team.
const leftToRight = "position, name"

// Board returns what runs where, a page at a time. It takes the same number of queries however many apps there are.
func (s *Service) Board(ctx context.Context, f BoardFilter) (*Board, error) {
	if f.TeamID != "" {
		if err := models.Authorize(ctx, f.TeamID, models.RoleViewer, "team"); err != nil {
			return nil, err
		}
	}
	b := &Board{cells: map[string]Cell{}, left: map[string]*models.Environment{}, frozen: map[string]Freeze{}}
	db := s.DB.WithContext(ctx)
	if err := s.boardApps(ctx, b, f); err != nil {
		return nil, err
	}
	if err := s.boardEnvironments(ctx, b, f); err != nil {
		return nil, err
	}
	if len(b.Apps) == 0 {
		return b, nil
	}
	if err := fillCells(db, b); err != nil {
		return nil, err
	}
	return b, fillSteps(db, b)
}

// boardApps finds the apps of the page.
func (s *Service) boardApps(ctx context.Context, b *Board, f BoardFilter) error {
	q, err := visible(ctx, s.DB.WithContext(ctx), "apps.team_id")
	if err != nil {
		return err
	}
	if q, err = s.narrow(q, f); err != nil {
		return err
	}
	size := f.Size()
	if f.Whole {
		size = maxWhole
	}
	slim := func(tx *gorm.DB) *gorm.DB {
		return tx.Select("id", "name", "clone_url", "default_branch", "connection_id")
	}
	err = q.Joins("JOIN teams ON teams.id = apps.team_id").Preload("Team").Preload("Repository", slim).
		Order("teams.slug, apps.name").Limit(size + 1).Find(&b.Apps).Error
	if err != nil || len(b.Apps) <= size {
		return err
	}
	b.Apps = b.Apps[:size]
	if last := b.Apps[size-1]; !f.Whole {
		b.Next = last.Team.Slug + "/" + last.Name
	}
	return nil
}

// narrow leaves out what the filter does.
func (s *Service) narrow(q *gorm.DB, f BoardFilter) (*gorm.DB, error) {
	if f.TeamID != "" {
		q = q.Where("apps.team_id = ?", f.TeamID)
	}
	if len(f.AppIDs) > 0 {
		q = q.Where("apps.id IN ?", f.AppIDs)
	}
	if f.Text != "" {
		q = q.Where("apps.name LIKE ? ESCAPE '!'", "%"+strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.ToLower(f.Text))+"%")
	}
	if f.Cursor != "" {
		slug, name, ok := strings.Cut(f.Cursor, "/")
		if !ok {
			return nil, models.InvalidField("cursor", "This is not the next of a page of the board.")
		}
		q = q.Where("(teams.slug, apps.name) > (?, ?)", slug, name)
	}
	if f.Differs {
		q = q.Where("apps.id IN (?)", s.differing(f.TeamID))
	}
	if f.Unhealthy {
		q = q.Where("apps.id IN (?)", s.unwell())
	}
	return q, nil
}

// differing are the apps of which an environment does not run the image of the one to its left.
func (s *Service) differing(teamID string) *gorm.DB {
	stages := pipeline(s.DB.DB).Select("id, team_id, position, name")
	if teamID != "" {
		stages = stages.Where("team_id = ?", teamID)
	}
	return s.DB.Raw(`SELECT app_id FROM (
		SELECT a.id AS app_id, d.image_digest AS digest, LAG(d.image_digest) OVER (PARTITION BY a.id ORDER BY e.position, e.name) AS left_digest
		FROM apps a JOIN (?) e ON e.team_id = a.team_id
		LEFT JOIN deployments d ON d.environment_id = e.id AND d.app_id = a.id AND d.active) steps
		WHERE left_digest IS NOT NULL AND (digest IS NULL OR digest <> left_digest)`, stages)
}

// unwell are the apps of which an instance is not well, or none is there that should be.
func (s *Service) unwell() *gorm.DB {
	return s.DB.Raw(`SELECT d.app_id FROM deployments d WHERE d.active AND NOT d.stopped AND (
		EXISTS (SELECT 1 FROM instances i WHERE i.deployment_id = d.id AND i.state NOT IN ?)
		OR NOT EXISTS (SELECT 1 FROM instances i WHERE i.deployment_id = d.id))`,
		[]models.InstanceState{models.InstanceHealthy, models.InstanceStarting})
}

// boardEnvironments finds the columns: of the teams of the page's apps and, on
// the last page of a board that leaves nothing out, of teams without apps.
func (s *Service) boardEnvironments(ctx context.Context, b *Board, f BoardFilter) error {
	db := s.DB.WithContext(ctx)
	teams := map[string]bool{}
	for _, a := range b.Apps {
		teams[a.TeamID] = true
	}
	ids := keys(teams)
	if f.TeamID != "" && !teams[f.TeamID] {
		ids = append(ids, f.TeamID)
	}
	if err := pipeline(db).Where("team_id IN ?", ids).Preload("Team").Preload("Target", slim).Order("team_id, " + leftToRight).Find(&b.Environments).Error; err != nil {
		return err
	}
	if f.TeamID == "" && b.Next == "" && !f.narrowed() {
		vacant, err := visible(ctx, pipeline(db), "environments.team_id")
		if err != nil {
			return err
		}
		var others []models.Environment
		err = vacant.Where("NOT EXISTS (SELECT 1 FROM apps WHERE apps.team_id = environments.team_id)").Preload("Team").Preload("Target", slim).
			Order("team_id, " + leftToRight).Limit(maxVacant).Find(&others).Error
		if err != nil {
			return err
		}
		b.Environments = append(b.Environments, others...)
	}
	now := s.now()
	for i := range b.Environments {
		e := &b.Environments[i]
		if i > 0 && b.Environments[i-1].TeamID == e.TeamID {
			b.left[e.ID] = &b.Environments[i-1]
		}
		if freeze, until, frozen := e.Protection.Frozen(now); frozen {
			b.frozen[e.ID] = Freeze{freeze.Name, until}
		}
	}
	return nil
}
