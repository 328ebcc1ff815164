package catalog

import (
	"bytes"
	"context"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"slipway.dev/models"
	"slipway.dev/services/git"
)

// maxDetected is how many apps a repository is offered.
const maxDetected = 50

// detect finds the Dockerfiles of a commit and proposes an app for each.
func (s *Service) detect(ctx context.Context, r *models.Repository, commit string) ([]models.DetectedDockerfile, error) {
	files, err := s.Git.Files(ctx, r.ID, commit)
	if err != nil {
		return nil, err
	}
	tree := newTree(files)
	var found []models.DetectedDockerfile
	names := map[string]bool{}
	for _, name := range git.Dockerfiles(files) {
		content, err := s.Git.ReadFile(ctx, r.ID, commit, name, 0)
		if models.IsCode(err, models.NotFound) { // a symbolic link
			continue
		}
		if err != nil {
			return nil, err
		}
		stages := parseDockerfile(content)
		found = append(found, models.DetectedDockerfile{RepositoryID: r.ID, Path: name, Name: unique(names, proposeName(r.Name, name)),
			Context: proposeContext(stages, name, tree), Port: exposed(stages)})
		if len(found) == maxDetected {
			break
		}
	}
	return found, nil
}

// parseDockerfile returns the stages of a Dockerfile, none when it can't be read: its build will say what is wrong.
func parseDockerfile(content []byte) []instructions.Stage {
	tree, err := parser.Parse(bytes.NewReader(content))
	if err != nil {
		return nil
	}
	stages, _, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return nil
	}
	return stages
}

// proposeName names an app after the folder of its Dockerfile, or the repository at the top, with the Dockerfile's own
// suffix or prefix: services/api/Dockerfile → api, Dockerfile.worker in shop → shop-worker, web.Dockerfile → web.
func proposeName(repository, name string) string {
	base := repository
	if dir := path.Dir(name); dir != "." {
		base = path.Base(dir)
	}
	kind := strings.ToLower(path.Base(name))
	for _, word := range []string{"dockerfile", "containerfile"} {
		if suffix, ok := strings.CutPrefix(kind, word+"."); ok {
			base += "-" + suffix
		}
		if prefix, ok := strings.CutSuffix(kind, "."+word); ok {
			base = prefix
		}
	}
	if proposed := label(base); proposed != "" {
		return proposed
	}
	return label(repository)
}

func unique(taken map[string]bool, name string) string {
	free := name
	for n := 2; taken[free]; n++ {
		free = numbered(name, n)
	}
	taken[free] = true
	return free
}

// tree knows every file and folder of a commit.
type tree map[string]bool

func newTree(files []git.File) tree {
	t := tree{".": true}
	for _, file := range files {
		for name := file.Path; !t[name]; name = path.Dir(name) {
			t[name] = true
		}
	}
	return t
}

// proposeContext is the Dockerfile's folder, or the top of the repository where the files that the Dockerfile copies
// are found only from there.
func proposeContext(stages []instructions.Stage, name string, t tree) string {
	dir := path.Dir(name)
	if dir == "." {
		return "."
	}
	local, top := true, true
	for _, source := range copied(stages) {
		local = local && t[path.Join(dir, source)]
		top = top && t[path.Clean(source)]
	}
	if !local && top {
		return "."
	}
	return dir
}

// copied lists the plain paths that a Dockerfile copies from its context.
func copied(stages []instructions.Stage) []string {
	var sources []string
	for _, stage := range stages {
		for _, command := range stage.Commands {
			switch c := command.(type) {
			case *instructions.CopyCommand:
				if c.From == "" {
					sources = append(sources, c.SourcePaths...)
				}
			case *instructions.AddCommand:
				sources = append(sources, c.SourcePaths...)
			}
		}
	}
	for i := range sources {
		sources[i] = strings.TrimPrefix(sources[i], "/")
	}
	return slices.DeleteFunc(sources, func(s string) bool { return strings.ContainsAny(s, "*?[$\\:") || strings.HasPrefix(s, "..") })
}

var plainVariable = regexp.MustCompile(`^\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?$`)

// exposed is the port of the last EXPOSE in the final stage, 0 where it names none. A variable is looked up in the
// stage's own ENV and ARG.
func exposed(stages []instructions.Stage) int {
	if len(stages) == 0 {
		return 0
	}
	port, variables := 0, map[string]string{}
	for _, command := range stages[len(stages)-1].Commands {
		switch c := command.(type) {
		case *instructions.EnvCommand:
			for _, pair := range c.Env {
				variables[pair.Key] = pair.Value
			}
		case *instructions.ArgCommand:
			for _, pair := range c.Args {
				if pair.Value != nil {
					variables[pair.Key] = *pair.Value
				}
			}
		case *instructions.ExposeCommand:
			for _, text := range c.Ports {
				port = portIn(text, variables, port)
			}
		}
	}
	return port
}

func portIn(text string, variables map[string]string, before int) int {
	text, protocol, _ := strings.Cut(text, "/")
	if name := plainVariable.FindStringSubmatch(text); name != nil {
		text = variables[name[1]]
	}
	n, err := strconv.Atoi(strings.Trim(text, `"'`))
	if err != nil || n < 1 || n > 65535 || protocol == "udp" {
		return before
	}
	return n
}
