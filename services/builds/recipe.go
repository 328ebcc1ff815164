package builds

import (
	"bytes"
	"context"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"slipway.dev/models"
)

// recipe is a Dockerfile as one commit has it, taken apart.
type recipe struct {
	arguments []order // ARG before the first FROM
	stages    []stage
}

type stage struct {
	name   string
	orders []order // FROM first
}

// order is one instruction.
type order struct {
	line, end int
	text      string
	command   instructions.Command // nil for FROM
	base      string               // of a FROM
}

// recipe reads the Dockerfile of a build; nil where this machine does not have it or it can't be understood.
func (s *Service) recipe(ctx context.Context, repositoryID string, b *models.Build) *recipe {
	text, err := s.Git.ReadFile(ctx, repositoryID, b.Commit, path.Clean(b.Dockerfile), 0)
	if err != nil {
		return nil
	}
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil
	}
	stages, arguments, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return nil
	}
	r := &recipe{}
	for i := range arguments {
		r.arguments = append(r.arguments, orderOf(arguments[i].Location(), arguments[i].String(), &arguments[i]))
	}
	for _, s := range stages {
		from := orderOf(s.Location, s.SourceCode, nil)
		from.base = s.BaseName
		st := stage{name: s.Name, orders: []order{from}}
		for _, c := range s.Commands {
			st.orders = append(st.orders, orderOf(c.Location(), source(text, c.Location()), c))
		}
		r.stages = append(r.stages, st)
	}
	return r
}

func orderOf(at []parser.Range, text string, command instructions.Command) order {
	o := order{text: text, command: command}
	if len(at) > 0 {
		o.line, o.end = at[0].Start.Line, at[len(at)-1].End.Line
	}
	return o
}

// source is an instruction as it was written, so that expansion and defaults don't matter.
func source(text []byte, at []parser.Range) string {
	lines := strings.Split(string(text), "\n")
	if len(at) == 0 || at[0].Start.Line < 1 || at[len(at)-1].End.Line > len(lines) {
		return ""
	}
	return strings.Join(lines[at[0].Start.Line-1:at[len(at)-1].End.Line], "\n")
}

// at finds the stage and the place in it of the instruction in the line.
func (r *recipe) at(line int) (stage, place int, ok bool) {
	for i, s := range r.stages {
		for j, o := range s.orders {
			if line > 0 && o.line <= line && line <= o.end {
				return i, j, true
			}
		}
	}
	return 0, 0, false
}

// leading lists the orders that lead to the one in the line, in order: those
// of its own stage up to it, and those of the stages that they build on or copy from.
func (r *recipe) leading(line int) (all []lineage) {
	i, j, ok := r.at(line)
	if !ok {
		return nil
	}
	seen := map[int]bool{}
	var follow func(i, j int)
	follow = func(i, j int) {
		seen[i] = true
		l := lineage{name: r.stages[i].name, place: i, orders: r.stages[i].orders[:j+1]}
		for _, o := range l.orders {
			if from := r.named(o.from()); from >= 0 && !seen[from] {
				follow(from, len(r.stages[from].orders)-1)
			}
		}
		all = append(all, l)
	}
	follow(i, j)
	return all
}

// lineage is a part of a stage.
type lineage struct {
	name   string
	place  int
	orders []order
}

// from is the stage or image that the order takes something from.
func (o order) from() string {
	switch command := o.command.(type) {
	case nil:
		return o.base
	case *instructions.CopyCommand:
		return command.From
	}
	return ""
}

// named is the place of a stage by its name or number, -1 where there is none.
func (r *recipe) named(name string) int {
	return slices.IndexFunc(r.stages, func(s stage) bool { return name != "" && strings.EqualFold(s.name, name) })
}

// firstEdit is the first instruction that the other recipe does not have in
// its place, of those that lead to the one in the line.
func (r *recipe) firstEdit(old *recipe, line int) (edited int, text string) {
	takes := false
	for _, l := range r.leading(line) {
		if edited, text := firstDifference(l.orders, old.stage(l.name, l.place)); edited > 0 {
			return edited, text
		}
		takes = takes || usesArguments(l.orders)
	}
	if takes {
		return firstDifference(r.arguments, old.arguments)
	}
	return 0, ""
}

// usesArguments tells whether one of the orders may read an argument from before the first stage.
func usesArguments(orders []order) bool {
	return slices.ContainsFunc(orders, func(o order) bool {
		_, takes := o.command.(*instructions.ArgCommand)
		return takes || o.command == nil && strings.Contains(o.text, "$")
	})
}

// stage is the one of the name, or where it has none, the one in the same place.
func (r *recipe) stage(name string, place int) []order {
	for i, s := range r.stages {
		if name != "" && s.name == name || name == "" && i == place {
			return s.orders
		}
	}
	return nil
}

func firstDifference(now, old []order) (line int, text string) {
	for i, o := range now {
		if i >= len(old) || strings.TrimSpace(old[i].text) != strings.TrimSpace(o.text) {
			return o.line, strings.TrimSpace(strings.Split(o.text, "\n")[0])
		}
	}
	return 0, ""
}

// copying is what a COPY or an ADD takes out of the context.
type copying struct {
	line    int
	name    string // COPY or ADD
	sources []string
	except  *patternmatcher.PatternMatcher
}

// copies lists what the instructions take out of the context that lead to the one in the line.
func (r *recipe) copies(line int) (all []*copying) {
	for _, l := range r.leading(line) {
		for _, o := range l.orders {
			if c := o.copies(); c != nil {
				all = append(all, c)
			}
		}
	}
	return all
}

// copies is what the order takes out of the context; nil where it takes nothing.
func (o order) copies() *copying {
	c := &copying{line: o.line}
	var except []string
	switch command := o.command.(type) {
	case *instructions.CopyCommand:
		if command.From != "" {
			return nil
		}
		c.name, c.sources, except = "COPY", command.SourcePaths, command.ExcludePatterns
	case *instructions.AddCommand:
		c.name, c.sources, except = "ADD", command.SourcePaths, command.ExcludePatterns
	default:
		return nil
	}
	if len(except) > 0 {
		c.except, _ = patternmatcher.New(except) // the build has refused a pattern that is none
	}
	return c
}

// takes tells whether a file of the context is among the sources. A source
// with a variable in it is taken for all files that it could mean.
func (c *copying) takes(name string) bool {
	if c.except != nil {
		if left, err := c.except.MatchesOrParentMatches(name); err == nil && left {
			return false
		}
	}
	return slices.ContainsFunc(c.sources, func(source string) bool { return sourceTakes(source, name) })
}

func sourceTakes(source, name string) bool {
	if strings.Contains(source, "://") {
		return false
	}
	if fixed, _, found := strings.Cut(source, "$"); found {
		return strings.HasPrefix(name, strings.TrimPrefix(path.Clean("/"+path.Dir(fixed+"x")), "/"))
	}
	source = strings.TrimPrefix(path.Clean("/"+source), "/")
	if source == "" || name == source || strings.HasPrefix(name, source+"/") {
		return true
	}
	for dir := name; dir != "."; dir = path.Dir(dir) {
		if matches, err := path.Match(source, dir); err == nil && matches {
			return true
		}
	}
	return false
}

// ignored tells which files of the context .dockerignore leaves out of it: the
// one beside the Dockerfile with its name before the context's own.
func (s *Service) ignored(ctx context.Context, b *models.Build) func(name string) bool {
	nothing := func(string) bool { return false }
	for _, file := range []string{path.Clean(b.Dockerfile) + ".dockerignore", path.Join(b.Context, ".dockerignore")} {
		text, err := s.Git.ReadFile(ctx, b.App.RepositoryID, b.Commit, file, 0)
		if err != nil {
			continue
		}
		patterns, err := ignorefile.ReadAll(bytes.NewReader(text))
		if err != nil {
			return nothing
		}
		matcher, err := patternmatcher.New(patterns)
		if err != nil {
			return nothing
		}
		return func(name string) bool {
			left, err := matcher.MatchesOrParentMatches(name)
			return err == nil && left
		}
	}
	return nothing
}
