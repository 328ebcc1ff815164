package deployments

import (
	"strconv"
	"strings"

	"slipway.dev/models"
)

// runtimeRows says how the app runs beside its image, where that is not the default: a name and a value in each row.
func runtimeRows(r models.Runtime) (rows [][2]string) {
	var volumes, paths []string
	for _, v := range r.Volumes {
		volumes = append(volumes, v.Name+" at "+v.Path+readOnly(v.ReadOnly))
	}
	for _, h := range r.HostPaths {
		paths = append(paths, h.Source+" at "+h.Path+readOnly(h.ReadOnly))
	}
	if len(volumes) > 0 {
		rows = append(rows, [2]string{"Volumes", strings.Join(volumes, ", ")})
	}
	if len(paths) > 0 {
		rows = append(rows, [2]string{"Host paths", strings.Join(paths, ", ")})
	}
	if r.HostNetwork {
		rows = append(rows, [2]string{"Network", "the host's"})
	}
	switch r.Restart {
	case models.RestartNever:
		rows = append(rows, [2]string{"After it ends", "it stays down"})
	case models.RestartOnFailure:
		rows = append(rows, [2]string{"After a failure", "it is started again, at most " + strconv.Itoa(r.RestartMax) + " times"})
	}
	if r.Recreate {
		rows = append(rows, [2]string{"Versions", "one at a time"})
	}
	if len(r.Gradual) > 0 {
		rows = append(rows, [2]string{"Visitors", r.Gradual.Words()})
	}
	return rows
}

func readOnly(yes bool) string {
	if yes {
		return " (read only)"
	}
	return ""
}
