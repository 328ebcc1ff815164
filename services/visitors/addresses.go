package visitors

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Limits of what a team can keep.
const (
	maxAddresses = 50  // of a place
	maxDomains   = 500 // of a team
)

// AddressInput is an address at which visitors are to find an app.
type AddressInput struct {
	EnvironmentID string
	AppID         string
	Host          string
	Path          string // empty: all paths
	Strip         bool   // the app sees paths without Path
}

// Addresses lists the addresses of the environment's apps, beside those that they have by themselves.
func (s *Service) Addresses(ctx context.Context, environmentID string) ([]models.Address, error) {
	if _, err := s.environment(ctx, environmentID); err != nil {
		return nil, err
	}
	var all []models.Address
	return all, s.DB.WithContext(ctx).Where("environment_id = ?", environmentID).Order("host, path").Limit(5000).Find(&all).Error
}

// Own returns the host names that the environment's apps have by themselves, by app; apps that were never deployed have
// none yet. Where the environment's target sends visitors itself they are the target's, of the apps that serve.
func (s *Service) Own(ctx context.Context, environmentID string) (map[string]string, error) {
	f, err := s.FrontOf(ctx, environmentID)
	if err != nil {
		return nil, err
	}
	own := map[string]string{}
	for app := range f.URLs {
		own[app] = f.LeadsTo(app)
	}
	if f.Itself() {
		return own, nil
	}
	var rows []models.Route
	err = s.DB.WithContext(ctx).Select("app_id", "host").Where("environment_id = ?", environmentID).Find(&rows).Error
	for _, r := range rows {
		own[r.AppID] = r.Host
	}
	return own, err
}

// AddAddress sends visitors of the host and path to the place. A host that the
// team did not name before becomes a domain of its own, which has to be proven
// before anybody is served there.
func (s *Service) AddAddress(ctx context.Context, in AddressInput) (*models.Address, error) {
	p, err := s.stage(ctx, in.EnvironmentID, in.AppID)
	if err != nil {
		return nil, err
	}
	a := &models.Address{ID: models.NewID(), TeamID: p.TeamID, EnvironmentID: p.Environment.ID, AppID: p.App.ID, CreatedByName: actor(ctx), CreatedAt: s.now()}
	var errHost, errPath error
	a.Host, errHost = Host(in.Host)
	a.Path, errPath = Path(in.Path)
	a.Strip = in.Strip && a.Path != "/"
	if err := both(errHost, errPath); err != nil {
		return nil, err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := s.claim(ctx, tx, a); err != nil {
			return err
		}
		if err := s.admits(tx, p, a); err != nil {
			return err
		}
		var n int64
		if err := tx.Model(&models.Address{}).Where("environment_id = ? AND app_id = ?", a.EnvironmentID, a.AppID).Count(&n).Error; err != nil {
			return err
		}
		if n >= maxAddresses {
			return models.Errorf(models.Conflict, "%s has %d addresses in %s, which is as many as there can be. Remove one first.", p.App.Name, n, p.Name)
		}
		if err := tx.Create(a).Error; err != nil {
			if models.IsCode(models.FromDB(err, "address"), models.Conflict) {
				return models.InvalidField("path", "Visitors of %s are sent to an app already.", a.Text())
			}
			return err
		}
		if err := s.rerouted(ctx, tx, a.TeamID, a.EnvironmentID, a.AppID); err != nil {
			return err
		}
		return p.changed(ctx, tx, "address.add", a.Text(), map[string]string{"strip": strconv.FormatBool(a.Strip)})
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// both joins two errors about fields.
func both(errs ...error) error {
	fields := map[string]string{}
	for _, err := range errs {
		if err == nil {
			continue
		}
		e, ok := errors.AsType[*models.Error](err)
		if !ok {
			return err
		}
		for name, text := range e.Fields {
			fields[name] = text
		}
	}
	return models.InvalidFields(fields)
}

// claim makes sure that the team may name the host: it is a place's own host
// name, or a domain that no other team has proven.
func (s *Service) claim(ctx context.Context, tx *gorm.DB, a *models.Address) error {
	var own models.Route
	if err := tx.Limit(1).Find(&own, "host = ? AND team_id = ?", a.Host, a.TeamID).Error; err != nil {
		return err
	}
	if own.Host != "" && a.Path == "/" {
		return models.InvalidField("path", "This is the host name that an app has by itself. Enter a path below it, such as /api.")
	}
	if own.Host != "" {
		var of models.Environment
		if err := tx.First(&of, "id = ?", own.EnvironmentID).Error; err != nil {
			return models.FromDB(err, "environment")
		}
		if err := of.OfPeople(); err != nil {
			return models.InvalidField("host", "This host name goes with the preview of a pull request. Enter another one.")
		}
		return nil
	}
	if why := s.reserved(a.Host); why != "" {
		return models.InvalidField("host", "%s", why)
	}
	var known []models.Domain
	if err := tx.Find(&known, "host = ? AND (team_id = ? OR proven_at IS NOT NULL)", a.Host, a.TeamID).Error; err != nil {
		return err
	}
	mine := false
	for _, d := range known {
		if d.TeamID != a.TeamID {
			return models.InvalidField("host", "%s", otherTeam)
		}
		mine = true
	}
	if mine {
		return nil
	}
	return s.addDomain(ctx, tx, a)
}

const otherTeam = "Another team has proven that this host name is its own. Ask an admin if that is wrong."

func (s *Service) addDomain(ctx context.Context, tx *gorm.DB, a *models.Address) error {
	var n int64
	if err := tx.Model(&models.Domain{}).Where("team_id = ?", a.TeamID).Count(&n).Error; err != nil {
		return err
	}
	if n >= maxDomains {
		return models.Errorf(models.Conflict, "The team has %d domains, which is as many as there can be. Delete one first.", n)
	}
	d := &models.Domain{ID: models.NewID(), TeamID: a.TeamID, Host: a.Host, Token: strings.ToLower(rand.Text()), Redirect: true, CreatedByName: actor(ctx), CreatedAt: s.now(), UpdatedAt: s.now()}
	if err := tx.Create(d).Error; err != nil {
		return models.FromDB(err, "domain")
	}
	return changed(ctx, tx, d, "domain.add", nil)
}

// RemoveAddress sends visitors of the address no longer to its app. Its domain stays the team's.
func (s *Service) RemoveAddress(ctx context.Context, id string) error {
	var a models.Address
	if err := s.DB.WithContext(ctx).First(&a, "id = ?", id).Error; err != nil {
		return models.FromDB(err, "address")
	}
	if err := models.Authorize(ctx, a.TeamID, models.RoleMaintainer, "address"); err != nil {
		return err
	}
	p, err := s.place(ctx, a.EnvironmentID, a.AppID, models.RoleMaintainer)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Delete(&a).Error; err != nil {
			return err
		}
		if err := s.rerouted(ctx, tx, a.TeamID, a.EnvironmentID, a.AppID); err != nil {
			return err
		}
		return p.changed(ctx, tx, "address.remove", a.Text(), nil)
	})
}
