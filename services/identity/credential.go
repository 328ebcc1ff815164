package identity

import (
	"context"
	"errors"
	"time"

	"slipway.dev/models"
)

// Credential is what a cloud gives for a token of a target. It is a secret, good for an hour at most.
type Credential struct {
	Cloud string // as deploy.Kind.Federation says it

	AccessKeyID, SecretAccessKey, SessionToken string // of AWS

	AccessToken string // of Google and Azure
	Tenant      string // of Azure

	Expires time.Time
}

// lendTime is how long a credential is asked for.
const lendTime = time.Hour

// Credential exchanges a token of the target of the name for a credential of its
// cloud, for a part of Slipway that calls the cloud in the target's name. On
// Google it is that of the service account, where one is named, in place of the
// target's own. Whoever asks has to authorize what is done with it. Why there is
// none is an Unavailable error for people.
func (s *Service) Credential(ctx context.Context, target, account string) (Credential, error) {
	var t models.Target
	if err := s.DB.WithContext(ctx).Omit("secrets").Take(&t, "name = ?", target).Error; err != nil {
		return Credential{}, models.FromDB(err, "target "+target)
	}
	cloud, err := s.cloudOf(t.Kind)
	if err != nil {
		return Credential{}, err
	}
	if account != "" {
		t.Settings["service_account"] = account
	}
	s.open()
	got, err := cloud.lend(ctx, &check{Service: s, target: &t})
	if l := new(lack); errors.As(err, &l) {
		return Credential{}, models.Errorf(models.Unavailable, "%s", l.text)
	}
	got.Cloud = cloud.name
	return got, err
}
