package models

import (
	"strings"
	"time"
)

// The cache of base images in the embedded registry.
const (
	// CacheSlug is the first part of its repositories' names. No team of people can have it as its slug.
	CacheSlug = "cache"
	// CacheTeamID is the team without members that they belong to, so that usage and limits know them as a team's.
	CacheTeamID = "00000000-0000-7000-8000-000000000018"
)

// CachePrefix is what the names of cached repositories begin with.
const CachePrefix = CacheSlug + "/"

// Cached tells whether the repository's name is below the cache's prefix.
func Cached(repository string) bool { return strings.HasPrefix(repository, CachePrefix) }

// CacheUpstream is a registry whose images the cache may fetch. Everybody who
// signs in can read what it fetches.
type CacheUpstream struct {
	ID           string `gorm:"primaryKey"`
	Host         string // first part of its images' names, such as docker.io
	Prefix       string // what stands for the host in names of the cache: docker.io, registry.example.com-5000
	RegistryID   string // a connected registry, whose login is used; empty: without login
	Enabled      bool
	FreshSeconds int64      // how long what a tag names is not looked up anew
	Error        string     // what went wrong last, for people; empty once it answers
	ErrorAt      *time.Time // when
	QuietUntil   *time.Time // until when it is not asked, for it said that this were too often
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Repository is the name in the cache of a repository of the upstream.
func (u CacheUpstream) Repository(path string) string { return CachePrefix + u.Prefix + "/" + path }

// CacheRepository is what the cache knows of one of its repositories.
type CacheRepository struct {
	Name       string `gorm:"primaryKey"` // such as cache/docker.io/library/alpine
	UpstreamID string
	Hits       int64 // manifests that were answered without the upstream
	Misses     int64 // manifests that were fetched
	Fetched    int64 // bytes of blobs that were fetched
	Error      string
	ErrorAt    *time.Time
	PulledAt   time.Time
	CreatedAt  time.Time
}

// CacheTag is when what a tag names was last looked up; the tag itself is a RegistryTag.
type CacheTag struct {
	Repository string `gorm:"primaryKey"`
	Name       string `gorm:"primaryKey"`
	CheckedAt  time.Time
}

// CacheImage is when an image was last pulled from the cache; the image itself is a RegistryManifest.
type CacheImage struct {
	Repository string `gorm:"primaryKey"`
	Digest     string `gorm:"primaryKey"`
	PulledAt   time.Time
}
