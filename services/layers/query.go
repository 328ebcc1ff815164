package layers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"slipway.dev/models"
)

// Query asks for some entries of an index.
type Query struct {
	Dir    string // the directory whose entries are asked for; "/" where empty
	Deep   bool   // those of the directories in it too; directories themselves are left out
	Search string // only names, or with a slash paths, that hold this text, without regard to case; looks deep
	Layer  int    // only what this layer touched; 0: what is there
	Change Op     // only what was added, changed or removed, by the layer or by any; 0: all
	BySize bool   // the largest first, else by name
	Page   models.Page
}

// Listing is a page of entries.
type Listing struct {
	Items []Entry
	Next  string // the cursor of the page after; empty at the end
	Total int64  // how many there are on all pages
}

// place orders entries: directories first or the largest first, then as the index has them.
type place struct {
	rank, at int64
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.rank, q.rank), cmp.Compare(p.at, q.at))
}

func (p place) String() string { return fmt.Sprintf("%d.%d", p.rank, p.at) }

type placed struct {
	place
	entry *Entry
}

// List answers the query. It reads the entries in question once and keeps those of one page.
func (x *Index) List(ctx context.Context, q Query) (Listing, error) {
	after := place{-1 << 62, 0}
	if q.Page.Cursor != "" {
		if n, err := fmt.Sscanf(q.Page.Cursor, "%d.%d", &after.rank, &after.at); err != nil || n != 2 || after.String() != q.Page.Cursor {
			return Listing{}, models.InvalidField("cursor", "The cursor is not one that this list gave.")
		}
	}
	dir := key(Clean(q.Dir))
	q.Search = strings.ToLower(q.Search)
	deep := q.Deep || q.Search != ""
	var (
		out  Listing
		best []placed
		size = q.Page.Size() + 1
	)
	err := x.from(ctx, dir, "", func(e *Entry, at int64, in string) error {
		if !below(in, dir) || !deep && in != dir {
			return errStop
		}
		if !q.takes(e, deep) {
			return nil
		}
		out.Total++
		p := place{q.rank(e, deep), at}
		if p.compare(after) <= 0 {
			return nil
		}
		best = append(best, placed{p, e})
		if len(best) >= 4*size {
			best = lowest(best, size)
		}
		return nil
	})
	if err != nil {
		return Listing{}, err
	}
	best = lowest(best, size)
	if len(best) == size {
		best = best[:size-1]
		out.Next = best[len(best)-1].String()
	}
	for _, b := range best {
		out.Items = append(out.Items, *b.entry)
	}
	return out, nil
}

func lowest(all []placed, n int) []placed {
	slices.SortFunc(all, func(a, b placed) int { return a.compare(b.place) })
	return all[:min(n, len(all))]
}

// rank is what the list is ordered by first.
func (q Query) rank(e *Entry, deep bool) int64 {
	switch {
	case q.BySize:
		return -q.Size(e)
	case e.Type == Dir && !deep:
		return 0
	}
	return 1
}

// Size is what the entry weighs in the list: what is there of it, or what the layer wrote.
func (q Query) Size(e *Entry) int64 {
	if q.Layer == 0 {
		return e.Size + e.Bytes
	}
	n := e.Tally(q.Layer).Bytes
	if v, ok := e.In(q.Layer); ok && v.Op != Removed {
		n += v.Size
	}
	return n
}

// takes tells whether the entry is asked for.
func (q Query) takes(e *Entry, deep bool) bool {
	if e.Type == None {
		return q.Layer != 0 && q.Change != Added && q.Change != Changed && q.named(e)
	}
	if !q.named(e) || deep && q.Search == "" && e.Type == Dir {
		return false
	}
	if q.Layer == 0 && q.Change == 0 {
		return !e.Gone
	}
	for _, v := range e.History() {
		if q.touched(v) && (v.Layer > 1 || q.Layer != 0 || q.Change != Added) {
			return true
		}
	}
	if deep {
		return false
	}
	return slices.ContainsFunc(e.Tallies, q.counts)
}

func (q Query) named(e *Entry) bool {
	switch {
	case q.Search == "":
		return true
	case strings.Contains(q.Search, "/"):
		return strings.Contains(strings.ToLower(e.Path), q.Search)
	}
	return strings.Contains(strings.ToLower(e.Name()), q.Search)
}

func (q Query) touched(v Version) bool {
	return (q.Layer == 0 || v.Layer == q.Layer) && (q.Change == 0 || v.Op == q.Change)
}

// counts tells whether the layer did below a directory what is asked for.
func (q Query) counts(t Tally) bool {
	if q.Layer != 0 && t.Layer != q.Layer {
		return false
	}
	if t.Files() == 0 { // nothing but directories
		return t.Dirs > 0
	}
	switch q.Change {
	case Added:
		return t.Added > 0
	case Changed:
		return t.Changed > 0
	case Removed:
		return t.Removed > 0
	}
	return true
}
