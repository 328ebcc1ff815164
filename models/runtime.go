package models

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Limits of what an app may have.
const (
	maxMounts   = 20
	maxRestarts = 100
	maxPath     = 500 // bytes
)

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
	Gradual     Gradual       `json:"gradual,omitempty"`     // the steps in which visitors move to a new version
}

// systemPaths are the parts of a container that nothing is put over.
var systemPaths = []string{"/dev", "/proc", "/sys"}

// Validate completes what was left out and says what is wrong, field by field. It knows the text alone: whether a
// target offers it, and an admin allows it, is for others to say.
func (r *Runtime) Validate() error {
	if r.HostNetwork {
		r.Recreate = true // two versions can't listen on one port of the host
	}
	wrong := map[string]string{}
	r.validateRestart(wrong)
	if text := r.Gradual.wrong(); text != "" {
		wrong["gradual"] = text
	}
	if r.Recreate && len(r.Gradual) > 0 {
		wrong["gradual"] = "The app runs one version at a time, so its visitors can't move in steps. Choose one of the two."
	}
	if len(r.Volumes) > maxMounts || len(r.HostPaths) > maxMounts {
		wrong["volumes"] = "At most " + strconv.Itoa(maxMounts) + " volumes and as many host paths."
	}
	names, paths := map[string]bool{}, map[string]bool{}
	for _, v := range r.Volumes {
		if !ValidName(v.Name) || names[v.Name] {
			wrong["volumes"] = "Each volume needs a name of its own. " + NameHelp
		}
		validateMount(wrong, "volumes", v.Path, paths)
		names[v.Name] = true
	}
	for _, h := range r.HostPaths {
		if !ValidPath(h.Source) {
			wrong["host_paths"] = strconv.Quote(h.Source) + " is not a full path of the host without . and .., such as /srv/data."
		}
		validateMount(wrong, "host_paths", h.Path, paths)
	}
	return InvalidFields(wrong)
}

func (r *Runtime) validateRestart(wrong map[string]string) {
	switch r.Restart.OrAlways() {
	case RestartAlways:
		r.Restart, r.RestartMax = "", 0
	case RestartNever:
		r.RestartMax = 0
	case RestartOnFailure:
		if r.RestartMax < 1 || r.RestartMax > maxRestarts {
			wrong["restart_max"] = "From 1 to " + strconv.Itoa(maxRestarts) + " times."
		}
	default:
		wrong["restart"] = "Choose always, on-failure or never."
	}
}

func validateMount(wrong map[string]string, field, at string, taken map[string]bool) {
	switch {
	case !ValidPath(at):
		wrong[field] = strconv.Quote(at) + " is not a full path of the container without . and .., such as /data."
	case slices.ContainsFunc(systemPaths, func(s string) bool { return PathIn(at, s) }):
		wrong[field] = at + " belongs to the system of the container. Choose another path."
	case taken[at]:
		wrong[field] = "Two things can't be at " + at + "."
	}
	taken[at] = true
}

// ValidPath tells whether the text is a full path that is written as it is meant: no relative part, and no sign that an
// engine would read as something else.
func ValidPath(text string) bool {
	return path.IsAbs(text) && path.Clean(text) == text && text != "/" && len(text) <= maxPath &&
		!strings.ContainsFunc(text, func(r rune) bool {
			return unicode.IsControl(r) || strings.ContainsRune("\\:,\"'`", r) || r == unicode.ReplacementChar
		})
}

// PathIn tells whether the path is the folder or lies in it.
func PathIn(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

// AppRuntime is how an app runs in an environment from its next deployment on.
type AppRuntime struct {
	EnvironmentID string  `gorm:"primaryKey"`
	AppID         string  `gorm:"primaryKey"`
	Runtime       Runtime `gorm:"serializer:json"`
	UpdatedBy     string
	UpdatedAt     time.Time
}
