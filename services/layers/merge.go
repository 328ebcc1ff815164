package layers

import (
	"context"
	"io"
)

// Merge makes the index of an image out of those of its layers, the lowest
// first, and writes it to w. Each path has the layer that wrote it last and
// what every layer did to it.
func Merge(ctx context.Context, layers []*Index, w io.Writer, l Limits) (Report, error) {
	t := newTree(l, len(layers))
	report := Report{Format: "image"}
	for k, layer := range layers {
		report.Bytes += layer.Report.Bytes
		report.Compressed += layer.Report.Compressed
		report.Odd += layer.Report.Odd
		if report.Notice == "" && layer.Report.Notice != "" {
			report.Notice = noticeOf(k+1, layer.Report.Notice)
		}
		err := t.apply(ctx, k+1, layer)
		if met, ok := err.(*limit); ok {
			report.Notice = noticeOf(k+1, met.sentence)
			break
		}
		if err != nil {
			return report, err
		}
	}
	return report, t.encode(w, &report)
}

// Compare makes the index of what differs between two images: what is only in
// the first was removed by layer 2, what is only in the second added, and what
// is in both with another content, mode or owner changed. Times are no difference.
func Compare(ctx context.Context, a, b *Index, w io.Writer, l Limits) (Report, error) {
	t := newTree(l, 2)
	report := Report{Format: "comparison"}
	for _, x := range []*Index{a, b} {
		if x.Report.Notice != "" {
			report.Notice = "One of the images is not known whole. " + x.Report.Notice
		}
	}
	err := t.contrast(ctx, a, b)
	if met, ok := err.(*limit); ok {
		report.Notice, err = met.sentence, nil
	}
	if err != nil {
		return report, err
	}
	return report, t.encode(w, &report)
}

func noticeOf(layer int, sentence string) string {
	return limitf("Layer %d: %s", layer, sentence).Error()
}

// apply lays a layer over the tree: first what it hides, then what it has. The
// order of the archive does not matter: a layer hides nothing of its own.
func (t *tree) apply(ctx context.Context, layer int, x *Index) error {
	err := x.walk(ctx, func(e *Entry) error {
		if !e.Hides && !e.Opaque {
			return nil
		}
		i, ok := t.lookup(e.Path)
		if !ok {
			return nil
		}
		t.empty(i, layer)
		if e.Hides {
			t.remove(i, layer)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return x.walk(ctx, func(e *Entry) error {
		if e.Type == None {
			return nil
		}
		if e.Path == "/" {
			t.become(t.at(root), layer, e)
			return nil
		}
		return t.write(layer, e)
	})
}

// write lays an entry of a layer over what is there.
func (t *tree) write(layer int, e *Entry) error {
	i, made, err := t.place(e)
	if err != nil {
		return err
	}
	n := t.at(i)
	switch {
	case made:
		t.become(n, layer, e)
	case n.flags&flagGone != 0:
		n.flags &^= flagGone
		t.versioned(n, layer, Added, e)
		t.become(n, layer, e)
	case n.Type == Dir && e.Type == Dir:
		if !e.Implied && (n.Mode != e.Mode || n.UID != e.UID || n.GID != e.GID || n.attributes() != e.Xattrs) {
			t.versioned(n, layer, Changed, e)
			t.become(n, layer, e)
		} else if !e.Implied {
			n.mtime = e.ModTime.Unix()
		}
	default:
		if n.Type == Dir {
			t.empty(i, layer)
		}
		t.versioned(n, layer, Changed, e)
		t.become(n, layer, e)
	}
	return nil
}

// place returns the node of the entry's path; the directory above it is there, as indexes name it first.
func (t *tree) place(e *Entry) (i int32, made bool, err error) {
	dir, name := parent(e.Path)
	at, ok := t.lookup(dir)
	if !ok {
		return 0, false, errDamaged
	}
	return t.add(at, name)
}

// become takes over what the entry says of itself.
func (t *tree) become(n *node, layer int, e *Entry) {
	n.Meta, n.mtime, n.link, n.seq, n.layer, n.digest = e.FileMeta, e.ModTime.Unix(), e.Link, int32(e.Seq), int32(layer), sumOf(e.Digest)
	n.flags &^= flagOdd | flagImplied
	if e.Odd {
		n.flags |= flagOdd
	}
	if e.Implied {
		n.flags |= flagImplied
	}
	if e.Xattrs != "" || n.rare != nil {
		n.extra().xattrs = e.Xattrs
	}
}

// versioned notes what the layer does to a path that was there before, or had been.
func (t *tree) versioned(n *node, layer int, op Op, e *Entry) {
	x := n.extra()
	if len(x.versions) == 0 {
		x.versions = append(x.versions, Version{Layer: int(n.layer), Op: Added, Seq: int(n.seq), FileMeta: n.Meta})
	}
	v := Version{Layer: layer, Op: op, Seq: e.Seq, FileMeta: e.FileMeta}
	last := &x.versions[len(x.versions)-1]
	if last.Layer == layer && last.Op == Removed { // hidden and written anew by the same layer
		if v.Op == Added && len(x.versions) > 1 {
			v.Op = Changed
		}
		*last = v
		return
	}
	x.versions = append(x.versions, v)
}

// remove notes that the layer removes the path.
func (t *tree) remove(i int32, layer int) {
	n := t.at(i)
	if i == root {
		return
	}
	t.versioned(n, layer, Removed, &Entry{FileMeta: n.Meta})
	n.flags |= flagGone
	n.layer = int32(layer)
	t.last.path, t.last.at = "/", root
}

// empty notes that the layer removes all that is in the directory.
func (t *tree) empty(i int32, layer int) {
	stack := []int32{i}
	for len(stack) > 0 {
		dir := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		t.children(dir, func(c int32, n *node) {
			if n.flags&flagGone == 0 {
				t.remove(c, layer)
				stack = append(stack, c)
			}
		})
	}
}

// contrast lays the second image over the first, and removes what it has not.
func (t *tree) contrast(ctx context.Context, a, b *Index) error {
	err := standing(ctx, a, func(e *Entry) error {
		i, _, err := t.place(e)
		if err == nil {
			t.become(t.at(i), 1, e)
		}
		return err
	})
	if err != nil {
		return err
	}
	err = standing(ctx, b, func(e *Entry) error {
		i, made, err := t.place(e)
		if err != nil {
			return err
		}
		n := t.at(i)
		n.flags |= flagSeen
		switch {
		case made:
			t.become(n, 2, e)
		case t.differs(n, e):
			t.versioned(n, 2, Changed, e)
			t.become(n, 2, e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := int32(1); i < int32(t.count); i++ {
		if n := t.at(i); n.flags&(flagSeen|flagGone) == 0 {
			t.remove(i, 2)
		}
	}
	return nil
}

// standing walks over what is there in an image, without its root.
func standing(ctx context.Context, x *Index, each func(e *Entry) error) error {
	return x.walk(ctx, func(e *Entry) error {
		if e.Gone || e.Path == "/" {
			return nil
		}
		return each(e)
	})
}

// differs tells whether the path is another thing in the second image.
func (t *tree) differs(n *node, e *Entry) bool {
	if n.Meta != e.FileMeta || n.link != e.Link || n.attributes() != e.Xattrs {
		return true
	}
	if n.Type != File || n.Size == 0 {
		return false
	}
	sum := sumOf(e.Digest)
	if n.digest == ([32]byte{}) || sum == ([32]byte{}) {
		return n.mtime != e.ModTime.Unix()
	}
	return n.digest != sum
}

func (n *node) attributes() string {
	if n.rare == nil {
		return ""
	}
	return n.rare.xattrs
}
