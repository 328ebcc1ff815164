package models

import "time"

// Restart says when an instance that ended by itself is started again.
type Restart string

// The restart policies. An empty one is RestartAlways.
const (
	RestartAlways    Restart = "always"     // also after the host has started anew
	RestartOnFailure Restart = "on-failure" // after another exit code than 0, a limited number of times
	RestartNever     Restart = "never"
)

// OrAlways is the policy, RestartAlways where none is said.
func (r Restart) OrAlways() Restart {
	if r == "" {
		return RestartAlways
	}
	return r
}

// VolumeMount is a named volume in an instance. Its data belong to the app in the environment: they outlive
// deployments and rollbacks.
type VolumeMount struct {
	Name     string `json:"name"`
	Path     string `json:"path"` // in the container
	ReadOnly bool   `json:"read_only,omitempty"`
}

// HostPath is a folder or a file of the target's host in an instance, where an admin allows it.
type HostPath struct {
	Source   string `json:"source"` // on the host
	Path     string `json:"path"`   // in the container
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Runtime is how an app runs beside its image, its scale and its variables. The zero value keeps nothing, gets nothing
// of the host, and is replaced without a gap.
type Runtime struct {
	Volumes     []VolumeMount `json:"volumes,omitempty"`
	HostPaths   []HostPath    `json:"host_paths,omitempty"`
	HostNetwork bool          `json:"host_network,omitempty"` // the host's own network, without one of its own
	Restart     Restart       `json:"restart,omitempty"`
	RestartMax  int           `json:"restart_max,omitempty"` // of RestartOnFailure
	Recreate    bool          `json:"recreate,omitempty"`    // one version at a time: the former one stops before the new one starts
}

// AppRuntime is how an app runs in an environment from its next deployment on.
type AppRuntime struct {
	EnvironmentID string  `gorm:"primaryKey"`
	AppID         string  `gorm:"primaryKey"`
	Runtime       Runtime `gorm:"serializer:json"`
	UpdatedBy     string
	UpdatedAt     time.Time
}
