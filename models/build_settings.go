package models

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// CacheMode says where the results of a build's steps are kept for the next one.
type CacheMode string

// The places of the build cache.
const (
	CacheEngine   CacheMode = ""         // in the engine that ran the build
	CacheRegistry CacheMode = "registry" // also in the registry, beside the image, for all engines
)

// BuildArgument is a value for an ARG of the Dockerfile. It is no secret: it
// stays readable in the image's history and in its provenance.
type BuildArgument struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// BuildSettings says how an app's Dockerfile is built. Its zero value is an
// ordinary build of the last stage for the engine's own platform.
type BuildSettings struct {
	Arguments  []BuildArgument `json:"arguments,omitempty" doc:"Values for ARGs. They stay readable in the image: no secrets."`
	Target     string          `json:"target,omitempty" doc:"Stage of the Dockerfile; the last one where empty."`
	Platforms  []string        `json:"platforms,omitempty" doc:"Such as linux/amd64 and linux/arm64; the engine's own where empty." example:"linux/amd64"`
	Cache      CacheMode       `json:"cache,omitempty" enum:",registry" doc:"registry: keep the cache in the registry too, beside the image."`
	Provenance bool            `json:"provenance,omitempty" doc:"Attach where and how the image was built (SLSA provenance, mode=max)."`
	SBOM       bool            `json:"sbom,omitempty" doc:"Attach a bill of materials (SPDX)."`
}

// The limits of build settings.
const (
	maxArguments     = 100
	maxArgumentValue = 8 << 10
	maxPlatforms     = 8
)

var (
	argumentName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	stageName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
	platformName = regexp.MustCompile(`^linux/[a-z0-9]{2,12}(/v[0-9]{1,2})?$`)
	secretWords  = regexp.MustCompile(`(?i)(^|_)(api_?key|auth|credentials?|key|passwd|password|pword|pw|secret|token)s?($|_)`)
)

// Validate returns an Invalid error that names the fields that need attention.
func (s BuildSettings) Validate() error {
	wrong := map[string]string{}
	if message := checkArguments(s.Arguments); message != "" {
		wrong["arguments"] = message
	}
	if s.Target != "" && !stageName.MatchString(s.Target) {
		wrong["target"] = "Use the name of a stage of the Dockerfile, as after AS, or its number."
	}
	if message := checkPlatforms(s.Platforms); message != "" {
		wrong["platforms"] = message
	}
	if s.Cache != CacheEngine && s.Cache != CacheRegistry {
		wrong["cache"] = "Choose registry, or leave it empty for the engine's own cache."
	}
	return InvalidFields(wrong)
}

func checkArguments(all []BuildArgument) string {
	if len(all) > maxArguments {
		return "A build takes at most 100 arguments."
	}
	seen := map[string]bool{}
	for _, a := range all {
		switch {
		case !argumentName.MatchString(a.Name):
			return "Names of arguments are letters, digits and underscores, and begin with no digit; " + quoteShort(a.Name) + " is none."
		case strings.HasPrefix(strings.ToUpper(a.Name), "BUILDKIT_"):
			return "Arguments that begin with BUILDKIT_ steer the engine itself and are not for apps: remove " + a.Name + "."
		case seen[a.Name]:
			return "The argument " + a.Name + " is given twice."
		case len(a.Value) > maxArgumentValue || strings.ContainsFunc(a.Value, unicode.IsControl):
			return "The value of " + a.Name + " is longer than 8 KiB or has control characters."
		}
		seen[a.Name] = true
	}
	return ""
}

func quoteShort(s string) string {
	if runes := []rune(s); len(runes) > 40 {
		s = string(runes[:40]) + "…"
	}
	return "“" + s + "”"
}

func checkPlatforms(all []string) string {
	if len(all) > maxPlatforms {
		return "A build makes at most 8 platforms."
	}
	for i, p := range all {
		if !platformName.MatchString(p) {
			return "Platforms are written as linux/amd64 or linux/arm/v7; " + quoteShort(p) + " is none."
		}
		if slices.Contains(all[:i], p) {
			return "The platform " + p + " is given twice."
		}
	}
	return ""
}

// Warnings are sentences about arguments whose names say that they are secrets.
func (s BuildSettings) Warnings() []string {
	var out []string
	for _, a := range s.Arguments {
		if LooksSecret(a.Name) {
			out = append(out, "The argument "+a.Name+" looks like a secret. Arguments stay readable in the image's history; use a build secret and RUN --mount=type=secret.")
		}
	}
	return out
}

// LooksSecret tells whether an argument or a variable of the name is likely to hold a secret.
func LooksSecret(name string) bool {
	return secretWords.MatchString(name) && !strings.Contains(strings.ToLower(name), "public")
}

// BuildSecretKind says how a build gets at a secret.
type BuildSecretKind string

// The kinds of build secrets.
const (
	BuildSecretMount BuildSecretKind = "secret" // RUN --mount=type=secret,id=NAME
	BuildSecretSSH   BuildSecretKind = "ssh"    // RUN --mount=type=ssh,id=NAME: the key itself never reaches the build
)

// BuildSecret is a value that commands of a build may read and that never
// becomes part of the image. It belongs to an app of one repository and is
// sealed for that repository alone.
type BuildSecret struct {
	ID           string `gorm:"primaryKey"`
	AppID        string
	RepositoryID string
	Kind         BuildSecretKind
	Name         string // the mount's id
	Sealed       []byte
	Public       string   // of an SSH key: its public half
	Fingerprint  string   // changes whenever the value changes
	Branches     []string `gorm:"serializer:json"` // patterns; empty: every branch and tag of the repository
	UpdatedBy    string
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Place is what the secret's sealed value is bound to.
func (s *BuildSecret) Place() string { return "build_secrets/" + s.RepositoryID + "/" + s.ID }

// OnBranch tells whether code of the branch may have the secret.
func (s *BuildSecret) OnBranch(name string) bool {
	return len(s.Branches) == 0 || slices.ContainsFunc(s.Branches, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// Finding is what the checks of a Dockerfile say about a line.
type Finding struct {
	Line    int    `json:"line" doc:"1-based; 0: the whole file."`
	EndLine int    `json:"end_line,omitempty"`
	Rule    string `json:"rule" example:"StageNameCasing"`
	Message string `json:"message"`
	URL     string `json:"url,omitempty" doc:"What the rule is about."`
}

// BuildDockerfile is the Dockerfile of a build as it was at the build's commit, with what its checks say.
type BuildDockerfile struct {
	BuildID  string `gorm:"primaryKey"`
	Path     string
	Text     string
	Findings []Finding `gorm:"serializer:json"`
}

// BuildEngine is a BuildKit daemon that builds run on, managed by admins.
type BuildEngine struct {
	ID        string `gorm:"primaryKey"`
	Name      string
	Address   string // tcp://HOST:PORT
	Sealed    []byte // encrypted certificates and key
	MaxBuilds int    // at once
	Enabled   bool
	Version   string            // as it last said
	Platforms []string          `gorm:"serializer:json"` // the native one first
	Labels    map[string]string `gorm:"serializer:json"`
	Error     string            // why it did not answer last, for people
	CheckedAt *time.Time
	CreatedAt time.Time
	UpdatedAt time.Time
}
