// Package layers reads the layers of images: what files they hold, what each
// layer adds, changes and removes, what the whole image looks like and how two
// images differ. It knows no registry and no database, and it never unpacks
// anything: a layer is read once as a stream, and what is kept is an index, a
// file of a few bytes for each entry of the layer.
//
// Layers are made by anybody. Every number in them is a claim: how much is
// read, kept and counted has limits (see Limits), and where one is met the index
// holds what came before and says so. Paths are only ever names in an index;
// none of them reaches a file system.
//
// The formats are those of the OCI image specification (layer.md: tar, alone or
// compressed by gzip or zstd, with whiteouts).
package layers

import (
	"fmt"

	"slipway.dev/models"
)

// The nouns that this package is about, which pages and the API share.
type (
	Type    = models.FileType
	Op      = models.FileOp
	Meta    = models.FileMeta
	Version = models.FileVersion
	Entry   = models.FileEntry
	Tally   = models.FileTally
)

// The types of entries. An entry without a type is a whiteout and nothing else.
const (
	None     = models.FileNone
	File     = models.FilePlain
	Dir      = models.FileDir
	Symlink  = models.FileSymlink
	Hardlink = models.FileHardlink
	Char     = models.FileChar
	Block    = models.FileBlock
	Fifo     = models.FileFifo
	Other    = models.FileOther
)

// What layers do to paths.
const (
	Added   = models.FileAdded
	Changed = models.FileChanged
	Removed = models.FileRemoved
)

// Report says what was read, and why it is not all where it is not.
type Report struct {
	Format     string // such as "tar+gzip"
	Entries    int64  // that the index holds
	Bytes      int64  // uncompressed, of the archive
	Compressed int64  // as the registry keeps it
	Odd        int64  // entries whose path was no plain path
	Notice     string // why the index is not whole, as a sentence for people; empty: it is
}

// Limits bound what is read of a layer or merged to an image. The zero value of each field means its default.
type Limits struct {
	Entries int   // that an index holds; 500,000
	Names   int64 // bytes of names and links; 64 MiB
	Path    int   // bytes of one path; 4096, as Linux allows
	Depth   int   // directories in one path; 128
	Bytes   int64 // uncompressed, of one layer; 64 GiB
	Ratio   int64 // uncompressed bytes for each compressed one; 200
	Free    int64 // uncompressed bytes to which the ratio does not apply; 256 MiB
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		field *int
		value int
	}{{&l.Entries, 500_000}, {&l.Path, 4096}, {&l.Depth, 128}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *int64
		value int64
	}{{&l.Names, 64 << 20}, {&l.Bytes, 64 << 30}, {&l.Ratio, 200}, {&l.Free, 256 << 20}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return l
}

// limit is a limit that was met, as a sentence for people.
type limit struct{ sentence string }

func (l *limit) Error() string { return l.sentence }

func limitf(format string, args ...any) error { return &limit{fmt.Sprintf(format, args...)} }
