package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"slipway.dev/services/deploy"
)

// googleAttempts bounds how often a call is made that is throttled or not answered.
const googleAttempts = 5

// googleAPI calls Compute Engine's REST API (https://cloud.google.com/compute/docs/reference/rest/v1), of which a machine
// needs a dozen calls.
type googleAPI struct {
	client   *http.Client
	endpoint deploy.Endpoint
	project  string
	slow     time.Duration // between two attempts at most
	login    func() (oauth2.TokenSource, error)

	mu     sync.Mutex
	tokens oauth2.TokenSource
}

// token returns an access token; a fresh one where the last was refused.
func (a *googleAPI) token(fresh bool) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tokens == nil || fresh {
		made, err := a.login()
		if err != nil {
			return "", err
		}
		a.tokens = oauth2.ReuseTokenSource(nil, made)
	}
	got, err := a.tokens.Token()
	if err != nil {
		return "", noToken(err)
	}
	return got.AccessToken, nil
}

// compute calls a path below the project's own.
func (a *googleAPI) compute(ctx context.Context, method, path string, query url.Values, in, out any) error {
	return a.call(ctx, method, googleHost(a.endpoint, "compute")+"/compute/v1/projects/"+a.project+path, query, in, out)
}

// call makes the request, again where it is throttled or not answered, and once with a fresh token where the one it had has ended.
func (a *googleAPI) call(ctx context.Context, method, address string, query url.Values, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	renewed := false
	for attempt := 1; ; attempt++ {
		err := a.once(ctx, method, address, body, out, renewed)
		told := new(googleError)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &told) && told.status == http.StatusUnauthorized && !renewed:
			renewed = true
			continue
		case attempt >= googleAttempts || !unanswered(err) && !throttledByGoogle(err):
			return err
		}
		if err := deploy.WaitFor(ctx, min(a.slow, time.Second<<attempt)); err != nil {
			return err
		}
	}
}

func throttledByGoogle(err error) bool {
	told := new(googleError)
	return errors.As(err, &told) && (told.status == http.StatusTooManyRequests || told.reason == "rateLimitExceeded" || told.reason == "userRateLimitExceeded")
}

func (a *googleAPI) once(ctx context.Context, method, address string, body []byte, out any, fresh bool) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	token, err := a.token(fresh)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return err
	}
	if method == http.MethodPost || method == http.MethodPatch {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", "slipway")
	res, err := a.client.Do(req)
	if err != nil {
		return &silence{err}
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, answerMax))
	if err != nil {
		return &silence{err}
	}
	switch {
	case res.StatusCode >= 500:
		return &silence{readGoogleError(res.StatusCode, answer)}
	case res.StatusCode/100 != 2:
		return readGoogleError(res.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("reading an answer of Google's: %w", err)
	}
	return nil
}

// operation is work that goes on at Google (https://cloud.google.com/compute/docs/reference/rest/v1/zoneOperations).
type operation struct {
	Name   string
	Zone   string // its address; empty: a global one
	Status string
	Error  struct {
		Errors []struct{ Code, Message string }
	}
}

// finish waits for the operation's end.
func (a *googleAPI) finish(ctx context.Context, zone string, op operation) error {
	at := "/global/operations/"
	if op.Zone != "" {
		at = "/zones/" + zone + "/operations/"
	}
	for op.Status != "DONE" {
		if err := a.compute(ctx, http.MethodPost, at+op.Name+"/wait", nil, nil, &op); err != nil { // it answers within two minutes, done or not
			return err
		}
		if op.Status == "DONE" {
			break
		}
		if err := deploy.WaitFor(ctx, min(a.slow, time.Second)); err != nil {
			return err
		}
	}
	if len(op.Error.Errors) > 0 {
		e := op.Error.Errors[0]
		return &googleError{reason: e.Code, text: e.Message}
	}
	return nil
}
