package admin

import (
	"strconv"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// CacheView is the cache of base images.
type CacheView struct {
	Bytes, MaxBytes      int64
	KeepDays             int
	Images, Repositories int64
	Upstreams            []CacheUpstream
	Offered              []string // hosts that are not turned on
	Connected            []components.Option
	Rows                 []CacheRow
	First, Next          string
	Host                 string // the portal's
	Form                 components.Form
	Curl, AddCurl        components.CurlExample
}

// CacheUpstream is a registry that the cache fetches from.
type CacheUpstream struct {
	models.CacheUpstream
	Hours int // that a tag is fresh
}

// CacheRow is a repository of the cache.
type CacheRow struct {
	models.CacheRepository
	Images, Bytes int64
}

// pull shows how an image is pulled through the cache.
func (v CacheView) pull() string {
	return "docker pull " + v.Host + "/" + models.CachePrefix + "docker.io/library/alpine:3"
}

func (v CacheView) gigabytes() string {
	return strconv.FormatFloat(float64(v.MaxBytes)/1e9, 'f', -1, 64)
}

// share is how full the cache is, as a width of 100.
func (v CacheView) share() string {
	if v.MaxBytes <= 0 {
		return "0"
	}
	return strconv.FormatFloat(100*float64(min(v.Bytes, v.MaxBytes))/float64(v.MaxBytes), 'f', 1, 64)
}

func (u CacheUpstream) state() string {
	switch {
	case !u.Enabled:
		return "disabled"
	case u.Error != "":
		return "failing"
	}
	return "active"
}

func (u CacheUpstream) action() string { return "/admin/cache/upstreams/" + u.ID }

// login says whether the cache signs in there.
func (u CacheUpstream) login() string {
	if u.RegistryID != "" {
		return "with the login of the connected registry"
	}
	return "without a login"
}
