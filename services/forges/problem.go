package forges

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
	"slipway.dev/services/outbound"
)

// problem is why a call of a forge failed, as far as people and the next try are concerned.
type problem struct {
	message string        // what happened and what to do
	passes  bool          // it may pass by itself, so that trying again makes sense
	limited bool          // the forge asks to be left alone
	pause   time.Duration // how long at least
	refused bool          // the credential is not accepted
}

// problemOf judges the failure of a call that was about the thing, such as "the commit status".
func (s *Service) problemOf(o Opened, thing string, err error) problem {
	forge := forgeName(&o.Connection)
	if answer, ok := answerOf(err); ok {
		return s.ofAnswer(o, forge, thing, answer)
	}
	if refused, ok := errors.AsType[*outbound.RefusedError](err); ok {
		return problem{message: fmt.Sprintf("Slipway may not call %s: %s.", forge, refused.Error())}
	}
	if moved, ok := errors.AsType[*outbound.RedirectError](err); ok {
		return problem{message: fmt.Sprintf("%s sends Slipway on to %s, where the credential must not go. Correct the address in the connection's settings.", forge, clean(o, moved.Host))}
	}
	if told, ok := errors.AsType[*models.Error](err); ok {
		return problem{message: told.Message}
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok || errors.Is(err, io.EOF) && !isNetwork(err) {
		return problem{message: forge + " answers, but not as its API does. Is the address in the connection's settings right?", passes: true}
	}
	return problem{message: fmt.Sprintf("%s can't be reached: %s.", forge, networkReason(o, err)), passes: true}
}

// forgeName is what people call the connection's forge.
func forgeName(c *models.Connection) string {
	host := c.Host()
	switch c.Kind {
	case models.ForgeGitHub:
		if host == "github.com" {
			return "GitHub"
		}
		return "GitHub at " + host
	case models.ForgeGitLab:
		if host == "gitlab.com" {
			return "GitLab"
		}
		return "GitLab at " + host
	}
	return host
}

func (s *Service) ofAnswer(o Opened, forge, thing string, a *answerError) problem {
	said := clean(o, a.message)
	if said != "" {
		said = fmt.Sprintf(" It says: %s", said)
	}
	if pause, ok := limit(a, s.now()); ok {
		return problem{message: forge + " takes no more calls for now.", passes: true, limited: true, pause: pause}
	}
	switch {
	case a.status == http.StatusUnauthorized:
		return problem{message: forge + " does not accept the credential: it is wrong, was revoked or has expired. Give another one in the connection's settings.", refused: true}
	case a.status == http.StatusForbidden:
		return problem{message: fmt.Sprintf("%s does not let the credential write %s. %s%s", forge, thing, needs(o, thing), said)}
	case a.status == http.StatusNotFound:
		return problem{message: fmt.Sprintf("%s finds nothing there for this credential: the repository was moved, or the credential may not see it. %s", forge, needs(o, thing))}
	case a.status >= 500 || a.status == http.StatusRequestTimeout || a.status == http.StatusTooEarly:
		return problem{message: fmt.Sprintf("%s answered %d.", forge, a.status), passes: true}
	}
	return problem{message: fmt.Sprintf("%s refuses %s with %d.%s", forge, thing, a.status, said)}
}

// needs says which permission writing the thing needs.
func needs(o Opened, thing string) string {
	permission := findStatuses
	if thing == thingComments {
		permission = findPulls
	}
	switch {
	case o.Kind == models.ForgeGitHub && o.Credential == models.ConnectionApp:
		return fmt.Sprintf("Install the app for the repository, with the permission “%s: Read and write”, and accept it for the installation.", permission)
	case o.Kind == models.ForgeGitHub:
		return fmt.Sprintf("Give the token access to the repository, with “%s: Read and write”.", permission)
	case o.Kind == models.ForgeGitLab:
		return "Give the token the scope api and the role Developer in the project."
	}
	return "Give the token read and write of repositories, and its user write access to this one."
}

// answerOf is the forge's answer among the causes of err.
func answerOf(err error) (*answerError, bool) {
	if a, ok := errors.AsType[*answerError](err); ok {
		return a, true
	}
	if e, ok := errors.AsType[*github.AbuseRateLimitError](err); ok && e.Response != nil {
		header := e.Response.Header.Clone()
		if header.Get("Retry-After") == "" {
			header.Set("Retry-After", "60") // as GitHub asks for where it names no time
		}
		return &answerError{status: http.StatusTooManyRequests, header: header, message: e.Message}, true
	}
	if e, ok := errors.AsType[*github.RateLimitError](err); ok && e.Response != nil {
		return &answerError{status: e.Response.StatusCode, header: e.Response.Header, message: e.Message}, true
	}
	if e, ok := errors.AsType[*github.ErrorResponse](err); ok && e.Response != nil {
		return &answerError{status: e.Response.StatusCode, header: e.Response.Header, message: e.Message}, true
	}
	return nil, false
}

// limit tells whether the forge asks to be left alone, and for how long.
// https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api, https://docs.gitlab.com/security/rate_limits, RFC 9110 §10.2.3.
func limit(a *answerError, now time.Time) (time.Duration, bool) {
	if a.status != http.StatusTooManyRequests && a.status != http.StatusForbidden && a.status != http.StatusServiceUnavailable {
		return 0, false
	}
	if after := a.header.Get("Retry-After"); after != "" {
		if seconds, err := strconv.Atoi(after); err == nil {
			return bounded(time.Duration(seconds) * time.Second), true
		}
		if at, err := http.ParseTime(after); err == nil {
			return bounded(at.Sub(now)), true
		}
	}
	for _, name := range []string{"X-RateLimit-", "RateLimit-"} {
		reset, err := strconv.ParseInt(a.header.Get(name+"Reset"), 10, 64)
		if a.header.Get(name+"Remaining") == "0" && err == nil {
			return bounded(time.Unix(reset, 0).Sub(now)), true
		}
	}
	return time.Minute, a.status == http.StatusTooManyRequests
}

// bounded keeps a pause that a forge asks for within reason.
func bounded(d time.Duration) time.Duration { return min(max(d, time.Second), 2*time.Hour) }

// isNetwork tells whether no answer came at all.
func isNetwork(err error) bool {
	_, ok := errors.AsType[*url.Error](err)
	return ok
}

// networkReason says why no answer came, without what a hostile forge could have put into it.
func networkReason(o Opened, err error) string {
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return "it did not answer in time"
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return strings.TrimSuffix(clean(o, err.Error()), ".")
}

// tokens are the forms of forges' tokens.
var tokens = regexp.MustCompile(`\b(gh[opsur]_|github_pat_|glpat-|eyJ)[A-Za-z0-9_.-]+`)

// clean is text of a forge as people may read it: one short line without the credential.
func clean(o Opened, text string) string {
	for _, secret := range []string{o.Token, o.PrivateKey} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "•••")
		}
	}
	text = tokens.ReplaceAllString(text, "•••")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	return cut(strings.Join(strings.Fields(text), " "), 200)
}
