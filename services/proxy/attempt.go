package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"syscall"
)

// ending is how an attempt to have a request answered by a backend ended.
type ending int

const (
	answered ending = iota // by an instance, or with a problem
	refused                // nobody took the connection
	broken                 // the connection ended before the answer began
)

// judge tells by its error how an attempt ended. A request that nobody took may
// go elsewhere as long as nothing of its body has gone; one whose connection
// broke only where asking twice does no harm (RFC 9110 §9.2.1).
func (v *visit) judge(r *http.Request, err error) ending {
	if v.body != nil && v.body.read.Load() {
		return answered
	}
	if dial := new(net.OpError); errors.As(err, &dial) && dial.Op == "dial" {
		return refused
	}
	if v.body == nil && slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, r.Method) && isBreak(err) {
		return broken
	}
	return answered
}

// isBreak tells whether the other side ended the connection. What forwards a
// published port takes connections for a moment after the instance has gone.
func isBreak(err error) bool {
	return slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE}, func(is error) bool { return errors.Is(err, is) })
}

// kept is a request's body that an attempt which does not read it can't close.
type kept struct {
	io.Reader
	read atomic.Bool
}

// keep returns what attempts read the request's body through; nil where there is
// none. The request's own body stays, for the server looks at it when it ends.
func keep(r *http.Request) *kept {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	return &kept{Reader: r.Body}
}

func (k *kept) Read(p []byte) (int, error) {
	k.read.Store(true)
	return k.Reader.Read(p)
}

// Close does nothing.
func (k *kept) Close() error { return nil }
