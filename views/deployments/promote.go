package deployments

import (
	"time"

	"slipway.dev/models"
)

// Origin is where an image is promoted from, and how what runs there differs from what would run here.
type Origin struct {
	Deployment models.Deployment // with Environment and Build; what serves there
	Settings   []Difference      // there, and here
	OnlyThere  []string          // variables and secrets
	OnlyHere   []string
	Compare    string // the address that compares what serves in both; empty: nothing serves here
}

func (o Origin) name() string { return o.Deployment.Environment.Name }

// same tells whether the configurations differ in nothing but values.
func (o Origin) same() bool { return len(o.Settings)+len(o.OnlyThere)+len(o.OnlyHere) == 0 }

// since is when it began to serve there.
func (o Origin) since() time.Time {
	if o.Deployment.FinishedAt != nil {
		return *o.Deployment.FinishedAt
	}
	return o.Deployment.CreatedAt
}
