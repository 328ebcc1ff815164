package models

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Protection is what has to hold before something new is deployed to an
// environment. What repeats a deployment that served there (a rollback, a
// restart) passes: it held then.
type Protection struct {
	Approvals int      `json:"approvals"`          // by maintainers other than the one who asked; 0: none is needed
	Branches  []string `json:"branches,omitempty"` // globs: only builds of these branches; empty: any image
	After     string   `json:"after,omitempty"`    // the id of the environment in which the image must have succeeded before; empty: none
	Freezes   []Freeze `json:"freezes,omitempty"`  // times in which nothing is deployed
}

// Freeze is a time in which nothing is deployed: once where Start is set, else every week.
type Freeze struct {
	ID    string     `json:"id,omitempty"` // empty in what was stored before freezes had one: see Key
	Name  string     `json:"name"`
	Start *time.Time `json:"start,omitempty"` // once: from
	End   *time.Time `json:"end,omitempty"`   // once: to

	Zone     string       `json:"zone,omitempty"`      // every week: of the days and times, such as Europe/Berlin
	FromDay  time.Weekday `json:"from_day,omitempty"`  // Sunday is 0
	FromTime string       `json:"from_time,omitempty"` // such as 16:00
	ToDay    time.Weekday `json:"to_day,omitempty"`
	ToTime   string       `json:"to_time,omitempty"`
}

// clockOf reads 16:00 as minutes after midnight.
func clockOf(text string) (int, error) {
	at, err := time.Parse("15:04", text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time such as 16:00", text)
	}
	return at.Hour()*60 + at.Minute(), nil
}

// Key names the freeze among those of its environment: its id, or else what its name and times make.
func (f Freeze) Key() string {
	if f.ID != "" {
		return f.ID
	}
	text, err := json.Marshal(f)
	if err != nil { // a time that no calendar has
		text = []byte(f.Name)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:12])
}

// Validate says what is wrong with the freeze, as an error of the field that it names.
func (f Freeze) Validate() error {
	if len(f.ID) > 64 {
		return InvalidField("id", "An id has at most 64 characters.")
	}
	if f.Name == "" || len(f.Name) > 100 {
		return InvalidField("name", "Give the freeze a name that says why, such as Weekend.")
	}
	if f.Start != nil || f.End != nil {
		if f.Start == nil || f.End == nil || !f.End.After(*f.Start) {
			return InvalidField("end", "The freeze has to end after it begins.")
		}
		return nil
	}
	if _, err := time.LoadLocation(f.Zone); err != nil || f.Zone == "" || f.Zone == "Local" {
		return InvalidField("zone", "%q is not a time zone such as Europe/Berlin.", f.Zone)
	}
	if f.FromDay < 0 || f.FromDay > 6 || f.ToDay < 0 || f.ToDay > 6 {
		return InvalidField("from_day", "Days are from 0, Sunday, to 6, Saturday.")
	}
	from, err := clockOf(f.FromTime)
	if err != nil {
		return InvalidField("from_time", "Write the time as 16:00.")
	}
	to, err := clockOf(f.ToTime)
	if err != nil {
		return InvalidField("to_time", "Write the time as 16:00.")
	}
	if f.FromDay == f.ToDay && from == to {
		return InvalidField("to_time", "The freeze has to end at another time than it begins.")
	}
	return nil
}

// Until returns when the freeze that covers the moment ends, and false where none does.
// A weekly one is reckoned by the wall clock of its zone, so that it begins and
// ends at the same time of day all year.
func (f Freeze) Until(now time.Time) (time.Time, bool) {
	if f.Start != nil && f.End != nil {
		return *f.End, !now.Before(*f.Start) && now.Before(*f.End)
	}
	zone, err := time.LoadLocation(f.Zone)
	from, err1 := clockOf(f.FromTime)
	to, err2 := clockOf(f.ToTime)
	if err != nil || err1 != nil || err2 != nil {
		return time.Time{}, false
	}
	local := now.In(zone)
	for back := range 8 { // the last time that it began
		day := time.Date(local.Year(), local.Month(), local.Day()-back, 12, 0, 0, 0, zone) // noon: there are days without a midnight
		if day.Weekday() != f.FromDay {
			continue
		}
		began := time.Date(day.Year(), day.Month(), day.Day(), from/60, from%60, 0, 0, zone)
		if began.After(now) {
			continue
		}
		days := int(f.ToDay-f.FromDay+7) % 7
		if days == 0 && to <= from {
			days = 7
		}
		ends := time.Date(day.Year(), day.Month(), day.Day()+days, to/60, to%60, 0, 0, zone)
		return ends, now.Before(ends)
	}
	return time.Time{}, false
}

// Frozen returns the freeze that covers the moment and when it ends; of several the one that ends last.
func (p Protection) Frozen(now time.Time) (freeze Freeze, until time.Time, ok bool) {
	for _, f := range p.Freezes {
		if end, covers := f.Until(now); covers && end.After(until) {
			freeze, until, ok = f, end, true
		}
	}
	return freeze, until, ok
}

// Approval is a person's word that a deployment may begin: for exactly this
// image and this configuration in its environment.
type Approval struct {
	DeploymentID string `gorm:"primaryKey"`
	UserID       string `gorm:"primaryKey"`
	UserName     string
	Comment      string
	Digest       string
	ConfigHash   string
	CreatedAt    time.Time
}

// BadImage is an image that is deployed nowhere in the team any more.
type BadImage struct {
	TeamID       string `gorm:"primaryKey"`
	Digest       string `gorm:"primaryKey"`
	Reason       string
	MarkedByName string
	CreatedAt    time.Time
}

// AutoDeploy deploys the good builds of a branch of an app to an environment,
// each as soon as it is there.
type AutoDeploy struct {
	EnvironmentID string `gorm:"primaryKey"`
	AppID         string `gorm:"primaryKey"`
	Branch        string // a glob
	BuildNumber   int64  // the newest build that was deployed or passed over
	SeenAt        time.Time
	Note          string     // why the last build was not deployed; empty: it was
	HeldAt        *time.Time // off until somebody lifts the hold
	HeldByName    string
	HeldWhy       string
	UpdatedBy     string
	UpdatedAt     time.Time
}
