package images

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"slipway.dev/models"
)

const maxMaterials = 300 // of one attestation that are shown

// statement is an in-toto statement, versions 0.1 and 1
// (github.com/in-toto/attestation/tree/main/spec).
type statement struct {
	Type          string          `json:"_type"`
	PredicateType string          `json:"predicateType"`
	Subject       []resource      `json:"subject"`
	Predicate     json.RawMessage `json:"predicate"`
}

// resource is in-toto's descriptor of something that has a digest.
type resource struct {
	Name   string            `json:"name"`
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// envelope is what signed statements come in: DSSE's own form, or Sigstore's bundle around it.
type envelope struct {
	PayloadType string            `json:"payloadType"`
	Payload     string            `json:"payload"`
	Signatures  []json.RawMessage `json:"signatures"`
	DSSE        *envelope         `json:"dsseEnvelope"`
}

// unwrap takes the envelope and the statement off a document. What has neither is its own predicate.
func unwrap(b []byte) (said *models.Statement, predicate []byte, signed bool) {
	var e envelope
	if json.Unmarshal(b, &e) == nil {
		if e.DSSE != nil {
			e = *e.DSSE
		}
		if payload, err := base64.StdEncoding.DecodeString(e.Payload); err == nil && len(payload) > 0 {
			b, signed = payload, len(e.Signatures) > 0
		}
	}
	var s statement
	if json.Unmarshal(b, &s) != nil || s.PredicateType == "" {
		return nil, b, signed
	}
	return &models.Statement{PredicateType: clip(s.PredicateType), Subjects: materials(s.Subject)}, s.Predicate, signed
}

func materials(all []resource) []models.Material {
	var out []models.Material
	for _, r := range all[:min(len(all), maxMaterials)] {
		m := models.Material{URI: clip(r.URI)}
		if m.URI == "" {
			m.URI = clip(r.Name)
		}
		m.Digest = clip(digestOf(r.Digest))
		out = append(out, m)
	}
	return out
}

// digestOf is the digest with the strongest algorithm of those that are given.
func digestOf(m map[string]string) string {
	for _, name := range []string{"sha512", "sha256", "sha1", "gitCommit"} {
		if m[name] != "" {
			return name + ":" + m[name]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		return name + ":" + m[name]
	}
	return ""
}

// provenance has the fields of SLSA's predicate 0.2 and 1 (slsa.dev/spec).
type provenance struct {
	Builder    struct{ ID string } `json:"builder"`
	BuildType  string              `json:"buildType"`
	Invocation struct {
		ConfigSource origin          `json:"configSource"`
		Parameters   json.RawMessage `json:"parameters"`
	} `json:"invocation"`
	Metadata  times      `json:"metadata"`
	Materials []resource `json:"materials"`

	BuildDefinition struct {
		BuildType            string          `json:"buildType"`
		ExternalParameters   json.RawMessage `json:"externalParameters"`
		ResolvedDependencies []resource      `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder  struct{ ID string } `json:"builder"`
		Metadata times               `json:"metadata"`
	} `json:"runDetails"`
}

// origin is where the description of a build came from.
type origin struct {
	resource
	EntryPoint string `json:"entryPoint"`
}

type times struct {
	BuildInvocationID string `json:"buildInvocationID"`
	BuildStartedOn    string `json:"buildStartedOn"`
	BuildFinishedOn   string `json:"buildFinishedOn"`
	InvocationID      string `json:"invocationId"`
	StartedOn         string `json:"startedOn"`
	FinishedOn        string `json:"finishedOn"`
}

// readProvenance reads SLSA's predicate; what is none reads as an empty one.
func readProvenance(predicate []byte) *models.Provenance {
	var p provenance
	if json.Unmarshal(predicate, &p) != nil {
		return &models.Provenance{}
	}
	out := &models.Provenance{
		Builder: clip(cmp.Or(p.RunDetails.Builder.ID, p.Builder.ID)), BuildType: clip(cmp.Or(p.BuildDefinition.BuildType, p.BuildType)),
		Run:       clip(cmp.Or(p.RunDetails.Metadata.InvocationID, p.Metadata.InvocationID, p.Metadata.BuildInvocationID)),
		StartedAt: moment(p.RunDetails.Metadata.StartedOn, p.Metadata.BuildStartedOn), FinishedAt: moment(p.RunDetails.Metadata.FinishedOn, p.Metadata.BuildFinishedOn),
		Source: clip(p.Invocation.ConfigSource.URI), Commit: clip(commitOf(p.Invocation.ConfigSource.Digest)),
		Materials: materials(append(p.Materials, p.BuildDefinition.ResolvedDependencies...)),
	}
	out.EntryPoint = clip(p.Invocation.ConfigSource.EntryPoint)
	out.Parameters = append(parameters(p.Invocation.Parameters), parameters(p.BuildDefinition.ExternalParameters)...)
	fillSource(out, p.BuildDefinition.ExternalParameters)
	return out
}

// externalParameters are the places where builders of SLSA 1 say what they built from:
// BuildKit its configSource, GitHub Actions its workflow.
type externalParameters struct {
	ConfigSource struct {
		URI    string            `json:"uri"`
		Digest map[string]string `json:"digest"`
		Path   string            `json:"path"`
	} `json:"configSource"`
	Workflow struct {
		Repository string `json:"repository"`
		Ref        string `json:"ref"`
		Path       string `json:"path"`
	} `json:"workflow"`
}

// fillSource says what was built, for SLSA 1. The commit is then that of the material which is the source.
func fillSource(out *models.Provenance, raw json.RawMessage) {
	var e externalParameters
	if len(raw) == 0 || json.Unmarshal(raw, &e) != nil {
		return
	}
	out.Source = cmp.Or(out.Source, clip(e.ConfigSource.URI), clip(e.Workflow.Repository))
	out.EntryPoint = cmp.Or(out.EntryPoint, clip(e.ConfigSource.Path), clip(e.Workflow.Path))
	out.Commit = cmp.Or(out.Commit, clip(commitOf(e.ConfigSource.Digest)))
	for _, m := range out.Materials {
		if commit, found := strings.CutPrefix(m.Digest, "gitCommit:"); found && out.Commit == "" && out.Source != "" && strings.Contains(m.URI, out.Source) {
			out.Commit = commit
		}
	}
}

// commitOf is the commit among the digests of a source.
func commitOf(digests map[string]string) string { return cmp.Or(digests["gitCommit"], digests["sha1"]) }

// parameters are the members of a JSON object, each with its value as JSON or, for a text, as it is.
func parameters(raw json.RawMessage) []models.Parameter {
	var all map[string]json.RawMessage
	if len(raw) == 0 || json.Unmarshal(raw, &all) != nil {
		return nil
	}
	var out []models.Parameter
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if len(out) == maxEntries {
			break
		}
		value := string(all[name])
		var text string
		if json.Unmarshal(all[name], &text) == nil {
			value = text
		}
		if value != "" && value != "{}" && value != "null" {
			out = append(out, models.Parameter{Name: clip(name), Value: clip(value)})
		}
	}
	return out
}

// moment reads the first time that is given (RFC 3339).
func moment(texts ...string) *time.Time {
	t, err := time.Parse(time.RFC3339, cmp.Or(texts...))
	if err != nil {
		return nil
	}
	return known(&t)
}
