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
	"strings"
	"time"

	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/googlelogin"
)

// googleAttempts bounds how often a call is made that is throttled or not answered.
const googleAttempts = 5

// googleAPI calls Compute Engine's REST API (https://cloud.google.com/compute/docs/reference/rest/v1), of which a machine
// needs a dozen calls.
type googleAPI struct {
	googlelogin.Login
	client *http.Client
	tokens *googlelogin.Tokens
	slow   time.Duration // between two attempts at most
}

// compute calls a path below the project's own.
func (a *googleAPI) compute(ctx context.Context, method, path string, query url.Values, in, out any) error {
	return a.call(ctx, method, a.At("compute")+"compute/v1/projects/"+a.Project+path, query, in, out)
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
		err := a.once(ctx, method, address, body, out)
		told := new(googleError)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &told) && told.status == http.StatusUnauthorized && !renewed:
			renewed = true
			a.tokens.Forget()
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

func (a *googleAPI) once(ctx context.Context, method, address string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	token, err := a.tokens.Token()
	if told := new(deploy.Failure); err != nil && !errors.As(err, &told) {
		return &silence{err}
	} else if err != nil {
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
	token.SetAuthHeader(req)
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

// googleError is an error of Google's REST services (https://cloud.google.com/apis/design/errors), or of an operation.
type googleError struct {
	status int
	reason string // such as quotaExceeded, or QUOTA_EXCEEDED
	text   string
}

func (e *googleError) Error() string { return e.reason + ": " + e.text }

func readGoogleError(status int, body []byte) error {
	var in struct {
		Error struct {
			Message string
			Status  string
			Errors  []struct{ Reason string }
		}
	}
	e := &googleError{status: status}
	if json.Unmarshal(body, &in) == nil {
		e.reason, e.text = in.Error.Status, in.Error.Message
		if len(in.Error.Errors) > 0 {
			e.reason = in.Error.Errors[0].Reason
		}
	}
	if len(e.text) > 300 {
		e.text = e.text[:300] + "…"
	}
	e.text = strings.ToValidUTF8(e.text, "")
	return e
}
