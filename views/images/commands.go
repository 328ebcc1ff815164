package images

import (
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// way is a command that brings an image somewhere.
type way struct{ Tool, Command string }

// ways are the commands that pull the image: by its digest, which never means
// another one, and by a tag where one is known.
func ways(i models.Image, artifactType string) []way {
	if i.Digest == "" {
		return nil
	}
	at := i.FullName() + "@" + i.Digest
	if artifactType != "" {
		out := []way{{"ORAS", "oras pull " + at}, {"skopeo", "skopeo copy docker://" + at + " dir:artifact"}}
		if strings.HasPrefix(artifactType, "application/vnd.cncf.helm") {
			out = append([]way{{"Helm", "helm pull oci://" + at}}, out...)
		}
		return out
	}
	out := []way{{"Docker", "docker pull " + at}}
	if len(i.Tags) > 0 {
		out = append(out, way{"Docker, by tag", "docker pull " + i.FullName() + ":" + i.Tags[0].Name})
	}
	return append(out,
		way{"Podman", "podman pull " + at},
		way{"skopeo", "skopeo copy docker://" + at + " oci:image"},
		way{"Kubernetes", "image: " + at},
		way{"Dockerfile", "FROM " + at})
}

// tagWays are the commands that pull any tag of a repository.
func tagWays(r models.ImageRepository) []way {
	at := r.FullName() + ":TAG"
	return []way{
		{"Docker", "docker pull " + at}, {"Podman", "podman pull " + at},
		{"skopeo", "skopeo copy docker://" + at + " oci:image"}, {"Kubernetes", "image: " + at},
	}
}

// pull is the command that brings the image to a machine. It names the digest, which never means another image.
func pull(v ImageView) string {
	all := ways(v.Image, v.ArtifactType)
	if len(all) == 0 {
		return ""
	}
	return all[0].Command
}

// commands are the lines that push to and pull from a repository.
func commands(host, repository string) string {
	ref := host + "/" + repository + ":TAG"
	return strings.Join([]string{
		"docker login " + host,
		"docker tag IMAGE " + ref, "docker push " + ref, "docker pull " + ref,
	}, "\n")
}

func exampleName(v ListView) string {
	if v.Example == "" {
		return "TEAM/NAME"
	}
	return v.Example + "/NAME"
}

// attesting are the lines that make attestations about an image.
func attesting(i models.Image) string {
	at := i.FullName() + "@" + i.Digest
	return strings.Join([]string{
		"docker buildx build --sbom=true --provenance=mode=max --push -t " + i.FullName() + ":TAG .",
		"cosign sign " + at,
		"cosign attest --type spdxjson --predicate sbom.json " + at,
		"oras attach --artifact-type application/spdx+json " + at + " sbom.json",
	}, "\n")
}

// size is a number of bytes, or a dash where nobody told it.
func size(n int64) string {
	if n == 0 {
		return "–"
	}
	return components.Bytes(n)
}
