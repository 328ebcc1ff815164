package environments

import (
	"strconv"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// RuntimeView is how an app runs in an environment.
type RuntimeView struct {
	Environment models.Environment
	App         models.App
	Runtime     models.Runtime
	KeepsData   bool   // the target keeps volumes
	Splits      bool   // its visitors can move to a new version in steps
	CanHost     bool   // the reader may ask for something of the host
	Serving     string // the digest of what serves, for rolling the change out; empty: nothing does
	Form        components.Form
	Curl        components.CurlExample
}

// VolumesView is what an environment's target keeps.
type VolumesView struct {
	Environment models.Environment
	Volumes     []Volume
	Unreachable string // why the target does not say
	CanDelete   bool
	Form        components.Form
	Curl        components.CurlExample
}

// Volume is one volume of an app.
type Volume struct {
	ID, App, AppID, Name string
	Size                 int64    // bytes; -1: not known
	Users                []string // deployments, such as #12
	Mounted              bool     // the next deployment gets it
}

func runtimeURL(e models.Environment, app string) string {
	return URL(e) + "/apps/" + app + "/runtime"
}

// volumes are the volumes as the form has them: name and path, a line each.
func (v RuntimeView) volumes() string {
	var lines []string
	for _, m := range v.Runtime.Volumes {
		lines = append(lines, m.Name+" "+m.Path+readOnly(m.ReadOnly))
	}
	return strings.Join(lines, "\n")
}

// hostPaths are the host paths as the form has them.
func (v RuntimeView) hostPaths() string {
	var lines []string
	for _, m := range v.Runtime.HostPaths {
		lines = append(lines, m.Source+" "+m.Path+readOnly(m.ReadOnly))
	}
	return strings.Join(lines, "\n")
}

func readOnly(yes bool) string {
	if yes {
		return " ro"
	}
	return ""
}

func (v RuntimeView) restartMax() string { return strconv.Itoa(max(v.Runtime.RestartMax, 5)) }

func restartOptions() []components.Option {
	return []components.Option{
		{Value: string(models.RestartAlways), Label: "Always, also after a reboot"},
		{Value: string(models.RestartOnFailure), Label: "After a failure, with a limit"},
		{Value: string(models.RestartNever), Label: "Never"},
	}
}

// holds says who has the volume.
func (v Volume) holds() string {
	switch {
	case len(v.Users) > 0:
		return "in use by deployment " + strings.Join(v.Users, ", ")
	case v.Mounted:
		return "for the next deployment"
	}
	return "used by nothing"
}

func (v Volume) size() string {
	if v.Size < 0 {
		return "size not known"
	}
	return components.Bytes(v.Size)
}

// key tells the volumes of the page apart.
func (v Volume) key() string { return v.AppID + "-" + v.Name }
