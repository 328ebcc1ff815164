package auth

import (
	"net/http"
	"strings"
	"time"
)

const (
	sessionCookie = "slipway_session"
	attemptCookie = "slipway_login_"
	// securePrefix makes browsers refuse a cookie that is not host-only, of the
	// whole site and Secure (RFC 6265bis §4.1.3.2).
	securePrefix = "__Host-"
)

// longAgo makes clients forget a cookie that don't know Max-Age.
var longAgo = time.Unix(1, 0)

func (s *Service) cookieName(name string) string {
	if s.Secure() {
		return securePrefix + name
	}
	return name
}

// cookie returns a host-only cookie that scripts can't read and that other sites' forms don't send.
func (s *Service) cookie(name, value string, life time.Duration) *http.Cookie {
	c := &http.Cookie{
		Name: s.cookieName(name), Value: value, Path: "/", MaxAge: int(life.Seconds()),
		Secure: s.Secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge, c.Expires = -1, longAgo
	}
	return c
}

// CookieNames are the names of the cookies that hold a signed-in browser's secrets.
func (s *Service) CookieNames() []string { return []string{s.cookieName(sessionCookie)} }

// SessionCookie returns the value of the request's session cookie, empty where there is none.
func (s *Service) SessionCookie(r *http.Request) string {
	c, err := r.Cookie(s.cookieName(sessionCookie))
	if err != nil {
		return ""
	}
	return c.Value
}

// ClearSessionCookie returns the cookie that makes a browser forget its session.
func (s *Service) ClearSessionCookie() *http.Cookie { return s.cookie(sessionCookie, "", 0) }

// attempts returns the cookies of sign-ins that the browser has begun.
func (s *Service) attempts(cookies []*http.Cookie) []*http.Cookie {
	var found []*http.Cookie
	for _, c := range cookies {
		if strings.HasPrefix(c.Name, s.cookieName(attemptCookie)) {
			found = append(found, c)
		}
	}
	return found
}
