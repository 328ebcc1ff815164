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
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Type is what kind of thing an entry is.
type Type byte

// The types of entries. An entry without a type is a whiteout and nothing else.
const (
	None     Type = 0
	File     Type = 'f'
	Dir      Type = 'd'
	Symlink  Type = 'l'
	Hardlink Type = 'h' // another name of the file that Link names
	Char     Type = 'c'
	Block    Type = 'b'
	Fifo     Type = 'p'
	Other    Type = '?'
)

var typeWords = map[Type]string{
	File: "file", Dir: "directory", Symlink: "symlink", Hardlink: "hardlink", Char: "character device", Block: "block device", Fifo: "pipe", Other: "other", None: "whiteout",
}

// String is the type's word, such as "directory".
func (t Type) String() string { return typeWords[t] }

// Op is what a layer did to a path.
type Op byte

// What layers do to paths.
const (
	Added   Op = 'a'
	Changed Op = 'c'
	Removed Op = 'r'
)

var opWords = map[Op]string{Added: "added", Changed: "changed", Removed: "removed"}

// String is the operation's word, such as "added".
func (o Op) String() string { return opWords[o] }

// ParseOp reads an operation's word; ok is false for any other.
func ParseOp(word string) (o Op, ok bool) {
	for o, w := range opWords {
		if w == word {
			return o, true
		}
	}
	return 0, false
}

// Meta is what an entry says of itself.
type Meta struct {
	Type Type
	Mode uint32 // permissions with setuid, setgid and sticky: the lowest twelve bits, as in tar
	UID  uint32
	GID  uint32
	Size int64 // bytes of a file; 0 for anything else
}

// Permissions writes type and mode as ls does, such as "-rwsr-xr-x".
func (m Meta) Permissions() string {
	b := []byte("?rwxrwxrwx")
	switch m.Type {
	case File, Hardlink:
		b[0] = '-'
	case None:
		b[0] = ' '
	default:
		b[0] = byte(m.Type)
	}
	for i := range 9 {
		if m.Mode&(1<<(8-i)) == 0 {
			b[i+1] = '-'
		}
	}
	for _, s := range []struct {
		bit uint32
		at  int
		set byte
	}{{0o4000, 3, 's'}, {0o2000, 6, 's'}, {0o1000, 9, 't'}} {
		if m.Mode&s.bit == 0 {
			continue
		}
		if b[s.at] == '-' {
			b[s.at] = s.set - 'a' + 'A'
		} else {
			b[s.at] = s.set
		}
	}
	return string(b)
}

// Version is what one layer did to a path.
type Version struct {
	Layer int // from 1
	Op    Op
	Meta  // as the layer left it; for Removed as it was before
}

// Tally sums up what one layer did below a directory. Counts are of files, links and devices.
type Tally struct {
	Layer   int
	Added   int64
	Changed int64
	Removed int64
	Dirs    int64 // directories that were added, changed or removed
	Bytes   int64 // of the files that the layer wrote
	Before  int64 // bytes that the files it changed or removed had before
	Wasted  int64 // of Bytes: those that a later layer replaced or removed
}

// Files is how many files, links and devices the layer touched.
func (t Tally) Files() int64 { return t.Added + t.Changed + t.Removed }

// Entry is one path.
type Entry struct {
	Path string // absolute and printable: "/usr/bin/env"
	Meta
	ModTime time.Time
	Link    string // the target of a link; "MAJOR:MINOR" of a device
	Xattrs  string // the names of extended attributes, with spaces between
	Digest  string // "sha256:…" of a file's content; empty where it was not read
	Seq     int    // which entry of the layer's archive it is, from 0
	Layer   int    // the layer that touched it last, from 1
	Hides   bool   // in a layer: hides what the layers below have here
	Opaque  bool   // in a layer: a directory that hides all that the layers below have in it
	Implied bool   // a directory that no entry names, only the paths below it
	Odd     bool   // its path or link was written in a way that is no plain path
	Gone    bool   // in an image: a later layer removed it

	Versions []Version // what every layer did to it, where it was more than the adding
	Bytes    int64     // of a directory: of the files in it that are there
	Files    int64     // of a directory: files, links and devices in it that are there
	Tallies  []Tally   // of a directory: by layer, those that did something below it
}

// Name is the last part of the path.
func (e *Entry) Name() string { return e.Path[strings.LastIndexByte(e.Path, '/')+1:] }

// History returns what every layer did to the path, the first one first.
func (e *Entry) History() []Version {
	if len(e.Versions) > 0 {
		return e.Versions
	}
	return []Version{{Layer: e.Layer, Op: Added, Meta: e.Meta}}
}

// In returns what the layer did to the path itself; ok is false where it did nothing.
func (e *Entry) In(layer int) (v Version, ok bool) {
	for _, v := range e.History() {
		if v.Layer == layer {
			return v, true
		}
	}
	return Version{}, false
}

// Before returns the version that the layer found; ok is false where there was none.
func (e *Entry) Before(layer int) (v Version, ok bool) {
	for _, h := range e.History() {
		if h.Layer < layer {
			v, ok = h, h.Op != Removed
		}
	}
	return v, ok
}

// Tally returns what the layer did below the directory.
func (e *Entry) Tally(layer int) Tally { return tallyOf(e.Tallies, layer) }

func tallyOf(all []Tally, layer int) Tally {
	for _, t := range all {
		if t.Layer == layer {
			return t
		}
	}
	return Tally{Layer: layer}
}

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

func digestText(sum [32]byte) string {
	if sum == ([32]byte{}) {
		return ""
	}
	return "sha256:" + hex.EncodeToString(sum[:])
}
