package layers

import (
	"cmp"
	"slices"
)

// sums are what a directory is told of what is in it.
type sums struct {
	bytes, files int64
	tallies      []Tally
}

func (s *sums) of(layer int) *Tally {
	i, ok := slices.BinarySearchFunc(s.tallies, layer, func(t Tally, layer int) int { return cmp.Compare(t.Layer, layer) })
	if !ok {
		s.tallies = slices.Insert(s.tallies, i, Tally{Layer: layer})
	}
	return &s.tallies[i]
}

// tally sums up every directory. Nodes are made after the directory they are
// in, so that going backwards sums up each directory before the one it is in.
func (t *tree) tally() map[int32]*sums {
	all := map[int32]*sums{root: {}}
	into := func(i int32) *sums {
		s := all[i]
		if s == nil {
			s = &sums{}
			all[i] = s
		}
		return s
	}
	for i := int32(t.count - 1); i > 0; i-- {
		n := t.at(i)
		if n.flags&flagDead != 0 {
			continue
		}
		up := into(n.parent)
		if own := all[i]; own != nil {
			up.add(own)
		}
		up.count(n)
	}
	return all
}

// add takes over the sums of a directory in this one.
func (s *sums) add(in *sums) {
	s.bytes += in.bytes
	s.files += in.files
	for _, c := range in.tallies {
		to := s.of(c.Layer)
		to.Added += c.Added
		to.Changed += c.Changed
		to.Removed += c.Removed
		to.Dirs += c.Dirs
		to.Bytes += c.Bytes
		to.Before += c.Before
		to.Wasted += c.Wasted
	}
}

// count takes over a node itself.
func (s *sums) count(n *node) {
	if n.Type == None {
		return
	}
	if n.Type != Dir && n.flags&flagGone == 0 {
		s.bytes += n.Size
		s.files++
	}
	if n.rare == nil || len(n.rare.versions) == 0 {
		s.version(nil, &Version{Layer: int(n.layer), Op: Added, Seq: int(n.seq), FileMeta: n.Meta}, nil)
		return
	}
	all := n.rare.versions
	for k := range all {
		var before, after *Version
		if k > 0 && all[k-1].Op != Removed {
			before = &all[k-1]
		}
		if k+1 < len(all) {
			after = &all[k+1]
		}
		s.version(before, &all[k], after)
	}
}

func (s *sums) version(before, v, after *Version) {
	t := s.of(v.Layer)
	if v.Type == Dir && (before == nil || before.Type == Dir) {
		t.Dirs++
		return
	}
	switch v.Op {
	case Added:
		t.Added++
	case Changed:
		t.Changed++
	case Removed:
		t.Removed++
	}
	if before != nil {
		t.Before += before.Size
	}
	if v.Op == Removed {
		return
	}
	t.Bytes += v.Size
	if after != nil {
		t.Wasted += v.Size
	}
}
