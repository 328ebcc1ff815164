package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"slipway.dev/services/deploy/deploytest"
)

// target is what one target did in the suite.
type target struct {
	Name      string
	Parts     []fact // the suite's, in their order
	Abilities []fact // what not every target has to do
}

// fact is one thing that a target did or does.
type fact struct {
	What string
	Yes  bool
}

// targets are all of which something is known.
type targets []target

// event is a line of go test -json (https://pkg.go.dev/cmd/test2json).
type event struct {
	Action, Package, Test, Output string
}

// writesDown is the part of the suite that prints what a target can.
const writesDown = "what_it_can_beside_that_is_written_down"

// read collects what the tests of the suite print. A part is one with the words of a subtest; it failed is an error, for
// a page is made of what works.
func read(r io.Reader) (targets, error) {
	all := map[string]*target{} // by the test that runs the suite
	var order []string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("this is no output of go test -json: %w", err)
		}
		suite, part, ok := strings.Cut(e.Test, "/")
		if !ok || strings.Contains(part, "/") {
			continue
		}
		key := e.Package + " " + suite
		if all[key] == nil {
			all[key] = &target{Name: path.Base(e.Package)}
			order = append(order, key)
		}
		if err := all[key].take(e, part); err != nil {
			return nil, err
		}
	}
	var out targets
	for _, key := range order {
		if len(all[key].Abilities) > 0 { // other tests have subtests too
			out = append(out, *all[key])
		}
	}
	return out, lines.Err()
}

// take adds what the event tells.
func (t *target) take(e event, part string) error {
	switch {
	case e.Action == "fail":
		return fmt.Errorf("%s: %s failed", e.Package, e.Test)
	case e.Action == "pass" && part != writesDown:
		t.Parts = append(t.Parts, fact{strings.ReplaceAll(part, "_", " "), true})
	case e.Action == "output" && part == writesDown:
		if _, name, ok := strings.Cut(e.Output, deploytest.Title); ok {
			t.Name = strings.TrimSpace(name)
		}
		if _, said, ok := strings.Cut(e.Output, deploytest.Ability); ok {
			at := strings.LastIndex(said, ": ")
			t.Abilities = append(t.Abilities, fact{said[:at], strings.TrimSpace(said[at+2:]) == "yes"})
		}
	}
	return nil
}

// add puts what was found in the place of what was known of the same targets.
func (all *targets) add(found targets) {
	for _, f := range found {
		at := slices.IndexFunc(*all, func(t target) bool { return t.Name == f.Name })
		if at < 0 {
			*all = append(*all, f)
			continue
		}
		(*all)[at] = f
	}
}

func load(file string) (targets, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return targets{}, nil
	}
	if err != nil {
		return nil, err
	}
	var all targets
	return all, json.Unmarshal(raw, &all)
}

func (all targets) store(file string) error {
	raw, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(raw, '\n'), 0o644)
}
