package deploytest

import (
	"testing"

	"slipway.dev/services/deploy"
)

// Ability is what begins a line of the suite's output that says what the target can; make capabilities makes a page of
// all of them. After it stand a sentence and yes or no.
const Ability = "ability: "

// Title is what begins the line with the target's name for people.
const Title = "target: "

// abilities writes down what the target can that not every one has to.
func (s Suite) abilities(t *testing.T) {
	target := s.Open(t)
	info, err := target.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Title != "" {
		t.Log(Title + s.Title)
	}
	for _, a := range []struct {
		what string
		can  bool
	}{
		{"Volumes that outlive releases", is[deploy.VolumeKeeper](target)},
		{"Restart policies other than always", !s.Always},
		{"An image's own HEALTHCHECK", info.HealthCheck},
		{"Instances added by the load", info.Autoscales},
		{"Visitors come through the target itself, not through Slipway's proxy", s.Routed != nil},
		{"Visitors moved to a new release in steps", s.Routed == nil || is[deploy.Splitter](target)},
		{"The teams' own domains where visitors come through the target itself", is[deploy.DomainKeeper](target)},
		{"Errors told apart from other lines of a log", !s.Mixed},
		{"The target itself looks for the image beforehand", is[deploy.Finder](target)},
		{"Permissions, quotas and the network looked at beforehand", is[deploy.Inspector](target)},
		{"What others changed is shown, and put back", is[deploy.Drifter](target)},
		{"What was made is listed", is[deploy.Ledger](target)},
		{"Events of the provider", is[deploy.Reporter](target)},
		{"What was made for an environment goes with it", is[deploy.EnvironmentKeeper](target)},
		{"What the target keeps for itself goes with it", is[deploy.Destroyer](target)},
		{"Free disk is known", info.Disk > 0},
	} {
		said := "no"
		if a.can {
			said = "yes"
		}
		t.Log(Ability + a.what + ": " + said)
	}
}

// is tells whether the target can what T asks for.
func is[T any](target deploy.Target) bool {
	_, ok := target.(T)
	return ok
}
