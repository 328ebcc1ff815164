package idp

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client returns a client that reaches the provider within the process, by the
// same requests that would go over the network, and reaches nothing else.
func (p *Provider) Client() *http.Client {
	return &http.Client{Transport: inProcess{p}, Timeout: 10 * time.Second}
}

type inProcess struct{ *Provider }

// RoundTrip answers a request to the issuer's own address.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	at, err := url.Parse(t.Issuer())
	if err != nil {
		return nil, err
	}
	if r.URL.Scheme != at.Scheme || r.URL.Host != at.Host || !strings.HasPrefix(r.URL.Path, at.Path+"/") {
		return nil, fmt.Errorf("%s is not the embedded provider", r.URL.Redacted())
	}
	handler, err := t.Handler()
	if err != nil {
		return nil, err
	}
	in := r.Clone(r.Context())
	in.RequestURI, in.Host = r.URL.RequestURI(), r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := newRecorder()
	handler.ServeHTTP(w, in)
	return w.response(r), nil
}

// recorder keeps what a handler answers.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}, status: http.StatusOK} }

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(b []byte) (int, error) { return w.body.Write(b) }

func (w *recorder) response(r *http.Request) *http.Response {
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}
}
