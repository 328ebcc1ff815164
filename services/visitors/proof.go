package visitors

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// CheckEvery is how often a worker looks which domains it has to look at.
const CheckEvery = 15 * time.Second

const (
	lookupTime = 10 * time.Second
	lookEvery  = time.Minute         // how often a domain that is not proven is looked at
	lookFor    = 14 * 24 * time.Hour // and for how long; later a person asks for it
	lookAtMost = 100                 // domains in one round
)

// CheckDomain looks the domain's record up now. The domain says what was found.
func (s *Service) CheckDomain(ctx context.Context, id string) (*models.Domain, error) {
	d, err := s.domain(ctx, id, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	if d.Proven() {
		return d, nil
	}
	return d, s.check(ctx, d, func(tx *gorm.DB) error {
		return changed(ctx, tx, d, "domain.check", map[string]string{"found": d.Note})
	})
}

// ConfirmDomain takes an admin's word that the domain is its team's, such as in a network whose DNS has no TXT records.
func (s *Service) ConfirmDomain(ctx context.Context, id string) (*models.Domain, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	d, err := s.domain(ctx, id, models.RoleMaintainer)
	if err != nil || d.Proven() {
		return d, err
	}
	return d, s.proven(ctx, d, actor(ctx))
}

// CheckDomains looks up the records of domains that wait for it.
func (s *Service) CheckDomains(ctx context.Context) error {
	now := s.now()
	var waiting []models.Domain
	err := s.DB.WithContext(ctx).Where("proven_at IS NULL AND created_at > ? AND (checked_at IS NULL OR checked_at < ?)", now.Add(-lookFor), now.Add(-lookEvery)).
		Order("checked_at, id").Limit(lookAtMost).Find(&waiting).Error
	if err != nil {
		return err
	}
	var faults []error
	for i := range waiting {
		if err := s.check(ctx, &waiting[i], quietly); err != nil && !models.IsCode(err, models.Conflict) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// quietly is for what nobody asked for: it leaves no trace but what was found.
func quietly(*gorm.DB) error { return nil }

// check looks the record up and writes down what it says; also is done in the same transaction where that is no proof.
func (s *Service) check(ctx context.Context, d *models.Domain, also func(*gorm.DB) error) error {
	if d.Note = s.look(ctx, d); d.Note == "" {
		return s.proven(ctx, d, "dns")
	}
	now := s.now()
	d.CheckedAt = &now
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Model(d).Select("checked_at", "note").Updates(d).Error; err != nil {
			return err
		}
		return also(tx)
	})
}

// look says what is wrong with the domain's record; empty: nothing.
func (s *Service) look(ctx context.Context, d *models.Domain) string {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	texts, err := s.resolver().LookupTXT(ctx, d.RecordName()+".")
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return "There is no TXT record at " + d.RecordName() + " yet. A new record can take some minutes to be seen."
	}
	if err != nil {
		return "DNS gave no answer about " + d.RecordName() + ". It is asked again."
	}
	if !slices.Contains(texts, d.RecordValue()) {
		return "The TXT record at " + d.RecordName() + " says something else."
	}
	return ""
}

// proven makes the domain the team's, unless another team was first.
func (s *Service) proven(ctx context.Context, d *models.Domain, by string) error {
	now := s.now()
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		done := tx.Model(&models.Domain{}).Where("id = ? AND proven_at IS NULL", d.ID).
			Updates(map[string]any{"proven_at": now, "proven_by": by, "checked_at": now, "note": "", "updated_at": now})
		if done.Error != nil || done.RowsAffected == 0 {
			return done.Error
		}
		if err := s.rerouted(ctx, tx, d.TeamID, "", ""); err != nil {
			return err
		}
		return changed(ctx, tx, d, "domain.prove", map[string]string{"by": by})
	})
	if models.IsCode(models.FromDB(err, "domain"), models.Conflict) {
		d.Note, d.CheckedAt = otherTeam, &now
		if err := s.DB.WithContext(ctx).Model(d).Select("checked_at", "note").Updates(d).Error; err != nil {
			return err
		}
		return models.Errorf(models.Conflict, "%s", otherTeam)
	}
	if err == nil {
		d.ProvenAt, d.ProvenBy, d.CheckedAt, d.Note = &now, by, &now, ""
	}
	return err
}
