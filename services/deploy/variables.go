package deploy

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// Limits of variables, for each level: a team, an environment, an app in an environment.
const (
	maxVariables = 300
	maxValue     = 32 << 10  // bytes
	maxValues    = 256 << 10 // bytes of all values together; Linux starts no program with more than 2 MiB of variables
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// VariableInput is a variable or a secret to set.
type VariableInput struct {
	TeamID        string // for every environment of the team, where EnvironmentID is empty
	EnvironmentID string
	AppID         string // empty: for every app of the environment
	Name          string
	Value         string
	Secret        bool
	Revision      *string // of the variable that was looked at, empty for none; nil: whatever it is
}

func (in VariableInput) scope() Scope { return Scope{in.TeamID, in.EnvironmentID, in.AppID} }

func (in VariableInput) validate() error {
	wrong := map[string]string{}
	if text := wrongName(in.Name); text != "" {
		wrong["name"] = text
	}
	switch {
	case len(in.Value) > maxValue:
		wrong["value"] = "A value holds at most 32 KiB. Put larger things into a file of the image or a store."
	case wrongText(in.Value) != "":
		wrong["value"] = wrongText(in.Value)
	case in.Secret && in.Value == "":
		wrong["value"] = "A secret can't be empty."
	}
	return models.InvalidFields(wrong)
}

// wrongText says why no variable can hold the text; empty: it can.
func wrongText(value string) string {
	switch {
	case !utf8.ValidString(value):
		return "A value is text in UTF-8. Write binary data as base64, and have the app read it so."
	case strings.ContainsRune(value, 0):
		return "A value can't hold NUL characters."
	}
	return ""
}

// wrongName says why no variable can have the name; empty: it can.
func wrongName(name string) string {
	switch {
	case !variableName.MatchString(name):
		return "Use letters, digits and underscores, and begin with no digit."
	case name == "PORT" || strings.HasPrefix(name, "SLIPWAY_"):
		return "PORT and names that begin with SLIPWAY_ are set by Slipway. The port is in the app's settings."
	}
	return ""
}

// VariableFilter narrows the list of variables to those of a team, or of an environment with all its apps, or of one app.
type VariableFilter struct {
	models.Page
	Scope
}

// Variables lists the variables and secrets that are set there, by app and
// name, values of secrets left out. What is inherited is not among them: see [Service.Settings].
func (s *Service) Variables(ctx context.Context, f VariableFilter) (models.List[models.Variable], error) {
	list := models.List[models.Variable]{}
	l, err := s.level(ctx, f.Scope, models.RoleViewer)
	if err != nil {
		return list, err
	}
	q := l.below(s.DB.WithContext(ctx)).Omit("sealed").Order("app_id, name").Limit(f.Size() + 1)
	if f.Cursor != "" {
		app, name, _ := strings.Cut(f.Cursor, "/")
		q = q.Where("(app_id > ? OR (app_id = ? AND name > ?))", app, app, name)
	}
	if err := q.Find(&list.Items).Error; err != nil || len(list.Items) <= f.Size() {
		return list, err
	}
	list.Items = list.Items[:f.Size()]
	last := list.Items[f.Size()-1]
	list.Next = last.AppID + "/" + last.Name
	return list, nil
}

// Variable returns the variable of the name that is set exactly there, its value left out where it is a secret.
func (s *Service) Variable(ctx context.Context, in Scope, name string) (*models.Variable, error) {
	l, err := s.level(ctx, in, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	var v models.Variable
	err = l.exactly(s.DB.WithContext(ctx)).Omit("sealed").Take(&v, "name = ?", name).Error
	return &v, models.FromDB(err, "variable")
}

// SetVariable sets a variable or a secret. What runs keeps its values until the next deployment.
func (s *Service) SetVariable(ctx context.Context, in VariableInput) (*models.Variable, error) {
	l, err := s.level(ctx, in.scope(), models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if err := in.validate(); err != nil {
		return nil, err
	}
	var v *models.Variable
	err = s.alter(ctx, l, func(tx *gorm.DB) (changed bool, err error) {
		v, changed, err = s.edit(ctx, tx, l, edit{name: in.Name, to: &content{in.Value, in.Secret}, revision: in.Revision})
		return changed, err
	})
	if err != nil {
		return nil, err
	}
	v.Sealed = nil
	return v, nil
}

// DeleteVariable removes a variable or a secret that is set there. What runs
// keeps it until the next deployment. The revision is that of the variable
// which was looked at; nil: whatever it is. What it returns is the variable as
// it was, with the deletion as its revision.
func (s *Service) DeleteVariable(ctx context.Context, in Scope, id string, revision *string) (*models.Variable, error) {
	l, err := s.level(ctx, in, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	var v models.Variable
	if err := l.below(s.DB.WithContext(ctx)).Omit("sealed").First(&v, "id = ?", id).Error; err != nil {
		return nil, models.FromDB(err, "variable")
	}
	if l, err = s.level(ctx, Scope{v.TeamID, v.EnvironmentID, v.AppID}, models.RoleDeveloper); err != nil {
		return nil, err
	}
	return &v, s.alter(ctx, l, func(tx *gorm.DB) (bool, error) {
		gone, changed, err := s.edit(ctx, tx, l, edit{name: v.Name, revision: revision})
		if err == nil {
			v.Revision = gone.Revision
		}
		return changed, err
	})
}

// alter changes variables of the level in one transaction, in turn with all others who do, and tells open pages where something changed.
func (s *Service) alter(ctx context.Context, l *level, change func(*gorm.DB) (bool, error)) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := l.hold(tx); err != nil {
			return err
		}
		changed, err := change(tx)
		if err != nil || !changed {
			return err
		}
		kind, _, _ := strings.Cut(l.topic(), ":")
		return events.Publish(tx, models.Event{TeamID: l.Team.ID, Kind: kind + ".variables", Topic: l.topic(), Parent: "team:" + l.Team.ID})
	})
}

// content is what a variable is set to.
type content struct {
	value  string
	secret bool
}

// edit is a change of one variable.
type edit struct {
	name     string
	to       *content // nil: it goes
	revision *string  // that was looked at; nil: whatever it is
	undoOf   *string  // the change that is taken back
}

// edit makes the change, writes it down and tells what the variable is now, or
// was before it went. Where it is so already nothing happens. The level has to be held.
func (s *Service) edit(ctx context.Context, tx *gorm.DB, l *level, e edit) (v *models.Variable, changed bool, err error) {
	v = &models.Variable{}
	if err := l.exactly(tx).Where("name = ?", e.name).Limit(1).Find(v).Error; err != nil {
		return nil, false, err
	}
	if err := e.check(v); err != nil {
		return nil, false, err
	}
	same, err := s.unchanged(v, e.to)
	if err != nil || same {
		return v, false, err
	}
	c := s.newChange(ctx, l, e)
	if err := s.keepFormer(c, v, e.to); err != nil {
		return nil, false, err
	}
	if e.to == nil {
		err = tx.Delete(&models.Variable{}, "id = ?", v.ID).Error
		v.Revision = c.ID
	} else {
		err = s.put(tx, l, v, c, *e.to)
	}
	if err != nil {
		return nil, false, err
	}
	return v, true, s.written(ctx, tx, l, c)
}

// check refuses a change of what is not what was looked at.
func (e edit) check(v *models.Variable) error {
	switch {
	case e.revision == nil || *e.revision == v.Revision:
		if e.to == nil && v.ID == "" && e.undoOf == nil {
			return models.Errorf(models.NotFound, "No such variable.")
		}
		return nil
	case *e.revision == "":
		return models.Errorf(models.Conflict, "%s is set already%s. Look at it, and change it if you mean to.", e.name, by(v))
	case v.ID == "":
		return models.Errorf(models.Conflict, "%s was deleted since you looked. Look again.", e.name)
	}
	return models.Errorf(models.Conflict, "%s was changed since you looked%s. Look again.", e.name, by(v))
}

func by(v *models.Variable) string {
	if v.UpdatedBy == "" {
		return ""
	}
	return ", by " + v.UpdatedBy
}

// unchanged tells whether the variable is what it is to become.
func (s *Service) unchanged(v *models.Variable, to *content) (bool, error) {
	if to == nil || v.ID == "" || v.Secret != to.secret {
		return to == nil && v.ID == "", nil
	}
	value, err := s.valueOf(v)
	return value == to.value, err
}

// put gives the variable its content; one without an id is made.
func (s *Service) put(tx *gorm.DB, l *level, v *models.Variable, c *models.VariableChange, to content) error {
	fresh := v.ID == ""
	if fresh {
		*v = models.Variable{ID: models.NewID(), TeamID: l.Team.ID, EnvironmentID: l.environmentID(), AppID: l.appID(), Name: c.Name, CreatedAt: c.CreatedAt}
	}
	if err := l.checkRoom(tx, v, int64(len(to.value))); err != nil {
		return err
	}
	v.Secret, v.Value, v.Sealed, v.Fingerprint, v.Size = to.secret, to.value, nil, "", int64(len(to.value))
	if to.secret {
		v.Value, v.Sealed, v.Fingerprint = "", s.Box.Seal("variables/"+v.ID, []byte(to.value)), s.fingerprint(v.TeamID, v.EnvironmentID, v.Name, to.value)
	}
	v.Revision, v.UpdatedBy, v.UpdatedAt = c.ID, c.ChangedByName, c.CreatedAt
	c.After = stateOf(v)
	if fresh {
		return tx.Create(v).Error
	}
	return tx.Model(v).Select("value", "secret", "sealed", "fingerprint", "size", "revision", "updated_by", "updated_at").Updates(v).Error
}

// valueOf returns the variable's value, whether it is a secret or not.
func (s *Service) valueOf(v *models.Variable) (string, error) {
	if !v.Secret {
		return v.Value, nil
	}
	plain, err := s.Box.Open("variables/"+v.ID, v.Sealed)
	return string(plain), err
}

// fingerprint tells values of a name apart, in an environment or, where that is empty, in the team.
func (s *Service) fingerprint(teamID, environmentID, name, value string) string {
	place := "environment/" + environmentID
	if environmentID == "" {
		place = "team/" + teamID
	}
	return s.Box.Fingerprint(place+"/"+name, []byte(value))
}

// written keeps the change, with its audit entry; values stay out of that.
func (s *Service) written(ctx context.Context, tx *gorm.DB, l *level, c *models.VariableChange) error {
	if err := tx.Create(c).Error; err != nil {
		return fmt.Errorf("recording the change of a variable: %w", err)
	}
	if err := s.bound(tx, l, c.Name); err != nil {
		return err
	}
	kind, what := "variable", "set"
	if c.After.Secret || (!c.After.Set && c.Before.Secret) {
		kind = "secret"
	}
	if !c.After.Set {
		what = "delete"
	}
	detail := l.detail()
	if c.UndoOf != nil {
		detail["undo_of"] = *c.UndoOf
	}
	return audit.Record(ctx, tx, audit.Entry{TeamID: l.Team.ID, Action: kind + "." + what, Subject: l.topic(), Name: c.Name, Detail: detail})
}
