package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// probeTime is how long an instance may take to answer one probe.
const probeTime = 3 * time.Second

// maxRedirects is how many redirects within an app a probe follows.
const maxRedirects = 5

// Prober asks instances from outside whether they are healthy, so that an image needs no tools for it.
type Prober struct {
	Dial func(ctx context.Context, network, address string) (net.Conn, error) // net.Dialer's where nil
}

func (p Prober) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if p.Dial != nil {
		return p.Dial(ctx, network, address)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// HTTP asks for the path. Healthy is a status from 200 to 399, but for a
// redirect that leads in a circle within the app. The answer says what came
// back, for the transcript.
func (p Prober) HTTP(ctx context.Context, address, path string) (answer string, healthy bool) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return "the path is not valid", false
	}
	req.Header.Set("User-Agent", "Slipway-Health")
	circle, first := false, 0
	transport := &http.Transport{DialContext: p.dial, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(true)
	client := &http.Client{
		Transport: transport,
		CheckRedirect: func(next *http.Request, before []*http.Request) error {
			if first == 0 {
				first = next.Response.StatusCode
			}
			circle = circle || slices.ContainsFunc(before, func(b *http.Request) bool { return b.URL.String() == next.URL.String() })
			if circle || next.URL.Host != address || len(before) > maxRedirects {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	res, err := client.Do(req)
	if err != nil && (strings.Contains(err.Error(), "malformed HTTP") || hungUp(err)) { // an app that speaks HTTP/2 alone answers in it, or not at all
		http2 := transport.Clone()
		http2.Protocols = new(http.Protocols)
		http2.Protocols.SetUnencryptedHTTP2(true)
		client.Transport = http2
		defer http2.CloseIdleConnections()
		if again, err2 := client.Do(req); err2 == nil {
			res, err = again, nil
		}
	}
	if err != nil && first == 0 {
		return explainProbe(err), false
	}
	if err == nil {
		defer res.Body.Close()
	}
	switch {
	case circle:
		return fmt.Sprintf("HTTP %d, a redirect in a circle", first), false
	case first != 0:
		return fmt.Sprintf("HTTP %d", first), true
	}
	return fmt.Sprintf("HTTP %d", res.StatusCode), res.StatusCode >= 200 && res.StatusCode < 400
}

// TCP connects to the address. A connection that is closed at once is one that
// a forwarder took for a port on which nothing listens.
func (p Prober) TCP(ctx context.Context, address string) (answer string, healthy bool) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	conn, err := p.dial(ctx, "tcp", address)
	if err != nil {
		return explainProbe(err), false
	}
	defer conn.Close()
	ended := make(chan error, 1)
	go func() { // ends with the connection; one through a tunnel knows no deadline
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			return explainProbe(err), false
		}
	case <-time.After(250 * time.Millisecond):
	}
	return "connected", true
}

// explainProbe says in a few words why no answer came.
func explainProbe(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err):
		return fmt.Sprintf("no answer within %s", probeTime)
	case errors.Is(err, syscall.ECONNREFUSED), hungUp(err):
		return "connection refused"
	case strings.Contains(err.Error(), "malformed HTTP"):
		return "the answer is not HTTP"
	}
	return "no connection"
}

// hungUp tells whether the other side took the connection and ended it without an answer.
func hungUp(err error) bool {
	return slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE}, func(is error) bool { return errors.Is(err, is) }) ||
		strings.Contains(err.Error(), "server closed idle connection") // before the request was written
}

// Transcript is a health check's story: one line for each answer that differs from the one before.
type Transcript struct {
	began time.Time
	say   func(string)
	last  string
	said  string
	times int
}

// NewTranscript returns a transcript that writes to say.
func NewTranscript(say func(string)) *Transcript { return &Transcript{began: time.Now(), say: say} }

// Add tells what was asked and answered.
func (t *Transcript) Add(asked, answered string) {
	line := asked + " → " + answered
	if line == t.last {
		t.times++
		return
	}
	t.Flush()
	t.last, t.said = line, answered
	t.say(fmt.Sprintf("%6.2f s  %s", time.Since(t.began).Seconds(), line))
}

// Answer is what was answered last; empty: nothing was asked yet.
func (t *Transcript) Answer() string { return t.said }

// Flush tells how often the last line was repeated.
func (t *Transcript) Flush() {
	if t.times > 0 {
		t.say(fmt.Sprintf("%6.2f s  … the same %d more times", time.Since(t.began).Seconds(), t.times))
	}
	t.times = 0
}
