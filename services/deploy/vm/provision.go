package vm

import (
	"context"
	"errors"
	"fmt"

	"slipway.dev/services/deploy"
)

// provision returns once there is a machine on which Docker answers. It makes the machine where there is none.
func (t *target) provision(ctx context.Context, say func(string)) error {
	select {
	case t.making <- struct{}{}:
		defer func() { <-t.making }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if have, ok := t.recall(); ok && have.Target != nil {
		if _, err := have.Check(ctx); err == nil {
			return nil
		}
	}
	_, err := t.cloud.Find(ctx)
	switch {
	case errors.Is(err, errNoMachine):
		say(fmt.Sprintf("There is no machine yet. Slipway asks %s for one.", t.cloud))
		err = t.cloud.Make(ctx, t.userData, say)
	case err == nil:
		err = t.cloud.Adjust(ctx)
	}
	if err != nil {
		return endOf(ctx, err)
	}
	return t.await(ctx, say)
}

// await waits until Docker answers on the machine, and tells what it waits for whenever that changes.
func (t *target) await(ctx context.Context, say func(string)) error {
	limited, cancel := context.WithTimeout(ctx, t.options.Patience)
	defer cancel()
	told, last := "", machine{}
	for {
		m, waits, err := t.ready(limited)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case limited.Err() != nil:
			return t.silent(last, told)
		case err != nil:
			return err
		case waits == "":
			say(fmt.Sprintf("Docker answers on the machine %s.", m.Name))
			return nil
		}
		if last = m; waits != told {
			told = waits
			say(told)
		}
		_ = deploy.WaitFor(limited, t.options.Every) // the next turn says why it ended
	}
}

// ready looks at the machine once and returns what there is to wait for; nothing where Docker answers.
func (t *target) ready(ctx context.Context) (m machine, waits string, err error) {
	m, err = t.cloud.Find(ctx)
	switch {
	case errors.Is(err, errNoMachine):
		return m, fmt.Sprintf("%s has taken the order and does not show the machine yet.", t.cloud), nil
	case err != nil && unanswered(err):
		return m, fmt.Sprintf("%s does not answer; the machine is asked for again.", t.cloud), nil
	case err != nil:
		return m, "", err
	case m.State == stateStopped:
		return m, "", t.stopped(m)
	case m.State != stateRunning || m.Address == "":
		return m, fmt.Sprintf("The machine %s is being made.", m.Name), nil
	}
	inner, err := t.reach(m.Address)
	if err != nil {
		return m, "", err
	}
	_, err = inner.Check(ctx)
	if failure := new(deploy.Failure); errors.As(err, &failure) {
		return m, fmt.Sprintf("The machine %s runs; Docker is being installed there. %s", m.Name, failure.Message), nil
	}
	if err != nil {
		return m, fmt.Sprintf("The machine %s runs; Docker does not answer there yet.", m.Name), nil
	}
	return m, "", nil
}

// silent explains a machine on which Docker did not answer in time.
func (t *target) silent(m machine, last string) error {
	where := ""
	if m.Output != "" {
		where = " What it printed while it started: " + m.Output + "."
	}
	return deploy.Failf(deploy.StageTarget, nil, "Docker did not answer on the target's new machine within %s. %s%s Look whether the machine reaches the distribution's packages, and whether the addresses in “SSH from” are this portal's; then deploy again: the machine is kept, and Slipway goes on with it.",
		t.options.Patience, last, where)
}

// endOf prefers the cause for which ctx ended over what broke by it.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Destroy removes the machine, with all that is on it, and what was made for it.
func (t *target) Destroy(ctx context.Context) error {
	select {
	case t.making <- struct{}{}:
		defer func() { <-t.making }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := t.cloud.Destroy(ctx); err != nil {
		return endOf(ctx, err)
	}
	t.nowhere()
	return nil
}

// Keeps lists what Destroy would remove.
func (t *target) Keeps(ctx context.Context) ([]deploy.Resource, error) { return t.cloud.Keeps(ctx) }

// Resources lists the machine and what belongs to it: all releases of the target are on it.
func (t *target) Resources(ctx context.Context, _ string) ([]deploy.Resource, error) {
	return t.cloud.Keeps(ctx)
}

// Inspect looks whether a machine could be made where there is none.
func (t *target) Inspect(ctx context.Context, _ deploy.Release) ([]deploy.Check, error) {
	if have, ok := t.recall(); ok && have.Target != nil {
		return []deploy.Check{{Name: "Machine", OK: true, Message: "It is there."}}, nil
	}
	m, err := t.cloud.Find(ctx)
	if err == nil {
		return []deploy.Check{{Name: "Machine", OK: true, Message: fmt.Sprintf("%s is there.", m.Name)}}, nil
	}
	if !errors.Is(err, errNoMachine) {
		return refusal("Credentials", err)
	}
	return t.cloud.Inspect(ctx)
}

// refusal is a check that a *deploy.Failure ended.
func refusal(name string, err error) ([]deploy.Check, error) {
	if f := new(deploy.Failure); errors.As(err, &f) {
		return []deploy.Check{{Name: name, Message: f.Message}}, nil
	}
	return nil, err
}
