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
	"strings"
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
	http     *http.Server
	streams  context.CancelFunc // ends what has no end of its own and would keep the server from shutting down
	requests context.CancelFunc // ends every request
}

// newServer listens, migrates the database and puts everything together; nothing runs yet.
func newServer(ctx context.Context, c *serveCommand) (*server, error) {
	listener, err := listen(c.Listen)
	if err != nil {
		return nil, err
	}
	s := &server{command: c, listener: listener}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return s, nil
}

// listen returns what the portal listens on: the socket that systemd holds for
// it (sd_listen_fds(3)), where requests wait while the portal restarts, or else
// one of its own at the address.
func listen(address string) (net.Listener, error) {
	held, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("taking over the socket of systemd: %w", err)
	}
	switch {
	case len(held) == 1 && held[0] != nil:
		return held[0], nil
	case len(held) > 0:
		return nil, errors.New("systemd has to hold one TCP socket for Slipway: write one ListenStream= into the .socket unit")
	}
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is already in use by another program: end that one, "+
			"or choose another port, such as SLIPWAY_LISTEN=127.0.0.1:8090", address)
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return listener, nil
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
	scheme, _, _ := strings.Cut(s.external, "://")
	s.proxy = &proxy.Service{DB: s.db, Events: s.events, Scheme: scheme, Dial: s.deploy.Dial, Cookies: s.auth.CookieNames(), Page: web.Visitor}
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
	}
	s.http.Protocols.SetHTTP1(true)
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
	failed := make(chan error, 1)
	s.background.Go(func() { failed <- s.http.Serve(s.listener) })
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
	if err := s.http.Shutdown(ctx); err != nil {
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
