// Command slipway is the server: the portal, its API and its workers.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker when a release is built.
var version = "development"

type cli struct {
	Serve   serveCommand   `cmd:"" help:"Run the portal, the API and, unless told otherwise, workers."`
	Worker  workerCommand  `cmd:"" help:"Run workers alone, on any machine that reaches the database."`
	Migrate migrateCommand `cmd:"" help:"Change the database's schema, or show where it stands."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run() error {
	fmt.Println("slipway", version)
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "slipway:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var c cli
	parser, err := newParser(&c)
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	parser.FatalIfErrorf(err)
	if err := checkEnvironment(parser.Model, os.Environ()); err != nil {
		return err
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return parsed.Run()
}
