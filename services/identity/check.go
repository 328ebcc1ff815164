package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/outbound"
)

const (
	askTime   = 20 * time.Second // for one call
	maxAnswer = 64 << 10         // bytes of an answer
)

// FindingState says what a look came to.
type FindingState string

// The states of a finding. A note is nothing that keeps the trust from working.
const (
	FindingPassed FindingState = "passed"
	FindingFailed FindingState = "failed"
	FindingNote   FindingState = "note"
)

// Finding is one thing that a check of the trust looked at.
type Finding struct {
	Title string
	State FindingState
	Text  string // what was found, and what to do where it is wrong
}

// check is a look at the trust in one target.
type check struct {
	*Service
	target   *models.Target
	findings []Finding
}

// Check exchanges a token of the target at its cloud, as a rollout would, and
// says what works and what is missing; admins may. It changes nothing, and keeps
// nothing of the credential that it gets.
func (s *Service) Check(ctx context.Context, targetID string) ([]Finding, error) {
	t, cloud, err := s.federated(ctx, targetID)
	if err != nil {
		return nil, err
	}
	s.open()
	c := &check{Service: s, target: t}
	c.reach(ctx)
	if err := cloud.check(ctx, c); err != nil {
		return nil, err
	}
	return c.findings, nil
}

func (c *check) pass(title, format string, args ...any) {
	c.findings = append(c.findings, Finding{title, FindingPassed, fmt.Sprintf(format, args...)})
}

func (c *check) fail(title, format string, args ...any) {
	c.findings = append(c.findings, Finding{title, FindingFailed, fmt.Sprintf(format, args...)})
}

// lack is what keeps a cloud from giving a credential, for people.
type lack struct{ text string }

func (l *lack) Error() string { return l.text }

func lacking(format string, args ...any) error { return &lack{fmt.Sprintf(format, args...)} }

// found makes a finding of a lack; any other error stays one.
func (c *check) found(title string, err error) error {
	if l := new(lack); errors.As(err, &l) {
		c.fail(title, "%s", l.text)
		return nil
	}
	return err
}

func (c *check) note(title, format string, args ...any) {
	c.findings = append(c.findings, Finding{title, FindingNote, fmt.Sprintf(format, args...)})
}

const reachTitle = "Address of the portal"

// reach looks whether a cloud could read the issuer's keys. Only the cloud knows
// for sure, so that nothing here keeps the exchange from being tried.
func (c *check) reach(ctx context.Context) {
	if problem := c.address(); problem != "" {
		c.note(reachTitle, "%s", problem)
		return
	}
	u, err := url.Parse(c.ExternalURL)
	if err != nil {
		c.note(reachTitle, "%s is no URL.", c.ExternalURL)
		return
	}
	public := &outbound.Guard{Lookup: c.Guard.Lookup} // public addresses alone, whatever this portal may reach beside them
	if _, err := public.ResolveTCP(ctx, u.Hostname(), "443"); err != nil {
		if refused := new(outbound.RefusedError); errors.As(err, &refused) {
			c.note(reachTitle, "%s is %s from here. Clouds reach public addresses alone.", u.Hostname(), refused.Kind)
			return
		}
		c.note(reachTitle, "The name %s has no address from here. Clouds have to find it in the public DNS.", u.Hostname())
		return
	}
	var found Discovery
	err = c.getJSON(ctx, c.ExternalURL+DiscoveryPath, &found)
	switch {
	case err != nil:
		c.note(reachTitle, "%s could not be read from here. Where this network does not lead to its own public address, that says nothing; else look at the proxy before the portal.", c.ExternalURL+DiscoveryPath)
	case found.Issuer != c.Issuer():
		c.note(reachTitle, "%s is answered by something else than this portal. Look at the proxy before the portal: the path has to come through without a login.", c.ExternalURL+DiscoveryPath)
	default:
		c.pass(reachTitle, "%s is public, and says what it should.", c.Issuer())
	}
}

func (c *check) getJSON(ctx context.Context, at string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	status, body, err := c.ask(req)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s: status %d", at, status)
	}
	return json.Unmarshal(body, into)
}

// ask sends a request and reads what is answered, within limits.
func (c *check) ask(req *http.Request) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(req.Context(), askTime)
	defer cancel()
	res, err := c.client.Do(req.WithContext(ctx))
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return res.StatusCode, body, err
}

// post sends a form to a token service. That it could not be reached is a *lack.
func (c *check) post(ctx context.Context, at string, form url.Values) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Accept", "application/json")
		status, body, err = c.ask(req)
	}
	if err != nil {
		return 0, nil, lacking("%s", unreachable(at, err))
	}
	return status, body, nil
}

// unreachable says that a token service did not answer. The error may hold what was sent, and is not repeated.
func unreachable(at string, err error) string {
	host := at
	if u, e := url.Parse(at); e == nil {
		host = u.Host
	}
	refused, unknown := new(outbound.RefusedError), new(outbound.HostError)
	switch {
	case errors.As(err, &refused):
		return fmt.Sprintf("%s is %s, which this portal calls only where %s allows it.", host, refused.Kind, outbound.AllowSetting)
	case errors.As(err, &unknown):
		return fmt.Sprintf("The name %s has no address. Look at the region and the target's other address of the API.", host)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("%s did not answer in time. Try again.", host)
	}
	return fmt.Sprintf("%s does not answer. Look whether this machine reaches it, by HTTPS on port 443.", host)
}

// token makes a token for the check.
func (c *check) token(ctx context.Context, audience string, of deploy.Subject) (string, error) {
	return c.Token(ctx, c.target.Name, audience, of)
}

// sample is whom a release's token would speak for.
var sample = deploy.Subject{Team: "check", Environment: "check", App: "check"}

// at is the address of a cloud's service: the override, else the target's other address of the API, else the public one.
func (c *check) at(override, service, public string) string {
	switch {
	case override != "":
		return strings.TrimRight(override, "/")
	case c.target.Settings["endpoint"] != "":
		return strings.TrimRight(strings.ReplaceAll(c.target.Settings["endpoint"], "{service}", service), "/")
	}
	return public
}

var codeForm = regexp.MustCompile(`^[A-Za-z0-9_.]{1,64}$`)

// code is a provider's error code where it is one. Nothing else of an answer is shown.
func code(text string) string {
	if codeForm.MatchString(text) {
		return text
	}
	return "without a code"
}
