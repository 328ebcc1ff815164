package images

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
)

// tags lists the tags by name, which is all that the distribution API tells;
// what each names is asked for one page of them.
func (e external) tags(ctx context.Context, q TagQuery) (models.List[models.Image], error) {
	names, err := remember(&e.recent, e.key("tags"), func() ([]string, error) { return e.tagNames(ctx) })
	if err != nil {
		return models.List[models.Image]{}, err
	}
	page, next := pageOf(names, q.Text, q.Page.Cursor, min(q.Page.Size(), maxTagsShown))
	ctx, cancel := context.WithTimeout(ctx, detailsTime)
	defer cancel()
	known := each(page, func(tag string) (models.Image, error) { return e.tagged(ctx, tag) })
	list := models.List[models.Image]{Next: next}
	for _, name := range page {
		i, ok := known[name]
		if !ok {
			i = models.Image{Registry: e.registry.Slug, Host: e.registry.Host, Repository: e.name}
		}
		i.Tags = []models.ImageTag{{Name: name}}
		list.Items = append(list.Items, i)
	}
	return list, nil
}

// pageOf is the page of the sorted names that have the text in them, and the cursor of the one after.
func pageOf(names []string, text, cursor string, size int) (page []string, next string) {
	text = strings.ToLower(text)
	from := 0
	if cursor != "" {
		from, _ = slices.BinarySearch(names, cursor+"\x00")
	}
	for _, name := range names[from:] {
		if !strings.Contains(strings.ToLower(name), text) {
			continue
		}
		if len(page) == size {
			return page, page[size-1]
		}
		page = append(page, name)
	}
	return page, ""
}

// tagNames reads all names, sorted, page after page, without those that tools
// make of digests.
func (e external) tagNames(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	puller, err := remote.NewPuller(e.options(ctx)...)
	if err != nil {
		return nil, e.remote.Explain(err)
	}
	lister, err := puller.Lister(ctx, e.remote.Repository)
	if err != nil {
		return nil, e.remote.Explain(err)
	}
	var names []string
	for lister.HasNext() && len(names) < maxTagNames {
		page, err := lister.Next(ctx)
		if err != nil {
			return nil, e.remote.Explain(err)
		}
		for _, name := range page.Tags {
			if tagText.MatchString(name) && !ofDigest(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names[:min(len(names), maxTagNames)]), nil
}

// ofDigest tells a tag that tools made of a digest to hang something on it.
func ofDigest(tag string) bool {
	hex, found := strings.CutPrefix(tag, "sha256-")
	return found && len(hex) >= 64
}

// tagged reads what the tag names: its digest, size, platforms and age.
func (e external) tagged(ctx context.Context, tag string) (models.Image, error) {
	i := models.Image{Registry: e.registry.Slug, Host: e.registry.Host, Repository: e.name}
	d, err := remote.Head(e.remote.Repository.Tag(tag), e.options(ctx)...)
	if err != nil { // some registries answer no HEAD
		c, err := e.fetch(ctx, tag)
		if err != nil {
			return i, err
		}
		i.Digest, i.MediaType = c.digest, c.mediaType
		return i, e.measure(ctx, &i)
	}
	i.Digest, i.MediaType = d.Digest.String(), string(d.MediaType)
	return i, e.measure(ctx, &i)
}

// measure fills in the size, the platforms and the age. What can't be read in time is left out.
func (e external) measure(ctx context.Context, i *models.Image) error {
	c, err := e.manifest(ctx, i.Digest)
	if err != nil {
		return nil //nolint:nilerr // the tag and its digest are known, and shown without the rest
	}
	doc := readDocument(c)
	i.Size = doc.size()
	if doc.isIndex() {
		held := doc.images()
		var digests []string
		for _, d := range held {
			digests = append(digests, d.Digest)
			if name := clip(d.Platform.name()); name != "" {
				i.Platforms = append(i.Platforms, name)
			}
		}
		known, _ := e.children(ctx, digests)
		for _, c := range known {
			i.Size += c.size
		}
		return nil
	}
	if doc.Config == nil || !imageConfig(doc.Config.MediaType) {
		return nil
	}
	raw, err := e.config(ctx, doc.Config.Digest)
	var made config
	if err != nil || json.Unmarshal(raw, &made) != nil {
		return nil
	}
	shown := made.public()
	i.MadeAt = shown.Created
	if shown.Platform != "" {
		i.Platforms = []string{shown.Platform}
	}
	return nil
}
