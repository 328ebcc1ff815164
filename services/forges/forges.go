// Package forges knows the forges that teams work with: GitHub, GitLab, Gitea and Forgejo, and whatever else can sign a
// request. A connection says where a forge is, how Slipway calls it, and the secret of its webhooks.
package forges

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
	"slipway.dev/services/secrets"
)

// Service holds the rules of connections. Every method that takes a context from a request authorizes its principal.
type Service struct {
	DB          *gorm.DB
	Box         *secrets.Box
	ExternalURL string           // where forges reach the portal, without a slash at its end
	Client      *http.Client     // of the outbound guard, for calls of forges' APIs
	Now         func() time.Time // nil: the database's clock
	// CommentText is what the comment on a pull request says now, in Markdown; empty: there is nothing to say. Nil: no
	// comments are written.
	CommentText func(ctx context.Context, repositoryID string, number int64) (string, error)

	tokens installations
}

func (s *Service) now() time.Time {
	if s.Now != nil {
		return s.Now().UTC().Truncate(time.Microsecond)
	}
	return s.DB.NowFunc()
}

// HookPath is the path of the portal below which every connection has the address that its forge sends webhooks to.
const HookPath = "/hooks/"

// HookURL is where the connection's forge sends its webhooks.
func (s *Service) HookURL(c *models.Connection) string { return s.ExternalURL + HookPath + c.ID }

// commit runs the work with its audit entry and its event about the connection in one transaction.
func (s *Service) commit(ctx context.Context, c *models.Connection, action string, work func(tx *gorm.DB) error) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := work(tx); err != nil {
			return err
		}
		detail := map[string]string{"kind": string(c.Kind), "base_url": c.BaseURL, "credential": string(c.Credential)}
		err := audit.Record(ctx, tx, audit.Entry{TeamID: c.TeamID, Action: action, Subject: "connection:" + c.ID, Name: c.Name, Detail: detail})
		if err != nil {
			return err
		}
		return events.Publish(tx, models.Event{TeamID: c.TeamID, Kind: action, Topic: "connection:" + c.ID, Parent: "team:" + c.TeamID})
	})
}

// named turns a name that is taken into a conflict about the field.
func named(err error, name string) error {
	if !errors.Is(err, gorm.ErrDuplicatedKey) {
		return err
	}
	message := fmt.Sprintf("The team has a connection named %q already.", name)
	return &models.Error{Code: models.Conflict, Message: message, Fields: map[string]string{"name": message}}
}
