package registry

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	_ "crypto/sha512" // so that digests may be SHA-512

	"github.com/opencontainers/go-digest"
)

// The names that the specification allows for repositories and tags.
var (
	repositoryName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagName        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

const (
	maxName = 255
	maxTags = 100 // that one push by digest may set
)

// what is one resource of the distribution API.
type what int

const (
	callBase what = iota
	callCatalog
	callTags
	callReferrers
	callBlob
	callUploads
	callUpload
	callManifest
)

var methods = map[what][]string{
	callBase:      {http.MethodGet, http.MethodHead},
	callCatalog:   {http.MethodGet, http.MethodHead},
	callTags:      {http.MethodGet, http.MethodHead},
	callReferrers: {http.MethodGet, http.MethodHead},
	callBlob:      {http.MethodGet, http.MethodHead, http.MethodDelete},
	callUploads:   {http.MethodPost},
	callUpload:    {http.MethodGet, http.MethodHead, http.MethodPatch, http.MethodPut, http.MethodDelete},
	callManifest:  {http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete},
}

// call is what a request asks for: the resource, the repository and a digest, tag or upload in it.
type call struct {
	what      what
	name      string
	reference string
}

// parse reads the request's path. Repository names may contain the words that
// the API uses for its resources, so the path is read from its end.
func parse(r *http.Request) (call, error) {
	c, err := parsePath(strings.TrimPrefix(r.URL.Path, "/v2"))
	if err != nil {
		return call{}, err
	}
	if !slices.Contains(methods[c.what], r.Method) {
		return c, errUnsupported
	}
	if c.name != "" && (len(c.name) > maxName || !repositoryName.MatchString(c.name)) {
		return call{}, errName
	}
	if c.what == callManifest && !isDigest(c.reference) && !tagName.MatchString(c.reference) {
		return call{}, errTag
	}
	return c, nil
}

func parsePath(path string) (call, error) {
	switch path {
	case "", "/":
		return call{what: callBase}, nil
	case "/_catalog":
		return call{what: callCatalog}, nil
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	n := len(parts)
	from := func(k int, w what, reference string) (call, error) {
		return call{what: w, name: strings.Join(parts[:k], "/"), reference: reference}, nil
	}
	switch {
	case n >= 3 && parts[n-2] == "blobs" && parts[n-1] == "uploads":
		return from(n-2, callUploads, "")
	case n >= 4 && parts[n-3] == "blobs" && parts[n-2] == "uploads":
		return from(n-3, callUpload, parts[n-1])
	case n >= 3 && parts[n-2] == "tags" && parts[n-1] == "list":
		return from(n-2, callTags, "")
	case n >= 3 && parts[n-2] == "blobs":
		return from(n-2, callBlob, parts[n-1])
	case n >= 3 && parts[n-2] == "manifests":
		return from(n-2, callManifest, parts[n-1])
	case n >= 3 && parts[n-2] == "referrers":
		return from(n-2, callReferrers, parts[n-1])
	}
	return call{}, errNoSuchPath
}

// isDigest tells a digest from a tag, which has no colon.
func isDigest(reference string) bool { return strings.Contains(reference, ":") }

func parseDigest(s string) (digest.Digest, error) {
	d, err := digest.Parse(s)
	if err != nil || !d.Algorithm().Available() {
		return "", errDigestFormat
	}
	return d, nil
}

// teamSlug is the first part of a repository's name; ok is false for a name of one part, which no team owns.
func teamSlug(name string) (slug string, ok bool) {
	slug, _, ok = strings.Cut(name, "/")
	return slug, ok
}
