package models

import (
	"strings"
	"time"
)

// FileType is what kind of thing a path of an image is.
type FileType byte

// The types of entries. An entry without a type is a whiteout and nothing else.
const (
	FileNone     FileType = 0
	FilePlain    FileType = 'f'
	FileDir      FileType = 'd'
	FileSymlink  FileType = 'l'
	FileHardlink FileType = 'h' // another name of the file that Link names
	FileChar     FileType = 'c'
	FileBlock    FileType = 'b'
	FileFifo     FileType = 'p'
	FileOther    FileType = '?'
)

var fileTypeWords = map[FileType]string{
	FilePlain: "file", FileDir: "directory", FileSymlink: "symlink", FileHardlink: "hardlink", FileChar: "character device",
	FileBlock: "block device", FileFifo: "pipe", FileOther: "other", FileNone: "whiteout",
}

// String is the type's word, such as "directory".
func (t FileType) String() string { return fileTypeWords[t] }

// FileOp is what a layer did to a path.
type FileOp byte

// What layers do to paths.
const (
	FileAdded   FileOp = 'a'
	FileChanged FileOp = 'c'
	FileRemoved FileOp = 'r'
)

var fileOpWords = map[FileOp]string{FileAdded: "added", FileChanged: "changed", FileRemoved: "removed"}

// String is the operation's word, such as "added".
func (o FileOp) String() string { return fileOpWords[o] }

// ParseFileOp reads an operation's word; ok is false for any other.
func ParseFileOp(word string) (o FileOp, ok bool) {
	for o, w := range fileOpWords {
		if w == word {
			return o, true
		}
	}
	return 0, false
}

// FileMeta is what an entry says of itself.
type FileMeta struct {
	Type FileType
	Mode uint32 // permissions with setuid, setgid and sticky: the lowest twelve bits, as in tar
	UID  uint32
	GID  uint32
	Size int64 // bytes of a file; 0 for anything else
}

// Permissions writes type and mode as ls does, such as "-rwsr-xr-x".
func (m FileMeta) Permissions() string {
	b := []byte("?rwxrwxrwx")
	switch m.Type {
	case FilePlain, FileHardlink:
		b[0] = '-'
	case FileNone:
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

// FileVersion is what one layer did to a path.
type FileVersion struct {
	Layer    int // from 1
	Op       FileOp
	Seq      int // which entry of the layer's archive it is, from 0
	FileMeta     //  as the layer left it; for Removed as it was before
}

// FileTally sums up what one layer did below a directory. Counts are of files, links and devices.
type FileTally struct {
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
func (t FileTally) Files() int64 { return t.Added + t.Changed + t.Removed }

// FileEntry is one path.
type FileEntry struct {
	Path string // absolute and printable: "/usr/bin/env"
	FileMeta
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

	Versions []FileVersion // what every layer did to it, where it was more than the adding
	Bytes    int64         // of a directory: of the files in it that are there
	Files    int64         // of a directory: files, links and devices in it that are there
	Tallies  []FileTally   // of a directory: by layer, those that did something below it
}

// Name is the last part of the path.
func (e *FileEntry) Name() string { return e.Path[strings.LastIndexByte(e.Path, '/')+1:] }

// History returns what every layer did to the path, the first one first.
func (e *FileEntry) History() []FileVersion {
	if len(e.Versions) > 0 {
		return e.Versions
	}
	return []FileVersion{{Layer: e.Layer, Op: FileAdded, Seq: e.Seq, FileMeta: e.FileMeta}}
}

// In returns what the layer did to the path itself; ok is false where it did nothing.
func (e *FileEntry) In(layer int) (v FileVersion, ok bool) {
	for _, v := range e.History() {
		if v.Layer == layer {
			return v, true
		}
	}
	return FileVersion{}, false
}

// Before returns the version that the layer found; ok is false where there was none.
func (e *FileEntry) Before(layer int) (v FileVersion, ok bool) {
	for _, h := range e.History() {
		if h.Layer < layer {
			v, ok = h, h.Op != FileRemoved
		}
	}
	return v, ok
}

// Tally returns what the layer did below the directory.
func (e *FileEntry) Tally(layer int) FileTally { return FileTallyOf(e.Tallies, layer) }

// FileTallyOf returns what the layer did, of the tallies of all.
func FileTallyOf(all []FileTally, layer int) FileTally {
	for _, t := range all {
		if t.Layer == layer {
			return t
		}
	}
	return FileTally{Layer: layer}
}
