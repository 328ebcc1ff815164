package models

import "time"

// VariableLevel is where a variable is set. The level nearest to an app wins.
type VariableLevel string

// The levels, from the one that reaches furthest to the nearest.
const (
	LevelTeam        VariableLevel = "team"        // every app in every environment of the team
	LevelEnvironment VariableLevel = "environment" // every app in one environment
	LevelApp         VariableLevel = "app"         // one app in one environment
)

// levelOf tells the level of what belongs to the environment and the app.
func levelOf(environmentID, appID string) VariableLevel {
	switch {
	case environmentID == "":
		return LevelTeam
	case appID == "":
		return LevelEnvironment
	}
	return LevelApp
}

// Variable is a value that instances get as an environment variable. A secret's
// value is encrypted and never shown again.
type Variable struct {
	ID            string `gorm:"primaryKey"`
	TeamID        string
	EnvironmentID string `gorm:"default:null"` // empty: every environment of the team
	AppID         string // empty: every app
	Name          string
	Value         string // plain values
	Secret        bool
	Sealed        []byte // encrypted value of a secret
	Fingerprint   string // changes whenever the secret's value changes
	Size          int64  // bytes of the value
	Revision      string // id of the change that made it what it is
	UpdatedBy     string
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// Level tells where the variable is set.
func (v *Variable) Level() VariableLevel { return levelOf(v.EnvironmentID, v.AppID) }

// VariableState is a variable before or after a change; of a secret only the fingerprint is kept in the open.
type VariableState struct {
	Set         bool // false: there was none
	Secret      bool
	Value       string // plain values
	Fingerprint string // of a secret
}

// VariableChange says who changed which variable, from what to what. The former
// value is kept for a while, so that it can be put back.
type VariableChange struct {
	ID            string `gorm:"primaryKey"` // sorts by time
	TeamID        string
	EnvironmentID string `gorm:"default:null"` // empty: the team's
	AppID         string
	Name          string
	Before        VariableState `gorm:"embedded;embeddedPrefix:before_"`
	After         VariableState `gorm:"embedded;embeddedPrefix:after_"`
	Sealed        []byte        // encrypted former value of a secret
	UndoOf        *string       // the change that this one took back
	ForgottenAt   *time.Time    // the values are gone for good
	ChangedBy     string        // the user's id; empty: no person
	ChangedByName string
	CreatedAt     time.Time
	Team          *Team  `gorm:"foreignKey:TeamID"`
	App           *App   `gorm:"foreignKey:AppID"`
	Now           string `gorm:"-"` // revision that the variable has now, in lists; empty: there is none
}

// Level tells where the variable that was changed is set.
func (c *VariableChange) Level() VariableLevel { return levelOf(c.EnvironmentID, c.AppID) }

// CanUndo tells whether what was before can be put back: nothing, or a value that is still kept.
func (c *VariableChange) CanUndo() bool { return !c.Before.Set || c.ForgottenAt == nil }
