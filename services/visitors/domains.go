package visitors

import (
	"context"
	"strconv"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// maxHSTS is two years, which is as long as lists of browsers ask for.
const maxHSTS = 2 * 365 * 24 * 60 * 60

// DomainFilter narrows the list of domains. An empty TeamID asks for those of all teams, which only admins may.
type DomainFilter struct {
	models.Page
	TeamID string
}

// DomainInput changes a domain; nil leaves a setting as it is.
type DomainInput struct {
	Redirect *bool
	HSTS     *int64 // seconds
}

// changed records what was done to the domain and tells the proxies and the pages.
func changed(ctx context.Context, tx *gorm.DB, d *models.Domain, what string, detail map[string]string) error {
	if err := audit.Record(ctx, tx, audit.Entry{TeamID: d.TeamID, Action: what, Subject: "domain:" + d.ID, Name: d.Host, Detail: detail}); err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: d.TeamID, Kind: kind(what), Topic: "domain:" + d.ID, Parent: "team:" + d.TeamID})
}

// Domains lists domains, newest first.
func (s *Service) Domains(ctx context.Context, f DomainFilter) (models.List[models.Domain], error) {
	q := s.DB.WithContext(ctx).Preload("Team")
	if f.TeamID == "" {
		if err := models.AuthorizeAdmin(ctx); err != nil {
			return models.List[models.Domain]{}, err
		}
	} else {
		if err := models.Authorize(ctx, f.TeamID, models.RoleViewer, "team"); err != nil {
			return models.List[models.Domain]{}, err
		}
		q = q.Where("team_id = ?", f.TeamID)
	}
	return models.Newest(q, f.Page, "domains.id", func(d models.Domain) string { return d.ID })
}

// Domain returns the domain with its team.
func (s *Service) Domain(ctx context.Context, id string) (*models.Domain, error) {
	return s.domain(ctx, id, models.RoleViewer)
}

func (s *Service) domain(ctx context.Context, id string, role models.Role) (*models.Domain, error) {
	var d models.Domain
	if err := s.DB.WithContext(ctx).Preload("Team").First(&d, "id = ?", id).Error; err != nil {
		return nil, models.FromDB(err, "domain")
	}
	return &d, models.Authorize(ctx, d.TeamID, role, "domain")
}

// DomainAddresses lists where visitors of the domain are sent.
func (s *Service) DomainAddresses(ctx context.Context, id string) ([]models.Address, error) {
	d, err := s.domain(ctx, id, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	var all []models.Address
	return all, s.DB.WithContext(ctx).Where("team_id = ? AND host = ?", d.TeamID, d.Host).Order("path").Limit(5000).Find(&all).Error
}

// DomainsOf returns the team's domains that the addresses are at, by host.
func (s *Service) DomainsOf(ctx context.Context, teamID string, at []models.Address) (map[string]*models.Domain, error) {
	if err := models.Authorize(ctx, teamID, models.RoleViewer, "team"); err != nil {
		return nil, err
	}
	names := []string{""}
	for _, a := range at {
		names = append(names, a.Host)
	}
	var all []models.Domain
	err := s.DB.WithContext(ctx).Find(&all, "team_id = ? AND host IN ?", teamID, names).Error
	out := map[string]*models.Domain{}
	for i := range all {
		out[all[i].Host] = &all[i]
	}
	return out, err
}

// UpdateDomain sets how visitors of the domain come to https.
func (s *Service) UpdateDomain(ctx context.Context, id string, in DomainInput) (*models.Domain, error) {
	d, err := s.domain(ctx, id, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	if in.Redirect != nil {
		d.Redirect = *in.Redirect
	}
	if in.HSTS != nil {
		d.HSTS = *in.HSTS
	}
	if d.HSTS < 0 || d.HSTS > maxHSTS {
		return nil, models.InvalidField("hsts", "From 0, not at all, to %d seconds, two years.", maxHSTS)
	}
	d.UpdatedAt = s.now()
	return d, s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Model(d).Select("redirect", "hsts", "updated_at").Updates(d).Error; err != nil {
			return err
		}
		return changed(ctx, tx, d, "domain.update", map[string]string{"redirect": strconv.FormatBool(d.Redirect), "hsts": strconv.FormatInt(d.HSTS, 10)})
	})
}

// DeleteDomain takes the domain and all of its addresses away: nobody is served there any more.
func (s *Service) DeleteDomain(ctx context.Context, id string) error {
	d, err := s.domain(ctx, id, models.RoleMaintainer)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Delete(&models.Address{}, "team_id = ? AND host = ?", d.TeamID, d.Host).Error; err != nil {
			return err
		}
		if err := tx.Delete(&models.Domain{}, "id = ?", d.ID).Error; err != nil {
			return err
		}
		if err := s.rerouted(ctx, tx, d.TeamID, "", ""); err != nil {
			return err
		}
		return changed(ctx, tx, d, "domain.delete", nil)
	})
}
