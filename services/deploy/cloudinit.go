package deploy

import (
	"context"

	"slipway.dev/models"
)

// CloudInit returns the user data by which a new machine becomes the host of the target, for admins. It holds no
// secret. A Conflict where that is not how places of the target's kind are made.
func (s *Service) CloudInit(ctx context.Context, id string) (string, error) {
	t, _, err := s.Target(ctx, id)
	if err != nil {
		return "", err
	}
	kind, err := s.KindOf(t.Kind)
	if err != nil {
		return "", err
	}
	if kind.CloudInit == nil {
		return "", models.Errorf(models.Conflict, "Targets of the kind %s are not made by a cloud-init.", kind.Title)
	}
	return kind.CloudInit(t.Settings)
}
