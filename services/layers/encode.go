package layers

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Format is the version of the index's format; an index of another one is made anew.
const Format = 1

// An index is a row of blocks, each a run of entries compressed by zstd, then
// the head, compressed too, and four bytes that say how long the head is. The
// entries of one directory stand together, by name; the directories stand as
// key sorts them, so that a directory and all in it are one run as well.
const (
	blockSize = 64 << 10 // uncompressed
	maxHead   = 32 << 20 // bytes of the compressed head that are read
	tail      = 4
)

// head is what the end of an index says of it.
type head struct {
	Format  int
	Report  Report
	Layers  int
	Bytes   int64
	Files   int64
	Tallies []Tally
	Root    []byte // the root's own entry
	Blocks  []block
}

// block is a run of entries.
type block struct {
	Offset int64
	Size   int64
	Dir    string // of its first entry
	Name   string // of its first entry
	First  int64  // the first entry's place in the whole index
}

var errDamaged = errors.New("an index is damaged")

const (
	hasLink = 1 << iota
	hasXattrs
	hasDigest
	hasVersions
	hasSums
	newDir
)

// encoder writes an index.
type encoder struct {
	w       io.Writer
	zip     *zstd.Encoder
	raw     []byte
	dir     string // of the entries in raw
	head    head
	offset  int64
	written int64
}

// encode writes the tree as an index.
func (t *tree) encode(w io.Writer, report *Report) error {
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	defer zip.Close()
	all := t.tally()
	e := &encoder{w: w, zip: zip, head: head{Format: Format, Layers: t.layers}}
	if err := e.directory(t, all, root, ""); err != nil {
		return fmt.Errorf("writing an index: %w", err)
	}
	report.Entries = e.written
	e.head.Report = *report
	e.head.Bytes, e.head.Files, e.head.Tallies = all[root].bytes, all[root].files, all[root].tallies
	e.head.Root = appendNode(nil, t.at(root), all[root], "", true)
	return e.finish()
}

// directory writes the entries of a directory and then those of the directories in it.
func (e *encoder) directory(t *tree, all map[int32]*sums, dir int32, path string) error {
	var names []int32
	t.children(dir, func(i int32, n *node) { names = append(names, i) })
	slices.SortFunc(names, func(a, b int32) int { return strings.Compare(t.at(a).name, t.at(b).name) })
	var below []int32
	for _, i := range names {
		n := t.at(i)
		if err := e.entry(path, n, all[i]); err != nil {
			return err
		}
		if n.first != 0 {
			below = append(below, i)
		}
	}
	for _, i := range below {
		if err := e.directory(t, all, i, path+"/"+t.at(i).name); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) entry(dir string, n *node, s *sums) error {
	begins := e.dir != dir
	if len(e.raw) == 0 {
		e.head.Blocks = append(e.head.Blocks, block{Offset: e.offset, Dir: dir, Name: n.name, First: e.written})
		begins = true
	}
	e.dir = dir
	e.raw = appendNode(e.raw, n, s, dir, begins)
	e.written++
	if len(e.raw) < blockSize {
		return nil
	}
	return e.flush()
}

func (e *encoder) flush() error {
	if len(e.raw) == 0 {
		return nil
	}
	packed := e.zip.EncodeAll(e.raw, nil)
	e.raw = e.raw[:0]
	e.head.Blocks[len(e.head.Blocks)-1].Size = int64(len(packed))
	e.offset += int64(len(packed))
	_, err := e.w.Write(packed)
	return err
}

func (e *encoder) finish() error {
	if err := e.flush(); err != nil {
		return err
	}
	raw, err := json.Marshal(e.head)
	if err != nil {
		return err
	}
	packed := e.zip.EncodeAll(raw, nil)
	_, err = e.w.Write(binary.BigEndian.AppendUint32(packed, uint32(len(packed))))
	return err
}

// appendNode writes one entry, with its directory where it begins a run of entries.
func appendNode(b []byte, n *node, s *sums, dir string, begins bool) []byte {
	has := flagged(hasLink, n.link != "") | flagged(hasXattrs, n.attributes() != "") | flagged(hasDigest, n.digest != [32]byte{}) |
		flagged(hasVersions, n.rare != nil && len(n.rare.versions) > 0) | flagged(hasSums, s != nil) | flagged(newDir, begins)
	b = append(b, has)
	if begins {
		b = appendText(b, dir)
	}
	b = appendText(b, n.name)
	b = appendMeta(b, n.Meta)
	b = binary.AppendUvarint(b, uint64(n.flags))
	b = binary.AppendVarint(b, n.mtime)
	b = binary.AppendUvarint(b, uint64(n.layer))
	b = binary.AppendUvarint(b, uint64(n.seq))
	if has&hasLink != 0 {
		b = appendText(b, n.link)
	}
	if has&hasXattrs != 0 {
		b = appendText(b, n.rare.xattrs)
	}
	if has&hasDigest != 0 {
		b = append(b, n.digest[:]...)
	}
	if has&hasVersions != 0 {
		b = binary.AppendUvarint(b, uint64(len(n.rare.versions)))
		for _, v := range n.rare.versions {
			b = append(binary.AppendUvarint(b, uint64(v.Layer)), byte(v.Op))
			b = appendMeta(binary.AppendUvarint(b, uint64(v.Seq)), v.FileMeta)
		}
	}
	if has&hasSums != 0 {
		b = appendSums(b, s)
	}
	return b
}

func flagged(bit byte, set bool) byte {
	if set {
		return bit
	}
	return 0
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendMeta(b []byte, m Meta) []byte {
	b = append(b, byte(m.Type))
	for _, v := range []uint64{uint64(m.Mode), uint64(m.UID), uint64(m.GID), uint64(m.Size)} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func appendSums(b []byte, s *sums) []byte {
	for _, v := range []int64{s.bytes, s.files, int64(len(s.tallies))} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	for _, t := range s.tallies {
		for _, v := range []int64{int64(t.Layer), t.Added, t.Changed, t.Removed, t.Dirs, t.Bytes, t.Before, t.Wasted} {
			b = binary.AppendUvarint(b, uint64(v))
		}
	}
	return b
}

// decoder reads the entries of a block. A damaged block ends with bad set, never beyond its bytes.
type decoder struct {
	b   []byte
	dir string // of the entries; empty: the root
	bad bool
}

func (d *decoder) number() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) signed() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) size() int64 { return int64(min(d.number(), math.MaxInt64)) }

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) text() string { return string(d.bytes(d.number())) }

func (d *decoder) octet() byte {
	if b := d.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *decoder) meta() Meta {
	return Meta{Type: Type(d.octet()), Mode: uint32(d.number()), UID: uint32(d.number()), GID: uint32(d.number()), Size: d.size()}
}

// entry reads the next entry into e.
func (d *decoder) entry(e *Entry) error {
	has := d.octet()
	if has&newDir != 0 {
		d.dir = d.text()
	}
	*e = Entry{Path: d.dir + "/" + d.text(), FileMeta: d.meta()}
	flags := uint16(d.number())
	e.Hides, e.Opaque, e.Implied, e.Odd, e.Gone = flags&flagHides != 0, flags&flagOpaque != 0, flags&flagImplied != 0, flags&flagOdd != 0, flags&flagGone != 0
	e.ModTime = time.Unix(d.signed(), 0).UTC()
	e.Layer, e.Seq = int(d.number()), int(d.number())
	if has&hasLink != 0 {
		e.Link = d.text()
	}
	if has&hasXattrs != 0 {
		e.Xattrs = d.text()
	}
	if has&hasDigest != 0 {
		e.Digest = "sha256:" + hex.EncodeToString(d.bytes(32))
	}
	if has&hasVersions != 0 {
		for n := d.number(); n > 0 && !d.bad; n-- {
			e.Versions = append(e.Versions, Version{Layer: int(d.number()), Op: Op(d.octet()), Seq: int(d.number()), FileMeta: d.meta()})
		}
	}
	if has&hasSums != 0 {
		e.Bytes, e.Files = d.size(), d.size()
		for n := d.number(); n > 0 && !d.bad; n-- {
			e.Tallies = append(e.Tallies, Tally{Layer: int(d.number()), Added: d.size(), Changed: d.size(), Removed: d.size(),
				Dirs: d.size(), Bytes: d.size(), Before: d.size(), Wasted: d.size()})
		}
	}
	if d.bad {
		return errDamaged
	}
	return nil
}

// sumOf reads the digest of a file's content; all zeros where there is none.
func sumOf(digest string) (sum [32]byte) {
	text, _ := strings.CutPrefix(digest, "sha256:")
	if len(text) == 64 {
		_, _ = hex.Decode(sum[:], []byte(text)) // anything else stays zeros
	}
	return sum
}
