package models

import "time"

// Target is a place that runs containers. Admins manage targets and grant them to teams.
type Target struct {
	ID        string `gorm:"primaryKey"`
	Name      string
	Kind      string            // such as docker
	Settings  map[string]string `gorm:"serializer:json"`
	Secrets   []byte            // encrypted JSON of the secret settings
	AllTeams  bool              // every team may use it
	CreatedAt time.Time
	UpdatedAt time.Time
}

// What the settings of a target say of the registry that it pulls from, where its kind has such.
const (
	TargetRegistry     = "registry"      // an external registry's id, or EmbeddedRegistry; empty: images are pulled from where they are
	TargetRegistryPath = "registry_path" // what its repositories begin with there
	EmbeddedRegistry   = "embedded"
)

// TargetRemoval is a target that was deleted and still has something at its provider.
type TargetRemoval struct {
	ID        string `gorm:"primaryKey"` // the target's
	Name      string
	Kind      string
	Settings  map[string]string `gorm:"serializer:json"`
	Secrets   []byte            // sealed as the target's were
	Error     string            // why the last try failed, for people
	Tries     int
	CreatedAt time.Time // when the target was deleted
	UpdatedAt time.Time
}

// TargetGrant lets a team use a target.
type TargetGrant struct {
	TargetID  string `gorm:"primaryKey"`
	TeamID    string `gorm:"primaryKey"`
	CreatedAt time.Time
}

// Environment is a stage of a team on one target.
type Environment struct {
	ID         string `gorm:"primaryKey"`
	TeamID     string
	TargetID   string
	Name       string
	Kind       EnvironmentKind
	Position   int        // left to right on the board
	Protection Protection `gorm:"serializer:json"`
	CreatedAt  time.Time
	UpdatedAt  time.Time
	Team       *Team   `gorm:"foreignKey:TeamID"`
	Target     *Target `gorm:"foreignKey:TargetID"`
}

// Scale is how much of an app runs: how many instances, and how much each of them may take.
type Scale struct {
	Replicas int   `json:"replicas"`
	CPU      int64 `json:"cpu,omitempty"`    // thousandths of a processor; 0: no limit
	Memory   int64 `json:"memory,omitempty"` // bytes; 0: no limit
	// Max is how many instances there may be where the target adds some by the
	// load; 0: always as many as Replicas.
	Max int `gorm:"column:max_replicas" json:"max,omitempty"`
	// CPUTarget is the part of its CPU, in percent, that an instance takes on
	// average before the target adds another one.
	CPUTarget int `json:"cpu_target,omitempty"`
}

// Autoscales tells whether the number of instances follows the load.
func (s Scale) Autoscales() bool { return s.Max > s.OrOne().Replicas }

// OrOne is the scale, with one instance where none is said, as in what was deployed before there were scales.
func (s Scale) OrOne() Scale {
	s.Replicas = max(s.Replicas, 1)
	return s
}

// AppScale is the scale of an app in an environment.
type AppScale struct {
	EnvironmentID string `gorm:"primaryKey"`
	AppID         string `gorm:"primaryKey"`
	Scale         `gorm:"embedded"`
	UpdatedBy     string
	UpdatedAt     time.Time
}
