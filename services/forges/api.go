package forges

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"slipway.dev/models"
)

const (
	// callTime bounds one call of a forge's API, with its redirects.
	callTime = 20 * time.Second
	// maxAnswer is how many bytes of an answer are read.
	maxAnswer = 32 << 20
	userAgent = "slipway"
)

// apiURL is where the forge's API is, with a slash at its end.
// GitHub: https://docs.github.com/en/rest/using-the-rest-api; GitLab: https://docs.gitlab.com/api/rest; Gitea: https://docs.gitea.com/development/api-usage.
func apiURL(c *models.Connection) (*url.URL, error) {
	u, err := url.Parse(c.BaseURL)
	if err != nil || u.Host == "" {
		return nil, models.Errorf(models.Invalid, "The connection %s has no address that Slipway could call.", c.Name)
	}
	path := strings.TrimRight(u.Path, "/")
	host := strings.ToLower(u.Hostname())
	switch {
	case c.Kind == models.ForgeGitHub && (host == "github.com" || strings.HasSuffix(host, ".ghe.com")):
		return &url.URL{Scheme: u.Scheme, Host: "api." + u.Host, Path: "/"}, nil
	case c.Kind == models.ForgeGitHub:
		path += "/api/v3/"
	case c.Kind == models.ForgeGitLab:
		path += "/api/v4/"
	case c.Kind == models.ForgeGitea:
		path += "/api/v1/"
	default:
		return nil, models.Errorf(models.Invalid, "The connection %s is to no forge whose API Slipway knows.", c.Name)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: path}, nil
}

// client is an HTTP client that shows the credential to the API's own origin and to nobody else: a redirect to another
// host travels without it, which the clients' own ways to set a token would not hold.
func (s *Service) client(api *url.URL, header string, credential func(context.Context) (string, error)) *http.Client {
	base := s.Client
	guarded := *base
	guarded.Timeout = callTime
	guarded.Transport = &authorized{next: base.Transport, api: api, header: header, credential: credential}
	return &guarded
}

// authorized sets the header of requests to the API's origin.
type authorized struct {
	next       http.RoundTripper
	api        *url.URL
	header     string
	credential func(context.Context) (string, error)
}

// RoundTrip sends the request, with the credential where it goes to the API's origin.
func (a *authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == a.api.Scheme && strings.EqualFold(r.URL.Host, a.api.Host) {
		value, err := a.credential(r.Context())
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Header.Set(a.header, value)
	}
	answer, err := a.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = limited{io.LimitReader(answer.Body, maxAnswer), answer.Body}
	return answer, nil
}

// limited is a body of which only so much is read.
type limited struct {
	io.Reader
	io.Closer
}

// fixed is a credential that does not change.
func fixed(value string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return value, nil }
}
