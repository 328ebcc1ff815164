package retention

import (
	"context"
	"fmt"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

var forUpdate = clause.Locking{Strength: clause.LockingStrengthUpdate}

// The limits of a policy, and what it begins with.
const (
	maxRules         = 20
	maxPatterns      = 20
	maxPattern       = 100
	maxAlternatives  = 3 // {…} in a pattern: their number multiplies the work of matching
	maxLast          = 100_000
	maxDays          = 36_500
	maxRollbacks     = 1000
	DefaultMinAge    = 1  // days
	DefaultRollbacks = 10 // deployments
)

// PolicyInput is what a policy is made of.
type PolicyInput struct {
	Enabled    bool                   `json:"enabled" doc:"Whether the daily clean-up follows it."`
	Rules      []models.RetentionRule `json:"rules" maxItems:"20" doc:"Each keeps images; what none keeps goes."`
	MinAgeDays *int                   `json:"min_age_days,omitempty" minimum:"0" maximum:"36500" doc:"Nothing younger goes; 1 where absent."`
	Rollbacks  *int                   `json:"rollbacks,omitempty" minimum:"1" maximum:"1000" doc:"Images of so many deployments of each app and environment stay; 10 where absent."`
}

// TeamPolicy returns the policy that the team's repositories inherit; the team's viewers may.
func (s *Service) TeamPolicy(ctx context.Context, team string) (*models.EffectivePolicy, error) {
	t, err := s.team(ctx, team, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	return effective(s.DB.WithContext(ctx), t.ID, "")
}

// Policy returns the policy that counts for the repository; the team's viewers may.
func (s *Service) Policy(ctx context.Context, repository string) (*models.EffectivePolicy, error) {
	r, err := s.repository(ctx, repository, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	return effective(s.DB.WithContext(ctx), r.TeamID, r.Name)
}

func effective(db *gorm.DB, teamID, repository string) (*models.EffectivePolicy, error) {
	var rows []models.RetentionPolicy
	err := db.Where("team_id = ? AND repository IN ?", teamID, []string{repository, ""}).Order("repository DESC").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the clean-up policy: %w", err)
	}
	if len(rows) == 0 {
		return &models.EffectivePolicy{RetentionPolicy: models.RetentionPolicy{TeamID: teamID, Repository: repository, MinAgeDays: DefaultMinAge, Rollbacks: DefaultRollbacks}}, nil
	}
	return &models.EffectivePolicy{RetentionPolicy: rows[0], Set: true, Inherited: rows[0].Repository != repository}, nil
}

// SetTeamPolicy sets the policy that the team's repositories inherit; the team's maintainers may.
func (s *Service) SetTeamPolicy(ctx context.Context, team string, in PolicyInput) (*models.EffectivePolicy, error) {
	t, err := s.team(ctx, team, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	return s.setPolicy(ctx, t.ID, "", t.Slug, in)
}

// SetPolicy gives the repository a policy of its own; the team's maintainers may.
func (s *Service) SetPolicy(ctx context.Context, repository string, in PolicyInput) (*models.EffectivePolicy, error) {
	r, err := s.repository(ctx, repository, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	return s.setPolicy(ctx, r.TeamID, r.Name, r.Name, in)
}

func (s *Service) setPolicy(ctx context.Context, teamID, repository, name string, in PolicyInput) (*models.EffectivePolicy, error) {
	row := models.RetentionPolicy{TeamID: teamID, Repository: repository, Enabled: in.Enabled, Rules: tidy(in.Rules),
		MinAgeDays: DefaultMinAge, Rollbacks: DefaultRollbacks, UpdatedAt: s.DB.NowFunc()}
	if in.MinAgeDays != nil {
		row.MinAgeDays = *in.MinAgeDays
	}
	if in.Rollbacks != nil {
		row.Rollbacks = *in.Rollbacks
	}
	if err := check(row); err != nil {
		return nil, err
	}
	_, row.UpdatedByName = actor(ctx)
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error; err != nil {
			return err
		}
		return recordPolicy(ctx, tx, row, name, "retention.policy")
	})
	if err != nil {
		return nil, fmt.Errorf("saving the clean-up policy of %s: %w", name, err)
	}
	return effective(s.DB.WithContext(ctx), teamID, repository)
}

// DropPolicy has the repository inherit its team's policy again; the team's maintainers may.
func (s *Service) DropPolicy(ctx context.Context, repository string) error {
	r, err := s.repository(ctx, repository, models.RoleMaintainer)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		row := models.RetentionPolicy{TeamID: r.TeamID, Repository: r.Name}
		gone := tx.Where("team_id = ? AND repository = ?", row.TeamID, row.Repository).Delete(&models.RetentionPolicy{})
		if gone.Error != nil {
			return gone.Error
		}
		if gone.RowsAffected == 0 {
			return models.Errorf(models.NotFound, "The repository has no policy of its own.")
		}
		return recordPolicy(ctx, tx, row, r.Name, "retention.inherit")
	})
}

func recordPolicy(ctx context.Context, tx *gorm.DB, row models.RetentionPolicy, name, action string) error {
	subject := "team:" + row.TeamID
	if row.Repository != "" {
		subject = "image:" + row.Repository
	}
	detail := map[string]string{"enabled": fmt.Sprint(row.Enabled), "rules": fmt.Sprint(len(row.Rules))}
	return audit.Record(ctx, tx, audit.Entry{TeamID: row.TeamID, Action: action, Subject: subject, Name: name, Detail: detail})
}

// tidy takes the empty patterns out.
func tidy(rules []models.RetentionRule) []models.RetentionRule {
	out := make([]models.RetentionRule, 0, len(rules))
	for _, r := range rules {
		var patterns []string
		for _, p := range r.Tags {
			if p = strings.TrimSpace(p); p != "" {
				patterns = append(patterns, p)
			}
		}
		r.Tags = patterns
		out = append(out, r)
	}
	return out
}

// check says what is wrong with the policy, by field: rules.0.tags and the like.
func check(p models.RetentionPolicy) error {
	wrong := map[string]string{}
	if p.Enabled && len(p.Rules) == 0 {
		wrong["rules"] = "Without a rule nothing would be kept but what runs. Add one, such as: keep the newest 20."
	}
	if len(p.Rules) > maxRules {
		wrong["rules"] = fmt.Sprintf("Use at most %d rules.", maxRules)
	}
	if p.MinAgeDays < 0 || p.MinAgeDays > maxDays {
		wrong["min_age_days"] = fmt.Sprintf("Use 0 to %d days.", maxDays)
	}
	if p.Rollbacks < 1 || p.Rollbacks > maxRollbacks {
		wrong["rollbacks"] = fmt.Sprintf("Use 1 to %d deployments.", maxRollbacks)
	}
	for i, r := range p.Rules[:min(len(p.Rules), maxRules)] {
		at := fmt.Sprintf("rules.%d", i)
		if r.Last < 0 || r.Last > maxLast {
			wrong[at+".last"] = fmt.Sprintf("Use 0 to %d images.", maxLast)
		}
		if r.Days < 0 || r.Days > maxDays {
			wrong[at+".days"] = fmt.Sprintf("Use 0 to %d days.", maxDays)
		}
		if why := checkPatterns(r); why != "" {
			wrong[at+".tags"] = why
		}
	}
	return models.InvalidFields(wrong)
}

func checkPatterns(r models.RetentionRule) string {
	switch {
	case r.Untagged && len(r.Tags) > 0:
		return "A rule is about tags or about images without one, not both."
	case len(r.Tags) > maxPatterns:
		return fmt.Sprintf("Use at most %d patterns.", maxPatterns)
	}
	for _, p := range r.Tags {
		if len(p) > maxPattern || strings.Count(p, "{") > maxAlternatives || strings.Count(p, "*") > 10 || !doublestar.ValidatePattern(p) {
			return fmt.Sprintf("%q is no pattern. Use one such as main, v* or {release,hotfix}-*, of at most %d characters.", p, maxPattern)
		}
	}
	return ""
}

// matches tells whether the tag is one that the rule is about.
func matches(r models.RetentionRule, tag string) bool {
	for _, p := range r.Tags {
		if doublestar.MatchUnvalidated(p, tag) {
			return true
		}
	}
	return len(r.Tags) == 0
}
