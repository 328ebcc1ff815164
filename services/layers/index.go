package layers

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sort"

	"github.com/klauspost/compress/zstd"
	"slipway.dev/models"
)

// ReadAt returns so many bytes of an index from the offset on.
type ReadAt func(ctx context.Context, offset, length int64) ([]byte, error)

// Index is what a layer, an image or a comparison holds. Only the parts that a question needs are read.
type Index struct {
	Report  Report
	Layers  int     // that it is made of
	Bytes   int64   // of all files that are there
	Files   int64   // how many files, links and devices are there
	Tallies []Tally // by layer

	root   Entry
	blocks []block
	read   ReadAt
	zip    *zstd.Decoder
}

// errStop ends a walk early.
var errStop = errors.New("that is enough")

// Open reads the head of the index, which is so many bytes long.
func Open(ctx context.Context, size int64, read ReadAt) (*Index, error) {
	if size < tail {
		return nil, errDamaged
	}
	// Most heads fit into what is read first.
	near := min(size, 32<<10)
	end, err := read(ctx, size-near, near)
	if err != nil {
		return nil, err
	}
	if int64(len(end)) != near {
		return nil, errDamaged
	}
	length := int64(binary.BigEndian.Uint32(end[near-tail:]))
	if length > size-tail || length > maxHead {
		return nil, errDamaged
	}
	packed := end[:near-tail]
	if length > near-tail {
		if packed, err = read(ctx, size-tail-length, length); err != nil {
			return nil, err
		}
	}
	zip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(16*maxHead))
	if err != nil {
		return nil, err
	}
	raw, err := zip.DecodeAll(packed[int64(len(packed))-length:], nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	var h head
	if err := json.Unmarshal(raw, &h); err != nil || h.Format != Format {
		return nil, errDamaged
	}
	x := &Index{Report: h.Report, Layers: h.Layers, Bytes: h.Bytes, Files: h.Files, Tallies: h.Tallies, blocks: h.Blocks, read: read, zip: zip}
	if err := (&decoder{b: h.Root}).entry(&x.root); err != nil {
		return nil, err
	}
	x.root.Path = "/"
	return x, nil
}

// Tally returns what the layer did in all.
func (x *Index) Tally(layer int) Tally { return models.FileTallyOf(x.Tallies, layer) }

// Wasted is how many bytes the layers hold that the image does not show: files that a later layer replaced or removed.
func (x *Index) Wasted() (n int64) {
	for _, t := range x.Tallies {
		n += t.Wasted
	}
	return n
}

// Get returns the entry of the path, which Clean has written. It fails with NotFound where there is none.
func (x *Index) Get(ctx context.Context, path string) (*Entry, error) {
	if path == "/" {
		e := x.root
		return &e, nil
	}
	dir, name := parent(path)
	var found *Entry
	err := x.from(ctx, key(dir), name, func(e *Entry, _ int64, _ string) error {
		if e.Path == path {
			found = e
		}
		return errStop
	})
	if err == nil && found == nil {
		err = errNoEntry
	}
	return found, err
}

// walk runs each for the root and for every other entry, in the index's order.
func (x *Index) walk(ctx context.Context, each func(e *Entry) error) error {
	top := x.root
	if err := each(&top); err != nil {
		return err
	}
	return x.from(ctx, "", "", func(e *Entry, _ int64, _ string) error { return each(e) })
}

// from runs each for every entry from the name in the directory on, with its
// place in the index and the key of its directory. Each may keep the entry. errStop ends it.
func (x *Index) from(ctx context.Context, dir, name string, each func(e *Entry, place int64, dir string) error) error {
	after := func(b block) bool {
		k := key(b.Dir)
		return k > dir || k == dir && b.Name > name
	}
	for _, b := range x.blocks[max(sort.Search(len(x.blocks), func(i int) bool { return after(x.blocks[i]) })-1, 0):] {
		err := x.block(ctx, b, func(e *Entry, place int64, at string) error {
			if at < dir || at == dir && e.Name() < name {
				return nil
			}
			return each(e, place, at)
		})
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// block runs each for every entry of the block.
func (x *Index) block(ctx context.Context, b block, each func(e *Entry, place int64, dir string) error) error {
	packed, err := x.read(ctx, b.Offset, b.Size)
	if err != nil {
		return err
	}
	raw, err := x.zip.DecodeAll(packed, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	d := &decoder{b: raw}
	dir, at := "", ""
	for place := b.First; len(d.b) > 0; place++ {
		e := &Entry{}
		if err := d.entry(e); err != nil {
			return err
		}
		if d.dir != dir {
			dir, at = d.dir, key(d.dir)
		}
		if err := each(e, place, at); err != nil {
			return err
		}
	}
	return nil
}
