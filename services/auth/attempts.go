package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

const (
	attemptLife = 15 * time.Minute
	maxAttempts = 6 // that one browser may have begun at once, for their cookies travel with every request
)

var errAttempt = models.Errorf(models.Invalid, "This sign-in was begun in another browser, or too long ago. Sign in again.")

// seal returns the cookie that binds the attempt to the browser. Its name
// carries a part of the state, so that two tabs don't overwrite each other.
func (s *Service) seal(issuerID, state string, a attempt) *http.Cookie {
	value := s.attemptCipher().Seal(nil, nil, a.encode(), place(issuerID, state))
	return s.cookie(attemptName(state), base64.RawURLEncoding.EncodeToString(value), attemptLife)
}

// unseal returns the attempt that this browser began with the state at the
// issuer, and the cookie that makes the browser forget it.
func (s *Service) unseal(issuerID, state string, cookies []*http.Cookie) (attempt, *http.Cookie, error) {
	if len(state) != len(random()) {
		return attempt{}, nil, errAttempt
	}
	for _, c := range cookies {
		if c.Name != s.cookieName(attemptName(state)) {
			continue
		}
		sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
		if err != nil {
			continue
		}
		plain, err := s.attemptCipher().Open(nil, nil, sealed, place(issuerID, state))
		if err != nil {
			continue
		}
		var a attempt
		if err := json.Unmarshal(plain, &a); err != nil || time.Now().After(a.Expires) {
			continue
		}
		return a, s.cookie(attemptName(state), "", 0), nil
	}
	return attempt{}, nil, errAttempt
}

func attemptName(state string) string { return attemptCookie + state[:12] }

func place(issuerID, state string) []byte {
	return fmt.Appendf(nil, "%d:%s:%s", len(issuerID), issuerID, state)
}

func (s *Service) attemptCipher() cipher.AEAD {
	block, err := aes.NewCipher(s.Box.Derive("sign-in attempts"))
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// tooMany returns cookies that make the browser forget its attempts where it has begun too many.
func (s *Service) tooMany(cookies []*http.Cookie) []*http.Cookie {
	begun := s.attempts(cookies)
	if len(begun) < maxAttempts {
		return nil
	}
	forget := make([]*http.Cookie, len(begun))
	for i, c := range begun {
		forget[i] = &http.Cookie{Name: c.Name, Path: "/", MaxAge: -1, Expires: longAgo, Secure: s.Secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode}
	}
	return forget
}

func onConflict(columns ...string) clause.OnConflict {
	c := clause.OnConflict{DoNothing: true}
	for _, name := range columns {
		c.Columns = append(c.Columns, clause.Column{Name: name})
	}
	return c
}
