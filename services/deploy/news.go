package deploy

import (
	"context"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// NewsFilter says whose changes are asked for.
type NewsFilter struct {
	models.Page
	EnvironmentID string
	AppID         string // empty: all apps of the environment
}

// News is a deployment that served, with what it brought.
type News struct {
	Deployment models.Deployment   // with App, its Repository, and Build
	Previous   *models.Deployment  // what served before, with Build; nil: nothing
	Range      *models.CommitRange // between the two; nil where Note says why, or while Counting
	Counting   bool                // the commits are being read
	Note       string              // why there are no commits
}

// News lists what came to an environment, the newest first: the deployments that served, each with the commits that it
// brought. It reads no repository: the commits were read when the deployment had begun to serve.
func (s *Service) News(ctx context.Context, f NewsFilter) (models.List[News], error) {
	if _, err := s.environment(ctx, f.EnvironmentID, models.RoleViewer); err != nil {
		return models.List[News]{}, err
	}
	db := s.DB.WithContext(ctx)
	q := db.Omit("sealed_secrets").Where("environment_id = ? AND state IN ?", f.EnvironmentID, []models.DeploymentState{models.DeploymentSucceeded, models.DeploymentRolledBack}).
		Preload("App").Preload("App.Repository").Preload("App.Repository.Connection", slimConnection).Preload("Build", slimBuild)
	if f.AppID != "" {
		q = q.Where("app_id = ?", f.AppID)
	}
	list, err := models.Newest(q, f.Page, "id", func(d models.Deployment) string { return d.ID })
	if err != nil {
		return models.List[News]{}, err
	}
	out := models.List[News]{Next: list.Next}
	for _, d := range list.Items {
		out.Items = append(out.Items, News{Deployment: d})
	}
	return out, fillNews(db, out.Items)
}

// slimConnection leaves out what a connection is entered with.
func slimConnection(tx *gorm.DB) *gorm.DB { return tx.Select("id", "kind", "base_url") }

// fillNews adds what served before, and the commits between.
func fillNews(db *gorm.DB, list []News) error {
	ids := map[string]bool{}
	for _, n := range list {
		if n.Deployment.PreviousID != nil {
			ids[*n.Deployment.PreviousID] = true
		}
	}
	var before []models.Deployment
	if err := db.Omit("sealed_secrets").Where("id IN ?", keys(ids)).Preload("Build", slimBuild).Find(&before).Error; err != nil {
		return err
	}
	previous := map[string]*models.Deployment{}
	for i := range before {
		previous[before[i].ID] = &before[i]
	}
	wanted := map[span]bool{}
	for i := range list {
		n := &list[i]
		if n.Deployment.PreviousID != nil {
			n.Previous = previous[*n.Deployment.PreviousID]
		}
		if r, ok := n.span(); ok {
			wanted[r] = true
		}
	}
	known, err := ranges(db, wanted, true)
	if err != nil {
		return err
	}
	for i := range list {
		list[i].explain(known)
	}
	return nil
}

func (n *News) span() (span, bool) {
	return spanOf(n.Deployment.App.RepositoryID, n.Previous, &n.Deployment)
}

// explain says what the deployment brought, or why that is not known.
func (n *News) explain(known map[span]models.CommitRange) {
	r, ok := n.span()
	found, counted := known[r]
	switch {
	case n.Deployment.Build == nil:
		n.Note = "Slipway did not build this image, so its commit is not known."
	case n.Previous == nil:
		n.Note = "The first one here."
	case n.Previous.Build == nil:
		n.Note = "Slipway did not build what served before, so its commit is not known."
	case !ok:
		n.Note = "The same commit as before."
	case !counted:
		n.Counting = true
	case found.Note != "":
		n.Note = found.Note
	default:
		n.Range = &found
	}
}

// AppsOf lists the names of a team's apps.
func (s *Service) AppsOf(ctx context.Context, teamID string) (all []models.App, err error) {
	if err := models.Authorize(ctx, teamID, models.RoleViewer, "team"); err != nil {
		return nil, err
	}
	return all, s.DB.WithContext(ctx).Select("id", "name", "team_id").Where("team_id = ?", teamID).Order("name").Limit(maxWhole).Find(&all).Error
}
