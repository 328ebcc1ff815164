package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestWhatIsUnderWayEndsOnTheOldVersion(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	first := f.serve(0, f.instance("one"))
	f.until(f.url, "one")
	slow := make(chan string, 1)
	go func() { _, body, _ := f.get(f.url, "/slow", nil); slow <- body }()
	<-f.slow
	conn, stream := f.upgrade(), f.stream()
	second := f.serve(patience, f.instance("two"))
	f.until(f.url, "two")
	if got := conn.echo(t, "still"); got != "still" {
		t.Errorf("the upgraded connection was cut early: %q", got)
	}
	for range 2 {
		if _, err := stream.ReadString('\n'); err != nil {
			t.Errorf("the stream was cut early: %v", err)
		}
	}
	if f.holds(first) != 1 {
		t.Error("the old version was let go of with requests under way")
	}
	f.end <- struct{}{}
	if got := <-slow; got != "one\n" {
		t.Errorf("the slow request got %q", got)
	}
	conn.Close()
	stream.Close()
	f.untilHolds(first, 0)
	if f.holds(second) != 1 {
		t.Error("the new version is not held")
	}
}

func TestWhatIsStillOpenAtTheDeadlineIsCutAndNotBefore(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	first := f.serve(0, f.instance("one"))
	f.until(f.url, "one")
	conn, stream := f.upgrade(), f.stream()
	const drain = 1200 * time.Millisecond
	began := time.Now()
	f.serve(drain, f.instance("two"))
	if _, err := conn.r.ReadByte(); err == nil || time.Since(began) < drain {
		t.Errorf("the upgraded connection ended after %s: %v", time.Since(began), err)
	}
	if _, err := io.Copy(io.Discard, stream); err == nil && time.Since(began) < drain {
		t.Errorf("the stream ended after %s", time.Since(began))
	}
	f.untilHolds(first, 0)
	f.until(f.url, "two")
}

// stream opens a stream of events, and returns it after the first.
func (f *front) stream() *stream {
	f.t.Helper()
	req, err := http.NewRequest("GET", f.url+"/sse", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Host = host
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { res.Body.Close() })
	s := &stream{bufio.NewReader(res.Body), res.Body}
	if _, err := s.ReadString('\n'); err != nil {
		f.t.Fatal(err)
	}
	return s
}

type stream struct {
	*bufio.Reader
	io.Closer
}

type upgraded struct {
	net.Conn
	r *bufio.Reader
}

func (f *front) upgrade() *upgraded {
	f.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /upgrade HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", host)
	u := &upgraded{conn, bufio.NewReader(conn)}
	for {
		line, err := u.r.ReadString('\n')
		if err != nil {
			f.t.Fatal(err)
		}
		if line == "\r\n" {
			return u
		}
	}
}

func (u *upgraded) echo(t *testing.T, text string) string {
	t.Helper()
	if _, err := io.WriteString(u, text); err != nil {
		return err.Error()
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(u.r, got); err != nil {
		return err.Error()
	}
	return string(got)
}

func TestAConnectionThatBreaksBeforeTheAnswerIsTriedWhereTheAppIsNow(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	forwarder, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer forwarder.Close()
	taken := make(chan net.Conn, 10)
	go func() { // what forwards a port takes connections for an instance that is gone
		for {
			conn, err := forwarder.Accept()
			if err != nil {
				close(taken)
				return
			}
			taken <- conn
		}
	}()
	f.untilServes(f.serve(patience, forwarder.Addr().String()))
	ask := func(method string) chan string {
		answered := make(chan string, 1)
		go func() {
			req, err := http.NewRequest(method, f.url+"/", nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Host = host
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				answered <- err.Error()
				return
			}
			defer res.Body.Close()
			got, _ := io.ReadAll(res.Body)
			answered <- string(got)
		}()
		return answered
	}
	read, write := ask("GET"), ask("POST")
	one, two := <-taken, <-taken
	f.untilServes(f.serve(patience, f.instance("two")))
	one.Close()
	two.Close()
	go func() { // what the transport tries again by itself
		for conn := range taken {
			conn.Close()
		}
	}()
	if body := <-read; !strings.HasPrefix(body, "two") {
		t.Errorf("the read got %q", body)
	}
	if body := <-write; !strings.Contains(body, "does not answer") {
		t.Errorf("what may have changed something was sent twice: %q", body)
	}
}
