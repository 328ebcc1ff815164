// Package registry is Slipway's own OCI registry (distribution specification
// 1.1) at /v2/. Blobs are files in a folder or objects in a bucket; names,
// manifests, tags and who pushed what are rows of Slipway's database, so that a
// push is one transaction with its audit entry and its event.
//
// A repository's name begins with the slug of the team that owns it: its
// viewers pull, its developers push, its maintainers delete.
//
// Any number of processes may serve one registry, as long as they share the
// database, and the folder or the bucket. With a bucket the chunks of one upload
// may come to different processes, which share nothing else.
package registry

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"gocloud.dev/blob"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
	"slipway.dev/services/secrets"
)

const (
	maxManifest    = 4 << 20  // bytes, as the specification advises
	maxConfig      = 4 << 20  // bytes of an image's config that are read
	defaultMaxBlob = 20 << 30 // bytes
	defaultMinFree = 64 << 20 // bytes
	defaultGrace   = 6 * time.Hour
)

// Service is the registry. It serves /v2/ by ServeHTTP and the token endpoint
// by Token, which are mounted beside the router of the pages.
type Service struct {
	DB       *models.Database
	Box      *secrets.Box
	Folder   string       // of blobs and uploads, where they are in no bucket
	Bucket   *blob.Bucket // of blobs and uploads; nil where they are in the folder
	Place    string       // the folder or the bucket, as admins are told
	Jobs     *jobs.Queue  // takes what CollectNow asks for
	External string       // the portal's URL, such as http://localhost:8080

	// Authenticate returns whom the token stands for, or an Unauthorized error.
	// The user name says nothing.
	Authenticate func(ctx context.Context, user, token string) (*models.Principal, error)

	// Reload returns the principal as it is now, or Unauthorized where its
	// credential has ended.
	Reload func(ctx context.Context, p *models.Principal) (*models.Principal, error)

	// Upstream brings what repositories of the cache lack; nil: nothing is fetched.
	Upstream *Upstream

	MaxBlob int64         // the largest blob in bytes; 20 GiB where zero
	MinFree int64         // bytes of the disk that pushes leave free; 64 MiB where zero
	Grace   time.Duration // how long a blob that no manifest needs is kept; 6 h where zero
	Lease   time.Duration // how long an upload in the bucket waits for a process that died; 30 s where zero

	Patience time.Duration // how long the bucket may do nothing before it is given up; 1 min where zero

	Undo time.Duration // how long what was deleted can be restored; 7 days where zero, not at all below

	AnonymousBurst int           // requests of one address without a login at once; 1000 where zero
	AnonymousEvery time.Duration // and one more after each pause; 100 ms where zero
	KeyFresh       time.Duration // how long a key is believed without a look at the database; 30 s where zero

	keys      keyring
	logins    failedLogins
	strangers strangers
	pulls     pulls
	quotas    quotas
	large     slots // of manifests

	teamIDs  teamIDs
	verified verified
}

// Host is where images live: the first part of an image's full name, such as localhost:8080.
func (s *Service) Host() string {
	u, err := url.Parse(s.External)
	if err != nil {
		return ""
	}
	return u.Host
}

// ServeHTTP answers the distribution API.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	r = r.WithContext(withPeer(r))
	c, err := parse(r)
	if err == errUnsupported {
		w.Header().Set("Allow", strings.Join(methods[c.what], ", "))
	}
	if err == nil {
		err = s.serveAuthorized(w, r, c)
	}
	if err != nil {
		fail(w, r, err)
	}
}

func (s *Service) serveAuthorized(w http.ResponseWriter, r *http.Request, c call) error {
	r, err := s.authorize(w, r, c)
	if err != nil {
		return err
	}
	if err := s.admit(r, c); err != nil {
		return err
	}
	return s.serve(w, r, c)
}

// serve runs the call, which the principal is known to be allowed.
func (s *Service) serve(w http.ResponseWriter, r *http.Request, c call) error {
	switch c.what {
	case callBase:
		return writeJSON(w, http.StatusOK, struct{}{})
	case callCatalog:
		return s.catalog(w, r)
	case callTags:
		return s.tags(w, r, c.name)
	case callReferrers:
		return s.withDigest(w, r, c, s.referrers)
	case callBlob:
		if s.fetches(c.name) {
			return s.withDigest(w, r, c, s.cachedBlob)
		}
		return s.withDigest(w, r, c, s.blob)
	case callUploads:
		return s.startUpload(w, r, c.name)
	case callUpload:
		return s.upload(w, r, c.name, c.reference)
	default:
		if s.fetches(c.name) {
			return s.cachedManifest(w, r, c.name, c.reference)
		}
		return s.manifest(w, r, c.name, c.reference)
	}
}

func (s *Service) withDigest(w http.ResponseWriter, r *http.Request, c call, next func(http.ResponseWriter, *http.Request, string, digest.Digest) error) error {
	d, err := parseDigest(c.reference)
	if err != nil {
		return err
	}
	return next(w, r, c.name, d)
}

func (s *Service) maxBlob() int64 {
	if s.MaxBlob > 0 {
		return s.MaxBlob
	}
	return defaultMaxBlob
}

func (s *Service) grace() time.Duration {
	if s.Grace > 0 {
		return s.Grace
	}
	return defaultGrace
}

// localName takes the registry's host off a full image name.
func (s *Service) localName(name string) string {
	return strings.TrimPrefix(name, s.Host()+"/")
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}
