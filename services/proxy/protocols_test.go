package proxy_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/certificates"
)

// certify gives the hosts a certificate and returns what trusts it.
func (f *front) certify(names ...string) *tls.Config {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	s := &certificates.Service{DB: f.db, Box: f.box}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	in := certificates.Input{Chain: string(chain), Key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))}
	if _, err := s.Add(modelstest.As(f.t, f.db, f.w.Admin), in); err != nil {
		f.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(chain)
	config := &tls.Config{RootCAs: roots, ServerName: names[0]}
	for end := time.Now().Add(60 * time.Second); ; <-time.After(10 * time.Millisecond) {
		conn, err := tls.Dial("tcp", f.secure, config)
		if err == nil {
			conn.Close()
			return config
		}
		if time.Now().After(end) {
			f.t.Fatal(err)
		}
	}
}

// visitor is how somebody comes: by HTTP/1.1 or HTTP/2, with TLS or without.
type visitor struct {
	name   string
	client *http.Client
	url    string
	major  int
}

// visitors are all ways to come, of which each answers from the host.
func (f *front) visitors() []visitor {
	f.t.Helper()
	trust := f.certify(host)
	way := func(name string, secure bool, major int) visitor {
		tr := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: trust.Clone()}
		tr.Protocols.SetHTTP1(major == 1)
		tr.Protocols.SetHTTP2(major == 2 && secure)
		tr.Protocols.SetUnencryptedHTTP2(major == 2 && !secure)
		at, scheme := strings.TrimPrefix(f.url, "http://"), "http://"
		if secure {
			at, scheme = f.secure, "https://"
		}
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return direct(ctx, "", "tcp", at) }
		f.t.Cleanup(tr.CloseIdleConnections)
		return visitor{name, &http.Client{Transport: tr, Timeout: 2 * time.Minute}, scheme + host, major}
	}
	return []visitor{way("HTTP/1.1", false, 1), way("HTTP/2 without TLS", false, 2), way("HTTP/1.1 by TLS", true, 1), way("HTTP/2 by TLS", true, 2)}
}

// talker is an app that speaks until it is told to end, and says when it hears something.
func talker(t *testing.T, name string, h2c bool, say <-chan string, heard chan<- string) string {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", name, r.Proto, r.Header.Get("X-Forwarded-Proto"))
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case text := <-say:
				fmt.Fprintf(w, "data: %s %s\n\n", name, text)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		lines := bufio.NewScanner(r.Body)
		n := 0
		for lines.Scan() {
			heard <- lines.Text()
			n++
		}
		fmt.Fprintf(w, "%s heard %d", name, n)
		w.Header().Set("X-Sum", fmt.Sprint(n))
	})
	mux.HandleFunc("/refuse", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) })
	mux.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "read %s", body)
	})
	mux.Handle("/socket", websocket.Handler(func(c *websocket.Conn) { io.Copy(c, c) }))
	s := httptest.NewUnstartedServer(mux)
	if h2c {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP1(true) // for upgrades
		s.Config.Protocols.SetUnencryptedHTTP2(true)
	}
	s.Start()
	t.Cleanup(s.CloseClientConnections)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestStreamsFlowAtOnceInEveryProtocolAndOutliveASwitch(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serve(time.Minute, mirror(t, "zero"))
	visitors := f.visitors()
	for _, protocol := range []models.Protocol{models.ProtocolHTTP1, models.ProtocolH2C} {
		for _, v := range visitors {
			say, heard := make(chan string), make(chan string) // the app of the visitor before may still listen
			f.serveAs(protocol, time.Minute, talker(t, "one", protocol == models.ProtocolH2C, say, heard))
			f.until(f.url, "one")
			f.streams(t, v, protocol, say, heard)
		}
	}
}

// streams looks at events and at an upload that go on while another version takes over.
func (f *front) streams(t *testing.T, v visitor, protocol models.Protocol, say chan<- string, heard <-chan string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", v.url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan struct{})
	go func() { say <- "first"; close(first) }() // the head comes with the first event
	events, err := v.client.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", v.name, err)
	}
	defer events.Body.Close()
	<-first
	read, write := io.Pipe()
	answered := make(chan string, 1)
	go func() {
		res, err := v.client.Post(v.url+"/upload", "text/plain", read)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		answered <- fmt.Sprintf("%s %v %d sum %s", body, err, res.ProtoMajor, res.Trailer.Get("X-Sum"))
	}()
	lines := bufio.NewScanner(events.Body)
	hear := func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() != "" {
				break
			}
		}
		if got := lines.Text(); got != want {
			t.Fatalf("%s to %q: the event is %q, not %q", v.name, protocol, got, want)
		}
	}
	hear("data: one first")
	io.WriteString(write, "a\n")
	if got := <-heard; got != "a" {
		t.Fatalf("%s: the app heard %q", v.name, got)
	}
	f.serveAs(protocol, time.Minute, talker(t, "two", protocol == models.ProtocolH2C, nil, nil))
	f.until(f.url, "two")
	res, err := v.client.Get(v.url + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	spoken := "HTTP/1.1"
	if protocol == models.ProtocolH2C {
		spoken = "HTTP/2.0"
	}
	if want := "two " + spoken + " https"; err != nil || string(body) != want || res.ProtoMajor != v.major {
		t.Errorf("%s to %q: %q by HTTP/%d, %v; want %q", v.name, protocol, body, res.ProtoMajor, err, want)
	}
	say <- "second"
	hear("data: one second")
	io.WriteString(write, "b\n")
	<-heard
	write.Close()
	if got, want := <-answered, fmt.Sprintf("one heard 2 <nil> %d sum 2", v.major); got != want {
		t.Errorf("%s to %q: the upload is answered %q, want %q", v.name, protocol, got, want)
	}
}

func TestAWebSocketWorksInEveryProtocolOfTheAppAndOutlivesASwitch(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serve(time.Minute, mirror(t, "zero"))
	trust := f.certify(host)
	for _, protocol := range []models.Protocol{models.ProtocolHTTP1, models.ProtocolH2C} {
		for _, secure := range []bool{false, true} {
			f.serveAs(protocol, time.Minute, talker(t, "one", protocol == models.ProtocolH2C, nil, nil))
			f.until(f.url, "one")
			conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
			if secure {
				conn, err = tls.Dial("tcp", f.secure, trust)
			}
			if err != nil {
				t.Fatal(err)
			}
			config, err := websocket.NewConfig("ws://"+host+"/socket", "http://"+host)
			if err != nil {
				t.Fatal(err)
			}
			ws, err := websocket.NewClient(config, conn)
			if err != nil {
				t.Fatalf("to %q, TLS %t: %v", protocol, secure, err)
			}
			say := func(text string) {
				t.Helper()
				var got string
				if err := websocket.Message.Send(ws, text); err != nil {
					t.Fatal(err)
				}
				if err := websocket.Message.Receive(ws, &got); err != nil || got != text {
					t.Errorf("to %q, TLS %t: %q %v", protocol, secure, got, err)
				}
			}
			say("hello")
			f.serveAs(protocol, time.Minute, talker(t, "two", protocol == models.ProtocolH2C, nil, nil))
			f.until(f.url, "two")
			say("still here")
			ws.Close()
		}
	}
}

func TestAnOfferToGoOnByHTTP2EndsAtTheProxy(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for protocol, want := range map[models.Protocol]string{models.ProtocolHTTP1: "HTTP/1.1 []", models.ProtocolH2C: "HTTP/2.0 []"} {
		app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.Header["Upgrade"]) }))
		if protocol == models.ProtocolH2C {
			app.Config.Protocols = new(http.Protocols)
			app.Config.Protocols.SetUnencryptedHTTP2(true) // and nothing else, as gRPC servers do
		}
		app.Start()
		t.Cleanup(app.Close)
		f.serveAs(protocol, time.Minute, strings.TrimPrefix(app.URL, "http://"))
		f.until(f.url, want)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header = http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2c"}, "Http2-Settings": {"AAMAAABkAAQAAP__"}} // curl --http2
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || string(body) != want {
			t.Errorf("to %q it is answered %d %q, %v; want %q", protocol, res.StatusCode, body, err, want)
		}
	}
}

// speaker is a gRPC server that sends back what it gets, with its name in a trailer.
func speaker(t *testing.T, name string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		stream.SetTrailer(metadata.Pairs("served-by", name))
		method, _ := grpc.MethodFromServerStream(stream)
		if strings.HasSuffix(method, "/Fail") {
			return status.Error(codes.FailedPrecondition, "not today")
		}
		for {
			var in wrapperspb.StringValue
			if err := stream.RecvMsg(&in); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if err := stream.SendMsg(wrapperspb.String(name + " " + in.Value)); err != nil {
				return err
			}
		}
	}))
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

func TestGRPCPassesWithItsTrailersAndAStreamOutlivesASwitch(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serveAs(models.ProtocolH2C, time.Minute, speaker(t, "one"))
	trust := f.certify(host)
	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	for name, way := range map[string]struct {
		at     string
		secure credentials.TransportCredentials
	}{"by TLS": {f.secure, credentials.NewTLS(trust)}, "without TLS": {strings.TrimPrefix(f.url, "http://"), insecure.NewCredentials()}} {
		before := f.serveAs(models.ProtocolH2C, time.Minute, speaker(t, "one"))
		f.serving(before)
		conn, err := grpc.NewClient("passthrough:///"+way.at, grpc.WithTransportCredentials(way.secure), grpc.WithAuthority(host))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		stream, err := conn.NewStream(ctx, both, "/test.Echo/Talk")
		if err != nil {
			t.Fatal(err)
		}
		say := func(text string) {
			t.Helper()
			var out wrapperspb.StringValue
			if err := stream.SendMsg(wrapperspb.String(text)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := stream.RecvMsg(&out); err != nil || out.Value != "one "+text {
				t.Fatalf("%s: %q %v", name, out.Value, err)
			}
		}
		say("hello")
		f.serving(f.serveAs(models.ProtocolH2C, time.Minute, speaker(t, "two")))
		say("still here")
		var out wrapperspb.StringValue
		var trailer metadata.MD
		if err := conn.Invoke(ctx, "/test.Echo/Say", wrapperspb.String("hi"), &out, grpc.Trailer(&trailer)); err != nil || out.Value != "two hi" || fmt.Sprint(trailer["served-by"]) != "[two]" {
			t.Errorf("%s: a new call is answered %q %v %v", name, out.Value, trailer, err)
		}
		err = conn.Invoke(ctx, "/test.Echo/Fail", wrapperspb.String("hi"), &out, grpc.Trailer(&trailer))
		if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "not today" || fmt.Sprint(trailer["served-by"]) != "[two]" {
			t.Errorf("%s: a failure is told as %v %v", name, err, trailer)
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&out); err != io.EOF || fmt.Sprint(stream.Trailer()["served-by"]) != "[one]" {
			t.Errorf("%s: the stream ended with %v %v", name, err, stream.Trailer())
		}
	}
}

// serving waits until the proxies send requests to the deployment.
func (f *front) serving(id string) {
	f.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; <-time.After(5 * time.Millisecond) {
		var n int64
		if err := f.db.Model(&models.ProxyHold{}).Where("deployment_id = ? AND serving", id).Count(&n).Error; err != nil {
			f.t.Fatal(err)
		}
		if n > 0 {
			return
		}
		if time.Now().After(end) {
			f.t.Fatal("no proxy sends requests to the deployment")
		}
	}
}

func TestABodyIsAskedForOnlyWhereTheAppWantsIt(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serve(time.Minute, talker(t, "one", false, nil, nil))
	f.until(f.url, "one")
	ask := func(path string) (*bufio.Reader, net.Conn) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", path, host)
		return bufio.NewReader(conn), conn
	}
	r, _ := ask("/refuse")
	if line, err := r.ReadString('\n'); err != nil || line != "HTTP/1.1 401 Unauthorized\r\n" {
		t.Errorf("an app that wants no body: %q %v", line, err)
	}
	r, conn := ask("/read")
	if line, err := r.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("an app that wants the body: %q %v", line, err)
	}
	io.WriteString(conn, "hello")
	if line, err := r.ReadString('\n'); err != nil || line != "\r\n" {
		t.Fatalf("after that: %q %v", line, err)
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "read hello" {
		t.Errorf("the answer is %q %v", body, err)
	}
}

func TestPlainVisitorsComeToHTTPSOnceThereIsACertificate(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.url = f.another(withTLS)
	f.serve(time.Minute, mirror(t, "web"))
	d := f.domain("shop.example.org", true)
	d.HSTS = 3600
	if err := f.db.Save(d).Error; err != nil {
		t.Fatal(err)
	}
	f.address(f.w.App, "shop.example.org", "/", false)
	f.changed()
	f.await("shop.example.org", "/", "web /") // by http: there is no certificate
	trust := f.certify("shop.example.org", "other.example.org")
	for end := time.Now().Add(60 * time.Second); ; <-time.After(10 * time.Millisecond) {
		status, header := f.head("shop.example.org", "/a%2fb?c=d")
		if status == http.StatusPermanentRedirect {
			if at := header.Get("Location"); at != "https://shop.example.org:8443/a%2fb?c=d" || header.Get("Strict-Transport-Security") != "" {
				t.Errorf("it leads to %q", at)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no redirect: %d", status)
		}
	}
	get := func(sni, name string) (int, http.Header) {
		t.Helper()
		config := trust.Clone()
		config.ServerName = sni
		conn, err := tls.Dial("tcp", f.secure, config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", name)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode, res.Header
	}
	if status, header := get("shop.example.org", "shop.example.org"); status != 200 || strings.Join(header["Strict-Transport-Security"], "|") != "max-age=3600" {
		t.Errorf("by TLS: %d %v", status, header)
	}
	if status, _ := get("shop.example.org", host); status != http.StatusMisdirectedRequest {
		t.Errorf("another host over the connection: %d", status)
	}
}

// head sends the request and returns the answer's status and head.
func (f *front) head(name, target string) (int, http.Header) {
	f.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, name)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode, res.Header
}

func TestALargeBodyPassesWithoutBeingHeld(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	var got atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		got.Store(n)
		fmt.Fprint(w, "took it ", err)
	}))
	t.Cleanup(app.Close)
	f.serve(time.Minute, strings.TrimPrefix(app.URL, "http://"))
	f.until(f.url, "took it")
	const size = 64 << 20
	for _, v := range f.visitors() {
		res, err := v.client.Post(v.url+"/", "application/octet-stream", io.LimitReader(zeros{}, size))
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(body) != "took it <nil>" || got.Load() != size {
			t.Errorf("%s: %q %v, the app got %d bytes", v.name, body, err, got.Load())
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
