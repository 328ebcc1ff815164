package environments

import (
	"slipway.dev/models"
	"slipway.dev/views/visitors"
)

// AppAddresses are where visitors find an app of the environment.
type AppAddresses struct {
	App         models.App
	Own         string // its host name here; empty: none yet
	Others      []visitors.Address
	Maintenance bool // visitors are kept away
}
