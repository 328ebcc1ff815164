package forges

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"slipway.dev/models"
)

// rest calls the API of a GitLab or a Gitea, of which Slipway needs a handful of calls.
type rest struct {
	client *http.Client
	base   string // with a slash at its end
}

// rest returns a caller of the API of the connection's forge.
func (s *Service) rest(o Opened) (*rest, error) {
	api, err := apiURL(&o.Connection)
	if err != nil {
		return nil, err
	}
	if o.Credential != models.ConnectionToken {
		return nil, noCredential(&o.Connection)
	}
	header, value := "Authorization", "token "+o.Token
	if o.Kind == models.ForgeGitLab {
		header, value = "PRIVATE-TOKEN", o.Token
	}
	return &rest{client: s.client(api, header, fixed(value)), base: api.String()}, nil
}

// call sends the body, where there is one, as JSON, and decodes the answer. The path's parts are escaped already. An
// answer of 300 or more is an *answerError.
func (r *rest) call(ctx context.Context, method, path string, body, into any) error {
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, r.base+path, sent)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", userAgent)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		return readAnswer(answer)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

// answerError is a forge's answer that is no success.
type answerError struct {
	status  int
	header  http.Header
	message string // the forge's own, as it came
}

func (e *answerError) Error() string { return fmt.Sprintf("the forge answered %d", e.status) }

// readAnswer reads what the forge says went wrong: GitLab's message can be a text, a list or an object.
func readAnswer(answer *http.Response) error {
	e := &answerError{status: answer.StatusCode, header: answer.Header}
	var body struct {
		Message any    `json:"message"`
		Error   string `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 64<<10)).Decode(&body); err != nil {
		return e // a page of a proxy, which says nothing more than its status does
	}
	switch m := body.Message.(type) {
	case string:
		e.message = m
	case nil:
		e.message = body.Error
	default:
		e.message = fmt.Sprint(m)
	}
	return e
}
