package registries

import (
	"context"
	"errors"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"slipway.dev/models"
)

const (
	googleTokens = "https://oauth2.googleapis.com/token"
	googleScope  = "https://www.googleapis.com/auth/cloud-platform"
	googleUser   = "oauth2accesstoken"
)

// loginGoogle exchanges the service account's key for an access token
// (https://cloud.google.com/artifact-registry/docs/docker/authentication#token).
// Where the key file says that tokens come from is not heeded: the key goes to Google.
func (s *Service) loginGoogle(ctx context.Context, r *models.Registry, secret map[string]string) (login, error) {
	if r.Settings[fieldTarget] != "" {
		got, err := s.federated(ctx, r, cloudGoogle)
		return login{user: googleUser, password: got.AccessToken, until: got.Expires}, err
	}
	var source oauth2.TokenSource
	if r.Settings[fieldAmbient] == "true" {
		found, err := google.FindDefaultCredentials(ctx, googleScope)
		if err != nil {
			return login{}, refused(err, "The machine has no Google credentials of its own.")
		}
		source = found.TokenSource
	} else {
		key, err := google.JWTConfigFromJSON([]byte(secret[fieldServiceKP]), googleScope)
		if err != nil {
			return login{}, refused(nil, "The service account key can't be read.") // the cause may repeat the key
		}
		key.TokenURL, key.Audience = googleTokens, googleTokens
		if s.Endpoints.Google != "" {
			key.TokenURL = s.Endpoints.Google
		}
		source = key.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, s.Guard.HTTPClient()))
	}
	token, err := source.Token()
	if answer := new(oauth2.RetrieveError); errors.As(err, &answer) {
		return login{}, refused(err, "Google refused the service account's key: %s. Make a new key, and check that the account is enabled.", googleCode(answer))
	}
	if err != nil {
		return login{}, refused(err, "Google's token endpoint does not answer. Try again later.")
	}
	return login{user: googleUser, password: token.AccessToken, until: token.Expiry}, nil
}

// googleCode is the error's code alone: the rest of an answer is the other side's text.
func googleCode(e *oauth2.RetrieveError) string {
	switch e.ErrorCode {
	case "invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope", "access_denied":
		return e.ErrorCode
	}
	if e.Response != nil {
		return e.Response.Status
	}
	return "without a reason"
}

// googleKey tells whether the text is a service account's key.
func googleKey(text string) bool {
	_, err := google.JWTConfigFromJSON([]byte(text), googleScope)
	return err == nil
}
