package builds

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// The limits of build secrets.
const (
	maxSecrets  = 50
	minSecret   = 4        // bytes: a shorter one can't be hidden in a log
	maxSecret   = 64 << 10 // bytes; BuildKit takes up to 500 KB
	maxBranches = 20
)

var mountID = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$`)

// SecretInput is a build secret to set. Without a value one that is there keeps its value.
type SecretInput struct {
	Kind     models.BuildSecretKind `json:"kind,omitempty" enum:"secret,ssh" doc:"secret where empty. ssh: a private key that commands sign with by RUN --mount=type=ssh and never see."`
	Value    string                 `json:"value,omitempty" doc:"Never shown again. Empty: the value that is there stays."`
	Branches []string               `json:"branches,omitempty" doc:"Branches whose code gets the secret, as patterns such as main or release/*. Empty: every branch and tag." example:"main"`
}

// Secrets lists the app's build secrets without their values; the team's viewers may.
func (s *Service) Secrets(ctx context.Context, appID string) ([]models.BuildSecret, error) {
	app, err := s.app(ctx, appID, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	var all []models.BuildSecret
	if err := s.DB.WithContext(ctx).Omit("sealed").Where("app_id = ?", app.ID).Order("name").Find(&all).Error; err != nil {
		return nil, fmt.Errorf("listing build secrets: %w", err)
	}
	return all, nil
}

// SetSecret adds a build secret or changes one; the team's developers may. The next build uses it.
func (s *Service) SetSecret(ctx context.Context, appID, name string, in SecretInput) (*models.BuildSecret, error) {
	app, err := s.app(ctx, appID, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if err := in.check(name); err != nil {
		return nil, err
	}
	var secret models.BuildSecret
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Where("app_id = ? AND name = ?", app.ID, name).Limit(1).Find(&secret).Error; err != nil {
			return err
		}
		if secret.ID == "" {
			if err := roomForSecret(tx, app); err != nil {
				return err
			}
			secret = models.BuildSecret{ID: models.NewID(), AppID: app.ID, Name: name}
		}
		if err := s.putSecret(ctx, &secret, app, in); err != nil {
			return err
		}
		if err := tx.Save(&secret).Error; err != nil {
			return models.FromDB(err, "build secret")
		}
		return secretChanged(ctx, tx, app, &secret, "set")
	})
	if err != nil {
		return nil, err
	}
	secret.Sealed = nil
	return &secret, nil
}

func (in *SecretInput) check(name string) error {
	wrong := map[string]string{}
	if in.Kind == "" {
		in.Kind = models.BuildSecretMount
	}
	if in.Kind != models.BuildSecretMount && in.Kind != models.BuildSecretSSH {
		wrong["kind"] = "Choose secret or ssh."
	}
	if !mountID.MatchString(name) {
		wrong["name"] = "Use the id that the Dockerfile's RUN --mount names: letters, digits, dots, hyphens and underscores."
	}
	if len(in.Value) > maxSecret {
		wrong["value"] = "A build secret holds at most 64 KiB."
	} else if in.Value != "" && len(strings.TrimSpace(in.Value)) < minSecret {
		wrong["value"] = "A build secret has at least 4 characters: a shorter one could not be hidden in logs."
	}
	if len(in.Branches) > maxBranches || slices.ContainsFunc(in.Branches, badPattern) {
		wrong["branches"] = "Use up to 20 names of branches or patterns, such as main or release/*."
	}
	return models.InvalidFields(wrong)
}

func badPattern(p string) bool {
	_, err := path.Match(p, "")
	return err != nil || p == "" || len(p) > 255 || strings.ContainsFunc(p, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
}

func roomForSecret(tx *gorm.DB, app *models.App) error {
	var n int64
	if err := tx.Model(&models.BuildSecret{}).Where("app_id = ?", app.ID).Count(&n).Error; err != nil {
		return err
	}
	if n >= maxSecrets {
		return models.Errorf(models.Conflict, "The app has %d build secrets; no more fit. Delete some first.", n)
	}
	return nil
}

// putSecret gives the secret what the input says, sealed for the app's repository.
func (s *Service) putSecret(ctx context.Context, secret *models.BuildSecret, app *models.App, in SecretInput) error {
	if in.Value == "" && (len(secret.Sealed) == 0 || secret.Kind != in.Kind) {
		return models.InvalidField("value", "Enter the value.")
	}
	secret.Branches = in.Branches
	if p := models.PrincipalFrom(ctx); p != nil {
		secret.UpdatedBy = p.Name
	}
	if in.Value == "" {
		return nil
	}
	secret.Kind, secret.RepositoryID, secret.Public = in.Kind, app.RepositoryID, ""
	if in.Kind == models.BuildSecretSSH {
		in.Value = strings.ReplaceAll(strings.TrimSpace(in.Value), "\r\n", "\n") + "\n"
		signer, err := ssh.ParsePrivateKey([]byte(in.Value))
		if err != nil {
			return models.InvalidField("value", "This is no private key in OpenSSH's format without a passphrase.")
		}
		secret.Public = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	}
	secret.Sealed = s.Box.Seal(secret.Place(), []byte(in.Value))
	secret.Fingerprint = s.Box.Fingerprint("build_secrets/"+secret.AppID+"/"+secret.Name, []byte(in.Value))
	return nil
}

// DeleteSecret removes a build secret; the team's developers may.
func (s *Service) DeleteSecret(ctx context.Context, appID, name string) error {
	app, err := s.app(ctx, appID, models.RoleDeveloper)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var secret models.BuildSecret
		if err := tx.Omit("sealed").Where("app_id = ? AND name = ?", app.ID, name).Take(&secret).Error; err != nil {
			return models.FromDB(err, "build secret")
		}
		if err := tx.Delete(&models.BuildSecret{}, "id = ?", secret.ID).Error; err != nil {
			return err
		}
		return secretChanged(ctx, tx, app, &secret, "delete")
	})
}

// secretChanged tells who changed which name; values stay out of it.
func secretChanged(ctx context.Context, tx *gorm.DB, app *models.App, secret *models.BuildSecret, what string) error {
	err := audit.Record(ctx, tx, audit.Entry{TeamID: app.TeamID, Action: "build_secret." + what, Subject: "app:" + app.ID, Name: secret.Name,
		Detail: map[string]string{"app": app.Name, "kind": string(secret.Kind), "branches": strings.Join(secret.Branches, " ")}})
	if err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: app.TeamID, Kind: "app.update", Topic: "app:" + app.ID, Parent: "team:" + app.TeamID})
}
