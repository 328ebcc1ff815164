package models

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Limits of a gradual switch.
const (
	maxSteps       = 10
	maxStepMinutes = 24 * 60
)

// GradualStep is one step of a gradual switch: so many visitors for so long.
type GradualStep struct {
	Percent int `json:"percent"` // of the visitors that go to the new version, from 1 to 99
	Minutes int `json:"minutes"` // before the next step, from 1 to 1440
}

// Gradual are the steps in which visitors move to a new version; after the last one all go to it. Without steps all go
// at once.
type Gradual []GradualStep

// gradualHelp is how people write steps.
const gradualHelp = "Write steps like 10% for 5 min, 50% for 10 min."

var gradualText = regexp.MustCompile(`^(\d{1,4}) ?% for (\d{1,5}) ?(min|minutes?|h|hours?)$`)

// ParseGradual reads steps as String writes them, apart from spaces and letters' case; hours are understood too. What is
// wrong is an error of the field gradual.
func ParseGradual(text string) (Gradual, error) {
	var all Gradual
	text = strings.TrimSpace(text)
	if text == "" {
		return all, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.ToLower(strings.Join(strings.Fields(part), " "))
		found := gradualText.FindStringSubmatch(part)
		if found == nil {
			return nil, InvalidField("gradual", "%q is no step. %s", part, gradualHelp)
		}
		percent, _ := strconv.Atoi(found[1]) // both are of a few digits
		minutes, _ := strconv.Atoi(found[2])
		if strings.HasPrefix(found[3], "h") {
			minutes *= 60
		}
		all = append(all, GradualStep{percent, minutes})
	}
	if wrong := all.wrong(); wrong != "" {
		return nil, InvalidField("gradual", "%s", wrong)
	}
	return all, nil
}

// wrong says what is wrong with the steps; empty where nothing is.
func (g Gradual) wrong() string {
	if len(g) > maxSteps {
		return "At most " + strconv.Itoa(maxSteps) + " steps."
	}
	before := 0
	for _, s := range g {
		switch {
		case s.Percent < 1 || s.Percent > 99:
			return fmt.Sprintf("A step is from 1 to 99 %% of the visitors, not %d; after the last one all go to the new version.", s.Percent)
		case s.Percent <= before:
			return fmt.Sprintf("Each step takes more visitors than the one before: %d%% can't follow %d%%.", s.Percent, before)
		case s.Minutes < 1 || s.Minutes > maxStepMinutes:
			return fmt.Sprintf("A step lasts from 1 to %d minutes, not %d.", maxStepMinutes, s.Minutes)
		}
		before = s.Percent
	}
	return ""
}

// String is how people write the steps; empty without steps.
func (g Gradual) String() string {
	var parts []string
	for _, s := range g {
		parts = append(parts, fmt.Sprintf("%d%% for %d min", s.Percent, s.Minutes))
	}
	return strings.Join(parts, ", ")
}

// Words is how visitors move to a new version, as a person says it.
func (g Gradual) Words() string {
	if len(g) == 0 {
		return "all at once"
	}
	return g.String() + ", then all"
}

// Shift is how far a deployment has moved visitors to its release in the steps of its configuration.
type Shift struct {
	Step      int        // of Gradual, from 1; 0: it has not begun. It stays when all is over
	Percent   int        // of the visitors that its release may get now beside what serves
	Until     *time.Time // the step's end; nil where the target was not told of the step yet, and when all is over
	HurriedAt *time.Time // when a person sent everyone
}
