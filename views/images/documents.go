package images

import (
	"slipway.dev/models"
	"slipway.dev/views/components"
)

// DocumentView is a file of an image, opened.
type DocumentView struct {
	models.ImageDocument
	At    string // the page's own address, without a search
	Text  string // that the packages are narrowed to
	Ways  []way
	First string
	Next  string
	Curl  components.CurlExample
}

// SharingView is the other images that have a layer of an image.
type SharingView struct {
	Items []models.Image
	Curl  components.CurlExample
}

// openURL opens what there is to read of the attestation: its one file, or else its own page.
func openURL(i models.Image, r models.ImageReferrer) string {
	if len(r.Files) == 1 {
		return FileURL(i, r.Digest, r.Files[0].Digest)
	}
	return siblingURL(i, r.Digest)
}

// fileName is what a file is called: by its name, else in words.
func fileName(f models.ImageFile) string {
	if f.Title != "" {
		return f.Title
	}
	return f.Kind
}

// noLayers says why there are none to show.
func noLayers(v ImageView) string {
	switch {
	case len(v.Images) > 0 && v.Platform == "":
		return "This index holds no image of a platform. What it holds stands beside."
	case v.Unread != "":
		return "They could not be read now."
	}
	return "This image has no layers."
}

// notBuilt says where an image came from that no build here made.
func notBuilt(v ImageView) string {
	switch {
	case v.Registry != "":
		return "None of this portal's."
	case v.PushedByName != "":
		return "None: it was pushed from outside by " + v.PushedByName + "."
	}
	return "None: it was pushed from outside."
}

func baseName(b models.ImageBase) string {
	switch {
	case b.Name == "":
		return b.Digest
	case b.Digest == "":
		return b.Name
	}
	return b.Name + "@" + components.ShortDigest(b.Digest)
}

// provenanceFacts are what is known of a build, without what is not told.
func provenanceFacts(p models.Provenance) []pair {
	all := []pair{{"Builder", p.Builder}, {"Source", p.Source}, {"Commit", p.Commit}, {"Built from", p.EntryPoint}, {"Kind of build", p.BuildType}, {"Run", p.Run}}
	kept := all[:0]
	for _, f := range all {
		if f.value != "" {
			kept = append(kept, f)
		}
	}
	if len(kept) == 0 {
		return []pair{{"Builder", "It does not say."}}
	}
	return kept
}

func packagesTitle(v DocumentView) string {
	if v.Text != "" {
		return components.Count(v.Total, "package fits", "packages fit")
	}
	return components.Count(v.Total, "package", "packages")
}
