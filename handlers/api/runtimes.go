package api

import (
	"context"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Runtime is how an app runs beside its image and its scale.
type Runtime struct {
	Volumes     []VolumeMount  `json:"volumes" nullable:"false"`
	HostPaths   []HostPath     `json:"host_paths" nullable:"false" doc:"Only below what an admin allows in the target's settings."`
	HostNetwork bool           `json:"host_network" doc:"The host's own network, where an admin allows it."`
	Restart     models.Restart `json:"restart" enum:"always,on-failure,never" doc:"When an instance that ended is started again."`
	RestartMax  int            `json:"restart_max" doc:"How often at most, with on-failure."`
	Recreate    bool           `json:"recreate" doc:"One version at a time: the old one stops before the new one starts."`
	Gradual     []GradualStep  `json:"gradual" nullable:"false" doc:"The steps in which visitors move to a new version; none: all at once."`
}

// GradualStep is one step in which visitors move to a new version; after the last one all go to it.
type GradualStep struct {
	Percent int `json:"percent" minimum:"1" maximum:"99" doc:"Of the visitors; each step has more than the one before." example:"10"`
	Minutes int `json:"minutes" minimum:"1" maximum:"1440" doc:"Before the next step." example:"5"`
}

// VolumeMount is a named volume in an app's instances.
type VolumeMount struct {
	Name     string `json:"name" example:"uploads"`
	Path     string `json:"path" doc:"In the container." example:"/data"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// HostPath is a path of the target's host in an app's instances.
type HostPath struct {
	Source   string `json:"source" doc:"On the host." example:"/srv/data/shop"`
	Path     string `json:"path" doc:"In the container." example:"/data"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// AppRuntime is how an app runs in an environment.
type AppRuntime struct {
	AppID     string    `json:"app_id"`
	UpdatedBy string    `json:"updated_by"`
	UpdatedAt time.Time `json:"updated_at"`
	Runtime
}

// SetRuntime says how an app is to run. What is absent is the default.
type SetRuntime struct {
	Volumes     []VolumeMount  `json:"volumes,omitempty"`
	HostPaths   []HostPath     `json:"host_paths,omitempty"`
	HostNetwork bool           `json:"host_network,omitempty"`
	Restart     models.Restart `json:"restart,omitempty" doc:"always, on-failure or never."`
	RestartMax  int            `json:"restart_max,omitempty"`
	Recreate    bool           `json:"recreate,omitempty"`
	Gradual     []GradualStep  `json:"gradual,omitempty" maxItems:"10" doc:"The steps in which visitors move to a new version, on targets that can."`
}

// KeptVolume is what a target keeps for an app.
type KeptVolume struct {
	AppID  string   `json:"app_id"`
	App    string   `json:"app" doc:"Its name; empty where it was deleted."`
	Name   string   `json:"name"`
	Size   int64    `json:"size" doc:"Bytes; -1: the target does not say."`
	UsedBy []string `json:"used_by" nullable:"false" doc:"Ids of the deployments whose instances have it."`
}

func (a *API) runtimes() {
	get(a, "/environments/{id}/runtimes", "list-runtimes", "How each app runs", a.listRuntimes, about("Apps that are not listed keep nothing, and are started again whenever they end."))
	put(a, "/environments/{id}/runtimes/{app_id}", "set-runtime", "Set how an app runs: volumes, restart policy, host", a.setRuntime,
		about("What runs keeps its settings until the next deployment. Only a maintainer changes host_paths and host_network, and only to what the target's settings allow."))
	get(a, "/environments/{id}/volumes", "list-volumes", "Volumes that the target keeps", a.listVolumes, about("The target is asked, and measures."))
	remove(a, "/environments/{id}/volumes/{name}", "delete-volume", "Delete a volume and its data", a.deleteVolume, about("Only while nothing uses it."))
}

func (a *API) listRuntimes(ctx context.Context, in *IDIn) (*answer[List[AppRuntime]], error) {
	all, err := a.Deploy.Runtimes(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(all, appRuntimeOf), nil
}

func (a *API) setRuntime(ctx context.Context, in *struct {
	IDIn
	AppID string `path:"app_id" maxLength:"100"`
	Body  SetRuntime
}) (*answer[AppRuntime], error) {
	b := in.Body
	set := deploy.RuntimeInput{EnvironmentID: in.ID, AppID: in.AppID, Runtime: models.Runtime{HostNetwork: b.HostNetwork, Restart: b.Restart, RestartMax: b.RestartMax, Recreate: b.Recreate}}
	for _, v := range b.Volumes {
		set.Volumes = append(set.Volumes, models.VolumeMount(v))
	}
	for _, h := range b.HostPaths {
		set.HostPaths = append(set.HostPaths, models.HostPath(h))
	}
	for _, g := range b.Gradual {
		set.Gradual = append(set.Gradual, models.GradualStep(g))
	}
	row, err := a.Deploy.SetRuntime(ctx, set)
	return replyWith(row, appRuntimeOf, err)
}

func (a *API) listVolumes(ctx context.Context, in *IDIn) (*answer[List[KeptVolume]], error) {
	all, err := a.Deploy.Volumes(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(all, func(v *deploy.KeptVolume) KeptVolume {
		return KeptVolume{v.AppID, v.App, v.Name, v.Size, append([]string{}, v.UsedBy...)}
	}), nil
}

func (a *API) deleteVolume(ctx context.Context, in *struct {
	IDIn
	Name    string `path:"name" maxLength:"100"`
	AppID   string `query:"app_id" required:"true" maxLength:"100" doc:"The app whose volume it is."`
	Confirm string `query:"confirm" required:"true" maxLength:"100" doc:"The volume's name again."`
}) error {
	return a.Deploy.DeleteVolume(ctx, deploy.VolumeInput{EnvironmentID: in.ID, AppID: in.AppID, Name: in.Name, Confirm: in.Confirm})
}

func appRuntimeOf(r *models.AppRuntime) AppRuntime {
	return AppRuntime{r.AppID, r.UpdatedBy, r.UpdatedAt.UTC(), runtimeOf(r.Runtime)}
}

func runtimeOf(r models.Runtime) Runtime {
	return Runtime{
		Volumes:   sliceOf(r.Volumes, func(v *models.VolumeMount) VolumeMount { return VolumeMount(*v) }),
		HostPaths: sliceOf(r.HostPaths, func(h *models.HostPath) HostPath { return HostPath(*h) }),
		Restart:   r.Restart.OrAlways(), RestartMax: r.RestartMax, HostNetwork: r.HostNetwork, Recreate: r.Recreate,
		Gradual: gradualOf(r.Gradual),
	}
}

func gradualOf(g models.Gradual) []GradualStep {
	return sliceOf(g, func(s *models.GradualStep) GradualStep { return GradualStep(*s) })
}
