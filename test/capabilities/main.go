// Command capabilities makes docs/capabilities.md of what the conformance suite's tests print:
//
//	go test -json -run … ./services/deploy/… | capabilities docs/capabilities.json docs/capabilities.md
//
// The first file keeps what each target did when it was tested last, so that those that need what this machine lacks,
// such as a cluster, keep their column.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go test -json … | capabilities FILE.json FILE.md")
		os.Exit(2)
	}
	if err := run(os.Stdin, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "capabilities:", err)
		os.Exit(1)
	}
}

// run adds what the tests print to what is known, and writes both files.
func run(tests io.Reader, data, page string) error {
	known, err := load(data)
	if err != nil {
		return err
	}
	found, err := read(tests)
	if err != nil {
		return err
	}
	known.add(found)
	if err := known.store(data); err != nil {
		return err
	}
	return os.WriteFile(page, []byte(known.page()), 0o644)
}
