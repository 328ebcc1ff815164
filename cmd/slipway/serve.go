package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"slipway.dev/handlers"
	"slipway.dev/handlers/middleware"
	"slipway.dev/handlers/web"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/proxy"
	"slipway.dev/static"
)

const (
	shutdownTime = 20 * time.Second
	requestTime  = 10 * time.Second // for requests that are under way when the server stops
)

type serveCommand struct {
	settings `embed:""`

	Workers bool   `default:"true" negatable:"" help:"Take jobs in this process too."`
	Dev     string `help:"Serve style sheets and scripts from this folder as they are now, for work on Slipway itself." type:"path" placeholder:"FOLDER"`
}

// Run serves until ctx ends.
func (c *serveCommand) Run(ctx context.Context) error {
	if err := c.resolve(); err != nil {
		return err
	}
	slog.SetDefault(c.logger(os.Stderr))
	s, err := newServer(ctx, c)
	if err != nil {
		return err
	}
	return s.run(ctx)
}

// server is a process that answers HTTP, and takes jobs unless told otherwise.
type server struct {
	*process
	command  *serveCommand
	listener net.Listener
	secure   net.Listener // for TLS; nil: none
	http     *http.Server
	front    *proxy.Front       // before http at the listener
	streams  context.CancelFunc // ends what has no end of its own and would keep the server from shutting down
	requests context.CancelFunc // ends every request
}

// newServer listens, migrates the database and puts everything together; nothing runs yet.
func newServer(ctx context.Context, c *serveCommand) (*server, error) {
	s := &server{command: c}
	var err error
	if s.listener, s.secure, err = listeners(c); err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.closeListeners())
	}
	return s, nil
}

// listeners returns what the portal listens on, for HTTP and, where that is set,
// for TLS: the sockets that systemd holds for it (sd_listen_fds(3)), where
// requests wait while the portal restarts, or else its own at the addresses.
func listeners(c *serveCommand) (plain, secure net.Listener, err error) {
	held, err := activation.Listeners()
	if err != nil {
		return nil, nil, fmt.Errorf("taking over the sockets of systemd: %w", err)
	}
	switch {
	case len(held) == 0:
		return ownListeners(c)
	case slices.Contains(held, nil), len(held) == 1 && c.TLSListen != "", len(held) == 2 && c.TLSListen == "", len(held) > 2:
		return nil, nil, errors.New("systemd has to hold one TCP socket for Slipway, and a second one where SLIPWAY_TLS_LISTEN is set: " +
			"write a ListenStream= for each into the .socket unit, in this order")
	case len(held) == 2:
		secure = held[1]
	}
	return held[0], secure, nil
}

func ownListeners(c *serveCommand) (plain, secure net.Listener, err error) {
	if plain, err = listen(c.Listen, "SLIPWAY_LISTEN=127.0.0.1:8090"); err != nil || c.TLSListen == "" {
		return plain, nil, err
	}
	if secure, err = listen(c.TLSListen, "SLIPWAY_TLS_LISTEN=:8443"); err != nil {
		return nil, nil, errors.Join(err, plain.Close())
	}
	return plain, secure, nil
}

// listen takes the address. Other is a setting that helps where another program has it.
func listen(address, other string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is already in use by another program: end that one, or choose another port, such as %s", address, other)
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

func (s *server) closeListeners() error {
	if s.secure == nil {
		return s.listener.Close()
	}
	return errors.Join(s.listener.Close(), s.secure.Close())
}

// tlsPort is where visitors find the listener for TLS; empty: there is none.
func (s *server) tlsPort() string {
	if s.secure == nil {
		return ""
	}
	if s.settings.TLSPort != "" {
		return s.settings.TLSPort
	}
	_, port, _ := net.SplitHostPort(s.secure.Addr().String())
	return port
}

func (s *server) open(ctx context.Context) error {
	db, err := openDatabase(ctx, &s.command.settings)
	if err != nil {
		return err
	}
	if err := migrateAll(ctx, db); err != nil {
		return errors.Join(err, db.Close())
	}
	if s.process, err = newProcess(ctx, &s.command.settings, db, s.externalURL()); err != nil {
		return errors.Join(err, db.Close())
	}
	s.closers = append([]func() error{db.Close}, s.closers...)
	if err := s.openHTTP(); err != nil {
		return errors.Join(err, s.close())
	}
	return nil
}

func (s *server) openHTTP() error {
	assets, err := s.assets()
	if err != nil {
		return err
	}
	if err := s.openProxy(web.Visitor); err != nil {
		return err
	}
	handler, err := s.handler(assets)
	if err != nil {
		return err
	}
	base, requests := context.WithCancel(context.Background())
	ending, streams := context.WithCancel(base)
	s.requests, s.streams = requests, streams
	s.http = &http.Server{
		Handler:           endingStreams(handler, ending),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
		TLSConfig:         s.proxy.TLSConfig(),
	}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetHTTP2(true)
	s.http.Protocols.SetUnencryptedHTTP2(true) // behind a proxy that speaks it
	return nil
}

// endingStreams ends server-sent events when ending does; who reads them comes
// back. Other requests, those of the apps' visitors among them, are let end.
func endingStreams(next http.Handler, ending context.Context) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if middleware.IsStream(r) {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			defer context.AfterFunc(ending, cancel)()
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) assets() (*static.Assets, error) {
	if s.command.Dev != "" {
		return static.LoadDev(s.command.Dev)
	}
	return static.Load()
}

func (s *server) handler(assets *static.Assets) (http.Handler, error) {
	o := handlers.Options{
		ExternalURL:    s.external,
		AppsDomain:     s.settings.AppsDomain,
		Version:        version,
		TrustedProxies: s.settings.TrustedProxies,
		Assets:         assets,
		Ready:          []handlers.Check{{Name: "database", Run: s.db.SQL.PingContext}, {Name: "blobs", Run: s.checkBlobs}},
	}
	return handlers.New(s.services(), o)
}

// externalURL is where browsers reach the portal: as configured, or this machine at the port listened on.
func (s *server) externalURL() string {
	if s.command.ExternalURL != "" {
		return s.command.ExternalURL
	}
	_, port, _ := net.SplitHostPort(s.listener.Addr().String())
	u := url.URL{Scheme: "http", Host: net.JoinHostPort("localhost", port)}
	if port == "80" {
		u.Host = "localhost"
	}
	return u.String()
}

// run serves until ctx ends, then lets requests end and jobs go back to the queue.
func (s *server) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.firstStart(ctx); err != nil {
		return err
	}
	if err := s.start(ctx, s.command.Workers); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	failed := make(chan error, 2)
	s.front = s.proxy.Front(s.http, s.listener)
	s.background.Go(func() { failed <- s.http.Serve(s.front) })
	if s.secure != nil {
		s.background.Go(func() { failed <- s.http.ServeTLS(s.secure, "", "") })
	}
	slog.Info("Slipway is ready", "url", s.external, "version", version)
	debug.FreeOSMemory() // what starting took, such as for the compression of the assets, is not needed again
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	return errors.Join(err, s.shutdown())
}

func (s *server) shutdown() error {
	s.streams()
	late := time.AfterFunc(requestTime, s.requests)
	defer late.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if err := errors.Join(s.front.Drain(ctx), s.http.Shutdown(ctx)); err != nil {
		return s.http.Close()
	}
	return nil
}

// firstStart makes what a new installation needs, and says where to begin.
func (s *server) firstStart(ctx context.Context) error {
	if err := s.remember(ctx); err != nil {
		return err
	}
	if file := s.settings.BootstrapTokenFile; file != "" {
		if err := s.auth.EnsureBootstrap(ctx, file); err != nil {
			return err
		}
	}
	if err := s.deploy.EnsureLocal(ctx, docker.KindName); err != nil {
		return err
	}
	token, err := s.auth.SetupToken(ctx)
	if err != nil {
		return err
	}
	if token != "" {
		fmt.Printf("\n  Welcome to Slipway. Create the first admin at:\n\n    %s/setup/%s\n\n", s.external, token)
	} else {
		fmt.Printf("\n  Slipway is at %s\n\n", s.external)
	}
	return nil
}

// checkBlobs tells whether the store of logs can be read.
func (s *server) checkBlobs(ctx context.Context) error {
	_, err := s.logs.Blobs.IsAccessible(ctx)
	return err
}
