package buildkit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

const (
	maxDockerfile = 1 << 20
	maxKept       = 256 << 10 // of a file that is kept with its build
	maxOffered    = 5
	maxSource     = 12 // lines of a failing instruction that are kept
)

// dockerfile is a Dockerfile that was read and understood without the engine.
type dockerfile struct {
	path       string // as people know it, relative to the checkout
	real       string // its full path, links followed
	context    string // the context's full path, links followed
	lines      []string
	spans      map[string]span // the lines of an instruction, by the name of its step
	bases      map[string]span // the lines of FROM, by the image's name as written
	stages     []string        // names, or numbers where they have none, in order
	mounts     []mount         // secrets and SSH keys that commands ask for
	mounting   bool            // some command mounts something
	right      right           // a right over the engine's machine that a command asks for
	heredoc    int             // the line of the first here-document
	syntax     string          // what a "# syntax=" line names
	syntaxLine int
	warnings   []string
	findings   []models.Finding
	uses       []use        // of images, for the cache of base images
	from       builds.Bases // that cache
}

// mount is a secret or an SSH key that a command asks for.
type mount struct {
	kind     models.BuildSecretKind
	id       string
	line     int
	required bool
}

type right struct {
	what string
	line int
}

type span struct{ from, to int }

// open finds the Dockerfile and the context in the checkout, and nowhere else, and reads the file.
func open(r builds.Request) (*dockerfile, error) {
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f := &dockerfile{path: path.Clean(filepath.ToSlash(r.Dockerfile)), spans: map[string]span{}, bases: map[string]span{}}
	if f.context, err = f.folder(root, r.Context); err != nil {
		return nil, err
	}
	text, err := f.read(root)
	if err != nil {
		return nil, err
	}
	f.lines = strings.Split(string(text), "\n")
	if err := f.parse(text, r); err != nil {
		return f, err
	}
	f.inspect(text, r)
	return f, nil
}

// record is the file as a build keeps it. A longer one than people read is cut.
func (f *dockerfile) record() *models.BuildDockerfile {
	text := strings.ToValidUTF8(strings.ReplaceAll(strings.Join(f.lines, "\n"), "\x00", ""), "\uFFFD")
	if len(text) > maxKept {
		text = strings.ToValidUTF8(text[:maxKept], "") + "\n…"
	}
	return &models.BuildDockerfile{Path: f.path, Text: text, Findings: f.findings}
}

// hasStage tells whether the file has a stage of the name or number.
func (f *dockerfile) hasStage(name string) bool {
	n, err := strconv.Atoi(name)
	return err == nil && n >= 0 && n < len(f.stages) || slices.ContainsFunc(f.stages, func(s string) bool { return strings.EqualFold(s, name) })
}

func user(format string, args ...any) error {
	return builds.Failure(builds.ClassUser, fmt.Sprintf(format, args...), nil)
}

func (f *dockerfile) folder(root *os.Root, name string) (string, error) {
	name = path.Clean(filepath.ToSlash(name))
	info, err := root.Stat(filepath.FromSlash(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", user("The repository has no folder %q, which the app's settings name as the build context.", name)
	case err != nil:
		return "", user("The build context %q leads out of the repository.", name)
	case !info.IsDir():
		return "", user("The build context %q is a file; it has to be a folder.", name)
	}
	return filepath.EvalSymlinks(filepath.Join(root.Name(), filepath.FromSlash(name)))
}

func (f *dockerfile) read(root *os.Root) ([]byte, error) {
	name := filepath.FromSlash(f.path)
	file, err := root.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, user("The commit has no Dockerfile at %q.%s", f.path, offer(root))
	case err != nil:
		return nil, user("The Dockerfile %q can't be read: it leads out of the repository or is not a file.", f.path)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, user("%q is a folder; the app's settings have to name the Dockerfile itself.", f.path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxDockerfile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxDockerfile {
		return nil, user("The Dockerfile %q is larger than %d MiB.", f.path, maxDockerfile>>20)
	}
	f.real, err = filepath.EvalSymlinks(filepath.Join(root.Name(), name))
	return text, err
}

// offer names Dockerfiles that are there.
func offer(root *os.Root) string {
	var found []string
	_ = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil, d.IsDir() && strings.Count(name, "/") > 4:
			return fs.SkipDir
		case !d.IsDir() && (d.Name() == "Dockerfile" || strings.HasSuffix(d.Name(), ".Dockerfile")):
			found = append(found, name)
		}
		if len(found) == maxOffered {
			return fs.SkipAll
		}
		return nil
	})
	if len(found) == 0 {
		return " There is none anywhere in the repository: add one."
	}
	return " These are there: " + strings.Join(found, ", ") + ". Correct the path in the app's settings."
}

var parsePrefix = regexp.MustCompile(`^((dockerfile )?parse error( on)? line \d+: )+`)

// parse checks the file's form and notes what the engine may not know.
func (f *dockerfile) parse(text []byte, r builds.Request) error {
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return f.syntaxError(err)
	}
	stages, meta, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return f.syntaxError(err)
	}
	if err := f.checkExpansion(meta, stages, r); err != nil {
		return err
	}
	f.look(stages)
	given := map[string]string{}
	for _, a := range r.Arguments {
		given[a.Name] = a.Value
	}
	f.uses, f.from = uses(stages, meta, tree.EscapeToken, given), r.Bases
	for _, node := range tree.AST.Children {
		if len(node.Heredocs) > 0 && f.heredoc == 0 {
			f.heredoc = node.StartLine
		}
	}
	for _, s := range stages {
		if _, again := f.bases[s.BaseName]; len(s.Location) > 0 && !again {
			f.bases[s.BaseName] = span{s.Location[0].Start.Line, s.Location[len(s.Location)-1].End.Line}
		}
	}
	if syntax, _, at, ok := parser.DetectSyntax(text); ok {
		f.syntax = syntax
		if len(at) > 0 {
			f.syntaxLine = at[0].Start.Line
		}
	}
	return nil
}

// look notes the stages and what their commands ask for beyond the image.
func (f *dockerfile) look(stages []instructions.Stage) {
	for i, s := range stages {
		name := s.Name
		if name == "" {
			name = strconv.Itoa(i)
		}
		f.stages = append(f.stages, name)
		for _, c := range s.Commands {
			if run, ok := c.(*instructions.RunCommand); ok {
				f.lookAt(run)
			}
		}
	}
}

func (f *dockerfile) lookAt(run *instructions.RunCommand) {
	line := 0
	if at := run.Location(); len(at) > 0 {
		line = at[0].Start.Line
	}
	if f.right.line == 0 {
		switch {
		case instructions.GetSecurity(run) == instructions.SecurityInsecure:
			f.right = right{"--security=insecure", line}
		case instructions.GetNetwork(run) == instructions.NetworkHost:
			f.right = right{"--network=host", line}
		case len(instructions.GetDevices(run)) > 0:
			f.right = right{"--device", line}
		}
	}
	f.mounting = f.mounting || slices.Contains(run.FlagsUsed, "mount")
	if run.Expand(func(word string) (string, error) { return word, nil }) != nil {
		return // the engine says what is wrong with it
	}
	for _, m := range instructions.GetMounts(run) {
		id := m.CacheID
		switch m.Type {
		case instructions.MountTypeSecret:
			if m.Source != "" {
				id = m.Source
			}
			if id == "" {
				id = path.Base(m.Target)
			}
			f.addMount(mount{models.BuildSecretMount, id, line, m.Required})
		case instructions.MountTypeSSH:
			if id == "" {
				id = "default"
			}
			f.addMount(mount{models.BuildSecretSSH, id, line, m.Required})
		}
	}
}

// addMount notes the mount, unless its id depends on an argument.
func (f *dockerfile) addMount(m mount) {
	if !strings.Contains(m.id, "$") {
		f.mounts = append(f.mounts, m)
	}
}

func (f *dockerfile) syntaxError(err error) error {
	line := 0
	if at, ok := errors.AsType[*parser.LocationError](err); ok && len(at.Locations) > 0 && len(at.Locations[0]) > 0 {
		line = at.Locations[0][0].Start.Line
	}
	text := parsePrefix.ReplaceAllString(err.Error(), "")
	f.findings = append(f.findings, models.Finding{Line: line, Rule: "Syntax", Message: text})
	if line == 0 {
		return f.failure(0, fmt.Sprintf("The Dockerfile %s has an error: %s.", f.path, text))
	}
	return f.failure(line, fmt.Sprintf("The Dockerfile %s has an error in line %d: %s.", f.path, line, text))
}

// failure is a failure of the user's in a line of the file.
func (f *dockerfile) failure(line int, message string) *builds.Error {
	e := builds.Failure(builds.ClassUser, message, nil)
	f.locate(&e.BuildError, span{line, line})
	return e
}

// locate adds the lines to a failure.
func (f *dockerfile) locate(e *models.BuildError, at span) {
	e.Dockerfile = f.path
	if at.from < 1 || at.from > len(f.lines) {
		return
	}
	at.to = min(max(at.to, at.from), len(f.lines))
	e.Line, e.EndLine = at.from, at.to
	for _, line := range f.lines[at.from-1 : min(at.to, at.from-1+maxSource)] {
		e.Source = append(e.Source, strings.ToValidUTF8(strings.TrimRight(line, "\r"), "\uFFFD"))
	}
}

// at is where the step of that name comes from. Stages from the same image
// share one step, which is named after any of them.
func (f *dockerfile) at(name string) span {
	if at, ok := f.spans[name]; ok {
		return at
	}
	if _, ref, ok := strings.Cut(name, "] FROM "); ok {
		return f.base(ref)
	}
	return span{}
}

// base is where a FROM names the image, as written or with its arguments put in.
func (f *dockerfile) base(ref string) (first span) {
	note := func(name string, at span) {
		if plain(name) == plain(ref) && (first.from == 0 || at.from < first.from) {
			first = at
		}
	}
	for name, at := range f.bases {
		note(name, at)
	}
	for step, at := range f.spans {
		if _, name, ok := strings.Cut(step, "] FROM "); ok {
			note(name, at)
		}
	}
	return first
}

// plain is an image's name without what engines add to it.
func plain(ref string) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/"), "library/"), ":latest")
}
