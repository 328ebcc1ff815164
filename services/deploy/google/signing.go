package google

import (
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/googlelogin"
)

const (
	maxTries  = 5
	maxAnswer = 32 << 20         // bytes of one answer
	maxWait   = 20 * time.Second // that Google may ask for before a repetition
)

// signing is the way of a subject's calls: each gets an access token, a token that
// Google does not know any more is renewed once, and a call that Google had no
// time for is repeated some times.
type signing struct {
	*target
	tokens *googlelogin.Tokens
}

// RoundTrip sends the request and, where it may be sent again, its repetitions.
func (s *signing) RoundTrip(req *http.Request) (*http.Response, error) {
	renewed := false
	for try := 1; ; try++ {
		token, err := s.tokens.Token()
		if err != nil {
			return nil, err
		}
		again := req.Clone(req.Context())
		if req.GetBody != nil {
			if again.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
		token.SetAuthHeader(again)
		res, err := s.base.RoundTrip(again)
		if err != nil {
			return nil, err
		}
		repeatable := req.Body == nil || req.GetBody != nil
		switch {
		case repeatable && res.StatusCode == http.StatusUnauthorized && !renewed:
			renewed = true
			s.tokens.Forget()
			drop(res)
		case repeatable && busy(res) && try < maxTries:
			drop(res)
			if err := deploy.WaitFor(req.Context(), s.wait(res, try)); err != nil {
				return nil, err
			}
		default:
			res.Body = limited{io.LimitReader(res.Body, maxAnswer), res.Body}
			return res, nil
		}
	}
}

// busy tells of answers after which Google asks for a repetition (https://cloud.google.com/apis/design/errors#error_retries).
func busy(res *http.Response) bool {
	return res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable
}

// wait is how long to wait before the next try: as Google says, or twice as long as before, and not all at once.
func (s *signing) wait(res *http.Response, try int) time.Duration {
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n >= 0 {
		return min(time.Duration(n)*time.Second, maxWait)
	}
	d := s.pace.backoff << (try - 1)
	return d/2 + rand.N(d)
}

// drop reads what is left of an answer, so that its connection serves again.
func drop(res *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	_ = res.Body.Close()
}

type limited struct {
	io.Reader
	io.Closer
}
