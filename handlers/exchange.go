package handlers

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/services/workload"
)

// exchange is the token endpoint (RFC 6749 §3.2) where runs of CI systems
// exchange the tokens that prove what they are (RFC 8693).
type exchange struct{ workloads *workload.Service }

// exchangePath is where runs exchange their tokens.
const exchangePath = "/oauth/token"

func (r *routes) exchange(x *exchange) { r.group(accessOpen).POST(exchangePath, x.token) }

// token answers an exchange. Everything is read from the form: a token in the
// address would stand in logs.
func (x *exchange) token(c echo.Context) error {
	r, header := c.Request(), c.Response().Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Pragma", "no-cache")
	if err := r.ParseForm(); err != nil {
		return c.JSON(http.StatusBadRequest, oauthError{"invalid_request", "The form can't be read. Send it as application/x-www-form-urlencoded."})
	}
	for name, values := range r.PostForm {
		if len(values) > 1 && name != "audience" && name != "resource" { // RFC 6749 §3.2
			return c.JSON(http.StatusBadRequest, oauthError{"invalid_request", "A parameter is there more than once."})
		}
	}
	answer, err := x.workloads.Exchange(r.Context(), workload.Request{
		GrantType: r.PostForm.Get("grant_type"), SubjectToken: r.PostForm.Get("subject_token"), SubjectTokenType: r.PostForm.Get("subject_token_type"),
		RequestedTokenType: r.PostForm.Get("requested_token_type"), ActorToken: r.PostForm.Get("actor_token"),
		Audience: r.PostForm["audience"], Resource: r.PostForm["resource"], Scope: r.PostForm.Get("scope"),
	})
	if err != nil {
		return refuseExchange(c, err)
	}
	return c.JSON(http.StatusOK, map[string]any{
		"access_token": answer.AccessToken, "issued_token_type": workload.TypeAccessToken, "token_type": "Bearer",
		"expires_in": int(answer.ExpiresIn.Seconds()), "scope": answer.Scope,
	})
}

// oauthError is a refusal (RFC 6749 §5.2).
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

// oauthCodes are the codes for faults of a parameter; RFC 8693 §2.2.2 has
// invalid_request for all that is wrong with the token itself.
var oauthCodes = map[string]string{
	"grant_type": "unsupported_grant_type", "scope": "invalid_scope", "resource": "invalid_target", "audience": "invalid_target",
}

func refuseExchange(c echo.Context, err error) error {
	e, ok := errors.AsType[*models.Error](err)
	if !ok {
		slog.ErrorContext(c.Request().Context(), "an exchange of a token failed", "error", err)
		return c.JSON(http.StatusInternalServerError, oauthError{"server_error", "Something went wrong inside Slipway. Its log says what."})
	}
	out := oauthError{"invalid_request", e.Message}
	var said []string
	for field, text := range e.Fields {
		if code := oauthCodes[field]; code != "" && (out.Code == "invalid_request" || field == "grant_type") {
			out.Code = code
		}
		said = append(said, field+": "+text)
	}
	if len(said) > 0 {
		out.Description = describe(strings.Join(said, " "))
	}
	switch e.Code {
	case models.TooMany:
		c.Response().Header().Set("Retry-After", "60")
		return c.JSON(http.StatusTooManyRequests, oauthError{"temporarily_unavailable", e.Message})
	case models.Unavailable:
		slog.WarnContext(c.Request().Context(), "an exchange of a token failed for now", "error", err)
		c.Response().Header().Set("Retry-After", "10")
		return c.JSON(http.StatusServiceUnavailable, oauthError{"temporarily_unavailable", e.Message})
	case models.Invalid:
		return c.JSON(http.StatusBadRequest, out)
	}
	return c.JSON(http.StatusBadRequest, oauthError{"invalid_target", describe(e.Message)})
}

// describe keeps a text to the characters that RFC 6749 §5.2 allows in a description.
func describe(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '“' || r == '”':
			return '\''
		case r == '\\' || r < ' ' || r > '~':
			return '?'
		}
		return r
	}, text)
}
