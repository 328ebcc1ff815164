package deploy

import (
	"fmt"

	"slipway.dev/models"
)

// Health is how well a deployment serves.
type Health struct {
	State  models.InstanceState // of the instance that is worst off
	Ready  int                  // instances that are healthy
	Wanted int                  // instances that should be
	Reason string               // what is not well; empty where all is
}

// badness orders the states of instances.
var badness = map[models.InstanceState]int{models.InstanceUnknown: 1, models.InstanceStarting: 2, models.InstanceStopped: 3, models.InstanceFailing: 4}

// HealthOf says how well a deployment with its instances serves.
func HealthOf(d *models.Deployment) Health {
	h := Health{State: models.InstanceHealthy, Wanted: d.Config.Scale.OrOne().Replicas}
	if d.Stopped {
		return Health{State: models.InstanceStopped}
	}
	if len(d.Instances) == 0 {
		h.State, h.Reason = models.InstanceUnknown, "Nothing is known of its instances."
		return h
	}
	for _, i := range d.Instances {
		if i.State == models.InstanceHealthy {
			h.Ready++
		}
		if badness[i.State] > badness[h.State] {
			h.State, h.Reason = i.State, reasonOf(i)
		}
	}
	if h.Reason == "" && h.Ready < h.Wanted {
		h.Reason = fmt.Sprintf("%d of %s are ready.", h.Ready, count(h.Wanted, "instance", "instances"))
	}
	return h
}

// reasonOf says what is the matter with an instance.
func reasonOf(i models.Instance) string {
	switch {
	case i.State == models.InstanceStarting:
		return ""
	case i.Message != "":
		return i.Message
	case i.ExitCode != nil:
		return fmt.Sprintf("An instance ended with exit code %d.", *i.ExitCode)
	case i.State == models.InstanceUnknown:
		return "Its target has not said how it is."
	}
	return "An instance is not well."
}
