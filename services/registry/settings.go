package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

const (
	maxPatterns = 30
	maxPattern  = 128 // bytes, as long as a tag
)

// Settings is what holds for a repository, and who says so.
type Settings struct {
	Repository models.RegistryRepository
	Team       models.Team // says what the repository does not say itself
}

// Public tells whether anybody may pull, without a login.
func (s Settings) Public() bool {
	if s.Repository.AnonymousPull == models.AnonymousAsTeam {
		return s.Team.AnonymousPull
	}
	return s.Repository.AnonymousPull == models.AnonymousYes
}

// TagsAsTeam tells whether the team's patterns of immutable tags hold here.
func (s Settings) TagsAsTeam() bool { return s.Repository.ImmutableTags == nil }

// ImmutableTags are the patterns of tags that never move here.
func (s Settings) ImmutableTags() []string {
	if s.TagsAsTeam() {
		return s.Team.ImmutableTags
	}
	return s.Repository.ImmutableTags
}

// cacheTag is where builds keep their cache. It is no image that anybody runs, and moves with every build.
const cacheTag = "buildcache"

// Pattern returns the pattern that keeps the tag where it is; empty where it may move.
func (s Settings) Pattern(tag string) string {
	if tag == cacheTag {
		return ""
	}
	for _, p := range s.ImmutableTags() {
		if ok, err := doublestar.Match(p, tag); ok && err == nil {
			return p
		}
	}
	return ""
}

// ChangeSettings says what to change of a repository's settings; nil leaves it as it is.
type ChangeSettings struct {
	AnonymousPull *models.AnonymousPull
	ImmutableTags *[]string // globs, such as v* or release-*; empty: every tag may move
	TagsAsTeam    bool      // the team's patterns, and no own ones
}

// ChangeTeamSettings says what to change of what a team's repositories do where they say nothing; nil leaves it.
type ChangeTeamSettings struct {
	AnonymousPull *bool
	ImmutableTags *[]string
}

// Settings returns what holds for the repository; viewers of its team may see it.
func (s *Service) Settings(ctx context.Context, name string) (*Settings, error) {
	return s.settings(ctx, s.DB.WithContext(ctx), name, models.RoleViewer)
}

func (s *Service) settings(ctx context.Context, tx *gorm.DB, name string, role models.Role) (*Settings, error) {
	var out Settings
	if err := tx.Where("name = ?", s.localName(name)).Take(&out.Repository).Error; err != nil {
		return nil, models.FromDB(err, "image repository")
	}
	if err := models.Authorize(ctx, out.Repository.TeamID, role, "image repository"); err != nil {
		return nil, err
	}
	return &out, models.FromDB(tx.Where("id = ?", out.Repository.TeamID).Take(&out.Team).Error, "team")
}

// UpdateSettings changes what holds for the repository; maintainers of its team
// may. It holds at once, for what is there already too.
func (s *Service) UpdateSettings(ctx context.Context, name string, in ChangeSettings) (out *Settings, err error) {
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if out, err = s.settings(ctx, tx, name, models.RoleMaintainer); err != nil {
			return err
		}
		r := &out.Repository
		if err := in.apply(r); err != nil {
			return err
		}
		if err := tx.Model(r).Select("AnonymousPull", "ImmutableTags").Updates(r).Error; err != nil {
			return fmt.Errorf("changing the settings of %s: %w", name, err)
		}
		return s.recordSettings(ctx, tx, *out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// apply puts the change into the row, or says which field is wrong.
func (in ChangeSettings) apply(r *models.RegistryRepository) error {
	wrong := map[string]string{}
	if in.AnonymousPull != nil {
		r.AnonymousPull = *in.AnonymousPull
		if !slices.Contains([]models.AnonymousPull{models.AnonymousAsTeam, models.AnonymousYes, models.AnonymousNo}, r.AnonymousPull) {
			wrong["anonymous_pull"] = "Choose one of: as the team says, yes, no."
		}
	}
	switch {
	case in.TagsAsTeam:
		r.ImmutableTags = nil
	case in.ImmutableTags != nil:
		r.ImmutableTags = cleanPatterns(*in.ImmutableTags, wrong)
	}
	return models.InvalidFields(wrong)
}

func (s *Service) recordSettings(ctx context.Context, tx *gorm.DB, now Settings) error {
	r := now.Repository
	public := string(r.AnonymousPull)
	if r.AnonymousPull == models.AnonymousAsTeam {
		public = "as the team says"
	}
	tags := strings.Join(r.ImmutableTags, " ")
	if now.TagsAsTeam() {
		tags = "as the team says"
	}
	entry := audit.Entry{TeamID: r.TeamID, Action: "image.settings", Subject: "image:" + r.Name, Name: r.Name,
		Detail: map[string]string{"anonymous_pull": public, "immutable_tags": tags}}
	if err := audit.Record(ctx, tx, entry); err != nil {
		return err
	}
	return s.publishEvent(tx, r, "image.settings", map[string]string{"repository": r.Name})
}

// TeamSettings returns the team, with what its repositories do where they say nothing; its viewers may see it.
func (s *Service) TeamSettings(ctx context.Context, slug string) (*models.Team, error) {
	return s.teamSettings(ctx, s.DB.WithContext(ctx), slug, models.RoleViewer)
}

func (s *Service) teamSettings(ctx context.Context, tx *gorm.DB, slug string, role models.Role) (*models.Team, error) {
	var team models.Team
	if err := tx.Where("slug = ?", slug).Take(&team).Error; err != nil {
		return nil, models.FromDB(err, "team")
	}
	return &team, models.Authorize(ctx, team.ID, role, "team")
}

// UpdateTeamSettings changes what the team's repositories do where they say nothing; its maintainers may.
func (s *Service) UpdateTeamSettings(ctx context.Context, slug string, in ChangeTeamSettings) (team *models.Team, err error) {
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if team, err = s.teamSettings(ctx, tx, slug, models.RoleMaintainer); err != nil {
			return err
		}
		wrong := map[string]string{}
		if in.AnonymousPull != nil {
			team.AnonymousPull = *in.AnonymousPull
		}
		if in.ImmutableTags != nil {
			team.ImmutableTags = cleanPatterns(*in.ImmutableTags, wrong)
		}
		if err := models.InvalidFields(wrong); err != nil {
			return err
		}
		if err := tx.Model(team).Select("AnonymousPull", "ImmutableTags").Updates(team).Error; err != nil {
			return fmt.Errorf("changing the image settings of %s: %w", slug, err)
		}
		entry := audit.Entry{TeamID: team.ID, Action: "team.image_settings", Subject: "team:" + team.ID, Name: team.Name,
			Detail: map[string]string{"anonymous_pull": fmt.Sprint(team.AnonymousPull), "immutable_tags": strings.Join(team.ImmutableTags, " ")}}
		if err := audit.Record(ctx, tx, entry); err != nil {
			return err
		}
		return events.Publish(tx, models.Event{TeamID: team.ID, Kind: "team.image_settings", Topic: "team:" + team.ID})
	})
	if err != nil {
		return nil, err
	}
	return team, nil
}

// cleanPatterns returns the patterns without blanks and doubles, never nil; what is wrong with them goes into wrong.
func cleanPatterns(in []string, wrong map[string]string) []string {
	out := []string{}
	for _, p := range in {
		p = strings.TrimSpace(p)
		switch {
		case p == "" || slices.Contains(out, p):
			continue
		case len(p) > maxPattern || strings.ContainsAny(p, "/ \t\r\n") || !doublestar.ValidatePattern(p):
			wrong["immutable_tags"] = fmt.Sprintf("%.140q is no pattern of tags. Write for example v*, release-* or v[0-9]*; a tag has no slash and no blank.", p)
		}
		out = append(out, p)
	}
	if len(out) > maxPatterns {
		wrong["immutable_tags"] = fmt.Sprintf("There may be at most %d patterns.", maxPatterns)
	}
	return out
}
