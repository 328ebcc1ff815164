package deploy

import (
	"context"
	"strconv"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

// How long former values of variables are kept, and how long it is known that they changed.
const (
	formerKept  = 20 // of each variable
	formerTime  = 90 * 24 * time.Hour
	changesKept = 400 * 24 * time.Hour
)

func (s *Service) newChange(ctx context.Context, l *level, e edit) *models.VariableChange {
	c := &models.VariableChange{ID: models.NewID(), TeamID: l.Team.ID, EnvironmentID: l.environmentID(), AppID: l.appID(), Name: e.name, UndoOf: e.undoOf, CreatedAt: s.now()}
	if who := models.PrincipalFrom(ctx); who != nil {
		c.ChangedBy, c.ChangedByName = who.UserID, who.Name
	}
	return c
}

// stateOf is what a change says of the variable.
func stateOf(v *models.Variable) models.VariableState {
	return models.VariableState{Set: v.ID != "", Secret: v.Secret, Value: v.Value, Fingerprint: v.Fingerprint}
}

// keepFormer puts what the variable was into the change, sealed anew where it
// is a secret. What becomes a secret is treated as one that was secret before:
// it may be the same value.
func (s *Service) keepFormer(c *models.VariableChange, v *models.Variable, to *content) error {
	c.Before = stateOf(v)
	if v.ID == "" || !v.Secret && (to == nil || !to.secret) {
		return nil
	}
	value, err := s.valueOf(v)
	if err != nil {
		return err
	}
	s.sealFormer(c, value)
	return nil
}

func (s *Service) sealFormer(c *models.VariableChange, value string) {
	c.Before.Secret, c.Before.Value, c.Before.Fingerprint = true, "", s.fingerprint(c.TeamID, c.EnvironmentID, c.Name, value)
	c.Sealed = s.Box.Seal(formerPlace(c), []byte(value))
}

// formerPlace is what the former value is sealed for.
func formerPlace(c *models.VariableChange) string { return "variable_changes/" + c.ID }

// bound forgets former values beyond those that are kept, and hides the open
// ones of what is a secret by now.
func (s *Service) bound(tx *gorm.DB, l *level, name string) error {
	var kept []models.VariableChange
	err := l.exactly(tx).Where("name = ? AND forgotten_at IS NULL", name).Order("id DESC").Limit(formerKept + 1).Find(&kept).Error
	if err != nil {
		return err
	}
	secret := kept[0].After.Secret
	for i := range kept {
		c := &kept[i]
		if !secret || c.Before.Value == "" && c.After.Value == "" {
			continue
		}
		if err := s.hide(tx, c); err != nil {
			return err
		}
	}
	if len(kept) <= formerKept {
		return nil
	}
	return s.forget(l.exactly(tx.Model(&models.VariableChange{})).Where("name = ? AND id <= ?", name, kept[formerKept].ID))
}

// hide makes the values of a change secret that were set openly.
func (s *Service) hide(tx *gorm.DB, c *models.VariableChange) error {
	if c.Before.Set && !c.Before.Secret {
		s.sealFormer(c, c.Before.Value)
	}
	if c.After.Set && !c.After.Secret {
		c.After.Secret, c.After.Fingerprint, c.After.Value = true, s.fingerprint(c.TeamID, c.EnvironmentID, c.Name, c.After.Value), ""
	}
	return tx.Model(c).Select("before_secret", "before_value", "before_fingerprint", "after_secret", "after_value", "after_fingerprint", "sealed").Updates(c).Error
}

// forget removes the values of the changes for good.
func (s *Service) forget(changes *gorm.DB) error {
	return changes.Where("forgotten_at IS NULL").Updates(map[string]any{"before_value": "", "after_value": "", "sealed": nil, "forgotten_at": s.now()}).Error
}

// ChangeFilter narrows the history to a team's own variables, to an environment with all its apps, or to one app.
type ChangeFilter struct {
	models.Page
	Scope
	Name string // of the variable; empty: all
}

// VariableChanges lists who changed which variable, newest first, secrets as their fingerprints.
func (s *Service) VariableChanges(ctx context.Context, f ChangeFilter) (models.List[models.VariableChange], error) {
	l, err := s.level(ctx, f.Scope, models.RoleViewer)
	if err != nil {
		return models.List[models.VariableChange]{}, err
	}
	q := l.below(s.DB.WithContext(ctx)).Omit("sealed").Preload("App", func(tx *gorm.DB) *gorm.DB { return tx.Select("id", "name") })
	if f.Name != "" {
		q = q.Where("name = ?", f.Name)
	}
	list, err := models.Newest(q, f.Page, "id", func(c models.VariableChange) string { return c.ID })
	if err != nil {
		return list, err
	}
	return list, s.addRevisions(ctx, l, list.Items)
}

// addRevisions fills in what the variables of the changes are now.
func (s *Service) addRevisions(ctx context.Context, l *level, changes []models.VariableChange) error {
	names := make([]string, len(changes))
	for i, c := range changes {
		names[i] = c.Name
	}
	var set []models.Variable
	if err := l.below(s.DB.WithContext(ctx)).Select("app_id", "name", "revision").Where("name IN ?", names).Find(&set).Error; err != nil {
		return err
	}
	now := map[[2]string]string{}
	for _, v := range set {
		now[[2]string{v.AppID, v.Name}] = v.Revision
	}
	for i, c := range changes {
		changes[i].Now = now[[2]string{c.AppID, c.Name}]
	}
	return nil
}

// UndoVariableChange puts back what was before the change: the former value, or
// none. It is a change of its own, which can be taken back too. The revision is
// that of the variable which was looked at; nil: whatever it is.
func (s *Service) UndoVariableChange(ctx context.Context, id string, revision *string) (*models.VariableChange, error) {
	var c models.VariableChange
	if err := s.DB.WithContext(ctx).Preload("Team").First(&c, "id = ?", id).Error; err != nil {
		return nil, models.FromDB(err, "change")
	}
	if err := models.Authorize(ctx, c.TeamID, models.RoleDeveloper, "change"); err != nil {
		return nil, err
	}
	l, err := s.level(ctx, Scope{c.TeamID, c.EnvironmentID, c.AppID}, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	err = s.alter(ctx, l, func(tx *gorm.DB) (bool, error) {
		if err := tx.First(&c, "id = ?", id).Error; err != nil { // its value may have been forgotten meanwhile
			return false, models.FromDB(err, "change")
		}
		back := edit{name: c.Name, revision: revision, undoOf: &c.ID}
		if err := s.former(&c, &back); err != nil {
			return false, err
		}
		_, changed, err := s.edit(ctx, tx, l, back)
		if err == nil && !changed {
			err = models.Errorf(models.Conflict, "%s is already as it was before this change.", c.Name)
		}
		return changed, err
	})
	c.Sealed = nil
	return &c, err
}

// former has the edit bring what was before the change.
func (s *Service) former(c *models.VariableChange, back *edit) error {
	switch {
	case !c.CanUndo():
		return models.Errorf(models.Conflict, "The former value of %s was forgotten, so it can't be put back. Set it anew.", c.Name)
	case !c.Before.Set: // back.to stays nil: it goes
		return nil
	case !c.Before.Secret:
		back.to = &content{c.Before.Value, false}
		return nil
	}
	plain, err := s.Box.Open(formerPlace(c), c.Sealed)
	back.to = &content{string(plain), true}
	return err
}

// ForgetVariables removes all former values there for good, of one name or of
// all; who changed what stays known. Deployments keep the values that they ran
// with. It returns of how many changes the values went.
func (s *Service) ForgetVariables(ctx context.Context, in Scope, name string) (int64, error) {
	l, err := s.level(ctx, in, models.RoleMaintainer)
	if err != nil {
		return 0, err
	}
	var n int64
	err = s.alter(ctx, l, func(tx *gorm.DB) (bool, error) {
		q := l.below(tx.Model(&models.VariableChange{})).Where("forgotten_at IS NULL")
		if name != "" {
			q = q.Where("name = ?", name)
		}
		q = q.Session(&gorm.Session{})
		if err := q.Count(&n).Error; err != nil || n == 0 {
			return false, err
		}
		if err := s.forget(q); err != nil {
			return false, err
		}
		detail := l.detail()
		detail["changes"] = strconv.FormatInt(n, 10)
		return true, audit.Record(ctx, tx, audit.Entry{TeamID: l.Team.ID, Action: "variable.forget", Subject: l.topic(), Name: name, Detail: detail})
	})
	return n, err
}

// PruneVariableChanges forgets former values that are kept long enough, and
// later that they changed at all. Every worker may run it.
func (s *Service) PruneVariableChanges(ctx context.Context) error {
	db, now := s.DB.WithContext(ctx), s.now()
	if err := s.forget(db.Model(&models.VariableChange{}).Where("created_at < ?", now.Add(-formerTime))); err != nil {
		return err
	}
	return db.Where("created_at < ?", now.Add(-changesKept)).Delete(&models.VariableChange{}).Error
}
