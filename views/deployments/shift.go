package deployments

import (
	"fmt"
	"strconv"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// shiftStep is one step of the bar.
type shiftStep struct {
	models.GradualStep
	Now, Done bool
}

// shiftSteps are the steps of the deployment's configuration, and how far it is.
func shiftSteps(d models.Deployment) (all []shiftStep) {
	for i, s := range d.Config.Gradual {
		all = append(all, shiftStep{s, i+1 == d.Shift.Step, i+1 < d.Shift.Step})
	}
	return all
}

// share is how many visitors go to the new version.
func (s shiftStep) share() string { return fmt.Sprintf("%d%%", s.Percent) }

func (s shiftStep) lasts() string {
	return components.Count(s.Minutes, "minute", "minutes")
}

// stands says how far the step is, for those who don't see its mark.
func (s shiftStep) stands() string {
	switch {
	case s.Done:
		return "done"
	case s.Now:
		return "now"
	}
	return "to come"
}

func (s shiftStep) icon() string {
	switch {
	case s.Done:
		return "ok"
	case s.Now:
		return "run"
	}
	return "pending"
}

func (s shiftStep) class() string {
	switch {
	case s.Done:
		return "is-ok"
	case s.Now:
		return "is-run spins"
	}
	return ""
}

// next says what comes after the step that is under way, and when.
func next(d models.Deployment, now time.Time) string {
	share := "all of them"
	if n := d.Shift.Step; n < len(d.Config.Gradual) {
		share = fmt.Sprintf("%d%%", d.Config.Gradual[n].Percent)
	}
	switch {
	case d.CancelRequestedAt != nil:
		return "They are being sent back."
	case d.Shift.HurriedAt != nil:
		return "All of them follow in a moment."
	case d.Shift.Until == nil || !d.Shift.Until.After(now):
		return "The next step begins in a moment."
	}
	left := components.Lasted(d.Shift.Until.Sub(now).Round(time.Second))
	return fmt.Sprintf("In %s, at %s, it is %s.", left, d.Shift.Until.UTC().Format("15:04 UTC"), share)
}

func percent(d models.Deployment) string { return strconv.Itoa(d.Shift.Percent) }
