package hooks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

// Filter narrows the list of deliveries.
type Filter struct {
	models.Page
	Team         string               `query:"team"` // the team's slug
	ConnectionID string               `query:"connection_id"`
	RepositoryID string               `query:"repository_id"`
	State        models.DeliveryState `query:"state"`
}

// List returns the deliveries of the principal's teams, newest first, with connection and outcomes and without bodies.
func (s *Service) List(ctx context.Context, f Filter) (models.List[models.Delivery], error) {
	none := models.List[models.Delivery]{}
	p := models.PrincipalFrom(ctx)
	switch {
	case p == nil:
		return none, models.Errorf(models.Unauthorized, "Sign in first.")
	case !p.HasScope(models.ScopeRead):
		return none, models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeRead)
	}
	q, err := s.filter(ctx, f)
	if err != nil {
		return none, err
	}
	if ids, all := p.TeamIDs(); !all {
		q = q.Where("deliveries.team_id IN ?", ids)
	}
	list, err := models.Newest(q, f.Page, "deliveries.id", func(d models.Delivery) string { return d.ID })
	if err != nil {
		return none, fmt.Errorf("listing deliveries: %w", err)
	}
	return list, nil
}

func (s *Service) filter(ctx context.Context, f Filter) (*gorm.DB, error) {
	switch f.State {
	case "", models.DeliveryReceived, models.DeliveryHandled, models.DeliveryIgnored, models.DeliveryFailed:
	default:
		return nil, models.InvalidField("state", "%q is no state of a delivery: use received, handled, ignored or failed.", f.State)
	}
	q := s.with(ctx).Omit("body", "headers")
	if f.State != "" {
		q = q.Where("deliveries.state = ?", f.State)
	}
	if f.ConnectionID != "" {
		q = q.Where("deliveries.connection_id = ?", f.ConnectionID)
	}
	if f.RepositoryID != "" {
		q = q.Where("deliveries.id IN (?)", s.DB.Model(&models.DeliveryOutcome{}).Select("delivery_id").Where("repository_id = ?", f.RepositoryID))
	}
	if f.Team != "" {
		q = q.Where("deliveries.team_id IN (?)", s.DB.Model(&models.Team{}).Select("id").Where("slug = ?", f.Team))
	}
	return q, nil
}

// with reads deliveries with their connections and outcomes.
func (s *Service) with(ctx context.Context) *gorm.DB {
	return s.DB.WithContext(ctx).
		Preload("Connection", func(q *gorm.DB) *gorm.DB { return q.Omit("secrets", "webhook_secret") }).
		Preload("Outcomes", func(q *gorm.DB) *gorm.DB { return q.Order("delivery_id, seq") })
}

// Get returns a delivery with connection and outcomes, and its payload as it arrived; the team's viewers may read it.
func (s *Service) Get(ctx context.Context, id string) (*models.Delivery, []byte, error) {
	d, err := s.delivery(ctx, id, models.RoleViewer)
	if err != nil {
		return nil, nil, err
	}
	body, err := unpack(d.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the payload of delivery %s: %w", id, err)
	}
	d.Body = nil
	return d, body, nil
}

func (s *Service) delivery(ctx context.Context, id string, role models.Role) (*models.Delivery, error) {
	var d models.Delivery
	if err := s.with(ctx).Where("id = ?", id).Take(&d).Error; err != nil {
		return nil, models.FromDB(err, "delivery")
	}
	return &d, models.Authorize(ctx, d.TeamID, role, "delivery")
}

// Pretty is a payload as people read it: indented JSON, at most limit bytes of it; what is no JSON stays as it is.
func Pretty(body []byte, limit int) (text string, cut bool) {
	var out bytes.Buffer
	if err := json.Indent(&out, body, "", "  "); err != nil {
		out.Reset()
		out.Write(body)
	}
	shown := out.Bytes()
	return string(bytes.ToValidUTF8(shown[:min(len(shown), limit)], []byte("\uFFFD"))), len(shown) > limit
}

// Redeliver has the payload of a delivery worked on anew, as a delivery of its own; the team's developers may. It asks
// for builds as the first one did, but takes no other build's place.
func (s *Service) Redeliver(ctx context.Context, id string) (*models.Delivery, error) {
	old, err := s.delivery(ctx, id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if old.State == models.DeliveryReceived {
		return nil, models.Errorf(models.Conflict, "A worker is about to look at this delivery. Wait a moment.")
	}
	d := *old
	d.ID, d.State, d.Summary, d.Message, d.HandledAt, d.Outcomes = models.NewID(), models.DeliveryReceived, "", "", nil, nil
	d.ExternalID, d.CreatedAt = "redelivery "+d.ID, s.DB.NowFunc()
	d.RedeliveryOf, d.RedeliveredBy = first(old.RedeliveryOf, old.ID), models.PrincipalFrom(ctx).Name
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Omit("Connection", "Outcomes").Create(&d).Error; err != nil {
			return err
		}
		err := audit.Record(ctx, tx, audit.Entry{TeamID: d.TeamID, Action: "delivery.redeliver", Subject: Topic(d.ID), Name: old.Summary,
			Detail: map[string]string{"delivery": d.RedeliveryOf}})
		if err != nil {
			return err
		}
		return s.begin(ctx, tx, &d)
	})
	if err != nil {
		return nil, fmt.Errorf("redelivering %s: %w", id, err)
	}
	d.Body = nil
	return &d, nil
}

// pruneBatch is how many deliveries are forgotten in one statement.
const pruneBatch = 500

// Prune forgets deliveries that are older than 30 days.
func (s *Service) Prune(ctx context.Context) error {
	for {
		old := s.DB.Model(&models.Delivery{}).Select("id").Where("created_at < ?", s.DB.NowFunc().Add(-keep)).Limit(pruneBatch)
		r := s.DB.WithContext(ctx).Where("id IN (?)", old).Delete(&models.Delivery{})
		if r.Error != nil {
			return fmt.Errorf("forgetting old deliveries: %w", r.Error)
		}
		if r.RowsAffected < pruneBatch {
			return nil
		}
	}
}
