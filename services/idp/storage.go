package idp

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"gorm.io/gorm"
	"slipway.dev/models"
)

// storage is the provider as the protocol's library wants to see it.
type storage struct{ *Provider }

var errOff = errors.New("not offered")

// CreateAuthRequest accepts a request for a code with PKCE (RFC 7636, S256) and
// nothing else. The request is stored nowhere: it travels sealed, as its own id.
func (s *storage) CreateAuthRequest(_ context.Context, r *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	if r.CodeChallengeMethod != oidc.CodeChallengeMethodS256 || len(r.CodeChallenge) != 43 {
		return nil, oidc.ErrInvalidRequest().WithDescription("a code_challenge with the method S256 is required")
	}
	if r.ResponseMode != "" && r.ResponseMode != "query" {
		return nil, oidc.ErrInvalidRequest().WithDescription("only the response mode query is supported")
	}
	if len(r.State) > 512 || len(r.Nonce) > 512 {
		return nil, oidc.ErrInvalidRequest().WithDescription("state and nonce may have 512 characters")
	}
	for _, prompt := range r.Prompt {
		if prompt == oidc.PromptNone {
			return nil, oidc.ErrLoginRequired()
		}
	}
	sealed := s.seal(request{
		ClientID: r.ClientID, RedirectURI: r.RedirectURI, Scopes: r.Scopes, State: r.State, Nonce: r.Nonce,
		Challenge: r.CodeChallenge, Expires: time.Now().Add(requestLife),
	})
	return authorization{Authorization: &models.Authorization{ID: sealed}}, nil
}

// AuthRequestByCode redeems a code, once: a second attempt, and a wrong
// verifier at the first, end the authorization with whatever it gave (RFC 6749 §4.1.2).
func (s *storage) AuthRequestByCode(ctx context.Context, code string) (op.AuthRequest, error) {
	var row models.Authorization
	again := false
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Where("code_hash = ?", digest(code)).Take(&row).Error; err != nil {
			return models.FromDB(err, "code")
		}
		now := tx.NowFunc()
		used := tx.Model(&row).Where("used_at IS NULL AND created_at > ?", now.Add(-codeLife)).UpdateColumn("used_at", now)
		if used.Error != nil {
			return used.Error
		}
		if again = used.RowsAffected == 0; again {
			return tx.Delete(&row).Error
		}
		return nil
	})
	if err == nil && again {
		err = errors.New("the code was used or is too old")
	}
	if err != nil {
		return nil, err
	}
	return authorization{Authorization: &row}, nil
}

// AuthRequestByID, SaveAuthCode and DeleteAuthRequest belong to the library's own callback, which is closed.
func (s *storage) AuthRequestByID(context.Context, string) (op.AuthRequest, error) {
	return nil, errOff
}

// SaveAuthCode belongs to the closed callback.
func (s *storage) SaveAuthCode(context.Context, string, string) error { return errOff }

// DeleteAuthRequest keeps the authorization, for its access token hangs on it.
func (s *storage) DeleteAuthRequest(context.Context, string) error { return nil }

// CreateAccessToken gives the authorization's own id: the access token is good as long as the row.
func (s *storage) CreateAccessToken(_ context.Context, r op.TokenRequest) (string, time.Time, error) {
	a, ok := r.(authorization)
	if !ok {
		return "", time.Time{}, errOff
	}
	return a.ID, a.ExpiresAt, nil
}

func (s *storage) SigningKey(ctx context.Context) (op.SigningKey, error) { return s.signingKey(ctx) }

func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{algorithm}, nil
}

func (s *storage) KeySet(ctx context.Context) ([]op.Key, error) { return s.publicKeys(ctx) }

func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id != ClientID {
		return nil, errors.New("unknown client")
	}
	return client{redirect: s.RedirectURI}, nil
}

func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	given, want := sha256.Sum256([]byte(secret)), sha256.Sum256([]byte(s.ClientSecret()))
	if id != ClientID || subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
		return errors.New("unknown client or wrong secret")
	}
	return nil
}

func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil
}

// SetUserinfoFromRequest fills the id token.
func (s *storage) SetUserinfoFromRequest(ctx context.Context, info *oidc.UserInfo, r op.IDTokenRequest, scopes []string) error {
	return s.fill(ctx, info, r.GetSubject(), scopes)
}

// SetUserinfoFromToken fills the answer of the userinfo endpoint.
func (s *storage) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, id, _, _ string) error {
	var row models.Authorization
	err := s.DB.WithContext(ctx).Where("id = ? AND used_at IS NOT NULL AND expires_at > ?", id, s.DB.NowFunc()).Take(&row).Error
	if err != nil {
		return oidc.ErrAccessDenied().WithDescription("the access token is not valid")
	}
	return s.fill(ctx, info, row.AccountID, row.Scopes)
}

// fill says of the account what the scopes ask for. A disabled one gets nothing.
func (s *storage) fill(ctx context.Context, info *oidc.UserInfo, accountID string, scopes []string) error {
	var a models.Account
	if err := s.DB.WithContext(ctx).Where("id = ? AND disabled_at IS NULL", accountID).Take(&a).Error; err != nil {
		return oidc.ErrAccessDenied().WithDescription("the account is disabled")
	}
	info.Subject = a.ID
	for _, scope := range scopes {
		switch scope {
		case oidc.ScopeProfile:
			info.Name, info.PreferredUsername = a.Name, a.UserName
		case oidc.ScopeEmail:
			if a.Email != "" { // an admin wrote it down, so it counts as verified
				info.Email, info.EmailVerified = a.Email, true
			}
		}
	}
	return nil
}

func (s *storage) Health(ctx context.Context) error {
	return s.DB.WithContext(ctx).Exec("SELECT 1").Error
}

// What follows belongs to grants and endpoints that are not offered.

func (s *storage) CreateAccessAndRefreshTokens(context.Context, op.TokenRequest, string) (string, string, time.Time, error) {
	return "", "", time.Time{}, errOff
}

func (s *storage) TokenRequestByRefreshToken(context.Context, string) (op.RefreshTokenRequest, error) {
	return nil, op.ErrInvalidRefreshToken
}

func (s *storage) TerminateSession(context.Context, string, string) error { return errOff }

func (s *storage) RevokeToken(context.Context, string, string, string) *oidc.Error {
	return oidc.ErrInvalidRequest()
}

func (s *storage) GetRefreshTokenInfo(context.Context, string, string) (string, string, error) {
	return "", "", op.ErrInvalidRefreshToken
}

func (s *storage) SetIntrospectionFromToken(context.Context, *oidc.IntrospectionResponse, string, string, string) error {
	return errOff
}

func (s *storage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, nil
}

func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errOff
}

func (s *storage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, errOff
}

// authorization is a stored authorization as the protocol's library wants to see it.
type authorization struct{ *models.Authorization }

func (a authorization) GetID() string                      { return a.ID }
func (a authorization) GetACR() string                     { return "" }
func (a authorization) GetAMR() []string                   { return []string{"pwd"} }
func (a authorization) GetAudience() []string              { return []string{a.ClientID} }
func (a authorization) GetAuthTime() time.Time             { return a.CreatedAt }
func (a authorization) GetClientID() string                { return a.ClientID }
func (a authorization) GetNonce() string                   { return a.Nonce }
func (a authorization) GetRedirectURI() string             { return a.RedirectURI }
func (a authorization) GetResponseType() oidc.ResponseType { return oidc.ResponseTypeCode }
func (a authorization) GetResponseMode() oidc.ResponseMode { return "" }
func (a authorization) GetScopes() []string                { return a.Scopes }
func (a authorization) GetState() string                   { return "" }
func (a authorization) GetSubject() string                 { return a.AccountID }
func (a authorization) Done() bool                         { return true }
func (a authorization) GetCodeChallenge() *oidc.CodeChallenge {
	return &oidc.CodeChallenge{Challenge: a.Challenge, Method: oidc.CodeChallengeMethodS256}
}

// client is the portal as the protocol's library wants to see it.
type client struct{ redirect string }

func (c client) GetID() string                       { return ClientID }
func (c client) RedirectURIs() []string              { return []string{c.redirect} }
func (c client) PostLogoutRedirectURIs() []string    { return nil }
func (c client) ApplicationType() op.ApplicationType { return op.ApplicationTypeWeb }
func (c client) AuthMethod() oidc.AuthMethod         { return oidc.AuthMethodBasic }
func (c client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}
func (c client) GrantTypes() []oidc.GrantType         { return []oidc.GrantType{oidc.GrantTypeCode} }
func (c client) LoginURL(id string) string            { return loginURL(id) }
func (c client) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeBearer }
func (c client) IDTokenLifetime() time.Duration       { return tokenLife }
func (c client) DevMode() bool                        { return false }
func (c client) IsScopeAllowed(string) bool           { return false }
func (c client) IDTokenUserinfoClaimsAssertion() bool { return true }
func (c client) ClockSkew() time.Duration             { return 0 }
func (c client) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(s []string) []string { return s }
}
func (c client) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(s []string) []string { return s }
}

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Prune deletes authorizations and invites that are over.
func (p *Provider) Prune(ctx context.Context) error {
	now := p.DB.NowFunc()
	if err := p.DB.WithContext(ctx).Where("expires_at < ?", now).Delete(&models.Authorization{}).Error; err != nil {
		return fmt.Errorf("deleting old authorizations: %w", err)
	}
	return p.DB.WithContext(ctx).Where("expires_at < ?", now.Add(-30*24*time.Hour)).Delete(&models.Invite{}).Error
}
