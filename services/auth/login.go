package auth

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"gorm.io/gorm"
	"slipway.dev/models"
)

// Browser is what a request tells of the browser that sent it.
type Browser struct {
	Cookies   []*http.Cookie
	Session   string // the value of its session cookie
	UserAgent string
}

// Redirect sends a browser on, with cookies to keep or forget.
type Redirect struct {
	URL     string
	Cookies []*http.Cookie
}

// Begin starts a sign-in at the issuer, after which the browser goes to next.
// The code flow with PKCE, state and nonce (OpenID Connect Core 1.0 §3.1, RFC
// 7636) is bound to the browser by an encrypted cookie of this attempt alone.
func (s *Service) Begin(ctx context.Context, issuerID, next string, b Browser) (Redirect, error) {
	return s.start(ctx, issuerID, attempt{Next: LocalPath(next)}, b)
}

func (s *Service) start(ctx context.Context, issuerID string, a attempt, b Browser) (Redirect, error) {
	issuer, err := s.Issuer(issuerID)
	if err != nil {
		return Redirect{}, err
	}
	d, err := issuer.discover(ctx)
	if err != nil {
		return Redirect{}, err
	}
	state := random()
	a.Nonce, a.Verifier, a.Expires = random(), oauth2.GenerateVerifier(), time.Now().Add(attemptLife)
	to := issuer.oauth(d, s.callback(issuer)).AuthCodeURL(state, oauth2.S256ChallengeOption(a.Verifier), oidc.Nonce(a.Nonce))
	cookies := append(s.tooMany(b.Cookies), s.seal(issuer.ID, state, a))
	return Redirect{URL: to, Cookies: cookies}, nil
}

// callback is the issuer's own redirect URI, so that an answer can't be taken for another issuer's (RFC 9700 §2.1).
func (s *Service) callback(i *Issuer) string { return s.ExternalURL + "/login/" + i.ID + "/callback" }

// Callback is the issuer's answer, as the browser brings it.
type Callback struct {
	State            string `query:"state"`
	Code             string `query:"code"`
	Issuer           string `query:"iss"`
	Error            string `query:"error"`
	ErrorDescription string `query:"error_description"`
}

// Finish ends a sign-in that this very browser began: it checks the issuer's
// answer, knows the user by issuer and subject, and makes a new session.
func (s *Service) Finish(ctx context.Context, issuerID string, c Callback, b Browser) (Redirect, error) {
	issuer, err := s.Issuer(issuerID)
	if err != nil {
		return Redirect{}, err
	}
	a, used, err := s.unseal(issuer.ID, c.State, b.Cookies)
	if err != nil {
		return Redirect{}, err
	}
	who, err := s.redeem(ctx, issuer, a, c)
	if err != nil {
		return Redirect{Cookies: []*http.Cookie{used}}, err
	}
	session, err := s.signIn(ctx, issuer, who, a, b)
	if err != nil {
		return Redirect{Cookies: []*http.Cookie{used}}, err
	}
	return Redirect{URL: a.Next, Cookies: []*http.Cookie{used, session}}, nil
}

// redeem turns the code into claims that are proven to be the issuer's, for this portal and for this attempt.
func (s *Service) redeem(ctx context.Context, issuer *Issuer, a attempt, c Callback) (claims, error) {
	d, err := issuer.discover(ctx)
	if err != nil {
		return claims{}, err
	}
	if c.Issuer != "" && c.Issuer != issuer.URL || c.Issuer == "" && d.meta.SendsIss {
		return claims{}, refused(issuer, fmt.Errorf("the answer names the issuer %q", c.Issuer))
	}
	if c.Error != "" {
		return claims{}, answered(issuer, c)
	}
	ctx, cancel := context.WithTimeout(issuer.context(ctx), discoverTimeout)
	defer cancel()
	conf := issuer.oauth(d, s.callback(issuer))
	tokens, err := conf.Exchange(ctx, c.Code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return claims{}, refused(issuer, fmt.Errorf("redeeming the code: %w", err))
	}
	who, err := issuer.verify(ctx, d, tokens, a.Nonce)
	if err != nil {
		return claims{}, refused(issuer, err)
	}
	if who.Name == "" && who.Email == "" && d.meta.Userinfo != "" {
		err = who.complete(ctx, d.provider, conf.TokenSource(ctx, tokens))
	}
	if err != nil {
		return claims{}, refused(issuer, err)
	}
	return who, nil
}

// verify checks the id token: signature by a key of the issuer's with an
// asymmetric algorithm, exact issuer, audience, lifetime and nonce.
func (i *Issuer) verify(ctx context.Context, d *discovered, tokens *oauth2.Token, nonce string) (claims, error) {
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return claims{}, errors.New("the issuer sent no id_token")
	}
	token, err := d.provider.VerifierContext(ctx, &oidc.Config{ClientID: i.ClientID}).Verify(ctx, raw)
	if err != nil {
		return claims{}, fmt.Errorf("checking the id_token: %w", err)
	}
	if token.Issuer != i.URL {
		return claims{}, fmt.Errorf("the id_token is of the issuer %q", token.Issuer)
	}
	if nonce == "" || subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) != 1 {
		return claims{}, errors.New("the id_token is of another attempt: its nonce differs")
	}
	var c claims
	if err := token.Claims(&c); err != nil {
		return claims{}, fmt.Errorf("reading the id_token: %w", err)
	}
	if len(token.Audience) > 1 && c.Party != i.ClientID || c.Party != "" && c.Party != i.ClientID {
		return claims{}, fmt.Errorf("the id_token was made for %q", c.Party)
	}
	if token.AccessTokenHash != "" {
		if err := token.VerifyAccessToken(tokens.AccessToken); err != nil {
			return claims{}, err
		}
	}
	if c.Subject = token.Subject; c.Subject == "" || len(c.Subject) > 255 || strings.ContainsRune(c.Subject, 0) {
		return claims{}, errors.New("the id_token names no usable subject")
	}
	return c, nil
}

// claims is what an issuer says of a person.
type claims struct {
	Subject   string `json:"sub"`
	Party     string `json:"azp"`
	Name      string `json:"name"`
	Preferred string `json:"preferred_username"`
	Email     string `json:"email"`
	Verified  *truth `json:"email_verified"`
}

// truth is a boolean that some issuers write as a string.
type truth bool

// UnmarshalJSON reads true, "true" and everything else as false.
func (t *truth) UnmarshalJSON(b []byte) error {
	*t = string(b) == "true" || string(b) == `"true"`
	return nil
}

func (c claims) verified() truth { return c.Verified != nil && *c.Verified }

// complete asks the userinfo endpoint for what the id token does not say.
func (c *claims) complete(ctx context.Context, p *oidc.Provider, tokens oauth2.TokenSource) error {
	info, err := p.UserInfo(ctx, tokens)
	if err != nil {
		return fmt.Errorf("asking for userinfo: %w", err)
	}
	if info.Subject != c.Subject { // OpenID Connect Core 1.0 §5.3.2
		return errors.New("the userinfo is of another subject")
	}
	var more claims
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("reading the userinfo: %w", err)
	}
	c.Name, c.Preferred, c.Email, c.Verified = more.Name, more.Preferred, more.Email, more.Verified
	return nil
}

// email returns the address to show: none where the issuer says that it is not the person's, or where it is no address.
func (c claims) email() string {
	denied := c.Verified != nil && !bool(*c.Verified)
	e := printable(c.Email, 254)
	if denied || e != c.Email || strings.Count(e, "@") != 1 || strings.HasPrefix(e, "@") || strings.HasSuffix(e, "@") {
		return ""
	}
	return e
}

func (c claims) name() string {
	for _, name := range []string{c.Name, c.Preferred, c.email(), c.Subject} {
		if name = printable(name, 100); name != "" {
			return name
		}
	}
	return "somebody"
}

// signIn finds or makes the user, and a new session for them.
func (s *Service) signIn(ctx context.Context, issuer *Issuer, who claims, a attempt, b Browser) (*http.Cookie, error) {
	if !issuer.mayEnter(who) {
		return nil, models.Errorf(models.Denied, "This portal lets people in from %s only with a verified e-mail address of its organization. Ask who runs this portal.", issuer.Name)
	}
	var session *http.Cookie
	var refusal error
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		user, err := findUser(tx, issuer, who)
		if err != nil {
			return err
		}
		ctx := models.WithPrincipal(ctx, &models.Principal{Kind: models.PrincipalSession, UserID: user.ID, Name: user.Name})
		if user.DisabledAt != nil {
			refusal = models.Errorf(models.Denied, "Your account here is disabled. Ask an admin of this portal to enable it.")
			return recordUser(ctx, tx, user, "session.refuse", "session.refused", map[string]string{"issuer": issuer.URL})
		}
		if err := s.claimSetup(ctx, tx, user, a.Setup); err != nil {
			return err
		}
		if session, err = s.begin(ctx, tx, user, b); err != nil {
			return err
		}
		return recordUser(ctx, tx, user, "session.start", "session.started", map[string]string{"issuer": issuer.URL})
	})
	if err != nil {
		return nil, err
	}
	return session, refusal
}

// findUser returns the user that the issuer knows by this subject, made at the
// first sign-in; name and address are the issuer's of today. Nobody is ever found by an address.
func findUser(tx *gorm.DB, issuer *Issuer, who claims) (*models.User, error) {
	now := tx.NowFunc()
	fresh := models.User{ID: models.NewID(), Issuer: issuer.URL, Subject: who.Subject, Email: who.email(), Name: who.name(), CreatedAt: now}
	if err := tx.Clauses(onConflict("issuer", "subject")).Create(&fresh).Error; err != nil {
		return nil, fmt.Errorf("making the user: %w", err)
	}
	var user models.User
	if err := tx.Where("issuer = ? AND subject = ?", issuer.URL, who.Subject).Take(&user).Error; err != nil {
		return nil, models.FromDB(err, "user")
	}
	if user.DisabledAt != nil {
		return &user, nil
	}
	user.Name, user.Email, user.LastLoginAt = who.name(), who.email(), &now
	err := tx.Model(&user).Select("name", "email", "last_login_at").Updates(&user).Error
	return &user, err
}

// refused is what a person reads when an issuer's answer can't be trusted; why is for the log.
func refused(i *Issuer, why error) error {
	return &models.Error{Code: models.Unauthorized, Err: why,
		Message: fmt.Sprintf("The answer of %s could not be trusted, so you are not signed in. Sign in again.", i.Name)}
}

// answered says that the issuer did not let the person in. Its own words go to the log alone, for anyone can write them into a link.
func answered(i *Issuer, c Callback) error {
	why := fmt.Errorf("%s: %s", printable(c.Error, 100), printable(c.ErrorDescription, 300))
	if slices.Contains([]string{"server_error", "temporarily_unavailable"}, c.Error) {
		return &models.Error{Code: models.Unavailable, Err: why, Message: fmt.Sprintf("%s can't sign anyone in right now. Try again in a moment.", i.Name)}
	}
	return &models.Error{Code: models.Denied, Err: why, Message: fmt.Sprintf("%s did not sign you in. Try again, or ask who runs it.", i.Name)}
}

// attempt is one sign-in that a browser has begun. It lives in that browser's cookie, encrypted.
type attempt struct {
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"`
	Next     string    `json:"p"`
	Setup    string    `json:"s,omitempty"` // the digest of the set-up token that the browser came with
	Expires  time.Time `json:"e"`
}

func (a attempt) encode() []byte {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings and a time
	}
	return b
}
