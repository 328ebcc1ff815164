package buildkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/opencontainers/go-digest"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

const (
	maxDockerfile = 1 << 20
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
	heredoc    int             // the line of the first here-document
	syntax     string          // what a "# syntax=" line names
	syntaxLine int
	warnings   []string
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
	if err := f.parse(text); err != nil {
		return nil, err
	}
	f.inspect(text)
	return f, nil
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
func (f *dockerfile) parse(text []byte) error {
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return f.syntaxError(err)
	}
	stages, _, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return f.syntaxError(err)
	}
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

func (f *dockerfile) syntaxError(err error) error {
	line := 0
	if at, ok := errors.AsType[*parser.LocationError](err); ok && len(at.Locations) > 0 && len(at.Locations[0]) > 0 {
		line = at.Locations[0][0].Start.Line
	}
	text := parsePrefix.ReplaceAllString(err.Error(), "")
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

// base is where a FROM names the image.
func (f *dockerfile) base(ref string) (first span) {
	for name, at := range f.bases {
		if plain(name) == plain(ref) && (first.from == 0 || at.from < first.from) {
			first = at
		}
	}
	return first
}

// plain is an image's name without what engines add to it.
func plain(ref string) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/"), "library/"), ":latest")
}

// unfounded are rules of the linter that need to know the base images, which are not fetched for it.
var unfounded = []string{"UndefinedVar", "WorkdirRelativePath", "InvalidBaseImagePlatform"}

// inspect lints the file and finds the lines of its steps. It works on a file that parses; what it can't tell it leaves out.
func (f *dockerfile) inspect(text []byte) {
	defer func() { _ = recover() }() // the converter panics on some files that the engine refuses with an error
	options := func() dockerfile2llb.ConvertOpt {
		source := llb.NewSourceMap(nil, f.path, "Dockerfile", text)
		source.Definition = &llb.Definition{}
		return dockerfile2llb.ConvertOpt{Config: dockerui.Config{}, MetaResolver: anyImage{}, SourceMap: source}
	}
	ctx := context.Background()
	if result, err := dockerfile2llb.DockerfileLint(ctx, text, options()); err == nil {
		for _, w := range result.Warnings {
			line := 0
			if w.Location != nil && len(w.Location.Ranges) > 0 {
				line = int(w.Location.Ranges[0].Start.Line)
			}
			f.warn(w.RuleName, line, w.Detail)
		}
	}
	result, err := dockerfile2llb.DockerfileConvertLLB(ctx, text, options())
	if err != nil {
		return
	}
	for id, meta := range result.Metadata {
		at := result.Source.Locations[string(id)]
		if at == nil || len(at.Locations) == 0 || len(at.Locations[0].Ranges) == 0 {
			continue
		}
		ranges := at.Locations[0].Ranges
		f.spans[stepName(meta.Description["llb.customname"])] = span{int(ranges[0].Start.Line), int(ranges[len(ranges)-1].End.Line)}
	}
}

func (f *dockerfile) warn(rule string, line int, detail string) {
	if slices.Contains(unfounded, rule) {
		return
	}
	if rule == "SecretsUsedInArgOrEnv" {
		detail = strings.TrimSuffix(strings.TrimPrefix(detail, "Do not use ARG or ENV instructions for sensitive data ("), ")")
		text := fmt.Sprintf("Line %d: %s looks like a secret. Values of ARG and ENV stay readable in the image's history; use a secret mount (RUN --mount=type=secret).", line, detail)
		f.warnings = append([]string{text}, f.warnings...)
		return
	}
	f.warnings = append(f.warnings, fmt.Sprintf("Line %d: %s", line, detail))
}

// anyImage lets every base image be one of this platform that sets nothing.
type anyImage struct{}

// ResolveImageConfig returns the config of an image with one layer; one without layers would count as scratch.
func (anyImage) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return ref, "", fmt.Appendf(nil, `{"architecture":%q,"os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%064d"]}}`, runtime.GOARCH, 0), nil
}

var (
	stepPattern = regexp.MustCompile(`^\[(?:linux/\S+ )?(?:(\S+) )?(\d+)/(\d+)\] `)
	platform    = regexp.MustCompile(`^\[linux/\S+ `)
	atDigest    = regexp.MustCompile(`@sha256:[0-9a-f]{64}`)
)

// stepName is the name of a step as the file's own conversion has it too.
func stepName(name string) string {
	return atDigest.ReplaceAllString(platform.ReplaceAllString(name, "["), "")
}

// stage is the stage in a step's name, empty where the file has one without a name.
func stage(name string) string {
	if m := stepPattern.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return ""
}
