package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/services/proxy"
)

// wire is an app that answers each request by what the function makes of its head, byte by byte. After an answer that
// ends with "close" it closes the connection.
func wire(t *testing.T, answer func(head string) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go talk(conn, answer)
		}
	}()
	return l.Addr().String()
}

func talk(conn net.Conn, answer func(head string) string) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for head := ""; ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if head += line; line != "\r\n" {
			continue
		}
		text, end := strings.CutSuffix(answer(head), "close")
		if _, err := io.WriteString(conn, text); err != nil || end {
			return
		}
		head = ""
	}
}

func pathOf(head string) string {
	_, rest, _ := strings.Cut(head, " ")
	path, _, _ := strings.Cut(rest, " ")
	return path
}

const hello = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"

// An answer that nobody asked for must not become that of the next visitor.
func TestAnAnswerIsForTheRequestThatAskedForIt(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"/whole":     hello,
		"/chunks":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"/trailers":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n",
		"/hints":     "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + hello,
		"/nothing":   "HTTP/1.1 204 No Content\r\n\r\n",
		"/more":      hello + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen",
		"/longer":    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, HTTP/1.1 200 OK\r\n\r\n",
		"/closes":    hello + "close",
		"/last":      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
		"/old":       "HTTP/1.0 200 OK\r\n\r\nhelloclose",
		"/endless":   "HTTP/1.1 200 OK\r\n\r\nhelloclose",
		"/bare":      "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
		"/large":     "HTTP/1.1 200 OK\r\nX-Large: " + strings.Repeat("a", 300<<10) + "\r\n\r\n",
		"/two":       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		"/switches":  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
		"/hesitates": strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20) + hello,
		"/nonsense":  "hello\r\n\r\n",
	}
	refused := []string{"/large", "/two", "/switches", "/nonsense"}
	f := newFront(t)
	f.serve(0, wire(t, func(head string) string {
		if text := answers[pathOf(head)]; text != "" {
			return text
		}
		return "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"
	}))
	f.until(f.url, "next")
	for path := range answers {
		t.Run(strings.TrimPrefix(path, "/"), func(t *testing.T) {
			status, want := 200, "hello"
			if path == "/nothing" {
				status, want = 204, ""
			}
			if slices.Contains(refused, path) {
				status, want = 502, proxy.NotAnswering.Title+". "+proxy.NotAnswering.Message+"\n"
			}
			for range 2 {
				if got, body := f.last(path); got != status || body != want {
					t.Fatalf("%s is answered with %d %q", path, got, body)
				}
				if status, body := f.last("/"); status != 200 || body != "next" {
					t.Errorf("the request after %s is answered with %d %q", path, status, body)
				}
			}
		})
	}
}

// last asks for the path over a connection of its own and returns the answer that counts.
func (f *front) last(path string) (status int, body string) {
	f.t.Helper()
	conn := f.dial()
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host)
	for in := bufio.NewReader(conn); ; {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			f.t.Fatal(err)
		}
		if res.StatusCode < 200 {
			continue
		}
		text, err := io.ReadAll(res.Body)
		if err != nil {
			f.t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
}

// hostile are requests that servers are known to read differently, and some that all read alike.
var hostile = map[string]string{
	"plain":                "GET /a?b=%2f;c HTTP/1.1\r\nHost: HOST\r\nAccept: */*\r\nCookie: a=1; slipway_session=x; b=2\r\n\r\n",
	"head":                 "HEAD / HTTP/1.1\r\nHost: HOST:8080\r\nConnection: keep-alive\r\n\r\n",
	"forwarded":            "GET / HTTP/1.1\r\nHost: HOST\r\nX-Forwarded-For: 203.0.113.1\r\nX_Forwarded_Proto: gopher\r\nForwarded: for=a\r\nX-Real-IP: 203.0.113.2\r\n\r\n",
	"twice":                "GET / HTTP/1.1\r\nHost: HOST\r\nX-A: 1\r\nx-a: 2\r\n\r\n",
	"empty value":          "GET / HTTP/1.1\r\nHost: HOST\r\nX-A:\r\n\r\n",
	"tabs":                 "GET / HTTP/1.1\r\nHost:\tHOST\t\r\nX-A: \t a\tb \r\n\r\n",
	"two hosts":            "GET / HTTP/1.1\r\nHost: HOST\r\nHost: other\r\n\r\n",
	"no host":              "GET / HTTP/1.1\r\nAccept: */*\r\n\r\n",
	"host of two":          "GET / HTTP/1.1\r\nHost: HOST, other\r\n\r\n",
	"host with user":       "GET / HTTP/1.1\r\nHost: other@HOST\r\n\r\n",
	"host with port":       "GET / HTTP/1.1\r\nHost: HOST:80:90\r\n\r\n",
	"absolute":             "GET http://other/ HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"asterisk":             "OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"connect":              "CONNECT HOST:80 HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"two slashes":          "GET //other/a HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"bad escape":           "GET /%zz HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"fragment":             "GET /a#b HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"bytes in path":        "GET /\xff\xfe HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"three spaces":         "GET /  HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"tab for space":        "GET\t/ HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"version 1.0":          "GET / HTTP/1.0\r\nHost: HOST\r\n\r\n",
	"version 1.2":          "GET / HTTP/1.2\r\nHost: HOST\r\n\r\n",
	"version 0.9":          "GET /\r\nHost: HOST\r\n\r\n",
	"lower case":           "get / HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"space before colon":   "GET / HTTP/1.1\r\nHost: HOST\r\nX-A : 1\r\n\r\n",
	"space before name":    "GET / HTTP/1.1\r\n Host: HOST\r\nX-A: 1\r\n\r\n",
	"folded":               "GET / HTTP/1.1\r\nHost: HOST\r\nX-A: 1\r\n\tContent-Length: 5\r\n\r\n",
	"no colon":             "GET / HTTP/1.1\r\nHost: HOST\r\nX-A\r\n\r\n",
	"no name":              "GET / HTTP/1.1\r\nHost: HOST\r\n: a\r\n\r\n",
	"bare line feeds":      "GET / HTTP/1.1\nHost: HOST\n\n",
	"bare line feed":       "GET / HTTP/1.1\r\nHost: HOST\r\nX-A: 1\nContent-Length: 5\r\n\r\nhello",
	"bare return":          "GET / HTTP/1.1\r\nHost: HOST\r\nX-A: 1\rContent-Length: 5\r\n\r\n",
	"zero byte":            "GET / HTTP/1.1\r\nHost: HOST\r\nX-A: a\x00b\r\n\r\n",
	"bytes in value":       "GET / HTTP/1.1\r\nHost: HOST\r\nX-A: \xff\r\n\r\n",
	"bytes in name":        "GET / HTTP/1.1\r\nHost: HOST\r\nX-\xff: a\r\n\r\n",
	"length":               "GET / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\n\r\nhello",
	"two lengths":          "GET / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
	"length of two":        "GET / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5, 5\r\n\r\nhello",
	"signed length":        "GET / HTTP/1.1\r\nHost: HOST\r\nContent-Length: +5\r\n\r\nhello",
	"chunks":               "GET / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
	"chunks and length":    "GET / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"chunked, hidden":      "GET / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
	"chunked, with a tab":  "GET / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
	"chunked, underscored": "GET / HTTP/1.1\r\nHost: HOST\r\nTransfer_Encoding: chunked\r\n\r\n",
	"named hop":            "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: X-A\r\nX-A: 1\r\n\r\n",
	"old hops":             "GET / HTTP/1.1\r\nHost: HOST\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nTE: trailers\r\n\r\n",
	"large head":           "GET / HTTP/1.1\r\nHost: HOST\r\nX-A: " + strings.Repeat("a", 20<<10) + "\r\n\r\n",
	"dots":                 "GET /a/../b HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"line before":          "\r\nGET / HTTP/1.1\r\nHost: HOST\r\n\r\n",
}

func TestTheFrontReadsRequestsAsTheServerBehindItDoes(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	var p *proxy.Service
	url := f.another(func(s *proxy.Service) { p = s })
	alone := httptest.NewServer(p)
	t.Cleanup(alone.Close)
	f.serve(0, wire(t, func(head string) string {
		lines := strings.Split(strings.TrimSpace(head), "\r\n")
		slices.Sort(lines[1:])
		text := strings.Join(lines, "\n")
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", len(text))
		if !strings.HasPrefix(head, "HEAD") {
			answer += text
		}
		return answer + "close"
	}))
	f.until(url, "GET /")
	f.until(alone.URL, "GET /")
	for name, request := range hostile {
		t.Run(name, func(t *testing.T) {
			request := strings.ReplaceAll(request, "HOST", host)
			want, got := exchange(t, alone.URL, request), exchange(t, url, request)
			if got != want {
				t.Errorf("the front: %s\nthe server alone: %s", got, want)
			}
		})
	}
}

// exchange sends the request to the server and tells what it answers.
func exchange(t *testing.T, url, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	go io.WriteString(conn, request)
	asked := &http.Request{Method: "GET"}
	if strings.HasPrefix(request, "HEAD") {
		asked.Method = "HEAD"
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), asked)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	res.Header.Del("Date")
	if res.StatusCode == http.StatusOK && asked.Method == "GET" {
		res.Header.Del("Content-Length") // beside chunks: they say the same
	}
	return fmt.Sprintf("%d %v %q %v", res.StatusCode, res.Header, body, err)
}

func TestAConnectionChangesHandsBetweenItsRequests(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serve(0, talker(t, "one", false, nil, nil))
	f.until(f.url, "one")
	conn := f.dial()
	plain := "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	post := "POST /read HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: %d\r\n\r\n%s"
	other := "GET / HTTP/1.1\r\nHost: nobody.example.org\r\n\r\n"
	go io.WriteString(conn, plain+plain+fmt.Sprintf(post, len(plain), plain)+plain+other+plain)
	in := bufio.NewReader(conn)
	answers := []string{"one HTTP/1.1 https", "one HTTP/1.1 https", "read " + plain, "one HTTP/1.1 https", proxy.Unknown.Title, "one HTTP/1.1 https"}
	for i, want := range answers {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || !strings.HasPrefix(string(body), want) {
			t.Fatalf("answer %d is %q, %v; want %q", i, body, err, want)
		}
	}
}

// dial connects to the proxy for as long as a test may take.
func (f *front) dial() net.Conn {
	f.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		f.t.Fatal(err)
	}
	return conn
}

func TestAnUpgradeMayFollowAPlainRequest(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serve(0, f.instance("one"))
	f.until(f.url, "one")
	conn := f.dial()
	go fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\nGET /upgrade HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", host, host)
	in := bufio.NewReader(conn)
	for _, status := range []int{200, 101} {
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != status {
			t.Fatalf("%v, %v; want %d", res, err, status)
		}
		if status == 200 {
			io.Copy(io.Discard, res.Body)
		}
	}
	long := strings.Repeat("a", 6<<10)
	go io.WriteString(conn, long)
	got := make([]byte, len(long))
	if _, err := io.ReadFull(in, got); err != nil || string(got) != long {
		t.Errorf("what follows the upgrade comes back as %q, %v", got, err)
	}
}

func TestWhatTakesLongIsAskedForOnceAndOutlivesAShutdown(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	var asked atomic.Int32
	reached, release := make(chan struct{}, 10), make(chan struct{})
	f.serve(0, wire(t, func(head string) string {
		if pathOf(head) == "/long" {
			asked.Add(1)
			reached <- struct{}{}
			<-release
		}
		return hello
	}))
	f.until(f.url, "hello")
	var p *proxy.Service
	f.until(f.another(func(s *proxy.Service) { p = s }), "hello")
	server := &http.Server{Handler: p, ReadHeaderTimeout: patience, IdleTimeout: patience}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	front := p.Front(server, l)
	go func() { served <- server.Serve(front) }()
	var conns []net.Conn
	for _, path := range []string{"/", "/long"} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host)
		conns = append(conns, conn)
	}
	idle := bufio.NewReader(conns[0])
	if res, err := http.ReadResponse(idle, nil); err != nil || res.StatusCode != 200 {
		t.Fatalf("%v %v", res, err)
	}
	<-reached
	ended := make(chan error, 1)
	go func() {
		ended <- errors.Join(front.Drain(context.Background()), server.Shutdown(context.Background()))
	}()
	if rest, err := io.ReadAll(idle); err != nil || string(rest) != "hello" {
		t.Errorf("the idle connection ends with %q, %v", rest, err)
	}
	<-time.After(time.Second) // longer than the front waits for an answer
	close(release)
	res, err := http.ReadResponse(bufio.NewReader(conns[1]), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "hello" {
		t.Errorf("what was under way is answered with %q, %v", body, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if asked.Load() != 1 {
		t.Errorf("the app was asked %d times", asked.Load())
	}
}
