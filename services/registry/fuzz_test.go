package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzManifest holds what every other part relies on once a manifest was read.
func FuzzManifest(f *testing.F) {
	one := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%064d","size":2}`, 1)
	for _, body := range []string{
		`{"schemaVersion":2,"config":` + one + `,"layers":[` + one + `]}`,
		`{"schemaVersion":2,"manifests":[` + one + `],"annotations":{"Size":"1","":"x"}}`,
		`{"schemaVersion":2,"Layers":[],"layers":[null],"subject":` + one + `}`,
		`{"schemaVersion":2,"schemaVersion":1}`, strings.Repeat("[", 100), `{"a":{"b":[{}]}} x`, "\xff", `{"":{"":1}}`,
	} {
		f.Add([]byte(body), v1.MediaTypeImageManifest)
		f.Add([]byte(body), v1.MediaTypeImageIndex)
		f.Add([]byte(body), "application/x+json; charset=utf-8")
	}
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		d, err := readDocument(body, contentType)
		if err != nil {
			if p, ok := errors.AsType[*problem](err); !ok || p.status != 400 {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if !strings.HasPrefix(d.MediaType, "application/") || !strings.HasSuffix(d.MediaType, "json") {
			t.Errorf("the type %q was taken", d.MediaType)
		}
		if len(d.Manifests) > 0 && len(d.blobs()) > 0 {
			t.Error("it is an image and an index")
		}
		for _, x := range d.descriptors() {
			if x.Digest.Validate() != nil || x.Size < 0 {
				t.Errorf("it names %s of %d bytes", x.Digest, x.Size)
			}
		}
		exact := map[string]json.RawMessage{} // as clients read it that heed the case of letters
		if err := json.Unmarshal(body, &exact); err != nil {
			t.Fatal(err)
		}
		for field, n := range map[string]int{"layers": len(d.Layers), "manifests": len(d.Manifests), "blobs": len(d.Blobs)} {
			var list []json.RawMessage
			if raw, ok := exact[field]; ok {
				if err := json.Unmarshal(raw, &list); err != nil {
					t.Fatal(err)
				}
			}
			if len(list) != n {
				t.Errorf("we read %d %s, others %d", n, field, len(list))
			}
		}
	})
}

// FuzzPath holds that whatever path is asked for, names and references come out that can be no other's.
func FuzzPath(f *testing.F) {
	for _, path := range []string{
		"/v2/", "/v2/a/b/manifests/v1", "/v2/a/../b/manifests/v1", "/v2/a%2fb/blobs/sha256:00", "/v2/blobs/uploads/blobs/uploads/x",
		"/v2/a//b/tags/list", "/v2/A/b/tags/list", "/v2/a/b/manifests/\x00", "/v2/" + strings.Repeat("a/", 200) + "tags/list", "/v2/é/b/referrers/x",
	} {
		f.Add(http.MethodGet, path)
		f.Add(http.MethodPut, path)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		c, err := parse(&http.Request{Method: method, URL: &url.URL{Path: path}})
		if err != nil {
			if p, ok := errors.AsType[*problem](err); !ok || p.status >= 500 {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if c.name != "" && (!repositoryName.MatchString(c.name) || len(c.name) > maxName || strings.Contains(c.name, "..")) {
			t.Errorf("the name %q came out", c.name)
		}
		if strings.Contains(c.reference, "/") {
			t.Errorf("the reference %q came out", c.reference)
		}
		if c.what == callManifest && !isDigest(c.reference) && !tagName.MatchString(c.reference) {
			t.Errorf("the tag %q came out", c.reference)
		}
	})
}
