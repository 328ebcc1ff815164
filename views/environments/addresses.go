package environments

import (
	"github.com/a-h/templ"
	"slipway.dev/models"
	"slipway.dev/views/components"
	"slipway.dev/views/visitors"
)

// AppAddresses are where visitors find an app of the environment.
type AppAddresses struct {
	App         models.App
	Own         string // its host name here; empty: none yet
	Others      []visitors.Address
	Maintenance bool // visitors are kept away
}

// domains is the link to the domains of the environment's team; nil where the team is not known.
func (v PageView) domains() templ.Component {
	if v.Environment.Team == nil {
		return nil
	}
	return components.All("Domains and certificates", "/teams/"+v.Environment.Team.Slug+"/domains")
}
