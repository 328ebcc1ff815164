package deploy

import (
	"slices"
	"strings"

	"slipway.dev/models"
)

// The settings by which an admin gives apps something of a target's host.
const (
	settingHostNetwork = "host_network"
	settingHostPaths   = "host_paths"
	maxPrefixes        = 50
)

// HostFields are the settings of a kind whose host apps may get something of.
// There is none for privileged containers: nobody gets those.
func HostFields() []Field {
	return []Field{
		{Group: "What apps get of the host", Name: settingHostPaths, Label: "Host paths that apps may get", Lines: 3, Example: "/srv/data",
			Help: "One folder in each line. A maintainer of a team that may use the target can give an app a path below one of them. Empty: none."},
		{Name: settingHostNetwork, Label: "Apps may use the host's network", Check: true,
			Help: "Where a maintainer asks for it. Such an app reaches all that the host reaches, its loopback too, and is reached on the host's own ports."},
	}
}

// Permissions is what an admin lets apps have of a target's host: by default nothing.
type Permissions struct {
	HostNetwork bool
	HostPaths   []string // prefixes, clean and absolute
}

// keptPaths are what no app gets, for it would be as much as the whole host.
var keptPaths = []string{"/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/usr", "/var/lib/containerd", "/var/lib/docker", "/var/run"}

// ParsePermissions reads a target's settings. What is wrong in them is a *models.Error that names the field.
func ParsePermissions(settings map[string]string) (Permissions, error) {
	p := Permissions{HostNetwork: settings[settingHostNetwork] == "true"}
	for line := range strings.Lines(settings[settingHostPaths]) {
		prefix := strings.TrimSpace(line)
		switch {
		case prefix == "":
			continue
		case !models.ValidPath(prefix):
			return Permissions{}, models.InvalidField(settingHostPaths, "%q is not a full path without . and .., such as /srv/data.", prefix)
		case slices.ContainsFunc(keptPaths, func(kept string) bool { return models.PathIn(prefix, kept) || models.PathIn(kept, prefix) }):
			return Permissions{}, models.InvalidField(settingHostPaths, "%s is or holds what runs the host; an app that has it has the host. Name a folder of data, such as /srv/data.", prefix)
		}
		p.HostPaths = append(p.HostPaths, prefix)
	}
	if len(p.HostPaths) > maxPrefixes {
		return Permissions{}, models.InvalidField(settingHostPaths, "At most %d paths.", maxPrefixes)
	}
	return p, nil
}

// Check refuses what the permissions do not give: the error names the fields.
func (p Permissions) Check(r models.Runtime) error {
	wrong := map[string]string{}
	if r.HostNetwork && !p.HostNetwork {
		wrong["host_network"] = "The target does not let apps use its host's network. An admin can allow it in the target's settings."
	}
	for _, h := range r.HostPaths {
		if _, ok := p.Prefix(h.Source); !ok {
			wrong["host_paths"] = "The target does not let apps have " + h.Source + " of its host. " + p.paths()
		}
	}
	return models.InvalidFields(wrong)
}

func (p Permissions) paths() string {
	if len(p.HostPaths) == 0 {
		return "An admin can allow paths in the target's settings."
	}
	return "It allows what is below " + strings.Join(p.HostPaths, ", ") + "; an admin can allow more in the target's settings."
}

// Prefix returns the longest allowed prefix that the path is at or below.
func (p Permissions) Prefix(source string) (prefix string, ok bool) {
	if !models.ValidPath(source) {
		return "", false
	}
	for _, allowed := range p.HostPaths {
		if models.PathIn(source, allowed) && len(allowed) > len(prefix) {
			prefix, ok = allowed, true
		}
	}
	return prefix, ok
}
