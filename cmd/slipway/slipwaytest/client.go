package slipwaytest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"
)

// Client calls the API of a portal as one principal.
type Client struct {
	// URL is the portal's address without a slash at the end.
	URL string
	// Token is sent with each call; empty ones call as nobody.
	Token string
}

// List is what the API answers to a list.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// Problem is what the API answers when it refuses.
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

// Answer is a response whose body was read.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Call sends a request with a JSON body, unless body is nil, and reads the answer, whatever its status.
func (c *Client) Call(t testing.TB, method, path string, body any, headers ...string) Answer {
	t.Helper()
	var sent io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		sent = bytes.NewReader(encoded)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.URL+path, sent)
	if err != nil {
		t.Fatal(err)
	}
	if sent != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return Answer{Status: response.StatusCode, Header: response.Header, Body: read}
}

// Get reads what the API has at path.
func Get[T any](t testing.TB, c *Client, path string) T {
	t.Helper()
	return decode[T](t, "GET "+path, c.Call(t, http.MethodGet, path, nil))
}

// Post sends body to path and reads the answer.
func Post[T any](t testing.TB, c *Client, path string, body any) T {
	t.Helper()
	if body == nil {
		body = struct{}{}
	}
	return decode[T](t, "POST "+path, c.Call(t, http.MethodPost, path, body))
}

// Refused sends a request that the API must refuse with the status, and reads why.
func Refused(t testing.TB, c *Client, status int, method, path string, body any) Problem {
	t.Helper()
	answer := c.Call(t, method, path, body)
	if answer.Status != status {
		t.Fatalf("%s %s answered %d instead of %d: %s", method, path, answer.Status, status, answer.Body)
	}
	var problem Problem
	if err := json.Unmarshal(answer.Body, &problem); err != nil {
		t.Fatalf("%s %s answered %d with what is no problem+json: %s", method, path, status, answer.Body)
	}
	return problem
}

// Await reads path again and again until the condition holds for what the API answers, for at most four minutes.
func Await[T any](t testing.TB, c *Client, path, what string, condition func(T) bool) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var got T
	defer func() {
		if t.Failed() {
			t.Logf("GET %s: %+v", path, got)
		}
	}()
	Until(ctx, t, what, func() bool {
		got = Get[T](t, c, path)
		return condition(got)
	})
	return got
}

func decode[T any](t testing.TB, call string, answer Answer) T {
	t.Helper()
	var value T
	if answer.Status < 200 || answer.Status > 299 {
		t.Fatalf("%s answered %d: %s", call, answer.Status, answer.Body)
	}
	if len(answer.Body) == 0 {
		return value
	}
	if err := json.Unmarshal(answer.Body, &value); err != nil {
		t.Fatalf("%s answered what is no %T: %v\n%s", call, value, err, answer.Body)
	}
	return value
}
