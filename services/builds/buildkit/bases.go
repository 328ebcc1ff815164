package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	dockerref "github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/logs"
)

// use is a place in a Dockerfile that names an image.
type use struct {
	before string // what stands before the word: --from= of a COPY, empty of a FROM
	word   string // as written
	image  string // with the file's arguments put in
	at     span
}

// uses finds the images that the file names and that are known without the
// engine. What depends on the platform that is built for is left out.
func uses(stages []instructions.Stage, meta []instructions.ArgCommand, escape rune, arguments map[string]string) (found []use) {
	lex := shell.NewLex(escape)
	values := argumentsOf(lex, meta, arguments)
	known := map[string]bool{"scratch": true}
	add := func(before, word, image string, at []parser.Range) {
		if _, err := strconv.Atoi(image); image == "" || err == nil || known[strings.ToLower(image)] || len(at) == 0 {
			return
		}
		found = append(found, use{before, word, image, span{at[0].Start.Line, at[len(at)-1].End.Line}})
	}
	for _, s := range stages {
		image, unmatched, err := lex.ProcessWord(s.BaseName, values)
		if err == nil && len(unmatched) == 0 && !known[strings.ToLower(s.BaseName)] {
			add("", s.BaseName, image, s.Location)
		}
		for _, c := range s.Commands {
			switch c := c.(type) {
			case *instructions.CopyCommand:
				if !strings.Contains(c.From, "$") {
					add("--from=", c.From, c.From, c.Location())
				}
			case *instructions.RunCommand:
				for _, m := range instructions.GetMounts(c) {
					if !strings.Contains(m.From, "$") {
						add("from=", m.From, m.From, c.Location())
					}
				}
			}
		}
		if s.Name != "" {
			known[strings.ToLower(s.Name)] = true
		}
	}
	return found
}

// argumentsOf are the values of the arguments before the first FROM.
func argumentsOf(lex *shell.Lex, meta []instructions.ArgCommand, given map[string]string) shell.EnvGetter {
	var pairs []string
	for _, c := range meta {
		for _, a := range c.Args {
			value, ok := given[a.Key]
			if !ok && a.Value != nil {
				var err error
				if value, _, err = lex.ProcessWord(*a.Value, shell.EnvsFromSlice(pairs)); err != nil {
					continue
				}
				ok = true
			}
			if ok {
				pairs = append(pairs, a.Key+"="+value)
			}
		}
	}
	return shell.EnvsFromSlice(pairs)
}

// cached is the image's name in the cache, where that has its registry.
func cached(image string, from builds.Bases) (name string, ok bool) {
	named, err := dockerref.ParseNormalizedNamed(image)
	if err != nil {
		return "", false
	}
	under, ok := from.Under[dockerref.Domain(named)]
	if !ok {
		return "", false
	}
	named = dockerref.TagNameOnly(named)
	rest := strings.TrimPrefix(named.String(), dockerref.Domain(named)+"/")
	return from.Host + "/" + under + "/" + rest, true
}

// rebase writes the Dockerfile anew, beside the checkout, with the names of base
// images in the cache, and has the build use it. An image that the cache can't
// give keeps its own name, with a line in the log. It tells whether any is taken from the cache.
//
// Named contexts of the frontend would do the same on BuildKit 0.10 and later
// alone, and replace a stage that is named like its own base.
func (f *dockerfile) rebase(ctx context.Context, r builds.Request, emit func(builds.Event)) (bool, error) {
	if len(r.Bases.Under) == 0 || len(f.uses) == 0 {
		return false, nil
	}
	lines := slices.Clone(f.lines)
	checked := map[string]error{}
	done := false
	for _, u := range f.uses {
		name, ok := cached(u.image, r.Bases)
		if !ok {
			continue
		}
		err, known := checked[name]
		if !known {
			err = r.Bases.Check(ctx, name)
			checked[name] = err
			tellBase(emit, u.image, err)
		}
		if err == nil && replace(lines, u, name) {
			done = true
		}
	}
	if !done {
		return false, nil
	}
	return true, f.write(lines, r)
}

// replace puts the name in the place of the word, and tells whether it found it.
func replace(lines []string, u use, name string) bool {
	before := `(^|\s)`
	if u.before != "" {
		before = `(^|[\s,])` + regexp.QuoteMeta(u.before)
	}
	word := regexp.MustCompile(before + `(` + regexp.QuoteMeta(u.word) + `)(\s|,|$)`)
	for i := u.at.from - 1; i >= 0 && i < min(u.at.to, len(lines)); i++ {
		if m := word.FindStringSubmatchIndex(lines[i]); m != nil {
			lines[i] = lines[i][:m[4]] + name + lines[i][m[5]:]
			return true
		}
	}
	return false
}

// write makes the lines the file that the engine reads, with the list of ignored files that goes with it.
func (f *dockerfile) write(lines []string, r builds.Request) error {
	folder := filepath.Join(r.Scratch, "dockerfile")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	name := filepath.Base(f.real)
	if err := os.WriteFile(filepath.Join(folder, name), []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		return err
	}
	if err := copyIgnored(f.real+".dockerignore", filepath.Join(folder, name+".dockerignore")); err != nil {
		return err
	}
	f.real = filepath.Join(folder, name)
	return nil
}

// copyIgnored copies a list of ignored files, where it is an ordinary file.
func copyIgnored(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, maxDockerfile))
	return errors.Join(err, out.Close())
}

// told is why the cache can't give an image.
func told(err error) string {
	if e, ok := errors.AsType[*models.Error](err); ok {
		return e.Message
	}
	return "The cache does not answer."
}

func tellBase(emit func(builds.Event), image string, err error) {
	line := fmt.Sprintf("The base image %s comes through the portal's cache.\n", image)
	if err != nil {
		line = fmt.Sprintf("The base image %s comes from its own registry. %s\n", image, told(err))
	}
	emit(builds.Event{At: time.Now(), Stream: logs.Slipway, Output: []byte(line)})
}

// original gives base images in the engine's words the names that the Dockerfile has.
func (f *dockerfile) original(text string) string {
	for host, under := range f.from.Under {
		text = strings.ReplaceAll(text, f.from.Host+"/"+under+"/", host+"/")
	}
	return text
}

// ofCache tells whether the build failed since the cache did not give what it has.
func ofCache(err error, from builds.Bases) bool {
	failed, ok := errors.AsType[*builds.Error](err)
	if !ok || failed.Lost || failed.ExitCode != 0 || failed.Err == nil {
		return false
	}
	text := failed.Err.Error()
	for _, under := range from.Under {
		if strings.Contains(text, from.Host+"/"+under+"/") || strings.Contains(text, "/v2/"+under+"/") {
			return true
		}
	}
	return false
}
