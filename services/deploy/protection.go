package deploy

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// Limits of a protection.
const (
	maxApprovals = 6
	maxFreezes   = 50
	maxGlobs     = 50
	maxReason    = 500 // bytes of what people say
)

// Protect sets what has to hold before something new is deployed to the
// environment. A freeze without an id gets one, always the same for the same times.
func (s *Service) Protect(ctx context.Context, environmentID string, rules models.Protection) (*models.Environment, error) {
	return s.ChangeProtection(ctx, environmentID, func(p *models.Protection) error {
		*p = rules
		return nil
	})
}

// AddFreeze adds a time in which nothing is deployed to the environment.
func (s *Service) AddFreeze(ctx context.Context, environmentID string, f models.Freeze) (*models.Environment, error) {
	return s.ChangeProtection(ctx, environmentID, func(p *models.Protection) error {
		f.ID = models.NewID()
		p.Freezes = append(p.Freezes, f)
		return nil
	})
}

// DeleteFreeze takes away the freeze of the id.
func (s *Service) DeleteFreeze(ctx context.Context, environmentID, freezeID string) (*models.Environment, error) {
	return s.ChangeProtection(ctx, environmentID, func(p *models.Protection) error {
		left := slices.DeleteFunc(slices.Clone(p.Freezes), func(f models.Freeze) bool { return f.Key() == freezeID })
		if len(left) == len(p.Freezes) {
			return models.Errorf(models.NotFound, "No such freeze. Somebody may have deleted it.")
		}
		p.Freezes = left
		return nil
	})
}

// ChangeProtection has the function change what has to hold, as it is now: others who change it take their turn.
func (s *Service) ChangeProtection(ctx context.Context, environmentID string, change func(*models.Protection) error) (*models.Environment, error) {
	e, err := s.stage(ctx, environmentID, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	return e, s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := holdEnvironment(tx, e.ID); err != nil {
			return err
		}
		var now models.Environment
		if err := tx.Select("id", "protection").First(&now, "id = ?", e.ID).Error; err != nil {
			return models.FromDB(err, "environment")
		}
		e.Protection = now.Protection
		if err := change(&e.Protection); err != nil {
			return err
		}
		if err := s.protect(ctx, tx, e); err != nil {
			return err
		}
		return s.beginWaiting(ctx, tx, e)
	})
}

// beginWaiting has the deployments begin that wait for more approvals than the environment asks for now. What another
// rule keeps out goes on waiting.
func (s *Service) beginWaiting(ctx context.Context, tx *gorm.DB, e *models.Environment) error {
	var waiting []models.Deployment
	err := tx.Omit("sealed_secrets").Preload("App").Preload("Build").Order("app_id, id").
		Find(&waiting, "environment_id = ? AND state = ?", e.ID, models.DeploymentWaiting).Error
	if err != nil {
		return err
	}
	for i := range waiting {
		d := &waiting[i]
		if err := holdApp(tx, d.AppID); err != nil {
			return err
		}
		if err := tx.Select("state").Take(d, "id = ?", d.ID).Error; err != nil { // somebody may have been quicker
			return models.FromDB(err, "deployment")
		}
		if d.State != models.DeploymentWaiting {
			continue
		}
		by, err := approvals(tx, d)
		if err != nil {
			return err
		}
		if len(by) < e.Protection.Approvals {
			continue
		}
		gates, err := s.gatesOf(ctx, tx, &place{e, d.App, e.Team}, d)
		if err != nil {
			return err
		}
		if closed(gates) == nil {
			err = s.goAhead(ctx, tx, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// protect checks and stores the environment's protection.
func (s *Service) protect(ctx context.Context, tx *gorm.DB, e *models.Environment) (err error) {
	rules := &e.Protection
	if rules.Branches, err = globs(rules.Branches); err != nil {
		return err
	}
	rules.Freezes = slices.Clone(rules.Freezes)
	for i := range rules.Freezes {
		rules.Freezes[i].ID = rules.Freezes[i].Key()
	}
	if err := checkRules(tx, e); err != nil {
		return err
	}
	if err := tx.Model(&models.Environment{ID: e.ID}).Select("protection", "updated_at").Updates(&models.Environment{Protection: *rules, UpdatedAt: s.now()}).Error; err != nil {
		return err
	}
	err = audit.Record(ctx, tx, audit.Entry{TeamID: e.TeamID, Action: "environment.protect", Subject: "environment:" + e.ID, Name: e.Name, Detail: map[string]string{
		"approvals": strconv.Itoa(rules.Approvals), "branches": strings.Join(rules.Branches, ", "), "after": rules.After, "freezes": strconv.Itoa(len(rules.Freezes))}})
	if err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: e.TeamID, Kind: "environment.protect", Topic: "environment:" + e.ID, Parent: "team:" + e.TeamID})
}

// globs drops empty lines and refuses what is no pattern.
func globs(lines []string) (out []string, err error) {
	for _, g := range lines {
		if g = strings.TrimSpace(g); g == "" {
			continue
		}
		if !doublestar.ValidatePattern(g) || len(g) > 200 {
			return nil, models.InvalidField("branches", "%q is not a pattern such as main or release/**.", g)
		}
		out = append(out, g)
	}
	if len(out) > maxGlobs {
		return nil, models.InvalidField("branches", "At most %d patterns.", maxGlobs)
	}
	return slices.Compact(out), nil
}

func checkRules(tx *gorm.DB, e *models.Environment) error {
	rules := e.Protection
	if rules.Approvals < 0 || rules.Approvals > maxApprovals {
		return models.InvalidField("approvals", "From 0 to %d.", maxApprovals)
	}
	if len(rules.Freezes) > maxFreezes {
		return models.InvalidField("freezes", "At most %d freezes.", maxFreezes)
	}
	ids := map[string]bool{}
	for _, f := range rules.Freezes {
		if err := f.Validate(); err != nil {
			return err
		}
		if ids[f.ID] {
			return models.InvalidField("freezes", "%s stands there twice.", f.Name)
		}
		ids[f.ID] = true
	}
	if rules.After == "" {
		return nil
	}
	seen := map[string]bool{e.ID: true}
	for next := rules.After; next != ""; { // an order that leads back to where it began lets nothing in
		if seen[next] {
			return models.InvalidField("after", "Each environment would wait for the other. Choose one that comes earlier.")
		}
		seen[next] = true
		var before models.Environment
		if err := tx.Limit(1).Find(&before, "id = ? AND team_id = ? AND kind = ?", next, e.TeamID, models.EnvironmentStage).Error; err != nil {
			return err
		}
		if before.ID == "" {
			return models.InvalidField("after", "The team has no such environment.")
		}
		next = before.Protection.After
	}
	return nil
}

// BadImages lists the team's images that are deployed nowhere any more.
func (s *Service) BadImages(ctx context.Context, teamID string) ([]models.BadImage, error) {
	if err := models.Authorize(ctx, teamID, models.RoleViewer, "team"); err != nil {
		return nil, err
	}
	var all []models.BadImage
	return all, s.DB.WithContext(ctx).Where("team_id = ?", teamID).Order("created_at DESC, digest").Limit(1000).Find(&all).Error
}

// Bad returns the mark on the deployment's image; nil where it has none.
func (s *Service) Bad(ctx context.Context, d *models.Deployment) (*models.BadImage, error) {
	if err := models.Authorize(ctx, d.TeamID, models.RoleViewer, "deployment"); err != nil {
		return nil, err
	}
	return badImage(s.DB.WithContext(ctx), d.TeamID, d.ImageDigest)
}

// MarkBad keeps the image from being deployed anywhere in the team. What runs is not touched.
func (s *Service) MarkBad(ctx context.Context, teamID, image, reason string) (*models.BadImage, error) {
	if err := models.Authorize(ctx, teamID, models.RoleDeveloper, "team"); err != nil {
		return nil, err
	}
	if _, err := digest.Parse(image); err != nil {
		return nil, models.InvalidField("digest", "%q is not a digest such as sha256:….", image)
	}
	if len(reason) > maxReason {
		return nil, models.InvalidField("reason", "At most %d bytes.", maxReason)
	}
	row := &models.BadImage{TeamID: teamID, Digest: image, Reason: strings.TrimSpace(reason), CreatedAt: s.now()}
	if who := models.PrincipalFrom(ctx); who != nil {
		row.MarkedByName = who.Name
	}
	return row, s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(row).Error; err != nil {
			return models.FromDB(err, "team")
		}
		return s.markChanged(ctx, tx, teamID, image, "image.mark_bad", row.Reason)
	})
}

// UnmarkBad lets the image be deployed again.
func (s *Service) UnmarkBad(ctx context.Context, teamID, image string) error {
	if err := models.Authorize(ctx, teamID, models.RoleDeveloper, "team"); err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		gone := tx.Delete(&models.BadImage{}, "team_id = ? AND digest = ?", teamID, image)
		if gone.Error != nil {
			return gone.Error
		}
		if gone.RowsAffected == 0 {
			return models.Errorf(models.NotFound, "The image is not marked as bad.")
		}
		return s.markChanged(ctx, tx, teamID, image, "image.unmark_bad", "")
	})
}

func (s *Service) markChanged(ctx context.Context, tx *gorm.DB, teamID, image, action, reason string) error {
	err := audit.Record(ctx, tx, audit.Entry{TeamID: teamID, Action: action, Subject: "image:" + image, Name: image, Detail: map[string]string{"reason": reason}})
	if err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: teamID, Kind: action, Topic: "image:" + image, Parent: "team:" + teamID})
}
