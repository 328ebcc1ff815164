package certificates

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// OrderEvery is how often a worker looks for hosts that need a certificate.
const OrderEvery = 5 * time.Second

const (
	orderTime  = 3 * time.Minute // for one host
	takeTime   = 5 * time.Minute // after it another worker may order
	orderRound = 10              // hosts that a worker orders for before it looks anew
	firstRetry = time.Minute
	lastRetry  = 12 * time.Hour
	maxNote    = 600 // bytes of what an authority says
)

// wanted is a host that needs a certificate, and the team whose domain it is.
type wanted struct{ Host, TeamID string }

// OrderAll orders certificates for the hosts that have none, and new ones for
// those whose certificate has lived two thirds of its time. Every worker may
// run it: each order is taken by one of them.
func (s *Service) OrderAll(ctx context.Context) error {
	if s.Authority == nil {
		return nil
	}
	hosts, err := s.needing(ctx)
	if err != nil {
		return err
	}
	due, err := s.due(ctx, hosts)
	if err != nil {
		return err
	}
	var faults []error
	for _, h := range due {
		if err := s.take(ctx, h); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// needing returns the hosts that need a new certificate.
func (s *Service) needing(ctx context.Context) (out []wanted, err error) {
	var all []wanted
	db := s.DB.WithContext(ctx)
	err = db.Model(&models.Domain{}).Select("host", "team_id").Where("proven_at IS NOT NULL").
		Where("EXISTS (SELECT 1 FROM addresses JOIN environments ON environments.id = addresses.environment_id JOIN targets ON targets.id = environments.target_id"+
			" WHERE addresses.host = domains.host AND addresses.team_id = domains.team_id AND targets.kind NOT IN ?)", append([]string{""}, s.Elsewhere...)).Scan(&all).Error
	if err != nil {
		return nil, err
	}
	if s.Apps {
		var own []wanted
		if err := db.Model(&models.Route{}).Select("host", "team_id").Where("deployment_id <> ''").Scan(&own).Error; err != nil {
			return nil, err
		}
		all = append(all, own...)
	}
	if s.Portal != "" {
		all = append(all, wanted{Host: s.Portal})
	}
	have, err := s.heads(ctx)
	now := s.DB.NowFunc()
	for _, h := range all {
		if !public(h.Host) {
			continue
		}
		if c := best(have, h.Host, h.TeamID, now); c == nil || renew(c, now) {
			out = append(out, h)
		}
	}
	return out, err
}

// public tells whether an authority could know the host.
func public(host string) bool {
	return strings.Contains(host, ".") && net.ParseIP(host) == nil && !strings.HasSuffix(host, ".localhost")
}

// best returns the certificate that the host shows; nil: none.
func best(all []models.Certificate, host, team string, now time.Time) (best *models.Certificate) {
	for i := range all {
		c := &all[i]
		if covers, _ := c.Covers(host); covers && c.MayShow(host, team) && c.Valid(now) && (best == nil || c.Better(best, host, now)) {
			best = c
		}
	}
	return best
}

// renew tells whether the certificate is old enough for another one: two thirds of its life are over, or, where it was
// given, its end is near.
func renew(c *models.Certificate, now time.Time) bool {
	left := c.NotAfter.Sub(now)
	if c.OrderedFor == "" {
		return left < 7*24*time.Hour
	}
	return left < c.NotAfter.Sub(c.NotBefore)/3
}

// due writes down which hosts need a certificate and returns those whose turn it is.
func (s *Service) due(ctx context.Context, hosts []wanted) (out []wanted, err error) {
	now := s.DB.NowFunc()
	db := s.DB.WithContext(ctx)
	names := []string{""}
	var rows []models.CertificateOrder
	for _, h := range hosts {
		names = append(names, h.Host)
		rows = append(rows, models.CertificateOrder{Host: h.Host, NextAt: now, UpdatedAt: now})
	}
	if err := db.Delete(&models.CertificateOrder{}, "host NOT IN ?", names).Error; err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, nil
	}
	if err := db.Clauses(clause.OnConflict{DoNothing: true}).CreateInBatches(&rows, 100).Error; err != nil {
		return nil, err
	}
	var turn []string
	err = db.Model(&models.CertificateOrder{}).Where("next_at <= ? AND (taken_until IS NULL OR taken_until < ?)", now, now).
		Order("next_at, host").Limit(orderRound).Pluck("host", &turn).Error
	for _, h := range hosts {
		if slices.Contains(turn, h.Host) {
			out = append(out, h)
		}
	}
	return out, err
}

// take makes the order this worker's, unless another one was quicker, and carries it out.
func (s *Service) take(ctx context.Context, h wanted) error {
	now := s.DB.NowFunc()
	db := s.DB.WithContext(ctx)
	got := db.Model(&models.CertificateOrder{}).Where("host = ? AND next_at <= ? AND (taken_until IS NULL OR taken_until < ?)", h.Host, now, now).
		Updates(map[string]any{"taken_until": now.Add(takeTime), "updated_at": now})
	if got.Error != nil || got.RowsAffected == 0 {
		return got.Error
	}
	var row models.CertificateOrder
	if err := db.Take(&row, "host = ?", h.Host).Error; err != nil {
		return err
	}
	err := s.order(ctx, h, row.Tries)
	if err == nil {
		return nil
	}
	slog.WarnContext(ctx, "no certificate was had", "host", h.Host, "tries", row.Tries+1, "error", err)
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	next := s.DB.NowFunc().Add(pause(row.Tries, err))
	return s.DB.WithContext(keep).Model(&models.CertificateOrder{}).Where("host = ?", h.Host).
		Updates(map[string]any{"tries": row.Tries + 1, "note": note(err), "next_at": next, "taken_until": nil, "updated_at": s.DB.NowFunc()}).Error
}

// pause is how long to wait after the failure: longer each time, and as long as the authority asks.
func pause(tries int, err error) time.Duration {
	d := min(firstRetry<<min(tries*2, 20), lastRetry)
	d += time.Duration(mathrand.Int64N(int64(d) / 4))
	if asked, ok := acme.RateLimit(rootOf(err)); ok && asked > d {
		return asked
	}
	return d
}

func rootOf(err error) error {
	if e, ok := errors.AsType[*acme.Error](err); ok {
		return e
	}
	return err
}

// note is what a failure means, in words for the domain's page.
func note(err error) string {
	text := "The authority could not be reached, or did not answer in time."
	refused, denied := new(acme.AuthorizationError), new(acme.Error)
	switch {
	case errors.As(err, &refused) && len(refused.Errors) > 0:
		text = "The authority did not see this host as Slipway's: " + detail(refused.Errors[0])
	case errors.As(err, &denied):
		text = "The authority refused the order: " + denied.Detail
	}
	return strings.ToValidUTF8(text[:min(len(text), maxNote)], "")
}

func detail(err error) string {
	if e, ok := errors.AsType[*acme.Error](err); ok {
		return e.Detail
	}
	return err.Error()
}

// order gets a certificate for the host: prove it, ask for it, keep it.
func (s *Service) order(ctx context.Context, h wanted, tries int) error {
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	client, err := s.account(ctx)
	if err != nil {
		return err
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(h.Host))
	if err != nil {
		return fmt.Errorf("ordering: %w", err)
	}
	defer s.forget(ctx, h.Host)
	for _, at := range order.AuthzURLs {
		if err := s.prove(ctx, client, h.Host, at, tries); err != nil {
			return err
		}
	}
	ready, err := client.WaitOrder(ctx, order.URI)
	if err != nil {
		return fmt.Errorf("waiting for the order: %w", err)
	}
	ready.URI = order.URI // which not every authority repeats
	key, text, err := newKey()
	if err != nil {
		return err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{h.Host}}, key)
	if err != nil {
		return err
	}
	chain, _, err := client.CreateCertFromOrder(ctx, ready, request, true)
	if err != nil {
		return fmt.Errorf("fetching the certificate: %w", err)
	}
	return s.keep(ctx, h, chain, text)
}

// prove lets the authority see that the host is ours. One kind of challenge is
// tried after the other, so that it is enough that one of the two ports can be reached.
func (s *Service) prove(ctx context.Context, client *acme.Client, host, at string, tries int) error {
	z, err := client.GetAuthorization(ctx, at)
	if err != nil {
		return fmt.Errorf("reading the authorization: %w", err)
	}
	if z.Status == acme.StatusValid {
		return nil
	}
	kinds := []models.ChallengeKind{models.ChallengeHTTP, models.ChallengeALPN}
	var chosen *acme.Challenge
	for i := range kinds {
		kind := string(kinds[(tries+i)%len(kinds)])
		if at := slices.IndexFunc(z.Challenges, func(c *acme.Challenge) bool { return c.Type == kind }); at >= 0 && chosen == nil {
			chosen = z.Challenges[at]
		}
	}
	if chosen == nil {
		return errors.New("the authority offers neither http-01 nor tls-alpn-01")
	}
	if err := s.prepare(ctx, client, host, chosen); err != nil {
		return err
	}
	if _, err := client.Accept(ctx, chosen); err != nil {
		return fmt.Errorf("accepting the challenge: %w", err)
	}
	if _, err := client.WaitAuthorization(ctx, z.URI); err != nil {
		return fmt.Errorf("proving the host by %s: %w", chosen.Type, err)
	}
	return nil
}

// forget ends the answering of challenges.
func (s *Service) forget(ctx context.Context, host string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := s.DB.WithContext(ctx).Delete(&models.CertificateChallenge{}, "host = ?", host).Error; err != nil {
		slog.WarnContext(ctx, "a challenge stays until it expires", "host", host, "error", err)
	}
}

// keep stores the certificate in place of the one that was ordered before, and ends the order.
func (s *Service) keep(ctx context.Context, h wanted, chain [][]byte, key []byte) error {
	var parsed []*x509.Certificate
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("reading the certificate: %w", err)
		}
		parsed = append(parsed, c)
	}
	if len(parsed) == 0 || parsed[0].VerifyHostname(h.Host) != nil {
		return fmt.Errorf("the authority's certificate is not for %s", h.Host)
	}
	c := s.newCertificate(parsed[0])
	c.TeamID, c.OrderedFor, c.Chain, c.CreatedByName = h.TeamID, h.Host, encode(parsed), "Slipway"
	c.Sealed = s.Box.Seal(keyPlace(c.ID), key)
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Delete(&models.Certificate{}, "ordered_for = ?", h.Host).Error; err != nil {
			return err
		}
		if err := tx.Create(c).Error; err != nil {
			return err
		}
		if err := tx.Delete(&models.CertificateOrder{}, "host = ?", h.Host).Error; err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "certificate.order")
	})
}
