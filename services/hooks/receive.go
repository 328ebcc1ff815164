package hooks

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

// MaxBody is how large a webhook may be. GitHub sends up to 25 MB and GitLab 25 MB, but what Slipway reads of them, a
// push with a few hundred commits and their files, fits into a fifth of that; each body is held in memory.
const MaxBody = 5 << 20

// Incoming is a webhook as it arrived.
type Incoming struct {
	ConnectionID string
	Header       http.Header
	Body         []byte // at most MaxBody
}

// Receipt is what the sender of a webhook is told.
type Receipt struct {
	DeliveryID string
	Again      bool // it was received before; nothing happened
}

var errUnsigned = models.Errorf(models.Unauthorized, "This webhook is not signed with its connection's secret. Paste the secret at the forge anew, or make a new one on the connection's page.")

// Receive checks the webhook's signature, stores it and has it worked on in the background; once it returns all of that
// is in the database. What is not signed as its connection asks for writes nothing, and is told the same as what is for
// no connection. A webhook that was received before, by its id or by what was signed, is not taken again.
func (s *Service) Receive(ctx context.Context, in Incoming) (Receipt, error) {
	ctx = models.WithPrincipal(ctx, models.System("webhook"))
	c, secret, err := s.Forges.HookSecret(ctx, in.ConnectionID)
	if models.IsCode(err, models.NotFound) {
		verifyGitHub("nobody's", in.Header, in.Body) // takes as long
		return Receipt{}, errUnsigned
	}
	if err != nil {
		return Receipt{}, err
	}
	said, ok := verify(c.Kind, secret, in.Header, in.Body, time.Now())
	if !ok || secret == "" {
		return Receipt{}, errUnsigned
	}
	if err := said.check(); err != nil {
		return Receipt{}, err
	}
	return s.store(ctx, c, said, in)
}

func (c claim) check() error {
	plain := func(text string) bool {
		return text != "" && len(text) <= 200 && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
	}
	switch {
	case !plain(c.id):
		return models.Errorf(models.Invalid, "The webhook names no id of its delivery, so that it could be taken twice. A signed webhook has it in X-Slipway-Delivery.")
	case !plain(c.event):
		return models.Errorf(models.Invalid, "The webhook does not say in its headers what event it is about.")
	}
	return nil
}

func (s *Service) store(ctx context.Context, c *models.Connection, said claim, in Incoming) (Receipt, error) {
	packed, err := pack(in.Body)
	if err != nil {
		return Receipt{}, err
	}
	d := &models.Delivery{
		ID: models.NewID(), TeamID: c.TeamID, ConnectionID: c.ID, ExternalID: said.id, Fingerprint: said.fingerprint, Event: said.event,
		Headers: interesting(in.Header), Body: packed, Size: int64(len(in.Body)), SHA256: fingerprint(in.Body), State: models.DeliveryReceived,
	}
	receipt := Receipt{DeliveryID: d.ID}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		made := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(d)
		if made.Error != nil {
			return made.Error
		}
		if made.RowsAffected == 0 {
			receipt.Again = true
			return tx.Model(&models.Delivery{}).Where("connection_id = ? AND (external_id = ? OR fingerprint = ?)", c.ID, said.id, said.fingerprint).
				Order("id").Limit(1).Pluck("id", &receipt.DeliveryID).Error
		}
		return s.begin(ctx, tx, d)
	})
	if err != nil {
		return Receipt{}, fmt.Errorf("storing a webhook: %w", err)
	}
	return receipt, nil
}

// begin says that the delivery is there and has it worked on.
func (s *Service) begin(ctx context.Context, tx *gorm.DB, d *models.Delivery) error {
	if err := publish(tx, d); err != nil {
		return err
	}
	return s.Jobs.Insert(ctx, tx, jobs.QueueDefault, Args{d.ID})
}

// shownHeaders are the headers that are kept: none of them is a secret or a signature.
var shownHeaders = []string{
	"Content-Type", "User-Agent", "X-GitHub-Event", "X-GitHub-Delivery", "X-GitHub-Hook-ID", "X-GitHub-Hook-Installation-Target-Type",
	"X-GitHub-Enterprise-Host", "X-Gitlab-Event", "X-Gitlab-Event-UUID", "X-Gitlab-Webhook-UUID", "X-Gitlab-Instance", "Idempotency-Key", "Webhook-Id",
	"Webhook-Timestamp", "X-Gitea-Event", "X-Gitea-Event-Type", "X-Gitea-Delivery", "X-Forgejo-Event", "X-Forgejo-Event-Type", "X-Forgejo-Delivery",
	"X-Slipway-Delivery", "X-Slipway-Event", "X-Slipway-Timestamp",
}

func interesting(h http.Header) map[string]string {
	kept := map[string]string{}
	for _, name := range shownHeaders {
		if value := h.Get(name); value != "" {
			kept[name] = oneLine(value, 300)
		}
	}
	return kept
}

func pack(body []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func unpack(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, MaxBody))
}
