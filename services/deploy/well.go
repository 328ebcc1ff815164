package deploy

import (
	"context"
	"slices"
	"time"

	"slipway.dev/models"
)

// unwellTime is how long a new version may be unwell, while visitors move to it, with what may get better by itself.
const unwellTime = 30 * time.Second

// well looks at the new version while visitors come to it. It returns a *Failure where the version is not fit for more
// of them, and errAgain where that is not clear yet.
func (r *rollout) well(ctx context.Context) error {
	kind, err := r.KindOf(r.d.Environment.Target.Kind)
	if err != nil {
		return err
	}
	all, err := r.target.List(ctx)
	if err != nil {
		if r.now().Sub(r.lastWell()) < unwellTime {
			return errAgain
		}
		return err
	}
	own := slices.DeleteFunc(all, func(i Instance) bool { return i.Release != r.d.ID })
	bad, sure := unwell(r.d.Instances, own, kind.Heals)
	if bad != "" && !sure && r.now().Sub(r.lastWell()) < unwellTime {
		return errAgain
	}
	if bad == "" {
		answers, err := r.Answers(ctx, r.d)
		if err != nil {
			return err
		}
		if !answers.worse() {
			return r.noteWell(ctx, own)
		}
		bad = answers.String()
	}
	f := Failf(StageShift, nil, "%s That was while %d%% of the visitors went to this version; all are sent back to what served before.", bad, r.d.Shift.Percent)
	lines := r.tail(ctx, r.target, r.d, LogOptions{})
	f.Logs = lines[max(0, len(lines)-evidenceLines):]
	for _, i := range own {
		if ended(i) {
			f.ExitCode = i.ExitCode
		}
	}
	return f
}

// unwell says what is the matter with the instances, of which rows tells how they were; empty: all is well. Sure says
// that it does not get better by itself.
func unwell(rows []models.Instance, own []Instance, heals bool) (bad string, sure bool) {
	healthy := 0
	for _, i := range own {
		at := slices.IndexFunc(rows, func(row models.Instance) bool { return row.RuntimeID == i.ID })
		switch {
		case at >= 0 && i.Restarts > rows[at].Restarts:
			return "An instance ended and was started again.", true
		case i.State == models.InstanceHealthy:
			healthy++
		case i.State == models.InstanceFailing:
			bad, sure = "An instance fails: "+or(i.Message, "its target does not say why."), !heals
		case bad == "":
			bad = "An instance is not healthy any more."
		}
	}
	if heals {
		if healthy == 0 && bad == "" {
			bad = "No instance is healthy any more."
		}
		return bad, sure
	}
	for _, row := range rows {
		if !slices.ContainsFunc(own, func(i Instance) bool { return i.ID == row.RuntimeID }) {
			return "An instance is gone: something other than Slipway removed it.", true
		}
	}
	return bad, sure
}

// lastWell is when the instances were written last, which is while they are well.
func (r *rollout) lastWell() (last time.Time) {
	for _, i := range r.d.Instances {
		if i.UpdatedAt.After(last) {
			last = i.UpdatedAt
		}
	}
	return last
}

// noteWell stores the instances where they changed, and now and then that they did not.
func (r *rollout) noteWell(ctx context.Context, own []Instance) error {
	changed := len(own) != len(r.d.Instances)
	for _, i := range own {
		at := slices.IndexFunc(r.d.Instances, func(row models.Instance) bool { return row.RuntimeID == i.ID })
		changed = changed || at < 0 || differs(r.d.Instances[at], i)
	}
	switch {
	case changed:
		return r.record(ctx, own)
	case r.now().Sub(r.lastWell()) > touchEvery:
		return r.DB.WithContext(ctx).Model(&models.Instance{}).Where("deployment_id = ?", r.d.ID).UpdateColumn("updated_at", r.now()).Error
	}
	return nil
}
