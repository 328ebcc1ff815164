package deploy

import (
	"context"
	"strconv"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// Limits of a scale: what an engine would refuse, and what nobody means.
const (
	maxReplicas = 50
	minCPU      = 10 // thousandths of a processor
	maxCPU      = 256_000
	minMemory   = 6 << 20 // bytes; the Docker Engine takes no less
	maxMemory   = 4 << 40

	cpuTarget = 80 // percent, where nothing else is said
)

// ScaleInput says how much of an app is to run in an environment.
type ScaleInput struct {
	EnvironmentID string
	AppID         string
	models.Scale
}

func (in ScaleInput) validate() error {
	wrong := map[string]string{}
	if in.Replicas < 1 || in.Replicas > maxReplicas {
		wrong["replicas"] = "From 1 to " + strconv.Itoa(maxReplicas) + " instances. To run none, stop the deployment."
	}
	if in.CPU != 0 && (in.CPU < minCPU || in.CPU > maxCPU) {
		wrong["cpu"] = "From 0.01 to 256 processors; 0 for no limit."
	}
	if in.Memory != 0 && (in.Memory < minMemory || in.Memory > maxMemory) {
		wrong["memory"] = "From 6 MiB to 4 TiB; 0 for no limit."
	}
	switch {
	case in.Max < 0 || in.Max > maxReplicas || in.Max > 0 && in.Max < in.Replicas:
		wrong["max"] = "From the number of instances to " + strconv.Itoa(maxReplicas) + "; 0 where it does not change."
	case in.Max > in.Replicas && in.CPU == 0:
		wrong["cpu"] = "The load is measured against what each may take of CPU: say how much."
	case in.CPUTarget < 0 || in.CPUTarget > 100:
		wrong["cpu_target"] = "From 1 to 100 percent; 0 for 80."
	}
	return models.InvalidFields(wrong)
}

// tidy leaves nothing of an autoscaler that would change nothing, and completes one that would.
func (in *ScaleInput) tidy() {
	switch {
	case !in.Autoscales():
		in.Max, in.CPUTarget = 0, 0
	case in.CPUTarget == 0:
		in.CPUTarget = cpuTarget
	}
}

// Scales lists the scales that were set in the environment; all other apps run once, without limits.
func (s *Service) Scales(ctx context.Context, environmentID string) ([]models.AppScale, error) {
	if _, err := s.environment(ctx, environmentID, models.RoleViewer); err != nil {
		return nil, err
	}
	var all []models.AppScale
	return all, s.DB.WithContext(ctx).Where("environment_id = ?", environmentID).Order("app_id").Find(&all).Error
}

// SetScale says how much of the app is to run in the environment. What runs keeps its scale until the next deployment.
func (s *Service) SetScale(ctx context.Context, in ScaleInput) (*models.AppScale, error) {
	p, err := s.place(ctx, in.EnvironmentID, in.AppID, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if err := p.Environment.OfPeople(); err != nil {
		return nil, err
	}
	if err := in.validate(); err != nil {
		return nil, err
	}
	runtime, err := runtimeOf(s.DB.WithContext(ctx), p.Environment.ID, p.App.ID)
	if err != nil {
		return nil, err
	}
	if runtime.HostNetwork && in.Replicas > 1 {
		return nil, models.InvalidField("replicas", "One instance: it uses its host's network, where only one can listen on the port.")
	}
	in.tidy()
	row := &models.AppScale{EnvironmentID: p.Environment.ID, AppID: p.App.ID, Scale: in.Scale, UpdatedAt: s.now()}
	if who := models.PrincipalFrom(ctx); who != nil {
		row.UpdatedBy = who.Name
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(row).Error; err != nil {
			return err
		}
		e := p.Environment
		err := audit.Record(ctx, tx, audit.Entry{TeamID: e.TeamID, Action: "environment.scale", Subject: "environment:" + e.ID, Name: p.App.Name, Detail: map[string]string{
			"environment": e.Name, "replicas": strconv.Itoa(in.Replicas), "cpu": strconv.FormatInt(in.CPU, 10), "memory": strconv.FormatInt(in.Memory, 10), "max": strconv.Itoa(in.Max)}})
		if err != nil {
			return err
		}
		return events.Publish(tx, models.Event{TeamID: e.TeamID, Kind: "environment.scale", Topic: "environment:" + e.ID, Parent: "team:" + e.TeamID})
	})
	if err != nil {
		return nil, err
	}
	return row, nil
}

// scaleOf returns how much of the app is to run in the environment.
func scaleOf(tx *gorm.DB, environmentID, appID string) (models.Scale, error) {
	var row models.AppScale
	err := tx.Where("environment_id = ? AND app_id = ?", environmentID, appID).Limit(1).Find(&row).Error
	return row.Scale.OrOne(), err
}
