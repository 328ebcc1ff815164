package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// RuntimeInput says how an app is to run in an environment.
type RuntimeInput struct {
	EnvironmentID string
	AppID         string
	models.Runtime
}

// Runtimes lists what was set in the environment; all other apps keep nothing and are started again whenever they end.
func (s *Service) Runtimes(ctx context.Context, environmentID string) ([]models.AppRuntime, error) {
	if _, err := s.environment(ctx, environmentID, models.RoleViewer); err != nil {
		return nil, err
	}
	var all []models.AppRuntime
	return all, s.DB.WithContext(ctx).Where("environment_id = ?", environmentID).Order("app_id").Find(&all).Error
}

// SetRuntime says how the app is to run in the environment, from its next deployment on. What it wants of the host is
// for a maintainer to say, and only what the target's settings allow; the worker looks again.
func (s *Service) SetRuntime(ctx context.Context, in RuntimeInput) (*models.AppRuntime, error) {
	p, err := s.place(ctx, in.EnvironmentID, in.AppID, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if err := p.Environment.OfPeople(); err != nil {
		return nil, err
	}
	before, err := runtimeOf(s.DB.WithContext(ctx), p.Environment.ID, p.App.ID)
	if err != nil {
		return nil, err
	}
	if wantsOfHost(in.Runtime) != wantsOfHost(before) {
		if err := models.Authorize(ctx, p.Environment.TeamID, models.RoleMaintainer, "environment"); err != nil {
			return nil, err
		}
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	if err := s.offered(ctx, p, in.Runtime); err != nil {
		return nil, err
	}
	row := &models.AppRuntime{EnvironmentID: p.Environment.ID, AppID: p.App.ID, Runtime: in.Runtime, UpdatedAt: s.now()}
	if who := models.PrincipalFrom(ctx); who != nil {
		row.UpdatedBy = who.Name
	}
	if err := s.saveRuntime(ctx, p, row); err != nil {
		return nil, err
	}
	return row, nil
}

func (s *Service) saveRuntime(ctx context.Context, p *place, row *models.AppRuntime) error {
	text, err := json.Marshal(row.Runtime)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(row).Error; err != nil {
			return err
		}
		e := p.Environment
		err := audit.Record(ctx, tx, audit.Entry{TeamID: e.TeamID, Action: "environment.runtime", Subject: "environment:" + e.ID, Name: p.App.Name,
			Detail: map[string]string{"environment": e.Name, "runtime": string(text)}})
		if err != nil {
			return err
		}
		return events.Publish(tx, models.Event{TeamID: e.TeamID, Kind: "environment.runtime", Topic: "environment:" + e.ID, Parent: "team:" + e.TeamID})
	})
}

// wantsOfHost is what the runtime asks of the target's host, for comparing.
func wantsOfHost(r models.Runtime) string { return fmt.Sprint(r.HostNetwork, r.HostPaths) }

// offered refuses what the place's target does not offer or its admin does not allow.
func (s *Service) offered(ctx context.Context, p *place, r models.Runtime) error {
	var t models.Target
	if err := s.DB.WithContext(ctx).Omit("secrets").First(&t, "id = ?", p.Environment.TargetID).Error; err != nil {
		return models.FromDB(err, "target")
	}
	kind, err := s.KindOf(t.Kind)
	if err != nil {
		return err
	}
	if len(r.Volumes) > 0 && !kind.Volumes {
		return models.InvalidField("volumes", "%s", noVolumes(t.Name))
	}
	if r.Restart.OrAlways() != models.RestartAlways && !kind.Restarts {
		return models.InvalidField("restart", "%s", onlyAlways(t.Name))
	}
	if len(r.Gradual) > 0 && !kind.Splits {
		return models.InvalidField("gradual", "The target %s sends visitors to one version alone, so they can't move in steps. Leave the steps out, or use an environment on another target.", t.Name)
	}
	may, err := ParsePermissions(t.Settings)
	if err != nil {
		return err
	}
	if err := may.Check(r); err != nil {
		return err
	}
	scale, err := scaleOf(s.DB.WithContext(ctx), p.Environment.ID, p.App.ID)
	if err == nil && r.HostNetwork && scale.Replicas > 1 {
		return models.InvalidField("host_network", "Only one instance can listen on a port of the host. Set the scale to one instance first.")
	}
	return err
}

func noVolumes(target string) string {
	return fmt.Sprintf("The target %s keeps no volumes. Use an environment on another target, or keep the data elsewhere.", target)
}

func onlyAlways(target string) string {
	return fmt.Sprintf("The target %s always starts instances again that have ended. Choose always, or use an environment on another target.", target)
}

// runtimeOf returns how the app is to run in the environment.
func runtimeOf(tx *gorm.DB, environmentID, appID string) (models.Runtime, error) {
	var row models.AppRuntime
	err := tx.Where("environment_id = ? AND app_id = ?", environmentID, appID).Limit(1).Find(&row).Error
	return row.Runtime, err
}

// The settings in words, for what a plan compares.

func volumesText(all []models.VolumeMount) string {
	var out []string
	for _, v := range all {
		out = append(out, v.Name+" at "+v.Path+readOnly(v.ReadOnly))
	}
	return or(strings.Join(out, ", "), "none")
}

func hostPathsText(all []models.HostPath) string {
	var out []string
	for _, h := range all {
		out = append(out, h.Source+" at "+h.Path+readOnly(h.ReadOnly))
	}
	return or(strings.Join(out, ", "), "none")
}

func readOnly(yes bool) string {
	if yes {
		return " (read only)"
	}
	return ""
}

func networkText(host bool) string {
	if host {
		return "the host's"
	}
	return "the environment's own"
}

func restartText(r models.Runtime) string {
	switch r.Restart.OrAlways() {
	case models.RestartNever:
		return "it stays down"
	case models.RestartOnFailure:
		return "after a failure it is started again, at most " + count(r.RestartMax, "time", "times")
	}
	return "it is started again"
}

func switchText(recreate bool) string {
	if recreate {
		return "one at a time"
	}
	return "the old one until the new one is healthy"
}

// sharedVolumes names the volumes that both configurations can write to; empty: none.
func sharedVolumes(before, after models.DeploymentConfig) string {
	var names []string
	for _, v := range after.Volumes {
		had := slices.ContainsFunc(before.Volumes, func(b models.VolumeMount) bool { return b.Name == v.Name && !(b.ReadOnly && v.ReadOnly) })
		if had {
			names = append(names, v.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	word := "the volume "
	if len(names) > 1 {
		word = "the volumes "
	}
	return word + strings.Join(names, ", ")
}
