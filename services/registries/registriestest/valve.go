package registriestest

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Valve is a proxy before a registry that counts what is asked and can be told
// to answer itself: with an error, with garbage, slowly, or not at all.
type Valve struct {
	Host string // 127.0.0.1 and its port, instead of the registry's

	mu       sync.Mutex
	asked    []string
	sent     int64
	instead  func(w http.ResponseWriter, r *http.Request) bool
	upstream http.Handler
}

// Valve starts one before the registry, which runs until the test ends.
func (r *Registry) Valve(t testing.TB) *Valve {
	t.Helper()
	to, err := url.Parse(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	return NewValve(t, &httputil.ReverseProxy{
		Rewrite:      func(p *httputil.ProxyRequest) { p.SetURL(to); p.Out.Host = p.In.Host }, // so that its addresses lead here
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	})
}

// NewValve starts a valve before a registry of this process.
func NewValve(t testing.TB, registry http.Handler) *Valve {
	t.Helper()
	v := &Valve{upstream: registry}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	v.Host = strings.TrimPrefix(server.URL, "http://")
	return v
}

// Instead has the function answer; where it returns false the registry does. Nil: the registry answers everything.
func (v *Valve) Instead(answer func(w http.ResponseWriter, r *http.Request) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.instead = answer
}

// Break has every connection end without an answer.
func (v *Valve) Break() {
	v.Instead(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
}

// Asked counts the requests of the method whose path holds the text.
func (v *Valve) Asked(method, text string) (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, a := range v.asked {
		if m, path, _ := strings.Cut(a, " "); m == method && strings.Contains(path, text) {
			n++
		}
	}
	return n
}

// Sent is how many bytes of blobs were sent to the registry.
func (v *Valve) Sent() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.sent
}

// ServeHTTP notes the request and has it answered.
func (v *Valve) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	v.asked = append(v.asked, r.Method+" "+r.URL.Path)
	instead := v.instead
	v.mu.Unlock()
	if instead != nil && instead(w, r) {
		return
	}
	if r.Method == http.MethodPatch {
		v.mu.Lock()
		v.sent += max(r.ContentLength, 0)
		v.mu.Unlock()
	}
	v.upstream.ServeHTTP(w, r)
}
