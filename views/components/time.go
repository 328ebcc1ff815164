package components

import (
	"fmt"
	"time"
)

// ago says how long before now t was: "just now", "4 min ago", "2 d ago", then the date.
func ago(t, now time.Time) string {
	switch d := now.Sub(t); {
	case d < 45*time.Second:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", max(1, int(d.Minutes())))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	case d < 30*24*time.Hour:
		return fmt.Sprintf("%d d ago", int(d.Hours()/24))
	case t.Year() == now.Year():
		return t.Format("2 Jan")
	}
	return t.Format("2 Jan 2006")
}

// Lasted writes a duration the way people say it: "0.4s", "54s", "1m 48s", "2h 3m".
func Lasted(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
}

// stamp is the machine's form of a time, in UTC.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// exact is the form of a time that leaves no question.
func exact(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04:05 UTC") }
