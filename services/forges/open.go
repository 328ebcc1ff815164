package forges

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"

	"slipway.dev/models"
)

// Opened is a connection whose credential can be used. It is never shown, logged or stored.
type Opened struct {
	models.Connection
	Token          string // of the credential token
	AppID          string // of a GitHub App, as are the two below
	InstallationID string
	PrivateKey     string // PEM
}

// Open returns the connection with its credential opened, for Slipway's own work: the principal must be the system.
func (s *Service) Open(ctx context.Context, id string) (Opened, error) {
	if p := models.PrincipalFrom(ctx); p == nil || p.Kind != models.PrincipalSystem {
		return Opened{}, models.Errorf(models.Denied, "A connection's credential is for Slipway's own work only.")
	}
	var c models.Connection
	if err := s.DB.WithContext(ctx).Preload("Team").Where("id = ?", id).Take(&c).Error; err != nil {
		return Opened{}, models.FromDB(err, "connection")
	}
	secret, err := s.openSecrets(&c)
	if err != nil {
		return Opened{}, err
	}
	c.Secrets, c.WebhookSecret = nil, nil
	return Opened{Connection: c, Token: secret[FieldToken], PrivateKey: secret[FieldPrivateKey],
		AppID: c.Settings[FieldAppID], InstallationID: c.Settings[FieldInstallationID]}, nil
}

// Connection returns the repository's connection as Open does, or NotFound where it has none.
func (s *Service) Connection(ctx context.Context, r *models.Repository) (Opened, error) {
	if r.ConnectionID == nil {
		return Opened{}, models.Errorf(models.NotFound, "The repository %s has no connection to a forge.", r.Name)
	}
	return s.Open(ctx, *r.ConnectionID)
}

// The places that a connection's secrets are sealed for.
func credentialPlace(id string) string { return "connections/" + id + "/credential" }
func hookPlace(id string) string       { return "connections/" + id + "/webhook" }

func (s *Service) openSecrets(c *models.Connection) (map[string]string, error) {
	out := map[string]string{}
	if len(c.Secrets) == 0 {
		return out, nil
	}
	plain, err := s.Box.Open(credentialPlace(c.ID), c.Secrets)
	if err != nil {
		return nil, &models.Error{Code: models.Unavailable, Err: err,
			Message: "The credential of the connection " + c.Name + " can't be decrypted. Give it again in the connection's settings."}
	}
	return out, json.Unmarshal(plain, &out)
}

func (s *Service) sealSecrets(c *models.Connection, secret map[string]string) error {
	c.Secrets = nil
	if len(secret) == 0 {
		return nil
	}
	plain, err := json.Marshal(secret)
	if err == nil {
		c.Secrets = s.Box.Seal(credentialPlace(c.ID), plain)
	}
	return err
}

// newHookSecret gives the connection's webhooks a new secret and returns it. It has the form of the Standard Webhooks
// specification, "whsec_" and 32 random bytes in base64, so that it serves as a GitLab signing token too.
func (s *Service) newHookSecret(c *models.Connection) string {
	random := make([]byte, 32)
	rand.Read(random)
	secret := "whsec_" + base64.StdEncoding.EncodeToString(random)
	c.WebhookSecret = s.Box.Seal(hookPlace(c.ID), []byte(secret))
	return secret
}

// HookSecret returns a connection and what its webhooks are signed with, for Slipway's own work: the principal must be
// the system.
func (s *Service) HookSecret(ctx context.Context, id string) (*models.Connection, string, error) {
	if p := models.PrincipalFrom(ctx); p == nil || p.Kind != models.PrincipalSystem {
		return nil, "", models.Errorf(models.Denied, "The secret of a connection's webhooks is for Slipway's own work only.")
	}
	var c models.Connection
	if err := s.DB.WithContext(ctx).Where("id = ?", id).Take(&c).Error; err != nil {
		return nil, "", models.FromDB(err, "connection")
	}
	secret, err := s.Box.Open(hookPlace(c.ID), c.WebhookSecret)
	if err != nil {
		return nil, "", &models.Error{Code: models.Unavailable, Err: err,
			Message: "The secret of the connection's webhooks can't be decrypted. Make a new one on the connection's page."}
	}
	c.Secrets, c.WebhookSecret = nil, nil
	return &c, string(secret), nil
}
