package middleware

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

func TestABodyThatDoesNotArriveIsGivenUp(t *testing.T) {
	t.Parallel()
	read := make(chan error, 1)
	h := body(1<<20, 50*time.Millisecond, nil)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	}))
	server := httptest.NewServer(h)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// What asks for events is no exception.
	io.WriteString(conn, "POST /idp/login HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nContent-Length: 100\r\n\r\nuser")
	select {
	case err := <-read:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the body ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("the server waits for the rest of the body")
	}
}

func TestOnlyAReadIsAStream(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]bool{"GET": true, "POST": false, "PUT": false, "DELETE": false} {
		r := httptest.NewRequest(method, "/setup/x", nil)
		r.Header.Set("Accept", "text/event-stream")
		if got := IsStream(r); got != want {
			t.Errorf("%s: a stream: %v", method, got)
		}
	}
}
