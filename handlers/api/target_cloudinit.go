package api

import "context"

// TargetCloudInit is how a new machine becomes a target's host.
type TargetCloudInit struct {
	UserData string `json:"user_data" doc:"A cloud-config, for the provider's field of that name. It holds no secret."`
}

func (a *API) targetCloudInit(ctx context.Context, in *IDIn) (*answer[TargetCloudInit], error) {
	text, err := a.Deploy.CloudInit(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return reply(TargetCloudInit{text}), nil
}
