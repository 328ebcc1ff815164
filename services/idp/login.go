package idp

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/limits"
)

const bindCookie = "slipway_idp_"

var (
	errRequest  = models.Errorf(models.Invalid, "This sign-in was begun in another browser, or too long ago. Begin again at the portal.")
	errPassword = models.Errorf(models.Unauthorized, "The user name or the password is wrong.")
	errTooMany  = models.Errorf(models.TooMany, "Too many attempts. Wait a minute, then try again.")
	errDisabled = models.Errorf(models.Denied, "This account is disabled. Ask an admin of this portal to enable it.")
)

// request is a sign-in that a client asked for. It travels sealed through the browser.
type request struct {
	ClientID    string    `json:"c"`
	RedirectURI string    `json:"r"`
	Scopes      []string  `json:"s"`
	State       string    `json:"t"`
	Nonce       string    `json:"n"`
	Challenge   string    `json:"h"`
	Expires     time.Time `json:"e"`
}

func loginURL(sealed string) string { return Path + "/login?request=" + url.QueryEscape(sealed) }

// authorize lets the protocol check the request and binds it to the browser:
// only the browser that gets the cookie can go on, so that nobody can begin a sign-in and have another person finish it.
func (p *Provider) authorize(protocol http.Handler, w http.ResponseWriter, r *http.Request) {
	answer := newRecorder()
	protocol.ServeHTTP(answer, r)
	to := answer.header.Get("Location")
	if to == "" {
		slog.InfoContext(r.Context(), "an authorization request was refused", "reason", strings.TrimSpace(answer.body.String()))
		p.fault(w, r, LoginPage{}, models.Errorf(models.Invalid, "This is not a sign-in that the portal began. Begin again at the portal."))
		return
	}
	u, err := url.Parse(to)
	if err != nil {
		p.fault(w, r, LoginPage{}, fmt.Errorf("reading where to go: %w", err))
		return
	}
	if sealed := u.Query().Get("request"); u.Path == Path+"/login" && u.Host == "" {
		http.SetCookie(w, p.bind(sealed, requestLife))
	} else {
		to = withIssuer(u, p.Issuer())
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// withIssuer adds who answers (RFC 9207).
func withIssuer(u *url.URL, issuer string) string {
	q := u.Query()
	q.Set("iss", issuer)
	u.RawQuery = q.Encode()
	return u.String()
}

func (p *Provider) bind(sealed string, life time.Duration) *http.Cookie {
	mac := hmac.New(sha256.New, p.Box.Derive("idp sign-in binding"))
	mac.Write([]byte(sealed))
	name, secure := bindCookie+digest(sealed)[:12], strings.HasPrefix(p.ExternalURL, "https://")
	if secure {
		name = "__Host-" + name
	}
	return &http.Cookie{
		Name: name, Value: base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), Path: "/", MaxAge: int(life.Seconds()),
		Secure: secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// continues returns the request that this browser began.
func (p *Provider) continues(r *http.Request, sealed string) (request, error) {
	want := p.bind(sealed, 0)
	got, err := r.Cookie(want.Name)
	if err != nil || !hmac.Equal([]byte(got.Value), []byte(want.Value)) {
		return request{}, errRequest
	}
	return p.unseal(sealed)
}

func (p *Provider) loginForm(w http.ResponseWriter, r *http.Request) {
	sealed := r.URL.Query().Get("request")
	if _, err := p.continues(r, sealed); err != nil {
		p.fault(w, r, LoginPage{}, err)
		return
	}
	p.show(w, r, LoginPage{Status: http.StatusOK, Action: Path + "/login", Request: sealed})
}

func (p *Provider) login(w http.ResponseWriter, r *http.Request) {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		p.fault(w, r, LoginPage{}, errRequest)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	sealed, userName, password := r.PostFormValue("request"), r.PostFormValue("user_name"), r.PostFormValue("password")
	asked, err := p.continues(r, sealed)
	if err != nil {
		p.fault(w, r, LoginPage{}, err)
		return
	}
	account, err := p.check(r.Context(), userName, password)
	if err != nil {
		p.fault(w, r, LoginPage{Action: Path + "/login", Request: sealed, UserName: cut(userName, maxUserName)}, err)
		return
	}
	code, err := p.grant(r.Context(), asked, account)
	if err != nil {
		p.fault(w, r, LoginPage{}, err)
		return
	}
	used := p.bind(sealed, 0)
	used.Value, used.MaxAge, used.Expires = "", -1, time.Unix(1, 0)
	http.SetCookie(w, used)
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, asked.answer(code, p.Issuer()), http.StatusSeeOther)
}

// answer is where the browser brings the code.
func (q request) answer(code, issuer string) string {
	u, err := url.Parse(q.RedirectURI)
	if err != nil {
		panic(err) // it is the registered one
	}
	values := u.Query()
	values.Set("code", code)
	if q.State != "" {
		values.Set("state", q.State)
	}
	u.RawQuery = values.Encode()
	return withIssuer(u, issuer)
}

// check returns the account whose password this is. It takes as long for an
// unknown user name, and slows down whoever guesses, by peer and by account.
func (p *Provider) check(ctx context.Context, userName, password string) (*models.Account, error) {
	if _, err := p.Handler(); err != nil {
		return nil, err
	}
	userName = strings.ToLower(strings.TrimSpace(userName))
	peer := limits.Peer(models.RequestFrom(ctx).IP)
	pair := peer + " " + digest(userName)
	if !p.slow.peer.Allow(peer) || !p.slow.pair.Allow(pair) || !p.slow.account.Allow(digest(userName)) {
		return nil, errTooMany
	}
	var a models.Account
	if validUserName(userName) {
		if err := p.DB.WithContext(ctx).Where("user_name = ?", userName).Limit(1).Find(&a).Error; err != nil {
			return nil, fmt.Errorf("reading the account: %w", err)
		}
	}
	right, err := matches(ctx, a.PasswordHash, password)
	if err != nil {
		return nil, err
	}
	if !right {
		return nil, errors.Join(errPassword, p.note(ctx, &a, "account.refuse"))
	}
	p.slow.pair.Forget(pair)
	if a.DisabledAt != nil {
		return nil, errors.Join(errDisabled, p.note(ctx, &a, "account.refuse"))
	}
	return &a, nil
}

// note writes down what happened at an account; of unknown ones there is nothing to write.
func (p *Provider) note(ctx context.Context, a *models.Account, action string) error {
	if a.ID == "" {
		return nil
	}
	return audit.Record(ctx, p.DB.WithContext(ctx), audit.Entry{Action: action, Subject: "account:" + a.ID, Name: a.UserName})
}

// grant makes the code that the portal redeems.
func (p *Provider) grant(ctx context.Context, asked request, a *models.Account) (string, error) {
	code := random()
	err := p.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		now := tx.NowFunc()
		row := models.Authorization{
			ID: models.NewID(), CodeHash: digest(code), ClientID: asked.ClientID, AccountID: a.ID, RedirectURI: asked.RedirectURI,
			Scopes: asked.Scopes, Nonce: asked.Nonce, Challenge: asked.Challenge, CreatedAt: now, ExpiresAt: now.Add(tokenLife),
		}
		if err := tx.Create(&row).Error; err != nil {
			return fmt.Errorf("making the code: %w", err)
		}
		entry := audit.Entry{Action: "account.sign_in", Subject: "account:" + a.ID, Name: a.UserName}
		return audit.Record(models.WithPrincipal(ctx, &models.Principal{Name: a.UserName}), tx, entry)
	})
	return code, err
}

func (p *Provider) seal(q request) string {
	plain, err := json.Marshal(q)
	if err != nil {
		panic(err) // strings and a time
	}
	return base64.RawURLEncoding.EncodeToString(p.requestCipher().Seal(nil, nil, plain, []byte(p.Issuer())))
}

func (p *Provider) unseal(sealed string) (request, error) {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return request{}, errRequest
	}
	plain, err := p.requestCipher().Open(nil, nil, raw, []byte(p.Issuer()))
	if err != nil {
		return request{}, errRequest
	}
	var q request
	if err := json.Unmarshal(plain, &q); err != nil || time.Now().After(q.Expires) || q.RedirectURI != p.RedirectURI {
		return request{}, errRequest
	}
	return q, nil
}

func (p *Provider) requestCipher() cipher.AEAD {
	block, err := aes.NewCipher(p.Box.Derive("idp requests"))
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func random() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func cut(s string, limit int) string {
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "")
	}
	return strings.ToValidUTF8(s, "")
}

func message(err error) string {
	if e, ok := errors.AsType[*models.Error](err); ok {
		return e.Message
	}
	return ""
}
