// Package copies holds the pages about images that are copied between registries.
package copies

import (
	"fmt"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// ListView is the list of copies.
type ListView struct {
	Copies  []models.Copy
	Filters []components.FilterLink
	First   string
	Next    string
	Curl    components.CurlExample
}

// NewView is the form of a copy.
type NewView struct {
	From, Team string
	Host       string // of the portal's own registry
	Teams      []components.Option
	Form       components.Form
	Curl       components.CurlExample
}

// teams are the choices, the first of which leaves it to the names.
func (v NewView) teams() []components.Option {
	return append([]components.Option{{Label: "The team in the names"}}, v.Teams...)
}

// PageView is one copy.
type PageView struct {
	Copy      models.Copy
	MayAct    bool
	Curl      components.CurlExample
	RetryCurl components.CurlExample
}

// URL is the copy's page.
func URL(c models.Copy) string { return "/copies/" + c.ID }

// State is the copy's state as a badge.
func State(c models.Copy) string {
	if c.State == models.CopyRunning && c.CancelRequestedAt != nil {
		return "canceling"
	}
	return string(c.State)
}

// share is how much of the bytes is done, as the width of 100.
func share(c models.Copy) string {
	switch {
	case c.State == models.CopySucceeded:
		return "100"
	case c.Bytes <= 0:
		return "0"
	}
	return fmt.Sprintf("%.1f", 100*float64(min(c.BytesDone, c.Bytes))/float64(c.Bytes))
}

// progress says how far the copy is.
func progress(c models.Copy) string {
	if c.Manifests == 0 {
		return "What the image consists of is being read."
	}
	return fmt.Sprintf("%s of %s, %s of %s", components.Bytes(min(c.BytesDone, c.Bytes)), components.Bytes(c.Bytes),
		components.Thousands(c.BlobsDone), components.Count(c.Blobs, "layer or config", "layers and configs"))
}

// there says what need not be sent.
func there(c models.Copy) string {
	if c.BlobsThere == 0 {
		return "Nothing was there before."
	}
	return fmt.Sprintf("%s (%s) were there before and were not sent.", components.Thousands(c.BlobsThere), components.Bytes(c.BytesThere))
}

// imageURL is the image's page in the portal, for the embedded registry.
func imageURL(at models.ImagePlaceName, digest string) string {
	if at.Registry != "" {
		return ""
	}
	return "/images/" + strings.TrimPrefix(at.Repository, "/") + "@" + digest
}
