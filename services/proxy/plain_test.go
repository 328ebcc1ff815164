package proxy

import (
	"bufio"
	"bytes"
	"net/http"
	"testing"
)

func TestWhatABrowserSendsIsPlain(t *testing.T) {
	t.Parallel()
	head := "GET /a?b=c HTTP/1.1\r\nHost: shop.example.org:8080\r\nConnection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
		"Accept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, br\r\nCookie: a=\"b\"; c=d\r\nSec-Fetch-Mode: navigate\r\nUpgrade-Insecure-Requests: 1\r\n\r\n"
	if !plainHead([]byte(head)) {
		t.Error("it is not")
	}
}

// What passes as plain, net/http reads as what it looks like: one request, without a body, for one host.
func FuzzPlainHead(f *testing.F) {
	for _, head := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /a?b HTTP/1.1\r\nHost: a:1\r\nConnection: keep-alive\r\nX-A:\tb\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\nContent-Length: 1\r\n\r\n", "GET / HTTP/1.1\r\nHost : a\r\nHost: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "GET / HTTP/1.1\r\n\r\nHost: a\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(head))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		if !plainHead(head) {
			return
		}
		if bytes.Index(head, headEnd) != len(head)-len(headEnd) {
			t.Fatalf("%q has more than a head", head)
		}
		in := bufio.NewReader(bytes.NewReader(head))
		r, err := http.ReadRequest(in)
		if err != nil {
			return // the server answers it
		}
		if in.Buffered() > 0 || r.Body != http.NoBody || r.ContentLength != 0 || len(r.TransferEncoding) > 0 || r.Close || r.ProtoMajor != 1 || r.ProtoMinor != 1 {
			t.Fatalf("%q is read as %+v", head, r)
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Host == "" || r.URL.Host != "" && !bytes.HasPrefix(head[bytes.IndexByte(head, ' ')+1:], []byte("//")) {
			t.Fatalf("%q is read as %+v", head, r)
		}
		if lines := bytes.Count(head, []byte("\r\n")) - 3; lines != len(flat(r.Header)) {
			t.Fatalf("%q has %d headers beside the host, of which net/http reads %v", head, lines, r.Header)
		}
	})
}

func flat(h http.Header) (lines []string) {
	for _, values := range h {
		lines = append(lines, values...)
	}
	return lines
}
