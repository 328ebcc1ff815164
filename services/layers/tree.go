package layers

import (
	"hash/maphash"
	"strings"

	"slipway.dev/models"
)

// node is one path of a tree that is being made. Trees have hundreds of
// thousands of them, so they name each other by number and lie in large pieces.
type node struct {
	name   string
	link   string
	rare   *rare
	parent int32
	first  int32 // child; 0: none
	next   int32 // sibling; 0: none
	seq    int32
	layer  int32
	flags  uint16
	Meta
	mtime  int64
	digest [32]byte
}

// rare is what few nodes have.
type rare struct {
	xattrs   string
	versions []Version
}

const (
	flagHides uint16 = 1 << iota
	flagOpaque
	flagImplied
	flagOdd
	flagGone // removed by a later layer
	flagDead // replaced within its own layer: as if it had never been there
	flagSeen // of a comparison: the other image has it too
)

const pieceSize = 4096

// root is the number of the root directory.
const root int32 = 0

// tree is a tree of files that is being made, of one layer, an image or a comparison.
type tree struct {
	limits Limits
	pieces [][]node
	count  int
	names  int64
	links  int     // that paths were led through
	table  []int32 // open addressing: number+1 of the node with (parent, name)
	seed   maphash.Seed
	layers int
	last   struct { // the directory that was looked up last
		path string
		at   int32
	}
}

func newTree(l Limits, layers int) *tree {
	t := &tree{limits: l.withDefaults(), table: make([]int32, 1024), seed: maphash.MakeSeed(), layers: layers}
	t.grow(node{Meta: Meta{Type: Dir, Mode: 0o755}, flags: flagImplied})
	t.last.path = "/"
	return t
}

func (t *tree) at(i int32) *node { return &t.pieces[i/pieceSize][i%pieceSize] }

func (t *tree) grow(n node) int32 {
	if t.count%pieceSize == 0 {
		t.pieces = append(t.pieces, make([]node, 0, pieceSize))
	}
	last := len(t.pieces) - 1
	t.pieces[last] = append(t.pieces[last], n)
	t.count++
	return int32(t.count - 1)
}

// slot is where the table has the name in the directory, or would have it.
func (t *tree) slot(parent int32, name string) int {
	mask := uint64(len(t.table) - 1)
	i := (maphash.String(t.seed, name) ^ uint64(parent)*0x9e3779b97f4a7c15) & mask
	for ; t.table[i] != 0; i = (i + 1) & mask {
		if n := t.at(t.table[i] - 1); n.parent == parent && n.name == name {
			break
		}
	}
	return int(i)
}

// find returns the node of the name in the directory, dead or alive; ok is false where there never was one.
func (t *tree) find(parent int32, name string) (i int32, ok bool) {
	at := t.table[t.slot(parent, name)]
	return at - 1, at != 0
}

// child is find for what is there.
func (t *tree) child(parent int32, name string) (i int32, ok bool) {
	i, ok = t.find(parent, name)
	return i, ok && t.at(i).flags&(flagDead|flagGone) == 0
}

// add returns the node of the name in the directory, which it makes where there is none.
func (t *tree) add(parent int32, name string) (i int32, made bool, err error) {
	if i, ok := t.find(parent, name); ok {
		n := t.at(i)
		if n.flags&flagDead == 0 {
			return i, false, nil
		}
		*n = node{name: n.name, parent: parent, next: t.at(parent).first}
		t.at(parent).first = i
		return i, true, nil
	}
	if t.count > t.limits.Entries {
		return 0, false, limitf("It has more than %d entries; the rest is not shown.", t.limits.Entries)
	}
	if t.names += int64(len(name)); t.names > t.limits.Names {
		return 0, false, limitf("Its names take more than %d MB; the rest is not shown.", t.limits.Names>>20)
	}
	if 2*t.count >= len(t.table) {
		t.rehash()
	}
	i = t.grow(node{name: strings.Clone(name), parent: parent, next: t.at(parent).first})
	t.at(parent).first = i
	t.table[t.slot(parent, name)] = i + 1
	return i, true, nil
}

func (t *tree) rehash() {
	t.table = make([]int32, 2*len(t.table))
	for i := int32(1); i < int32(t.count); i++ {
		n := t.at(i)
		t.table[t.slot(n.parent, n.name)] = i + 1
	}
}

// children runs each for every node of the directory, those that are gone too.
func (t *tree) children(dir int32, each func(i int32, n *node)) {
	for i := t.at(dir).first; i != 0; {
		n := t.at(i)
		next := n.next
		each(i, n)
		i = next
	}
}

// path returns the parts of a node's path.
func (t *tree) path(i int32) []string {
	var parts []string
	for ; i != root; i = t.at(i).parent {
		parts = append(parts, t.at(i).name)
	}
	for a, b := 0, len(parts)-1; a < b; a, b = a+1, b-1 {
		parts[a], parts[b] = parts[b], parts[a]
	}
	return parts
}

// lookup returns the node of a clean path that is there.
func (t *tree) lookup(path string) (i int32, ok bool) {
	if path == t.last.path {
		return t.last.at, t.at(t.last.at).flags&(flagDead|flagGone) == 0
	}
	i = root
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		if i, ok = t.child(i, name); !ok {
			return 0, false
		}
	}
	t.last.path, t.last.at = path, i
	return i, true
}

// text counts a link's or attributes' bytes against the limit of names and returns a copy of its own.
func (t *tree) text(s string) (string, error) {
	if t.names += int64(len(s)); t.names > t.limits.Names {
		return "", limitf("Its names take more than %d MB; the rest is not shown.", t.limits.Names>>20)
	}
	return strings.Clone(s), nil
}

func (n *node) extra() *rare {
	if n.rare == nil {
		n.rare = &rare{}
	}
	return n.rare
}

// errNoEntry is a path that an index has not.
var errNoEntry = models.Errorf(models.NotFound, "No such file in this image.")
