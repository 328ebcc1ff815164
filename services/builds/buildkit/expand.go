package buildkit

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"slipway.dev/services/builds"
)

const (
	maxValue    = 64 << 10 // bytes of a variable once what it refers to is put in
	maxExpanded = 8 << 20  // bytes of all variables wherever the file names them
)

var reference = regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)(/?)`)

// expansion bounds what the variables of a Dockerfile grow to. A few lines that
// each name the one before ten times would otherwise take all memory: of this
// process, which looks at the file, and of the engine.
type expansion struct {
	file  *dockerfile
	sizes map[string]int
}

// checkExpansion refuses a file whose variables grow beyond all use.
func (f *dockerfile) checkExpansion(meta []instructions.ArgCommand, stages []instructions.Stage, r builds.Request) error {
	x := expansion{f, map[string]int{}}
	for _, a := range r.Arguments {
		x.sizes[a.Name] = len(a.Value)
	}
	for _, c := range meta {
		if err := x.arguments(&c); err != nil {
			return err
		}
	}
	for _, s := range stages {
		for _, c := range s.Commands {
			if err := x.command(c); err != nil {
				return err
			}
		}
	}
	total := 0
	for i, line := range f.lines {
		if total += x.size(line); total > maxExpanded {
			return f.failure(i+1, fmt.Sprintf("The variables of %s grow beyond %d MiB where they are used; line %d goes over it.", f.path, maxExpanded>>20, i+1))
		}
	}
	return nil
}

func (x expansion) command(c instructions.Command) error {
	switch c := c.(type) {
	case *instructions.ArgCommand:
		return x.arguments(c)
	case *instructions.EnvCommand:
		for _, pair := range c.Env {
			if err := x.set(pair.Key, pair.Value, c.Location()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x expansion) arguments(c *instructions.ArgCommand) error {
	for _, pair := range c.Args {
		if pair.Value == nil {
			continue
		}
		if err := x.set(pair.Key, *pair.Value, c.Location()); err != nil {
			return err
		}
	}
	return nil
}

func (x expansion) set(name, value string, at []parser.Range) error {
	n := len(value) + x.size(value)
	if n > maxValue {
		line := 0
		if len(at) > 0 {
			line = at[0].Start.Line
		}
		return x.file.failure(line, fmt.Sprintf("The variable %s in line %d of %s grows beyond %d KiB.", brief(name), line, x.file.path, maxValue>>10))
	}
	x.sizes[name] = max(x.sizes[name], n)
	return nil
}

// size is at most how much the variables that the text refers to put into it.
func (x expansion) size(text string) (n int) {
	if !strings.Contains(text, "$") {
		return 0
	}
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		s := x.sizes[m[1]]
		if m[2] != "" { // ${name/pattern/replacement} may put the replacement in for each character
			s *= len(text)
		}
		n += min(s, maxExpanded)
	}
	return n
}
