package builds

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"slipway.dev/models"
)

var tagGrammar = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

func TestABranchBecomesATagThatTheRegistryTakes(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]string{
		"main": "main", "feature/pay-by-card": "feature-pay-by-card", "release/1.2": "release-1.2", ".hidden": "hidden", "-dash": "dash",
		"übung": "bung", "日本": "branch-", "build-7": "branch-build-7", "pr-7": "branch-pr-7", "sha-0123456789ab": "branch-sha-0123456789ab",
		strings.Repeat("a", 40): "branch-" + strings.Repeat("a", 40), strings.Repeat("x", 200): strings.Repeat("x", 128), "a b;$(id)": "a-b-id-",
	} {
		got := refTag(&models.Build{Ref: ref, RefKind: "branch"})
		if got != want || !tagGrammar.MatchString(got) {
			t.Errorf("the branch %q gives the tag %q, not %q", ref, got, want)
		}
	}
	if got := refTag(&models.Build{Ref: "build-7", RefKind: "tag"}); got != "tag-build-7" {
		t.Errorf("the git tag build-7 gives the tag %q", got)
	}
	if got := refTag(&models.Build{Ref: "refs/pull/7/head", RefKind: models.RefPullRequest, PullRequest: models.PullRequest{Number: 7, Source: "main"}}); got != "pr-7" {
		t.Errorf("a pull request gives the tag %q", got)
	}
	if got := refTag(&models.Build{Ref: "0123456", RefKind: "commit"}); got != "" {
		t.Errorf("a bare commit gives the tag %q", got)
	}
}

func TestAnnotationsTurnDockersManifestIntoAnOCIOneOfTheSameLayers(t *testing.T) {
	t.Parallel()
	raw := `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
		"config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":100,"digest":"sha256:` + strings.Repeat("1", 64) + `"},
		"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":1000,"digest":"sha256:` + strings.Repeat("2", 64) + `"}]}`
	m, err := withAnnotations([]byte(raw), types.DockerManifestSchema2, map[string]string{"a": "b"})
	if err != nil {
		t.Fatal(err)
	}
	var got v1.Manifest
	if err := json.Unmarshal(m.raw, &got); err != nil {
		t.Fatal(err)
	}
	if m.size != 1100 || m.kind != types.OCIManifestSchema1 || got.MediaType != types.OCIManifestSchema1 || got.Annotations["a"] != "b" ||
		got.Config.MediaType != types.OCIConfigJSON || got.Layers[0].MediaType != types.OCILayer || got.Layers[0].Digest.Hex != strings.Repeat("2", 64) {
		t.Errorf("the manifest is %s", m.raw)
	}
	index := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	if m, err := withAnnotations([]byte(index), types.OCIImageIndex, map[string]string{"a": "b"}); err != nil || m.kind != types.OCIImageIndex || !strings.Contains(string(m.raw), `"a":"b"`) {
		t.Errorf("the index is %s, error %v", m.raw, err)
	}
}
