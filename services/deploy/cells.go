package deploy

import (
	"maps"
	"slices"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// idChunk is how many ids one query names, so that no database's limit of parameters is met.
const idChunk = 5000

func keys(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

// fillCells finds what serves and what was tried last in each place of the board.
func fillCells(db *gorm.DB, b *Board) error {
	apps := make([]string, 0, len(b.Apps))
	for _, a := range b.Apps {
		apps = append(apps, a.ID)
	}
	ids, err := placed(db, apps)
	if err != nil {
		return err
	}
	var found []models.Deployment
	for chunk := range slices.Chunk(ids, idChunk) {
		var part []models.Deployment
		err := db.Omit("sealed_secrets").Where("id IN ?", chunk).Preload("Build", slimBuild).Preload("Instances", slimInstances).Find(&part).Error
		if err != nil {
			return err
		}
		found = append(found, part...)
	}
	running := map[string]bool{}
	for i := range found {
		d := &found[i]
		key := d.EnvironmentID + "/" + d.AppID
		c := b.cells[key]
		if d.Active {
			c.Active = d
		} else {
			c.Latest = d
		}
		b.cells[key] = c
		if d.State == models.DeploymentRunning {
			running[d.ID] = true
		}
	}
	if err := fillPhases(db, b, keys(running)); err != nil {
		return err
	}
	if err := fillHolds(db, b, apps); err != nil {
		return err
	}
	return fillClosed(db, b, apps)
}

// placed returns the ids of what serves, and of the newest attempt, in each place of the apps.
func placed(db *gorm.DB, apps []string) (ids []string, err error) {
	for chunk := range slices.Chunk(apps, idChunk) {
		var places []struct{ Active, Latest *string }
		err := db.Raw(`SELECT
			(SELECT d.id FROM deployments d WHERE d.environment_id = e.id AND d.app_id = a.id AND d.active) AS active,
			(SELECT MAX(d.id) FROM deployments d WHERE d.environment_id = e.id AND d.app_id = a.id) AS latest
			FROM apps a JOIN (?) e ON e.team_id = a.team_id WHERE a.id IN ?`, pipeline(db.Session(&gorm.Session{NewDB: true})).Select("id, team_id"), chunk).Scan(&places).Error
		if err != nil {
			return nil, err
		}
		for _, p := range places {
			if p.Active != nil {
				ids = append(ids, *p.Active)
			}
			if p.Latest != nil && (p.Active == nil || *p.Active != *p.Latest) {
				ids = append(ids, *p.Latest)
			}
		}
	}
	return ids, nil
}

// slimBuild is what boards show of a build.
func slimBuild(tx *gorm.DB) *gorm.DB {
	return tx.Select("id", "app_id", "number", "state", "ref", "ref_kind", "commit", "commit_subject", "commit_author", "image_digest", "image_size")
}

// slimInstances leaves out the lines that instances have printed.
func slimInstances(tx *gorm.DB) *gorm.DB { return tx.Omit("last_logs").Order("created_at") }

// fillPhases finds what the rollouts that are under way do now.
func fillPhases(db *gorm.DB, b *Board, running []string) error {
	if len(running) == 0 {
		return nil
	}
	var phases []models.DeploymentPhase
	if err := db.Select("deployment_id", "name").Where("deployment_id IN ? AND state = ?", running, models.StepRunning).Order("seq").Find(&phases).Error; err != nil {
		return err
	}
	names := map[string]string{}
	for _, p := range phases {
		names[p.DeploymentID] = p.Name
	}
	for key, c := range b.cells {
		if c.Latest != nil && names[c.Latest.ID] != "" {
			c.Phase = names[c.Latest.ID]
			b.cells[key] = c
		}
	}
	return nil
}

// fillHolds finds the places that good builds don't come to after a rollback.
func fillHolds(db *gorm.DB, b *Board, apps []string) error {
	var held []models.AutoDeploy
	if err := db.Where("app_id IN ? AND held_at IS NOT NULL", apps).Find(&held).Error; err != nil {
		return err
	}
	for i := range held {
		key := held[i].EnvironmentID + "/" + held[i].AppID
		c := b.cells[key]
		c.Held = &held[i]
		b.cells[key] = c
	}
	return nil
}

func fillClosed(db *gorm.DB, b *Board, apps []string) error {
	var all []models.Maintenance
	if err := db.Where("app_id IN ?", apps).Find(&all).Error; err != nil {
		return err
	}
	for _, m := range all {
		key := m.EnvironmentID + "/" + m.AppID
		c := b.cells[key]
		c.Closed = m.On(db.NowFunc())
		b.cells[key] = c
	}
	return nil
}
