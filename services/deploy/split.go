package deploy

import (
	"cmp"
	"slices"
)

// mostShare leaves the release that served before a visitor of a hundred, by whose
// share it is known until Route ends the split.
const mostShare = 99

// Share is the share of a hundred visitors that a Splitter gives to a release for the percent.
func Share(percent int) int { return min(max(percent, 0), mostShare) }

// Former returns which of the names that have visitors beside a release had them
// before; empty: there are none. Of says of which release a name is, empty of none.
// Of several it is the release's that began first, as ids tell: what began later was
// tried beside it, and never got all. Names that are of no release come last.
func Former(names []string, of func(name string) string) string {
	if len(names) == 0 {
		return ""
	}
	return slices.MinFunc(names, func(a, b string) int {
		x, y := of(a), of(b)
		if (x == "") != (y == "") {
			return cmp.Compare(y, x)
		}
		return cmp.Compare(x, y)
	})
}
