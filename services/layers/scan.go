package layers

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	maxHashed = 1 << 30 // bytes of a file whose content is summed up; larger ones are told apart by size and time
	maxLinks  = 40      // symlinks that a path may lead through, as Linux allows
	maxXattrs = 512     // bytes of the names of an entry's extended attributes
)

// Options say how a layer is read.
type Options struct {
	Limits Limits
	Digest string      // what the layer has to be; empty: its content is not compared
	Read   func(int64) // is told how many compressed bytes have been read; may be nil
}

// Scan reads a layer and writes its index to w. A layer that is damaged, or
// more than the limits allow, is no error: the index has what could be read and
// the report a notice. An error means that reading or writing failed, or that
// the layer is not the one that the digest names.
func Scan(ctx context.Context, r io.Reader, w io.Writer, o Options) (Report, error) {
	o.Limits = o.Limits.withDefaults()
	s := &source{ctx: ctx, from: r, told: o.Read}
	want := digest.Digest(o.Digest)
	if o.Digest != "" {
		if err := want.Validate(); err != nil {
			return Report{}, err
		}
		s.sum = want.Algorithm().Hash()
	}
	t := newTree(o.Limits, 1)
	report, err := scan(t, s, o.Limits)
	if err == nil && o.Digest != "" {
		err = s.verify(want)
	}
	if err != nil {
		return report, fmt.Errorf("reading a layer: %w", err)
	}
	report.Compressed = s.n
	return report, t.encode(w, &report)
}

// scan reads the layer into the tree.
func scan(t *tree, s *source, l Limits) (report Report, err error) {
	m, format, done, err := unpack(s, l)
	if err == nil {
		defer done()
		report.Format = format
		err = (&scanner{tree: t, meter: m, archive: tar.NewReader(m), report: &report}).run()
		report.Bytes = m.n
	}
	met := &limit{}
	switch {
	case err == nil:
	case s.err != nil:
		return report, s.err
	case errors.As(err, &met):
		report.Notice = met.sentence
	case errors.Is(err, io.ErrUnexpectedEOF):
		report.Notice = "It ends in the middle; what came before is shown."
	default:
		report.Notice = "It is damaged; what came before the damage is shown."
	}
	return report, nil
}

// scanner reads an archive's entries.
type scanner struct {
	tree    *tree
	meter   *meter
	archive *tar.Reader
	report  *Report
	content int64 // bytes of files that were read: sparse ones have more than the archive
	buffer  [64 << 10]byte
}

func (s *scanner) run() error {
	sum := sha256.New()
	for seq := 0; ; seq++ {
		h, err := s.archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if seq > 2*s.tree.limits.Entries { // the same names again and again
			return limitf("Its archive has more than %d entries; the rest is not shown.", 2*s.tree.limits.Entries)
		}
		e, err := s.put(h, seq)
		if err != nil {
			return err
		}
		if e == nil || e.Type != File || e.Size == 0 || e.Size > maxHashed {
			continue
		}
		sum.Reset()
		n, err := io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{s.archive}, s.buffer[:])
		if err != nil {
			return err
		}
		sum.Sum(e.digest[:0])
		s.content += n
		if err := s.meter.check(s.content); err != nil {
			return err
		}
	}
}

// put enters an entry into the tree. Entries that name nothing have no node.
func (s *scanner) put(h *tar.Header, seq int) (*node, error) {
	if len(h.Name) > s.tree.limits.Path {
		return nil, limitf("It has a path of more than %d bytes; the rest is not shown.", s.tree.limits.Path)
	}
	parts, odd := split(h.Name)
	if len(parts) > s.tree.limits.Depth {
		return nil, limitf("It has directories in directories, more than %d deep; the rest is not shown.", s.tree.limits.Depth)
	}
	if len(parts) == 0 {
		if h.Typeflag == tar.TypeDir {
			return s.fill(s.tree.at(root), h, seq, odd)
		}
		s.report.Odd++
		return nil, nil
	}
	dir, through, err := s.tree.enter(parts[:len(parts)-1], 0)
	if err != nil {
		return nil, err
	}
	name := parts[len(parts)-1]
	if hidden, ok := strings.CutPrefix(name, ".wh."); ok {
		return nil, s.whiteout(dir, hidden)
	}
	i, made, err := s.tree.add(dir, name)
	if err != nil {
		return nil, err
	}
	n := s.tree.at(i)
	if !made && (n.Type != Dir || h.Typeflag != tar.TypeDir) {
		s.tree.kill(i)
	}
	return s.fill(n, h, seq, odd || through)
}

// whiteout enters what a layer hides of those below it (OCI image specification, layer.md "Whiteouts").
func (s *scanner) whiteout(dir int32, name string) error {
	switch {
	case name == ".wh..opq":
		s.tree.at(dir).flags |= flagOpaque
	case strings.HasPrefix(name, ".wh."): // bookkeeping of aufs
	case name == "" || name == "." || name == "..":
		s.report.Odd++
	default:
		i, _, err := s.tree.add(dir, name)
		if err != nil {
			return err
		}
		s.tree.at(i).flags |= flagHides
	}
	return nil
}

// fill writes what a header says into a node. What hides something below goes on to.
func (s *scanner) fill(n *node, h *tar.Header, seq int, odd bool) (*node, error) {
	n.flags = n.flags & (flagHides | flagOpaque)
	n.Meta = Meta{Type: typeOf(h.Typeflag), Mode: uint32(h.Mode) & 0o7777, UID: clamp(h.Uid), GID: clamp(h.Gid)}
	n.mtime, n.seq, n.layer, n.link, n.rare, n.digest = h.ModTime.Unix(), int32(seq), 1, "", nil, [32]byte{}
	if n.Type == File {
		n.Size = max(h.Size, 0)
	}
	var err error
	switch n.Type {
	case Symlink:
		odd = odd || printable(h.Linkname) != h.Linkname
		n.link, err = s.tree.text(printable(h.Linkname[:min(len(h.Linkname), s.tree.limits.Path)]))
	case Hardlink:
		parts, strange := split(h.Linkname[:min(len(h.Linkname), s.tree.limits.Path)])
		odd = odd || strange
		n.link, err = s.tree.text("/" + strings.Join(parts, "/"))
	case Char, Block:
		n.link = fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)
	}
	if err != nil {
		return nil, err
	}
	if odd {
		n.flags |= flagOdd
		s.report.Odd++
	}
	if names := xattrs(h); names != "" {
		if n.extra().xattrs, err = s.tree.text(names); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func typeOf(flag byte) Type {
	switch flag {
	case tar.TypeReg, '\x00', tar.TypeGNUSparse, tar.TypeCont:
		return File
	case tar.TypeDir:
		return Dir
	case tar.TypeSymlink:
		return Symlink
	case tar.TypeLink:
		return Hardlink
	case tar.TypeChar:
		return Char
	case tar.TypeBlock:
		return Block
	case tar.TypeFifo:
		return Fifo
	}
	return Other
}

func clamp(id int) uint32 { return uint32(min(max(id, 0), math.MaxUint32)) }

// xattrs are the names of the entry's extended attributes, such as security.capability.
func xattrs(h *tar.Header) string {
	var names []string
	for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			names = append(names, printable(strings.ReplaceAll(name, " ", "_")))
		}
	}
	all := strings.Join(names, " ")
	if len(all) > maxXattrs {
		return strings.ToValidUTF8(all[:maxXattrs], "") + "…"
	}
	return all
}

// enter returns the directory of the parts, which it makes where the layer has
// none. Symlinks of the layer lead on, inside of the image, as they would where
// the layer is unpacked; through tells that one did.
func (t *tree) enter(parts []string, links int) (dir int32, through bool, err error) {
	dir = root
	for k, part := range parts {
		i, ok := t.child(dir, part)
		if ok && t.at(i).Type == Symlink && links < maxLinks {
			if t.links++; t.links > t.limits.Entries {
				return 0, false, limitf("Its paths lead through links more than %d times; the rest is not shown.", t.limits.Entries)
			}
			target := t.at(i).link
			if !strings.HasPrefix(target, "/") {
				target = strings.Join(append(t.path(dir), target), "/")
			}
			next, _ := split(target)
			if next = append(next, parts[k+1:]...); len(next) > t.limits.Depth {
				return 0, false, limitf("It has directories in directories, more than %d deep; the rest is not shown.", t.limits.Depth)
			}
			dir, _, err = t.enter(next, links+1)
			return dir, true, err
		}
		if !ok || t.at(i).Type != Dir {
			if i, _, err = t.add(dir, part); err != nil {
				return 0, false, err
			}
			n := t.at(i)
			t.kill(i)
			n.flags = n.flags&flagHides | flagImplied
			n.Meta, n.layer, n.link, n.digest, n.rare = Meta{Type: Dir, Mode: 0o755}, 1, "", [32]byte{}, nil
		}
		dir = i
	}
	return dir, through, nil
}

// kill forgets all that the layer had below the node, which gets a new content.
func (t *tree) kill(i int32) {
	stack := []int32{i}
	for len(stack) > 0 {
		dir := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		t.children(dir, func(c int32, n *node) {
			n.flags = flagDead
			stack = append(stack, c)
		})
		t.at(dir).first = 0
	}
	t.last.path, t.last.at = "/", root
}
