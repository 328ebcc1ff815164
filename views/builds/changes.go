package builds

import (
	"strconv"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// anything tells whether the comparison says more than that there is none.
func anything(c *models.BuildChanges) bool {
	return c != nil && c.Since != nil && (len(c.Commits) > 0 || c.CommitsNote != "" || c.Duration.Known() || c.Size.Known() || c.Miss != nil)
}

// tookMore says how much longer the build took: "2.1s longer", "as long".
func tookMore(d models.Difference) string {
	change := time.Duration(d.Change()) * time.Millisecond
	switch {
	case change >= 100*time.Millisecond:
		return components.Lasted(change) + " longer"
	case change <= -100*time.Millisecond:
		return components.Lasted(-change) + " shorter"
	}
	return "as long"
}

func milliseconds(n int64) string { return components.Lasted(time.Duration(n) * time.Millisecond) }

// grew says what became of the image's size: "1.2 MB larger", "the same size".
func grew(d models.Difference) string {
	switch change := d.Change(); {
	case change > 0:
		return components.Bytes(change) + " larger"
	case change < 0:
		return components.Bytes(-change) + " smaller"
	}
	return "the same size"
}

// stepMore says how a step's time changed, and names a step that only one build has.
func stepMore(s models.StepChange) string {
	switch {
	case s.ID == "":
		return "gone, " + tookMore(s.Difference)
	case s.Before == 0:
		return "new, " + milliseconds(s.Now)
	}
	return tookMore(s.Difference)
}

// commitURL is the commit's page at the forge; empty where there is none.
func commitURL(b models.Build, commit string) string {
	if b.App == nil {
		return ""
	}
	return components.CommitURL(b.App.Repository, commit)
}

// missHeading names the step where the cache helped no further.
func missHeading(m models.CacheMiss) string {
	if m.Line > 0 {
		return m.StepName + " (line " + strconv.Itoa(m.Line) + ")"
	}
	return m.StepName
}
