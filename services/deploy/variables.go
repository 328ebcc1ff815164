package deploy

import (
	"context"
	"regexp"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// Limits of variables.
const (
	maxVariables = 300
	maxValue     = 32 << 10
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// VariableInput is a variable or a secret to set.
type VariableInput struct {
	EnvironmentID string `json:"-" param:"id"`
	AppID         string `json:"app_id" form:"app_id"` // empty: for every app of the environment
	Name          string `json:"name" form:"name"`
	Value         string `json:"value" form:"value"`
	Secret        bool   `json:"secret" form:"secret"`
}

func (in VariableInput) validate() error {
	wrong := map[string]string{}
	switch {
	case !variableName.MatchString(in.Name):
		wrong["name"] = "Use letters, digits and underscores, and begin with no digit."
	case in.Name == "PORT" || strings.HasPrefix(in.Name, "SLIPWAY_"):
		wrong["name"] = "PORT and names that begin with SLIPWAY_ are set by Slipway. The port is in the app's settings."
	}
	switch {
	case len(in.Value) > maxValue:
		wrong["value"] = "A value holds at most 32 KiB. Put larger things into a file of the image or a store."
	case strings.ContainsRune(in.Value, 0):
		wrong["value"] = "A value can't hold NUL characters."
	case in.Secret && in.Value == "":
		wrong["value"] = "A secret can't be empty."
	}
	return models.InvalidFields(wrong)
}

// Variables lists the variables and secrets of the environment, values of secrets left out.
func (s *Service) Variables(ctx context.Context, environmentID string) ([]models.Variable, error) {
	if _, err := s.environment(ctx, environmentID, models.RoleViewer); err != nil {
		return nil, err
	}
	var all []models.Variable
	return all, s.DB.WithContext(ctx).Omit("sealed").Where("environment_id = ?", environmentID).Order("app_id, name").Find(&all).Error
}

// SetVariable sets a variable or a secret. What runs keeps its values until the next deployment.
func (s *Service) SetVariable(ctx context.Context, in VariableInput) (*models.Variable, error) {
	e, err := s.stage(ctx, in.EnvironmentID, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if err := in.validate(); err != nil {
		return nil, err
	}
	var v models.Variable
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		err := tx.Where("environment_id = ? AND app_id = ? AND name = ?", e.ID, in.AppID, in.Name).Limit(1).Find(&v).Error
		if err != nil {
			return err
		}
		if v.ID == "" {
			if err := s.checkRoom(tx, e, in); err != nil {
				return err
			}
			v = models.Variable{ID: models.NewID(), EnvironmentID: e.ID, AppID: in.AppID, Name: in.Name}
		}
		s.put(ctx, &v, in)
		if err := tx.Save(&v).Error; err != nil {
			return err
		}
		return s.variableChanged(ctx, tx, e, &v, "set")
	})
	if err != nil {
		return nil, err
	}
	v.Sealed = nil
	return &v, nil
}

// checkRoom refuses apps of other teams and more variables than anyone needs.
func (s *Service) checkRoom(tx *gorm.DB, e *models.Environment, in VariableInput) error {
	if in.AppID != "" {
		if err := tx.Select("id").Take(&models.App{}, "id = ? AND team_id = ?", in.AppID, e.TeamID).Error; err != nil {
			return models.FromDB(err, "app")
		}
	}
	var n int64
	if err := tx.Model(&models.Variable{}).Where("environment_id = ?", e.ID).Count(&n).Error; err != nil {
		return err
	}
	if n >= maxVariables {
		return models.Errorf(models.Conflict, "The environment has %d variables; no more fit. Delete some first.", n)
	}
	return nil
}

// put gives v the value, sealed where it is a secret.
func (s *Service) put(ctx context.Context, v *models.Variable, in VariableInput) {
	v.Secret, v.Value, v.Sealed, v.Fingerprint = in.Secret, in.Value, nil, ""
	if p := models.PrincipalFrom(ctx); p != nil {
		v.UpdatedBy = p.Name
	}
	if in.Secret {
		v.Value = ""
		v.Sealed = s.Box.Seal("variables/"+v.ID, []byte(in.Value))
		v.Fingerprint = s.Box.Fingerprint("environment/"+v.EnvironmentID+"/"+v.Name, []byte(in.Value))
	}
}

// DeleteVariable removes a variable or a secret. What runs keeps it until the next deployment.
func (s *Service) DeleteVariable(ctx context.Context, environmentID, id string) error {
	e, err := s.stage(ctx, environmentID, models.RoleDeveloper)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var v models.Variable
		if err := tx.Omit("sealed").First(&v, "id = ? AND environment_id = ?", id, e.ID).Error; err != nil {
			return models.FromDB(err, "variable")
		}
		if err := tx.Delete(&models.Variable{}, "id = ?", v.ID).Error; err != nil {
			return err
		}
		return s.variableChanged(ctx, tx, e, &v, "delete")
	})
}

// variableChanged tells who changed which name; values stay out of it.
func (s *Service) variableChanged(ctx context.Context, tx *gorm.DB, e *models.Environment, v *models.Variable, what string) error {
	kind := "variable"
	if v.Secret {
		kind = "secret"
	}
	err := audit.Record(ctx, tx, audit.Entry{TeamID: e.TeamID, Action: kind + "." + what, Subject: "environment:" + e.ID, Name: v.Name,
		Detail: map[string]string{"environment": e.Name, "app": v.AppID}})
	if err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: e.TeamID, Kind: "environment.variables", Topic: "environment:" + e.ID, Parent: "team:" + e.TeamID})
}

// merged returns what an app gets in the environment: its own variables win over those for every app.
func merged(tx *gorm.DB, environmentID, appID string) ([]models.Variable, error) {
	var all []models.Variable
	err := tx.Where("environment_id = ? AND app_id IN ?", environmentID, []string{"", appID}).Order("app_id, name").Find(&all).Error
	if err != nil {
		return nil, err
	}
	byName := map[string]int{}
	var out []models.Variable
	for _, v := range all { // those for every app come first
		if i, ok := byName[v.Name]; ok {
			out[i] = v
			continue
		}
		byName[v.Name] = len(out)
		out = append(out, v)
	}
	return out, nil
}
