package api

import (
	"context"

	"slipway.dev/services/deploy"
)

// Drift is one way in which what runs differs from what was deployed.
type Drift struct {
	Object string `json:"object" example:"Deployment checkout-3fa9c01b22de"`
	Field  string `json:"field" doc:"Empty: the object as a whole." example:"spec.replicas"`
	Want   string `json:"want" doc:"What was deployed; of a secret only that it differs."`
	Have   string `json:"have"`
}

func (a *API) drift(ctx context.Context, in *IDIn) (*answer[List[Drift]], error) {
	found, err := a.Deploy.Drift(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(found, func(d *deploy.Drift) Drift { return Drift(*d) }), nil
}
