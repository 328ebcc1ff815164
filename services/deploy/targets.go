package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// localTarget is the setting that says that the target of the first start was made.
const localTarget = "deploy.local_target"

// TargetInput is what an admin says of a target. A secret that is left empty stays as it is.
type TargetInput struct {
	Name     string            `json:"name" form:"name"`
	Kind     string            `json:"kind" form:"kind"`
	Settings map[string]string `json:"settings"`
	AllTeams bool              `json:"all_teams" form:"all_teams"`
	TeamIDs  []string          `json:"team_ids" form:"team_ids"`
}

// KindOf returns the kind of the name, or NotFound.
func (s *Service) KindOf(name string) (Kind, error) {
	i := slices.IndexFunc(s.Kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, models.Errorf(models.NotFound, "This Slipway knows no targets of the kind %q.", name)
	}
	return s.Kinds[i], nil
}

// Means tells whether what is measured of an instance on the target is the mean of all of its deployment's.
func (s *Service) Means(t *models.Target) bool {
	if t == nil {
		return false
	}
	kind, err := s.KindOf(t.Kind)
	return err == nil && kind.Means
}

// EnsureLocal makes the target of the local engine at the first start of an installation.
func (s *Service) EnsureLocal(ctx context.Context, kind string) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		mark := models.Setting{Key: localTarget, Value: kind, UpdatedAt: s.DB.NowFunc()}
		r := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&mark)
		if r.Error != nil || r.RowsAffected == 0 {
			return r.Error
		}
		target := models.Target{ID: models.NewID(), Name: "local", Kind: kind, Settings: map[string]string{}, AllTeams: true}
		if err := tx.Create(&target).Error; err != nil {
			return fmt.Errorf("making the local target: %w", err)
		}
		return nil
	})
}

// Targets returns all targets, for admins.
func (s *Service) Targets(ctx context.Context) ([]models.Target, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	var all []models.Target
	return all, s.DB.WithContext(ctx).Omit("secrets").Order("name").Find(&all).Error
}

// GrantedTargets returns the targets that the team may use.
func (s *Service) GrantedTargets(ctx context.Context, teamID string) ([]models.Target, error) {
	if err := models.Authorize(ctx, teamID, models.RoleViewer, "team"); err != nil {
		return nil, err
	}
	var all []models.Target
	return all, granted(s.DB.WithContext(ctx), teamID).Select("id", "name", "kind", "all_teams", "created_at", "updated_at").Order("name").Find(&all).Error
}

func granted(tx *gorm.DB, teamID string) *gorm.DB {
	grants := tx.Session(&gorm.Session{NewDB: true}).Model(&models.TargetGrant{}).Select("target_id").Where("team_id = ?", teamID)
	return tx.Where("all_teams OR targets.id IN (?)", grants)
}

// Target returns a target and the teams that it is granted to, for admins.
func (s *Service) Target(ctx context.Context, id string) (*models.Target, []string, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, nil, err
	}
	var t models.Target
	if err := s.DB.WithContext(ctx).Omit("secrets").First(&t, "id = ?", id).Error; err != nil {
		return nil, nil, models.FromDB(err, "target")
	}
	var teams []string
	err := s.DB.WithContext(ctx).Model(&models.TargetGrant{}).Where("target_id = ?", id).Pluck("team_id", &teams).Error
	return &t, teams, err
}

// CreateTarget adds a target.
func (s *Service) CreateTarget(ctx context.Context, in TargetInput) (*models.Target, error) {
	return s.saveTarget(ctx, &models.Target{ID: models.NewID(), Kind: in.Kind}, in, "target.create")
}

// UpdateTarget changes a target; its kind stays.
func (s *Service) UpdateTarget(ctx context.Context, id string, in TargetInput) (*models.Target, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	var t models.Target
	if err := s.DB.WithContext(ctx).First(&t, "id = ?", id).Error; err != nil {
		return nil, models.FromDB(err, "target")
	}
	return s.saveTarget(ctx, &t, in, "target.update")
}

func (s *Service) saveTarget(ctx context.Context, t *models.Target, in TargetInput, action string) (*models.Target, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	if err := s.fill(ctx, t, in); err != nil {
		return nil, err
	}
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Save(t).Error; err != nil {
			return models.FromDB(err, "target")
		}
		if err := grant(tx, t.ID, in.TeamIDs); err != nil {
			return err
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: action, Subject: "target:" + t.ID, Name: t.Name, Detail: grantsOf(t)}); err != nil {
			return err
		}
		return events.Publish(tx, models.Event{Kind: action, Topic: "target:" + t.ID, Parent: "targets"})
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// grantsOf is what an audit says of a target: its kind, and what its apps may have of its host.
func grantsOf(t *models.Target) map[string]string {
	return map[string]string{"kind": t.Kind, settingHostNetwork: t.Settings[settingHostNetwork], settingHostPaths: t.Settings[settingHostPaths]}
}

// fill checks the input and puts it into the target, secrets sealed.
func (s *Service) fill(ctx context.Context, t *models.Target, in TargetInput) error {
	kind, err := s.KindOf(t.Kind)
	if err != nil {
		return models.InvalidField("kind", "Choose a kind of target.")
	}
	if !models.ValidName(in.Name) {
		return models.InvalidField("name", models.NameHelp)
	}
	kept, err := s.openSecrets(t)
	if err != nil {
		return err
	}
	settings, secret, wrong := map[string]string{}, map[string]string{}, map[string]string{}
	for _, f := range kind.AllFields() {
		if f.Made {
			continue
		}
		value := strings.TrimSpace(in.Settings[f.Name])
		to := settings
		if f.Secret {
			to = secret
			value = or(value, kept[f.Name])
		}
		if value == "" && f.Required {
			wrong[f.Name] = "This is needed."
		}
		if f.Check && value != "" && value != "true" {
			wrong[f.Name] = "This is true, or empty."
		}
		if len(value) > 16<<10 || strings.ContainsRune(value, 0) {
			wrong[f.Name] = "This is too long, or not text."
		}
		if value != "" {
			to[f.Name] = value
		}
	}
	if err := models.InvalidFields(wrong); err != nil {
		return err
	}
	if err := s.checkOwn(ctx, kind, settings); err != nil {
		return err
	}
	if _, err := ParsePermissions(settings); err != nil {
		return err
	}
	if kind.Prepare != nil {
		if err := kind.Prepare(settings, secret); err != nil {
			return err
		}
	}
	opened, err := kind.Open(Config{ID: t.ID, Name: in.Name, Settings: settings, Secrets: secret, Identity: s.identity(in.Name)})
	if err != nil {
		return err
	}
	t.Name, t.Settings, t.AllTeams = in.Name, settings, in.AllTeams
	return errors.Join(opened.Close(), s.sealSecrets(t, secret))
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func (s *Service) openSecrets(t *models.Target) (map[string]string, error) {
	out := map[string]string{}
	if len(t.Secrets) == 0 {
		return out, nil
	}
	plain, err := s.Box.Open("targets/"+t.ID, t.Secrets)
	if err != nil {
		return nil, err
	}
	return out, json.Unmarshal(plain, &out)
}

func (s *Service) sealSecrets(t *models.Target, secret map[string]string) error {
	t.Secrets = nil
	if len(secret) == 0 {
		return nil
	}
	plain, err := json.Marshal(secret)
	if err == nil {
		t.Secrets = s.Box.Seal("targets/"+t.ID, plain)
	}
	return err
}

func grant(tx *gorm.DB, targetID string, teamIDs []string) error {
	if err := tx.Delete(&models.TargetGrant{}, "target_id = ?", targetID).Error; err != nil {
		return err
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(teamIDs))) {
		if err := tx.Create(&models.TargetGrant{TargetID: targetID, TeamID: id}).Error; err != nil {
			return models.InvalidField("team_ids", "One of the teams does not exist.")
		}
	}
	return nil
}

// DeleteTarget removes a target that no environment uses. What it kept for itself at its provider, such as a cluster,
// is removed by a job afterwards, which is repeated until that succeeds (TargetRemovals).
func (s *Service) DeleteTarget(ctx context.Context, id string) error {
	if _, _, err := s.Target(ctx, id); err != nil {
		return err
	}
	target, err := s.target(ctx, id)
	if err != nil {
		slog.WarnContext(ctx, "a target that can't be opened is deleted: what its provider keeps for it stays there", "target", id, "error", err)
	}
	_, keeps := target.(Destroyer)
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var t models.Target
		if err := tx.First(&t, "id = ?", id).Error; err != nil {
			return models.FromDB(err, "target")
		}
		var used int64
		if err := tx.Model(&models.Environment{}).Where("target_id = ?", id).Count(&used).Error; err != nil {
			return err
		}
		if used > 0 {
			return models.Errorf(models.Conflict, "%d environments are on the target %s. Delete them first.", used, t.Name)
		}
		if err := tx.Delete(&models.Target{}, "id = ?", id).Error; err != nil {
			return err
		}
		if keeps {
			if err := s.removeLater(ctx, tx, &t); err != nil {
				return err
			}
		}
		return audit.Record(ctx, tx, audit.Entry{Action: "target.delete", Subject: "target:" + id, Name: t.Name})
	})
}

// CheckTarget reaches the target and tells what it is, for admins.
func (s *Service) CheckTarget(ctx context.Context, id string) (Info, error) {
	if _, _, err := s.Target(ctx, id); err != nil {
		return Info{}, err
	}
	target, err := s.target(ctx, id)
	if err != nil {
		return Info{}, err
	}
	info, err := target.Check(ctx)
	return info, forPeople(err)
}

// forPeople turns a target's failure into an error that a page can show.
func forPeople(err error) error {
	if f := new(Failure); errors.As(err, &f) {
		return &models.Error{Code: models.Unavailable, Message: f.Message, Err: err}
	}
	return err
}

// target returns the open target; it is opened anew after its settings changed.
func (s *Service) target(ctx context.Context, id string) (Target, error) {
	var t models.Target
	if err := s.DB.WithContext(ctx).First(&t, "id = ?", id).Error; err != nil {
		return nil, models.FromDB(err, "target")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have, ok := s.open[id]; ok && have.updated.Equal(t.UpdatedAt) {
		return have.Target, nil
	}
	opened, err := s.connect(&t)
	if err != nil {
		return nil, err
	}
	if s.open == nil {
		s.open = map[string]openTarget{}
	}
	s.open[id] = openTarget{opened, t.UpdatedAt} // the one before may be in use: its idle connections end by themselves
	return opened, nil
}

// connect opens the target anew.
func (s *Service) connect(t *models.Target) (Target, error) {
	kind, err := s.KindOf(t.Kind)
	if err != nil {
		return nil, err
	}
	secret, err := s.openSecrets(t)
	if err != nil {
		return nil, err
	}
	opened, err := kind.Open(Config{ID: t.ID, Name: t.Name, Settings: t.Settings, Secrets: secret, Identity: s.identity(t.Name)})
	if err != nil {
		return nil, fmt.Errorf("opening the target %s: %w", t.Name, err)
	}
	return opened, nil
}

// OpenTarget gives the open target to another service, which has to authorize
// what it does with it.
func (s *Service) OpenTarget(ctx context.Context, id string) (Target, error) {
	return s.target(ctx, id)
}

// Dial connects to an address at which an instance of the target answers. The
// target is the one that this process has open; it is looked at anew only where
// that one gives no connection, so that visitors wait for no database.
func (s *Service) Dial(ctx context.Context, targetID, network, address string) (net.Conn, error) {
	s.mu.Lock()
	have, ok := s.open[targetID]
	s.mu.Unlock()
	if ok {
		conn, err := have.Dial(ctx, network, address)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
	}
	now, err := s.target(ctx, targetID)
	if err != nil {
		return nil, err
	}
	return now.Dial(ctx, network, address)
}

// now is the time as the database keeps it.
func (s *Service) now() time.Time { return s.DB.NowFunc() }
