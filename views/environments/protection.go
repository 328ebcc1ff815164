package environments

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// ProtectionView is what has to hold before something is deployed.
type ProtectionView struct {
	Environment models.Environment
	Others      []models.Environment // of the team
	Form        components.Form
	Curl        components.CurlExample
}

func (v ProtectionView) branches() string {
	return strings.Join(v.Environment.Protection.Branches, "\n")
}

// earlier are the environments that can come first.
func (v ProtectionView) earlier() []components.Option {
	list := []components.Option{{Label: "No other environment"}}
	for _, e := range v.Others {
		if e.ID != v.Environment.ID {
			list = append(list, components.Option{Value: e.ID, Label: e.Name})
		}
	}
	return list
}

func (v ProtectionView) now(f models.Freeze) bool {
	_, ok := f.Until(time.Now())
	return ok
}

func weekdays() (list []components.Option) {
	for d := range time.Weekday(7) {
		list = append(list, components.Option{Value: strconv.Itoa(int(d)), Label: d.String()})
	}
	return list
}

func freezeText(f models.Freeze) string {
	if f.Start != nil && f.End != nil {
		const layout = "2 Jan 2006, 15:04"
		return fmt.Sprintf("from %s to %s UTC", f.Start.UTC().Format(layout), f.End.UTC().Format(layout))
	}
	return fmt.Sprintf("every week from %s %s to %s %s, %s", f.FromDay, f.FromTime, f.ToDay, f.ToTime, f.Zone)
}

// Rules says what has to hold, a sentence each; before is the environment that comes first.
func Rules(p models.Protection, before string) (list []string) {
	if p.Approvals > 0 {
		list = append(list, components.Count(p.Approvals, "maintainer", "maintainers")+" other than the one who asks has to approve.")
	}
	if len(p.Branches) > 0 {
		list = append(list, "Only builds of "+strings.Join(p.Branches, ", ")+".")
	}
	if p.After != "" && before != "" {
		list = append(list, "An image has to succeed in "+before+" first.")
	}
	for _, f := range p.Freezes {
		list = append(list, "Nothing is deployed "+freezeText(f)+": "+f.Name+".")
	}
	return list
}

// branch is what the app gets by itself; empty: nothing.
func (c AppCell) branch() string {
	if c.Auto == nil {
		return ""
	}
	return c.Auto.Branch
}

func heldText(a models.AutoDeploy) string {
	text := "is on hold: good builds of " + a.Branch + " are not deployed by themselves until somebody resumes. " + a.HeldWhy
	if a.HeldByName != "" {
		text = strings.TrimRight(text, ". ") + ", by " + a.HeldByName + "."
	}
	return text
}
