package deployments

import (
	"slipway.dev/models"
	"slipway.dev/views/components"
)

// DriftView is how what runs differs from what was deployed.
type DriftView struct {
	Deployment models.Deployment
	Rows       []Drift
	Why        string // there is nothing to compare
	CanApply   bool
	Curl       components.CurlExample
	ApplyCurl  components.CurlExample
}

// Drift is one difference.
type Drift struct {
	Object     string
	Field      string // empty: the object as a whole
	Want, Have string
}
