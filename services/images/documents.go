package images

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	"slipway.dev/models"
)

// maxOpened is how many bytes of a file are read to show it; bills of materials of large images have a few megabytes.
const maxOpened = 16 << 20

// DocumentQuery asks for a file of an image.
type DocumentQuery struct {
	Which
	File string      // the digest of a file that the manifest names, or of the manifest itself
	Text string      // of a bill of materials: what the name, version or licence of a package has in it
	Page models.Page // of a bill of materials
}

// Document opens a file of an image or an artifact, such as a bill of
// materials, and reads what it says. Only what the manifest names can be
// opened. Nothing of it is verified but its digest.
func (s *Service) Document(ctx context.Context, q DocumentQuery) (*models.ImageDocument, error) {
	if _, err := readerFrom(ctx); err != nil {
		return nil, err
	}
	at, err := s.open(ctx, q.Registry, q.Repository)
	if err != nil {
		return nil, err
	}
	c, err := at.manifest(ctx, q.Digest)
	if err != nil {
		return nil, err
	}
	doc := readDocument(c)
	d := &models.ImageDocument{Image: at.image(c.digest), Digest: q.File}
	if q.File == c.digest {
		d.MediaType, d.Size, d.Title, d.Kind = clip(c.mediaType), int64(len(c.bytes)), "Manifest", models.DocumentOther
		d.Content = c.bytes
		return d, nil
	}
	file, err := doc.file(q.File)
	if err != nil {
		return nil, err
	}
	k := kindOf(file.Annotations[annotationPredicate], file.MediaType, doc.ArtifactType)
	d.MediaType, d.Size, d.Title, d.Kind = clip(file.MediaType), file.Size, k.words, k.document
	if err := load(ctx, at, d); err != nil || d.Content == nil {
		return d, err
	}
	d.Signature = signatureOf(k, file, c)
	s.understandDocument(d, q)
	return d, nil
}

// file finds what has the digest among the config and the layers.
func (d *document) file(wanted string) (descriptor, error) {
	all := d.blobs()
	k := slices.IndexFunc(all, func(f descriptor) bool { return f.Digest == wanted })
	if k < 0 {
		return descriptor{}, models.Errorf(models.NotFound, "The image has no such file.")
	}
	return all[k], nil
}

// load reads the file, unless it is too large or no text.
func load(ctx context.Context, at place, d *models.ImageDocument) error {
	if d.Size > maxOpened {
		d.TooLarge = true
		return nil
	}
	r, size, err := at.blob(ctx, d.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	if d.TooLarge = size > maxOpened; d.TooLarge {
		d.Size = size
		return nil
	}
	content, err := io.ReadAll(io.LimitReader(r, maxOpened+1))
	if err != nil {
		return models.Errorf(models.Unavailable, "The registry did not give the whole file. Try again later.")
	}
	if d.TooLarge = len(content) > maxOpened; d.TooLarge {
		return nil
	}
	if parsed, err := digest.Parse(d.Digest); err != nil || !parsed.Algorithm().Available() || parsed.Algorithm().FromBytes(content) != parsed {
		return models.Errorf(models.Unavailable, "The registry gave other bytes than those that have the digest %s.", d.Digest)
	}
	d.Size = int64(len(content))
	if d.Binary = !text(content); !d.Binary {
		d.Content = content
	}
	return nil
}

// text tells whether the bytes can be shown.
func text(b []byte) bool { return utf8.Valid(b) && !slices.Contains(b, 0) }

// signatureOf are the annotations of a signature, which carry it and who made it.
func signatureOf(k kind, file descriptor, c content) map[string]string {
	if k.document != models.DocumentSignature {
		return nil
	}
	all := map[string]string{}
	for _, m := range []map[string]string{readDocument(c).Annotations, file.Annotations} {
		for name, value := range m {
			all[name] = value
		}
	}
	return clipMap(all)
}

// understandDocument reads what the file says, as far as its form is known.
func (s *Service) understandDocument(d *models.ImageDocument, q DocumentQuery) {
	statement, predicate, signed := unwrap(d.Content)
	d.Signed = signed
	if statement != nil {
		d.Statement = statement
		if k := kindOf(statement.PredicateType); k.document != models.DocumentOther {
			d.Kind, d.Title = k.document, k.words
		} else {
			d.Kind = models.DocumentStatement
		}
	}
	if d.Kind == models.DocumentProvenance {
		d.Provenance = readProvenance(predicate)
	}
	if d.Kind == models.DocumentSBOM {
		all := readPackages(predicate)
		d.Packages, d.Total = packagesPage(all, q)
	}
}

// packagesPage narrows the packages to those that the text is about, and to the page.
func packagesPage(all []models.Package, q DocumentQuery) (models.List[models.Package], int) {
	words := strings.Fields(strings.ToLower(q.Text))
	all = slices.DeleteFunc(all, func(p models.Package) bool {
		return !hasAll(strings.ToLower(p.Name+" "+p.Version+" "+p.License+" "+p.PURL), words)
	})
	from, err := strconv.Atoi(q.Page.Cursor)
	if err != nil || from < 0 {
		from = 0
	}
	from = min(from, len(all))
	to := min(from+q.Page.Size(), len(all))
	list := models.List[models.Package]{Items: all[from:to]}
	if to < len(all) {
		list.Next = strconv.Itoa(to)
	}
	return list, len(all)
}
