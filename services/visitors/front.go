package visitors

import (
	"context"
	"net/url"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Front is who answers the visitors of an environment.
type Front struct {
	Target  string // its name, where it sends visitors itself; empty: they come to Slipway's proxies
	Domains bool   // that target takes the team's own hosts too
	// URLs are the addresses that the target gives, by app: of those that serve there.
	URLs map[string]string

	door string // the same for environments whose visitors come in at the same place
}

// Itself tells whether the environment's target sends visitors itself.
func (f Front) Itself() bool { return f.Target != "" }

// LeadsTo is the host name that DNS has to lead visitors of the app's other hosts to; empty where they come to the
// proxies, or nothing serves yet.
func (f Front) LeadsTo(appID string) string {
	u, err := url.Parse(f.URLs[appID])
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// FrontOf tells who answers the environment's visitors.
func (s *Service) FrontOf(ctx context.Context, environmentID string) (Front, error) {
	e, err := s.environment(ctx, environmentID)
	if err != nil {
		return Front{}, err
	}
	f, err := s.front(s.DB.WithContext(ctx), e)
	if err != nil || !f.Itself() {
		return f, err
	}
	var serve []models.Deployment
	err = s.DB.WithContext(ctx).Select("app_id", "url").Where("environment_id = ? AND active AND NOT stopped", e.ID).Find(&serve).Error
	f.URLs = make(map[string]string, len(serve))
	for _, d := range serve {
		f.URLs[d.AppID] = d.URL
	}
	return f, err
}

// front is FrontOf without the addresses.
func (s *Service) front(db *gorm.DB, e *models.Environment) (Front, error) {
	if s.Front == nil {
		return Front{}, nil
	}
	var t models.Target
	if err := db.Select("id", "name", "kind").First(&t, "id = ?", e.TargetID).Error; err != nil {
		return Front{}, models.FromDB(err, "target")
	}
	itself, domains := s.Front(t.Kind)
	if !itself {
		return Front{}, nil
	}
	return Front{Target: t.Name, Domains: domains, door: t.ID}, nil
}

// admits refuses an address at which the environment's target would not let visitors in.
func (s *Service) admits(tx *gorm.DB, p *place, a *models.Address) error {
	f, err := s.front(tx, &p.Environment)
	if err != nil {
		return err
	}
	if f.Itself() && !f.Domains {
		return models.InvalidField("host", "Visitors of %s come through its target %s, at no other host than the one that the target gives an app.", p.Name, f.Target)
	}
	if f.Itself() && a.Strip {
		return models.InvalidField("strip", "Visitors of %s come through its target %s, which takes no path off. Have the app answer below %s.", p.Name, f.Target, a.Path)
	}
	return s.sameDoor(tx, f, a)
}

// sameDoor refuses a host that leads elsewhere already: its DNS record leads to one place.
func (s *Service) sameDoor(tx *gorm.DB, f Front, a *models.Address) error {
	var own int64
	if err := tx.Model(&models.Route{}).Where("host = ?", a.Host).Count(&own).Error; err != nil {
		return err
	}
	if own > 0 && f.Itself() {
		return models.InvalidField("host", "This host name leads to Slipway's proxy, and visitors of the environment come through its target %s. Enter another one.", f.Target)
	}
	var others []models.Environment
	if err := tx.Where("id IN (?)", tx.Model(&models.Address{}).Select("environment_id").Where("team_id = ? AND host = ?", a.TeamID, a.Host)).Find(&others).Error; err != nil {
		return err
	}
	for i := range others {
		other, err := s.front(tx, &others[i])
		if err != nil {
			return err
		}
		if other.door != f.door {
			return models.InvalidField("host", "Visitors of this host name are sent to an app in %s, which come in elsewhere, and its DNS record leads to one place. Remove that address first, or enter another host name.", others[i].Name)
		}
	}
	return nil
}

// behindProxy refuses what the proxies alone do, where visitors don't come to them.
func (s *Service) behindProxy(ctx context.Context, p *place) error {
	f, err := s.front(s.DB.WithContext(ctx), &p.Environment)
	if err != nil || !f.Itself() {
		return err
	}
	return models.Errorf(models.Conflict, "Visitors of %s come through its target %s and not through Slipway's proxy, so that neither limits nor maintenance would hold.", p.Name, f.Target)
}

// rerouted tells whom it concerns that visitors of the team's hosts are sent elsewhere: of one place, or of any where environmentID is empty.
func (s *Service) rerouted(ctx context.Context, tx *gorm.DB, teamID, environmentID, appID string) error {
	if s.Changed == nil {
		return nil
	}
	return s.Changed(ctx, tx, teamID, environmentID, appID)
}
