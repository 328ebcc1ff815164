package images

import (
	"slices"
	"strings"
	"time"

	"slipway.dev/models"
)

// document is what the passport needs of a manifest or an index.
type document struct {
	Config    *descriptor  `json:"config"`
	Layers    []descriptor `json:"layers"`
	Manifests []descriptor `json:"manifests"`
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

func imageConfig(mediaType string) bool {
	return mediaType == "application/vnd.oci.image.config.v1+json" || mediaType == "application/vnd.docker.container.image.v1+json"
}

// config is what the passport needs of an image's config (OCI image specification, Docker's HEALTHCHECK beside it).
type config struct {
	OS           string     `json:"os"`
	Architecture string     `json:"architecture"`
	Variant      string     `json:"variant"`
	Created      *time.Time `json:"created"`
	Config       struct {
		User         string              `json:"User"`
		WorkingDir   string              `json:"WorkingDir"`
		Entrypoint   []string            `json:"Entrypoint"`
		Cmd          []string            `json:"Cmd"`
		Env          []string            `json:"Env"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts"`
		Volumes      map[string]struct{} `json:"Volumes"`
		StopSignal   string              `json:"StopSignal"`
		Labels       map[string]string   `json:"Labels"`
		Healthcheck  struct {
			Test []string `json:"Test"`
		} `json:"Healthcheck"`
	} `json:"config"`
	History []step `json:"history"`
}

type step struct {
	Created    *time.Time `json:"created"`
	CreatedBy  string     `json:"created_by"`
	Comment    string     `json:"comment"`
	EmptyLayer bool       `json:"empty_layer"`
}

func (c config) public() *models.ImageConfig {
	name := strings.Trim(strings.Join([]string{c.OS, c.Architecture, c.Variant}, "/"), "/")
	return &models.ImageConfig{
		Platform: name, Created: known(c.Created), User: c.Config.User, WorkingDir: c.Config.WorkingDir,
		Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd, Env: c.Config.Env,
		ExposedPorts: keys(c.Config.ExposedPorts), Volumes: keys(c.Config.Volumes),
		StopSignal: c.Config.StopSignal, Labels: c.Config.Labels, Healthcheck: c.Config.Healthcheck.Test,
	}
}

// known leaves out the times that reproducible builds put in place of one.
func known(t *time.Time) *time.Time {
	if t == nil || t.Unix() <= 0 {
		return nil
	}
	return t
}

func keys(set map[string]struct{}) []string {
	var out []string
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// layers matches the history with the layers: every step that is not empty
// made the next layer. Layers beyond the history stand alone.
func (c config) layers(doc document) []models.ImageLayer {
	rest := doc.Layers
	var out []models.ImageLayer
	for _, h := range c.History {
		l := models.ImageLayer{Instruction: instruction(h.CreatedBy), Comment: h.Comment, CreatedAt: known(h.Created)}
		if !h.EmptyLayer && len(rest) > 0 {
			l.Digest, l.MediaType, l.Size = rest[0].Digest, rest[0].MediaType, rest[0].Size
			rest = rest[1:]
		}
		out = append(out, l)
	}
	return append(out, plainLayers(document{Layers: rest})...)
}

func plainLayers(doc document) []models.ImageLayer {
	var out []models.ImageLayer
	for _, d := range doc.Layers {
		out = append(out, models.ImageLayer{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size})
	}
	return out
}

// instruction turns what builders write into history back into the Dockerfile's words.
func instruction(createdBy string) string {
	s := strings.TrimSpace(strings.TrimSuffix(createdBy, "# buildkit"))
	if nop, ok := strings.CutPrefix(s, "/bin/sh -c #(nop)"); ok {
		return strings.Join(strings.Fields(nop), " ")
	}
	if strings.HasPrefix(s, "RUN ") { // RUN /bin/sh -c …, or RUN |1 ARG=value /bin/sh -c …
		if _, run, ok := strings.Cut(s, "/bin/sh -c "); ok {
			return "RUN " + run
		}
	}
	if run, ok := strings.CutPrefix(s, "/bin/sh -c "); ok {
		return "RUN " + run
	}
	return s
}
