package explorer

import (
	"context"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/layers"
)

// Query asks for files of an image.
type Query struct {
	At       Reference
	Platform string // of an index: the one whose files are listed; empty: the first
	Path     string // a directory or a file; "/" where empty
	Layer    string // what a layer did: its number from 1, or its digest; empty: what is there in the end
	Change   string // added, changed or removed: only that; empty: all
	Search   string // only names that hold it; of the whole directory, however deep
	Flat     bool   // files of directories in the directory too
	BySize   bool
	Page     models.Page
}

// Files lists files of an image. Where the list has to be made first, which a
// job does, Making tells how far it is, and there are no items yet.
func (s *Service) Files(ctx context.Context, q Query) (*models.ImageFiles, error) {
	i, err := s.image(ctx, q.At, q.Platform)
	if err != nil {
		return nil, err
	}
	out := &models.ImageFiles{Image: i.passport, Index: i.index, Layers: i.layers}
	asked, err := q.layers(i)
	if err != nil {
		return nil, err
	}
	if len(i.layers) == 0 {
		return nil, models.Errorf(models.NotFound, "This image has no layers, so it has no files.")
	}
	x, making, err := s.index(ctx, imageRow(i), Args{Images: []Reference{i.reference}, Team: audience(ctx, i.passport)})
	if err != nil || x == nil {
		out.Making = making
		return out, err
	}
	for k := range out.Layers {
		out.Layers[k].Tally = x.Tally(k + 1)
	}
	out.Bytes, out.Files, out.Wasted, out.Notice = x.Bytes, x.Files, x.Wasted(), x.Report.Notice
	if out.Entry, err = x.Get(ctx, layers.Clean(q.Path)); err != nil {
		return nil, err
	}
	list, err := x.List(ctx, asked)
	out.Items, out.Next, out.Total = list.Items, list.Next, list.Total
	return out, err
}

// layers is the query for the index.
func (q Query) layers(i *image) (out layers.Query, err error) {
	out = layers.Query{Dir: layers.Clean(q.Path), Deep: q.Flat, Search: q.Search, BySize: q.BySize, Page: q.Page}
	if q.Layer != "" {
		l, err := i.layer(q.Layer)
		if err != nil {
			return out, err
		}
		out.Layer = l.Number
	}
	out.Change, err = change(q.Change)
	return out, err
}

func change(word string) (models.FileOp, error) {
	if word == "" {
		return 0, nil
	}
	op, ok := models.ParseFileOp(word)
	if !ok {
		return 0, models.InvalidField("change", "What files became is added, changed or removed.")
	}
	return op, nil
}

// layer finds a layer of the image by its number or its digest.
func (i *image) layer(name string) (models.FileLayer, error) {
	for _, l := range i.layers {
		if l.Digest == name || itoa(l.Number) == name {
			return l, nil
		}
	}
	return models.FileLayer{}, models.InvalidField("layer", "The image has %d layers: name one by its number or its digest.", len(i.layers))
}

// audience is the team that is told when an index is ready: the one that owns
// the image, else one of the reader's. Where there is none, pages look by themselves.
func audience(ctx context.Context, p *models.ImagePassport) string {
	if p.TeamID != "" {
		return p.TeamID
	}
	if who := models.PrincipalFrom(ctx); who != nil {
		if teams, _ := who.TeamIDs(); len(teams) > 0 {
			return teams[0]
		}
	}
	return ""
}

// secretNames are files that usually hold a secret; a name that begins with a dot may be an ending too.
var secretNames = []string{
	".env", ".netrc", ".npmrc", ".pypirc", ".pgpass", ".git-credentials", ".dockercfg", ".docker/config.json", ".aws/credentials", ".kube/config",
	".ssh/id_rsa", ".ssh/id_dsa", ".ssh/id_ecdsa", ".ssh/id_ed25519", ".htpasswd", ".vault-token", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", "/shadow",
}

// Secret tells whether the path is that of a file that usually holds a secret.
func Secret(path string) bool {
	for _, name := range secretNames {
		if strings.HasSuffix(path, name) {
			return true
		}
	}
	return strings.HasSuffix(path, "-key.pem") || strings.HasSuffix(path, ".key") || strings.HasSuffix(path, "/key.pem")
}
