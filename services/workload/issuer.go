package workload

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"slipway.dev/models"
)

const (
	leeway        = 30 * time.Second // between the issuer's clock and ours
	maxLife       = time.Hour        // of a token; GitHub's live some minutes
	maxToken      = 16 << 10
	askTimeout    = 10 * time.Second
	askAgain      = time.Hour
	maxAnswer     = 1 << 20
	maxClaim      = 300
	tokenIDLength = 200
)

// algorithms are those that a token may be signed with: asymmetric ones, whatever the issuer or the token say.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

// issuer is a CI system that signs tokens for its runs.
type issuer struct {
	url    string
	client *http.Client

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	at       time.Time
}

// claims are what GitHub says about the job that asked for the token
// (docs.github.com, "OpenID Connect reference").
type claims struct {
	TokenID     string     `json:"jti"`
	NotBefore   *float64   `json:"nbf"`
	Repository  string     `json:"repository"`
	GitHubID    textNumber `json:"repository_id"`
	Ref         string     `json:"ref"`
	Commit      string     `json:"sha"`
	Event       string     `json:"event_name"`
	HeadRef     string     `json:"head_ref"`
	BaseRef     string     `json:"base_ref"`
	Workflow    string     `json:"job_workflow_ref"`
	Environment string     `json:"environment"`
	Actor       string     `json:"actor"`
	RunID       textNumber `json:"run_id"`
	RunAttempt  textNumber `json:"run_attempt"`

	issuer  string
	expires time.Time
}

// textNumber is a number that GitHub writes as a text.
type textNumber int64

// UnmarshalJSON reads a number in quotes, or without.
func (n *textNumber) UnmarshalJSON(data []byte) error {
	v, err := strconv.ParseInt(strings.Trim(string(data), `"`), 10, 64)
	*n = textNumber(v)
	return err
}

// verify returns what a token says, once its signature, issuer, audience and
// times are proven right. Why it is not is an Invalid error about subject_token.
func (s *Service) verify(ctx context.Context, raw string) (*claims, error) {
	if len(raw) > maxToken {
		return nil, wrongToken("It is too long.")
	}
	from := s.known[issuerOf(raw)]
	if from == nil {
		return nil, wrongToken("It is not from an issuer that this portal trusts: %s.", strings.Join(s.Issuers, ", "))
	}
	verifier, err := from.discover(ctx, s.External)
	if err != nil {
		return nil, err
	}
	token, err := verifier.Verify(from.context(ctx), raw)
	if err != nil {
		return nil, from.explain(err, s.External)
	}
	if len(token.Audience) != 1 {
		return nil, wrongToken("It is made for several audiences. Ask for one whose only audience is %s.", s.External)
	}
	c := &claims{issuer: from.url, expires: token.Expiry}
	if err := token.Claims(c); err != nil {
		return nil, wrongToken("Its claims are not those of a job in GitHub Actions.")
	}
	return c, c.check(time.Now(), token)
}

// check looks at the times, and at what no token of a job lacks.
func (c *claims) check(now time.Time, token *oidc.IDToken) error {
	switch {
	case now.After(token.Expiry.Add(leeway)):
		return wrongToken("It has expired at %s. Ask for a new one right before the exchange.", token.Expiry.UTC().Format(time.RFC3339))
	case token.IssuedAt.After(now.Add(leeway)), c.NotBefore != nil && time.Unix(int64(*c.NotBefore), 0).After(now.Add(leeway)):
		return wrongToken("It is not valid yet. Look at the clocks of this portal and of the issuer.")
	case token.Expiry.Sub(token.IssuedAt) > maxLife:
		return wrongToken("It lives longer than an hour.")
	case c.TokenID == "" || len(c.TokenID) > tokenIDLength:
		return wrongToken("It has no id of its own (jti), so it could be used twice.")
	case c.Repository == "" || c.GitHubID <= 0 || c.RunID <= 0 || c.Ref == "" || c.Workflow == "":
		return wrongToken("It does not say which repository, ref, workflow and run it is from.")
	}
	return nil
}

// discover asks the issuer for its keys' address. The answer is kept for an hour, a failure not at all.
func (i *issuer) discover(ctx context.Context, audience string) (*oidc.IDTokenVerifier, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.verifier != nil && time.Since(i.at) < askAgain {
		return i.verifier, nil
	}
	// The verifier keeps its context, to read keys later.
	p, err := oidc.NewProvider(i.context(context.WithoutCancel(ctx)), i.url)
	switch {
	case err == nil:
		i.at = time.Now()
		i.verifier = p.Verifier(&oidc.Config{ClientID: audience, SupportedSigningAlgs: algorithms, SkipExpiryCheck: true})
	case i.verifier == nil:
		return nil, &models.Error{Code: models.Unavailable, Err: err, Message: fmt.Sprintf("The issuer %s does not answer as it should. Try the exchange again in a moment.", i.url)}
	}
	return i.verifier, nil
}

// context returns ctx with the client that reaches the issuer and reads no more than is sensible.
func (i *issuer) context(ctx context.Context) context.Context {
	client := *http.DefaultClient
	if i.client != nil {
		client = *i.client
	}
	client.Transport = limited{client.Transport}
	client.Timeout = askTimeout
	return oidc.ClientContext(ctx, &client)
}

// explain says in words why a token was not verified. What the issuer answered is only for the log.
func (i *issuer) explain(err error, audience string) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "expected audience"):
		return wrongToken("It is made for another audience. Ask for one for exactly %s.", audience)
	case strings.Contains(text, "fetching keys"):
		return &models.Error{Code: models.Unavailable, Err: err, Message: fmt.Sprintf("The keys of %s can't be read. Try the exchange again in a moment.", i.url)}
	case strings.Contains(text, "unexpected signature algorithm"), strings.Contains(text, "unsupported algorithm"), strings.Contains(text, "id token signed with"):
		return wrongToken("It is not signed in a way that only its issuer can sign.")
	}
	e := wrongToken("Its signature is not one of %s.", i.url)
	e.Err = err
	return e
}

func wrongToken(format string, args ...any) *models.Error {
	return &models.Error{Code: models.Invalid, Message: "The subject_token is not good. " + fmt.Sprintf(format, args...),
		Fields: map[string]string{"subject_token": fmt.Sprintf(format, args...)}}
}

// issuerOf reads whom a token says that it is from. Nothing is believed yet.
func issuerOf(raw string) string {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var c struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return ""
	}
	return c.Issuer
}

// limited cuts answers that are too long.
type limited struct{ next http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	next := l.next
	if next == nil {
		next = http.DefaultTransport
	}
	res, err := next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if res == nil {
		return nil, errors.New("no answer")
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxAnswer), res.Body}
	return res, nil
}
