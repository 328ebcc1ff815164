package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"time"
)

// brief is how long the front waits for an instance. What takes longer goes on at the server, which has limits and
// watches for it.
const brief = 400 * time.Millisecond

// outcome is what a plain request leaves its connection for.
type outcome int

const (
	toNext   outcome = iota // the request was answered
	toServer                // the server has to answer it
	ended
)

// asked is a request that was sent to an instance, whose answer the server is to pass on.
type asked struct {
	conn    *directConn
	backend *backend // at which it is counted in
	visit   visit
}

// exchange sends a plain request to its app and passes on the answer where that is plain too: short, whole and here
// in a moment. Everything else is the server's to do, which goes on with the same connection to the instance.
func (s *Service) exchange(c *visitorConn, r *http.Request, head int) outcome {
	v, b := s.direct(r)
	if b == nil {
		return toServer
	}
	s.prepare(&httputil.ProxyRequest{In: r, Out: r}, &v, b)
	u, err := b.pool.take(r.URL.Host)
	if err != nil {
		b.release()
		return toServer
	}
	c.out.Reset()
	writeRequest(&c.out, r)
	answer, err := u.ask(c, r)
	if errors.Is(err, errUnusual) {
		c.asked.Store(&asked{u, b, v})
		return toServer
	}
	if err != nil {
		u.Close()
		b.release()
		return toServer // asking twice for what is only read does no harm (RFC 9110 §9.2.1)
	}
	b.tally.add(answer.StatusCode)
	s.clean(answer.Response, &v)
	c.out.Reset()
	last := c.front.closing.Load()
	writeAnswer(&c.out, answer, last)
	b.pool.done(u, answer.size, !answer.Close)
	b.release()
	if _, err := c.in.Discard(head); err != nil {
		return ended
	}
	limit := time.Duration(b.transport.Load().limits.Idle) * time.Second
	if err := c.sendBy.within(limit, c.tcp.SetWriteDeadline); err != nil {
		return ended
	}
	if _, err := c.tcp.Write(c.out.Bytes()); err != nil || last {
		return ended
	}
	return toNext
}

func writeRequest(w *bytes.Buffer, r *http.Request) {
	w.WriteString(r.Method)
	w.WriteByte(' ')
	w.WriteString(r.URL.RequestURI())
	w.WriteString(" HTTP/1.1\r\nHost: ")
	w.WriteString(r.Host)
	w.WriteString("\r\n")
	_ = r.Header.Write(w) // to memory
	w.WriteString("\r\n")
}

// answer is a plain one, whole.
type answer struct {
	*http.Response
	body []byte // good until the connection it came over is read again
	size int    // bytes that it took on that connection
}

// ask sends the request that the visitor's connection has ready and waits for the whole answer. After errUnusual the
// connection is as if nothing of the answer had been read.
func (u *directConn) ask(c *visitorConn, r *http.Request) (*answer, error) {
	u.left = maxHeader
	if err := u.by.within(brief, u.SetDeadline); err != nil {
		return nil, err
	}
	if _, err := u.Write(c.out.Bytes()); err != nil {
		return nil, err
	}
	for {
		have, _ := u.in.Peek(u.in.Buffered())
		if a, err := c.whole(have, u.in.Size(), r); a != nil || err != nil {
			return a, err
		}
		if _, err := u.in.Peek(len(have) + 1); err != nil {
			if slow, ok := errors.AsType[net.Error](err); len(have) > 0 || ok && slow.Timeout() {
				return nil, errUnusual
			}
			return nil, err
		}
	}
}

// whole returns the answer that the bytes are where it is a plain one. It returns neither an answer nor an error where
// more has to come, and errUnusual where the answer is not plain or will not have room.
func (c *visitorConn) whole(have []byte, room int, r *http.Request) (*answer, error) {
	if !bytes.Contains(have, headEnd) {
		if len(have) == room {
			return nil, errUnusual
		}
		return nil, nil
	}
	if !bytes.HasPrefix(have, []byte("HTTP/1.1 ")) {
		return nil, errUnusual
	}
	in := c.parse(have)
	read := func() int { return len(have) - c.parsed.Len() - in.Buffered() }
	res, err := http.ReadResponse(in, r)
	if err != nil || !plainAnswer(res) {
		return nil, errUnusual
	}
	a := &answer{Response: res, size: read()}
	switch {
	case r.Method == http.MethodHead || res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified:
		return a, nil
	case slices.Equal(res.TransferEncoding, []string{"chunked"}):
		if !bytes.HasSuffix(have, []byte("\r\n0\r\n\r\n")) {
			return nil, errUnusual // a stream, perhaps
		}
		if a.body, err = io.ReadAll(res.Body); err != nil || len(res.Trailer) > 0 {
			return nil, errUnusual
		}
		a.size = read()
	case res.ContentLength < 0 || res.ContentLength > int64(room-a.size):
		return nil, errUnusual
	case res.ContentLength > int64(len(have)-a.size):
		return nil, nil
	default:
		a.body = have[a.size:][:res.ContentLength]
		a.size += len(a.body)
	}
	res.Header["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	return a, nil
}

// plainAnswer tells whether the head is one of an answer that counts, to which nothing belongs but a body.
func plainAnswer(r *http.Response) bool {
	for _, value := range r.Header["Connection"] {
		if !strings.EqualFold(value, "keep-alive") && !strings.EqualFold(value, "close") {
			return false
		}
	}
	if r.StatusCode == http.StatusNoContent && r.Header["Content-Length"] != nil {
		return false
	}
	return r.StatusCode >= 200 && r.StatusCode <= 999 && r.Trailer == nil && r.Header["Upgrade"] == nil
}

// ofConnection are an answer's headers that concern the connection to the instance alone (RFC 9110 §7.6.1).
var ofConnection = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// writeAnswer writes what the server would.
func writeAnswer(w *bytes.Buffer, a *answer, last bool) {
	for _, name := range ofConnection {
		delete(a.Header, name)
	}
	if last {
		a.Header["Connection"] = []string{"close"}
	}
	if a.Header["Date"] == nil {
		a.Header["Date"] = []string{time.Now().UTC().Format(http.TimeFormat)}
	}
	if len(a.body) > 0 && a.Header["Content-Type"] == nil && a.Header.Get("Content-Encoding") == "" {
		a.Header["Content-Type"] = []string{http.DetectContentType(a.body)}
	}
	text := http.StatusText(a.StatusCode)
	if text == "" {
		text = "status code " + strconv.Itoa(a.StatusCode)
	}
	fmt.Fprintf(w, "HTTP/1.1 %03d %s\r\n", a.StatusCode, text)
	_ = a.Header.Write(w) // to memory
	w.WriteString("\r\n")
	w.Write(a.body)
}

// askedFor returns what the front has asked an instance for the request already, once.
func askedFor(r *http.Request) *asked {
	c, ok := r.Context().Value(connKey{}).(*visitorConn)
	if !ok {
		return nil
	}
	return c.asked.Swap(nil)
}

// resume passes on the answer to a request that the front has asked for.
func (s *Service) resume(w http.ResponseWriter, r *http.Request, a *asked) {
	v := &a.visit
	v.asked = a.conn
	a.backend.serve(w, r, v)
	if v.asked != nil { // the request was ended before
		v.asked.Close()
	}
	if v.end != answered {
		s.again(r, v)
		s.send(w, r, v)
	}
}
