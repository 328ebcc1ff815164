package images

import (
	"maps"
	"slices"
	"strings"
	"time"

	"slipway.dev/models"
)

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

// What a page shows of what anybody may have pushed.
const (
	maxEntries = 300  // layers, labels, variables
	maxText    = 4000 // bytes of one of them
)

// clip shortens a text that is too long for a page.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

func clipAll(all []string) []string {
	out := make([]string, 0, min(len(all), maxEntries))
	for _, s := range all[:min(len(all), maxEntries)] {
		out = append(out, clip(s))
	}
	return out
}

func clipMap(m map[string]string) map[string]string {
	out := make(map[string]string, min(len(m), maxEntries))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if len(out) == maxEntries {
			break
		}
		out[clip(k)] = clip(m[k])
	}
	return out
}

func (c config) public() *models.ImageConfig {
	name := strings.Trim(strings.Join([]string{c.OS, c.Architecture, c.Variant}, "/"), "/")
	return &models.ImageConfig{
		Platform: clip(name), Created: known(c.Created), User: clip(c.Config.User), WorkingDir: clip(c.Config.WorkingDir),
		Entrypoint: clipAll(c.Config.Entrypoint), Cmd: clipAll(c.Config.Cmd), Env: clipAll(c.Config.Env),
		ExposedPorts: keys(c.Config.ExposedPorts), Volumes: keys(c.Config.Volumes),
		StopSignal: clip(c.Config.StopSignal), Labels: clipMap(c.Config.Labels), Healthcheck: clipAll(c.Config.Healthcheck.Test),
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
	return clipAll(out)
}

// layers matches the history with the layers: every step that is not empty
// made the next layer. Layers beyond the history stand alone.
func (c config) layers(doc *document) []models.ImageLayer {
	rest := doc.Layers
	var out []models.ImageLayer
	for _, h := range c.History[:min(len(c.History), maxEntries)] {
		l := models.ImageLayer{Instruction: clip(instruction(h.CreatedBy)), Comment: clip(h.Comment), CreatedAt: known(h.Created)}
		if !h.EmptyLayer && len(rest) > 0 {
			l.Digest, l.MediaType, l.Size = rest[0].Digest, clip(rest[0].MediaType), rest[0].Size
			rest = rest[1:]
		}
		out = append(out, l)
	}
	out = append(out, plainLayers(rest)...)
	return out[:min(len(out), maxEntries)]
}

func plainLayers(layers []descriptor) []models.ImageLayer {
	var out []models.ImageLayer
	for _, d := range layers[:min(len(layers), maxEntries)] {
		out = append(out, models.ImageLayer{Digest: d.Digest, MediaType: clip(d.MediaType), Size: d.Size, Title: clip(d.Annotations[annotationTitle])})
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
	if exposed, ok := strings.CutPrefix(s, "EXPOSE map["); ok { // BuildKit prints its set of ports: EXPOSE map[8080/tcp:{}]
		return "EXPOSE " + strings.TrimSuffix(strings.ReplaceAll(exposed, ":{}", ""), "]")
	}
	return s
}
