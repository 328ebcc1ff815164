package deploy

import (
	"context"
	"slices"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// KeptVolume is a volume of an environment, for people.
type KeptVolume struct {
	Volume
	App     string   // its name; empty where the app was deleted
	Users   []string // the deployments whose instances have it, such as #12
	Mounted bool     // the app's settings give it to the next deployment
}

// Volumes lists what the environment's target keeps for its apps, with sizes and who has it. The target is asked, which
// takes as long as it takes to measure.
func (s *Service) Volumes(ctx context.Context, environmentID string) ([]KeptVolume, error) {
	e, err := s.environment(ctx, environmentID, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	keeper, err := s.keeper(ctx, e.TargetID)
	if keeper == nil || err != nil {
		return nil, err
	}
	all, err := keeper.Volumes(ctx)
	if err != nil {
		return nil, forPeople(err)
	}
	own := slices.DeleteFunc(all, func(v Volume) bool { return v.EnvironmentID != e.ID })
	return s.describeVolumes(ctx, e, own)
}

// Splits tells whether visitors can move to a new version in steps in the environment.
func (s *Service) Splits(e *models.Environment) bool {
	kind, err := s.KindOf(e.Target.Kind)
	return err == nil && kind.Splits
}

// KeepsVolumes tells whether the environment's target keeps volumes.
func (s *Service) KeepsVolumes(e *models.Environment) bool {
	if e.Target == nil {
		return false
	}
	kind, err := s.KindOf(e.Target.Kind)
	return err == nil && kind.Volumes
}

// keeper returns the target where it keeps volumes; nil where it does not.
func (s *Service) keeper(ctx context.Context, targetID string) (VolumeKeeper, error) {
	target, err := s.target(ctx, targetID)
	if err != nil {
		return nil, err
	}
	keeper, _ := target.(VolumeKeeper)
	return keeper, nil
}

// describeVolumes says whose the volumes are, in the words that people use.
func (s *Service) describeVolumes(ctx context.Context, e *models.Environment, all []Volume) ([]KeptVolume, error) {
	var apps []models.App
	if err := s.DB.WithContext(ctx).Select("id", "name").Where("team_id = ?", e.TeamID).Find(&apps).Error; err != nil {
		return nil, err
	}
	var deployments []models.Deployment
	if err := s.DB.WithContext(ctx).Select("id", "number").Where("id IN ?", users(all)).Find(&deployments).Error; err != nil {
		return nil, err
	}
	var set []models.AppRuntime
	if err := s.DB.WithContext(ctx).Where("environment_id = ?", e.ID).Find(&set).Error; err != nil {
		return nil, err
	}
	out := make([]KeptVolume, len(all))
	for n, v := range all {
		out[n] = KeptVolume{Volume: v, Mounted: slices.ContainsFunc(set, func(r models.AppRuntime) bool { return r.AppID == v.AppID && mounts(r.Runtime, v.Name) })}
		for _, a := range apps {
			if a.ID == v.AppID {
				out[n].App = a.Name
			}
		}
		for _, d := range deployments {
			if slices.Contains(v.UsedBy, d.ID) {
				out[n].Users = append(out[n].Users, d.Title())
			}
		}
	}
	slices.SortFunc(out, func(a, b KeptVolume) int { return strings.Compare(a.App+"\n"+a.Name, b.App+"\n"+b.Name) })
	return out, nil
}

func users(all []Volume) []string {
	ids := []string{""}
	for _, v := range all {
		ids = append(ids, v.UsedBy...)
	}
	return ids
}

func mounts(r models.Runtime, name string) bool {
	return slices.ContainsFunc(r.Volumes, func(v models.VolumeMount) bool { return v.Name == name })
}

// VolumeInput names a volume that is to be deleted, and repeats its name.
type VolumeInput struct {
	EnvironmentID string
	AppID         string
	Name          string
	Confirm       string
}

// DeleteVolume removes a volume with its data, for maintainers, while nothing uses it.
func (s *Service) DeleteVolume(ctx context.Context, in VolumeInput) error {
	e, err := s.environment(ctx, in.EnvironmentID, models.RoleMaintainer)
	if err != nil {
		return err
	}
	if in.Confirm != in.Name {
		return models.InvalidField("confirm", "Type %s to confirm.", in.Name)
	}
	keeper, err := s.keeper(ctx, e.TargetID)
	if err != nil {
		return err
	}
	v, err := kept(ctx, keeper, in)
	if err != nil {
		return err
	}
	if len(v.UsedBy) > 0 {
		return models.Errorf(models.Conflict, "Instances of %s have the volume %s. Stop the app, or deploy it without the volume, and wait until the old version is gone.",
			count(len(v.UsedBy), "deployment", "deployments"), in.Name)
	}
	// The record comes first: what is deleted without one can't be explained, and the engine itself refuses where a
	// container has the volume.
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := s.freeVolume(tx, in); err != nil {
			return err
		}
		entry := audit.Entry{TeamID: e.TeamID, Action: "environment.volume.delete", Subject: "environment:" + e.ID, Name: in.Name,
			Detail: map[string]string{"environment": e.Name, "app_id": in.AppID, "volume": v.ID}}
		if err := audit.Record(ctx, tx, entry); err != nil {
			return err
		}
		return events.Publish(tx, models.Event{TeamID: e.TeamID, Kind: "environment.volume", Topic: "environment:" + e.ID, Parent: "team:" + e.TeamID})
	})
	if err != nil {
		return err
	}
	return forPeople(keeper.RemoveVolume(ctx, v.ID))
}

// kept finds the volume in the target.
func kept(ctx context.Context, keeper VolumeKeeper, in VolumeInput) (*Volume, error) {
	if keeper != nil {
		all, err := keeper.Volumes(ctx)
		if err != nil {
			return nil, forPeople(err)
		}
		for _, v := range all {
			if v.EnvironmentID == in.EnvironmentID && v.AppID == in.AppID && v.Name == in.Name {
				return &v, nil
			}
		}
	}
	return nil, models.Errorf(models.NotFound, "The environment has no such volume.")
}

// freeVolume refuses while a deployment that has the volume runs, or may come to run.
func (s *Service) freeVolume(tx *gorm.DB, in VolumeInput) error {
	if err := holdApp(tx, in.AppID); err != nil {
		return err
	}
	var all []models.Deployment
	err := tx.Omit("sealed_secrets").Where("environment_id = ? AND app_id = ? AND (state IN ? OR (active AND NOT stopped))", in.EnvironmentID, in.AppID, models.UnendedDeployments).Find(&all).Error
	if err != nil {
		return err
	}
	for _, d := range all {
		if mounts(d.Config.Runtime, in.Name) {
			return models.Errorf(models.Conflict, "Deployment %s has the volume %s. Stop the app, or deploy it without the volume, and wait until the old version is gone.", d.Title(), in.Name)
		}
	}
	return nil
}

// keepsNothing refuses while the environment's target keeps volumes for it. A target that does not answer keeps nobody
// from deleting the environment: what it has stays there.
func (s *Service) keepsNothing(ctx context.Context, e *models.Environment) error {
	if !s.KeepsVolumes(e) {
		return nil
	}
	all, err := s.Volumes(ctx, e.ID)
	if err != nil || len(all) == 0 {
		return ctx.Err()
	}
	return models.Errorf(models.Conflict, "%s keeps %s with data. Delete what is not needed any more on its page of volumes first.", e.Name, count(len(all), "volume", "volumes"))
}
