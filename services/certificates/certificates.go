// Package certificates keeps what hosts show to visitors who come by TLS:
// certificates that people give, and those that Slipway orders from an authority
// by ACME (RFC 8555). Private keys are sealed; every proxy opens them for itself.
package certificates

import (
	"context"
	"crypto/tls"
	"fmt"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
	"slipway.dev/services/secrets"
)

// Service keeps certificates and orders new ones.
type Service struct {
	DB        *models.Database
	Box       *secrets.Box
	Authority *Authority // that certificates are ordered from; nil: none are ordered
	Portal    string     // the portal's own host, where it gets an ordered certificate too; empty: it does not
	Apps      bool       // hosts that places have by themselves get ordered certificates too
	Elsewhere []string   // kinds of targets whose visitors never come to this server: for hosts that lead there alone no authority would see an answer
	// Changed, where set, is called in the transaction in which certificates of the team change, of the whole site where teamID is empty.
	Changed func(ctx context.Context, tx *gorm.DB, teamID string) error
}

// Filter narrows the list of certificates. An empty TeamID asks for those of the whole site, which only admins may.
type Filter struct {
	models.Page
	TeamID string
}

// keyPlace is what a certificate's key is sealed for.
func keyPlace(id string) string { return "certificates/" + id }

// Open returns the certificate as a server uses it.
func Open(box *secrets.Box, c *models.Certificate) (*tls.Certificate, error) {
	key, err := box.Open(keyPlace(c.ID), c.Sealed)
	if err != nil {
		return nil, err
	}
	opened, err := tls.X509KeyPair([]byte(c.Chain), key)
	if err != nil {
		return nil, fmt.Errorf("the certificate %s and its key do not fit: %w", c.ID, err)
	}
	return &opened, nil
}

// List lists certificates, those made last first, without their keys.
func (s *Service) List(ctx context.Context, f Filter) (models.List[models.Certificate], error) {
	q := s.DB.WithContext(ctx).Omit("sealed")
	if f.TeamID == "" {
		if err := models.AuthorizeAdmin(ctx); err != nil {
			return models.List[models.Certificate]{}, err
		}
	} else if err := models.Authorize(ctx, f.TeamID, models.RoleViewer, "team"); err != nil {
		return models.List[models.Certificate]{}, err
	}
	q = q.Where("team_id = ?", f.TeamID)
	return models.Newest(q, f.Page, "id", func(c models.Certificate) string { return c.ID })
}

// Shown is what stands for the TLS of a host.
type Shown struct {
	Certificate *models.Certificate      // what visitors get; nil: nothing, and they can't come by https
	Order       *models.CertificateOrder // of a new one; nil: none is under way
}

// For returns what the team's domain shows to visitors. The host must be one that the team has proven.
func (s *Service) For(ctx context.Context, teamID, host string) (*Shown, error) {
	if err := models.Authorize(ctx, teamID, models.RoleViewer, "domain"); err != nil {
		return nil, err
	}
	all, err := s.heads(ctx)
	if err != nil {
		return nil, err
	}
	out := &Shown{Certificate: best(all, host, teamID, s.DB.NowFunc())}
	var orders []models.CertificateOrder
	if err := s.DB.WithContext(ctx).Limit(1).Find(&orders, "host = ?", host).Error; err != nil {
		return nil, err
	}
	if len(orders) > 0 {
		out.Order = &orders[0]
	}
	return out, nil
}

// Given returns the chain and the key, in PEM, of the certificate that people gave for the team's host and that counts
// now; nothing where there is none. It is for what shows certificates to visitors, and asks nobody for permission.
func (s *Service) Given(ctx context.Context, teamID, host string) (chain, key []byte, err error) {
	var all []models.Certificate
	if err := s.DB.WithContext(ctx).Omit("chain", "sealed").Find(&all, "ordered_for = ''").Error; err != nil {
		return nil, nil, err
	}
	c := best(all, host, teamID, s.DB.NowFunc())
	if c == nil {
		return nil, nil, nil
	}
	if err := s.DB.WithContext(ctx).First(c, "id = ?", c.ID).Error; err != nil {
		return nil, nil, models.FromDB(err, "certificate")
	}
	key, err = s.Box.Open(keyPlace(c.ID), c.Sealed)
	return []byte(c.Chain), key, err
}

// heads returns what is in all certificates, without chains and keys.
func (s *Service) heads(ctx context.Context) ([]models.Certificate, error) {
	var all []models.Certificate
	return all, s.DB.WithContext(ctx).Omit("chain", "sealed").Find(&all).Error
}

// Delete removes a certificate. Its hosts show another one, or none.
func (s *Service) Delete(ctx context.Context, id string) error {
	var c models.Certificate
	if err := s.DB.WithContext(ctx).Omit("chain", "sealed").First(&c, "id = ?", id).Error; err != nil {
		return models.FromDB(err, "certificate")
	}
	if err := authorize(ctx, c.TeamID); err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Delete(&models.Certificate{}, "id = ?", id).Error; err != nil {
			return err
		}
		return s.changed(ctx, tx, &c, "certificate.delete")
	})
}

// authorize tells whether the principal may change certificates of the team, or of the whole site where there is no team.
func authorize(ctx context.Context, teamID string) error {
	if teamID != "" {
		return models.Authorize(ctx, teamID, models.RoleMaintainer, "certificate")
	}
	err := models.AuthorizeAdmin(ctx)
	if models.IsCode(err, models.Denied) && !models.PrincipalFrom(ctx).Admin {
		return models.Errorf(models.NotFound, "No such certificate.")
	}
	return err
}

// changed records what was done to the certificate and tells the proxies, and who else shows it.
func (s *Service) changed(ctx context.Context, tx *gorm.DB, c *models.Certificate, action string) error {
	detail := map[string]string{"issuer": c.Issuer, "not_after": c.NotAfter.UTC().Format("2006-01-02")}
	if err := audit.Record(ctx, tx, audit.Entry{TeamID: c.TeamID, Action: action, Subject: "certificate:" + c.ID, Name: names(c), Detail: detail}); err != nil {
		return err
	}
	if s.Changed != nil {
		if err := s.Changed(ctx, tx, c.TeamID); err != nil {
			return err
		}
	}
	parent := ""
	if c.TeamID != "" {
		parent = "team:" + c.TeamID
	}
	return events.Publish(tx, models.Event{TeamID: c.TeamID, Kind: models.VisitorEvents + action, Topic: "certificate:" + c.ID, Parent: parent})
}

// names are the first names of the certificate, for people.
func names(c *models.Certificate) string {
	if len(c.Hosts) == 0 {
		return "certificate"
	}
	if len(c.Hosts) == 1 {
		return c.Hosts[0]
	}
	return fmt.Sprintf("%s and %d more", c.Hosts[0], len(c.Hosts)-1)
}
