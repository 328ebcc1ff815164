package models

import "time"

// Team owns repositories and environments.
type Team struct {
	ID         string `gorm:"primaryKey"`
	Slug       string // in URLs and image names: a DNS label
	Name       string
	BuildLimit int // builds at once; 0: as the settings say for every team

	PreviewLimit int // previews at once; 0: as the settings say for every team

	// What the team's image repositories do where they say nothing themselves.
	AnonymousPull bool     // anybody may pull, without a login
	ImmutableTags []string `gorm:"serializer:json"` // globs of tags that never move

	CreatedAt time.Time
}

// Member is a user's role in a team.
type Member struct {
	TeamID    string `gorm:"primaryKey"`
	UserID    string `gorm:"primaryKey"`
	Role      Role
	CreatedAt time.Time
	User      *User `gorm:"foreignKey:UserID"`
	Team      *Team `gorm:"foreignKey:TeamID"`
}
