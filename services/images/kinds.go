package images

import (
	"strings"

	"slipway.dev/models"
)

// How an artifact about an image was found.
const (
	ViaSubject = "subject" // its manifest says what it is about (OCI 1.1)
	ViaIndex   = "index"   // BuildKit put it into the index beside the image
	ViaTag     = "tag"     // cosign's and OCI's schemes of tags for registries without referrers
)

// kind is what a file is, for programs and in words.
type kind struct {
	document models.DocumentKind
	words    string
}

// kinds are the types that are understood: of in-toto's predicates, of media,
// and of artifacts. The first whose beginning fits counts.
var kinds = []struct {
	prefix string
	kind
}{
	{"https://spdx.dev/Document", kind{models.DocumentSBOM, "SBOM (SPDX)"}},
	{"https://cyclonedx.org/bom", kind{models.DocumentSBOM, "SBOM (CycloneDX)"}},
	{"https://slsa.dev/provenance/v1", kind{models.DocumentProvenance, "Provenance (SLSA 1)"}},
	{"https://slsa.dev/provenance/", kind{models.DocumentProvenance, "Provenance (SLSA 0.2)"}},
	{"https://slsa.dev/verification_summary", kind{models.DocumentStatement, "Verification summary (SLSA)"}},
	{"https://openvex.dev/", kind{models.DocumentStatement, "VEX (OpenVEX)"}},
	{"https://in-toto.io/attestation/vuln", kind{models.DocumentStatement, "Vulnerability report"}},
	{"https://cosign.sigstore.dev/attestation/vuln", kind{models.DocumentStatement, "Vulnerability report"}},
	{"https://in-toto.io/attestation/test-result", kind{models.DocumentStatement, "Test result"}},
	{"https://sigstore.dev/cosign/sign", kind{models.DocumentSignature, "Signature (cosign)"}},
	{"application/spdx+json", kind{models.DocumentSBOM, "SBOM (SPDX)"}},
	{"text/spdx", kind{models.DocumentOther, "SBOM (SPDX, as text)"}},
	{"application/vnd.cyclonedx+json", kind{models.DocumentSBOM, "SBOM (CycloneDX)"}},
	{"application/vnd.cyclonedx", kind{models.DocumentOther, "SBOM (CycloneDX, as XML)"}},
	{"application/vnd.syft+json", kind{models.DocumentOther, "SBOM (Syft)"}},
	{"application/vnd.in-toto", kind{models.DocumentStatement, "Attestation (in-toto)"}},
	{"application/vnd.dsse.envelope", kind{models.DocumentStatement, "Attestation (in-toto)"}},
	{"application/vnd.dev.sigstore.bundle", kind{models.DocumentStatement, "Signed statement (Sigstore)"}},
	{"application/vnd.dev.cosign", kind{models.DocumentSignature, "Signature (cosign)"}},
	{"application/vnd.cncf.notary.signature", kind{models.DocumentSignature, "Signature (Notary Project)"}},
	{"application/jose+json", kind{models.DocumentSignature, "Signature (JWS)"}},
	{"application/cose", kind{models.DocumentSignature, "Signature (COSE)"}},
	{"application/sarif+json", kind{models.DocumentOther, "Scan report (SARIF)"}},
	{"application/vnd.cncf.helm.config", kind{models.DocumentConfig, "Helm chart"}},
	{"application/vnd.cncf.helm.chart.provenance", kind{models.DocumentSignature, "Signature of a Helm chart"}},
	{"application/vnd.cncf.helm", kind{models.DocumentOther, "Helm chart"}},
	{"application/vnd.wasm.config", kind{models.DocumentConfig, "WebAssembly module"}},
	{"application/vnd.wasm", kind{models.DocumentOther, "WebAssembly module"}},
	{"application/wasm", kind{models.DocumentOther, "WebAssembly module"}},
	{"application/vnd.cncf.flux", kind{models.DocumentOther, "Flux source"}},
	{"application/vnd.cncf.openpolicyagent", kind{models.DocumentOther, "Policy (OPA)"}},
	{"application/vnd.docker.compose", kind{models.DocumentOther, "Compose application"}},
	{"application/vnd.buildkit.cacheconfig", kind{models.DocumentConfig, "Build cache (BuildKit)"}},
	{"application/vnd.docker.plugin", kind{models.DocumentConfig, "Docker plugin"}},
	{"application/vnd.oci.image.config", kind{models.DocumentConfig, "Image configuration"}},
	{"application/vnd.docker.container.image", kind{models.DocumentConfig, "Image configuration"}},
	{"application/vnd.oci.image.index", kind{models.DocumentOther, "Index of images"}},
	{"application/vnd.docker.distribution.manifest.list", kind{models.DocumentOther, "Index of images"}},
	{"application/vnd.oci.image.layer", kind{models.DocumentOther, "Layer"}},
	{"application/vnd.docker.image.rootfs", kind{models.DocumentOther, "Layer"}},
	{"application/vnd.oci.empty", kind{models.DocumentOther, "Artifact"}},
}

// kindOf tells what the first of the types that is understood means. The
// words of a type that nobody here knows are the type itself.
func kindOf(types ...string) kind {
	for _, t := range types {
		for _, k := range kinds {
			if t != "" && strings.HasPrefix(t, k.prefix) {
				return k.kind
			}
		}
	}
	for _, t := range types {
		if t != "" {
			return kind{models.DocumentOther, clip(t)}
		}
	}
	return kind{models.DocumentOther, "Artifact"}
}

// ArtifactName says in words what the artifact's type is, such as "Helm chart".
func ArtifactName(artifactType string) string { return kindOf(artifactType).words }

// kind is what the file is.
func (d descriptor) kind() kind { return kindOf(d.Annotations[annotationPredicate], d.MediaType) }

// files are what the manifest holds, as it may be opened.
func (d *document) files() []models.ImageFile {
	var out []models.ImageFile
	for _, l := range d.Layers[:min(len(d.Layers), maxEntries)] {
		out = append(out, models.ImageFile{Digest: l.Digest, MediaType: clip(l.MediaType), Kind: l.kind().words, Title: clip(l.Annotations[annotationTitle]), Size: l.Size})
	}
	return out
}

// allFiles are the config and the files, as they may be opened.
func (d *document) allFiles() []models.ImageFile {
	var out []models.ImageFile
	if d.Config != nil && d.Config.MediaType != emptyType {
		out = append(out, models.ImageFile{Digest: d.Config.Digest, MediaType: clip(d.Config.MediaType), Kind: d.Config.kind().words, Size: d.Config.Size})
	}
	return append(out, d.files()...)
}
