package buildkit

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// maxInspected is the length from which a Dockerfile is built without checks:
// what they take grows faster than the file.
const maxInspected = 1000 // lines

// unfounded are rules of the linter that need to know the base images, which are not fetched for it.
var unfounded = []string{"UndefinedVar", "WorkdirRelativePath", "InvalidBaseImagePlatform"}

// inspect lints the file and finds the lines of its steps. It works on a file that parses; what it can't tell it leaves out.
func (f *dockerfile) inspect(text []byte, r builds.Request) {
	if len(f.lines) > maxInspected {
		return
	}
	defer func() { _ = recover() }() // the converter panics on some files that the engine refuses with an error
	f.lint(text, r)
	for _, p := range targets(r.Platforms) {
		f.convert(text, r, p)
	}
}

// targets are the platforms whose steps are looked at; the names of steps may depend on them.
func targets(names []string) []*specs.Platform {
	var out []*specs.Platform
	for _, n := range names {
		if p, err := platforms.Parse(n); err == nil {
			out = append(out, &p)
		}
	}
	if len(out) == 0 {
		return []*specs.Platform{nil}
	}
	return out
}

func (f *dockerfile) conversion(text []byte, r builds.Request, target *specs.Platform) dockerfile2llb.ConvertOpt {
	source := llb.NewSourceMap(nil, f.path, "Dockerfile", text)
	source.Definition = &llb.Definition{}
	arguments := map[string]string{}
	for _, a := range r.Arguments {
		arguments[a.Name] = a.Value
	}
	return dockerfile2llb.ConvertOpt{
		Config:       dockerui.Config{BuildArgs: arguments, Target: r.Target},
		MetaResolver: anyImage{}, SourceMap: source, TargetPlatform: target,
	}
}

func (f *dockerfile) lint(text []byte, r builds.Request) {
	result, err := dockerfile2llb.DockerfileLint(context.Background(), text, f.conversion(text, r, nil))
	if err != nil {
		return
	}
	for _, w := range result.Warnings {
		if slices.Contains(unfounded, w.RuleName) {
			continue
		}
		finding := models.Finding{Rule: w.RuleName, Message: w.Detail, URL: w.URL}
		if w.Location != nil && len(w.Location.Ranges) > 0 {
			ranges := w.Location.Ranges
			finding.Line, finding.EndLine = int(ranges[0].Start.Line), int(ranges[len(ranges)-1].End.Line)
		}
		if w.RuleName == "SecretsUsedInArgOrEnv" {
			detail := strings.TrimSuffix(strings.TrimPrefix(w.Detail, "Do not use ARG or ENV instructions for sensitive data ("), ")")
			finding.Message = detail + " looks like a secret. Values of ARG and ENV stay readable in the image's history; use a build secret (RUN --mount=type=secret)."
			f.warnings = append(f.warnings, fmt.Sprintf("Line %d: %s", finding.Line, finding.Message))
		}
		f.findings = append(f.findings, finding)
	}
	slices.SortStableFunc(f.findings, func(a, b models.Finding) int { return a.Line - b.Line })
}

// convert finds the lines of the steps that the file becomes on the platform.
func (f *dockerfile) convert(text []byte, r builds.Request, target *specs.Platform) {
	result, err := dockerfile2llb.DockerfileConvertLLB(context.Background(), text, f.conversion(text, r, target))
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

// foreign is the first platform that commands run on and the engine does not have; empty where it has all of them, or
// does not say what it has. Files that are only copied need no engine of their platform.
func (f *dockerfile) foreign(r builds.Request, has []string) (name string) {
	if len(r.Platforms) == 0 || len(has) == 0 {
		return ""
	}
	native, err := platforms.Parse(has[0])
	if err != nil {
		return ""
	}
	for _, target := range r.Platforms {
		if slices.Contains(has, target) {
			continue
		}
		for _, p := range f.runsOn(r, native, target) {
			if !slices.Contains(has, p) {
				return p
			}
		}
	}
	return ""
}

// runsOn are the platforms of the commands that make the image of the target platform on an engine of the native one.
func (f *dockerfile) runsOn(r builds.Request, native specs.Platform, target string) (names []string) {
	names = []string{target}         // unless it is known better
	defer func() { _ = recover() }() // see inspect
	p, err := platforms.Parse(target)
	if err != nil || len(f.lines) > maxInspected {
		return names
	}
	o := f.conversion([]byte(strings.Join(f.lines, "\n")), r, &p)
	o.BuildPlatforms = []specs.Platform{native}
	result, err := dockerfile2llb.Dockerfile2LLB(context.Background(), []byte(strings.Join(f.lines, "\n")), o)
	if err != nil {
		return names
	}
	def, err := result.State.Marshal(context.Background(), llb.Platform(p))
	if err != nil {
		return names
	}
	found := []string{}
	for _, raw := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			return names
		}
		if op.GetExec() != nil {
			found = append(found, platformName(op.Platform.OS, op.Platform.Architecture, op.Platform.Variant))
		}
	}
	return found
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
