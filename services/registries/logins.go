package registries

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"slipway.dev/models"
)

const (
	exchangeTime = 20 * time.Second // to get a short-lived login
	beforeEnd    = 10 * time.Minute // a short-lived login is not used for so long before it ends, so that a push may last
)

// login is what a registry's host is shown.
type login struct {
	user, password string
	until          time.Time // zero: it does not end
	updated        time.Time // of the registry that it was made for
}

// login returns the registry's login: the stored one, or where the kind
// exchanges its credential, a short-lived one that is kept in memory.
func (s *Service) login(ctx context.Context, r *models.Registry) (login, error) {
	exchange := s.exchange(r)
	if exchange == nil {
		secret, err := s.openSecrets(r)
		return login{user: r.Settings[fieldUser], password: secret[fieldPassword]}, err
	}
	s.mu.Lock()
	have, ok := s.logins[r.ID]
	s.mu.Unlock()
	if ok && have.updated.Equal(r.UpdatedAt) && time.Until(have.until) > beforeEnd {
		return have, nil
	}
	secret, err := s.openSecrets(r)
	if err != nil {
		return login{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	made, err := exchange(ctx, r, secret)
	if err != nil {
		return login{}, err
	}
	made.updated = r.UpdatedAt
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logins == nil {
		s.logins = map[string]login{}
	}
	s.logins[r.ID] = made
	return made, nil
}

// exchange is how the registry gets a short-lived login for its credential; nil where it has none.
func (s *Service) exchange(r *models.Registry) func(context.Context, *models.Registry, map[string]string) (login, error) {
	switch {
	case r.Kind == KindECR:
		return s.loginECR
	case r.Kind == KindGAR:
		return s.loginGoogle
	case r.Kind == KindACR && r.Settings[fieldTarget] != "":
		return s.loginAzure
	}
	return nil
}

// place is what a registry's credential is sealed for: it opens for no other row and no other host.
func place(r *models.Registry) string { return "registries/" + r.ID + "/" + r.Host }

func (s *Service) openSecrets(r *models.Registry) (map[string]string, error) {
	out := map[string]string{}
	if len(r.Secrets) == 0 {
		return out, nil
	}
	plain, err := s.Box.Open(place(r), r.Secrets)
	if err != nil {
		return nil, err
	}
	return out, json.Unmarshal(plain, &out)
}

func (s *Service) sealSecrets(r *models.Registry, secret map[string]string) error {
	r.Secrets = nil
	if len(secret) == 0 {
		return nil
	}
	plain, err := json.Marshal(secret)
	if err == nil {
		r.Secrets = s.Box.Seal(place(r), plain)
	}
	return err
}

// forget drops what is remembered of a registry.
func (s *Service) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.logins, id)
	if w, ok := s.ways[id]; ok {
		w.transport.CloseIdleConnections()
		delete(s.ways, id)
	}
}

// refused is the failure that the cloud does not take the credential.
func refused(err error, format string, args ...any) error {
	e, _ := errors.AsType[*models.Error](models.Errorf(models.Unavailable, format, args...))
	e.Err = err
	return e
}
