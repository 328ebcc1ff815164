package proxy

import (
	"encoding/binary"
	"math"
	"net/netip"
	"testing"

	"slipway.dev/models"
)

// visitors are so many addresses, of both families.
func visitors(n int) (all []netip.Addr) {
	for i := range n {
		var four [4]byte
		binary.BigEndian.PutUint32(four[:], 0x0a000000+uint32(i)*7)
		all = append(all, netip.AddrFrom4(four))
		six := [16]byte{0x20, 0x01, 0x0d, 0xb8}
		binary.BigEndian.PutUint32(six[4:], uint32(i))
		all = append(all, netip.AddrFrom16(six))
	}
	return all
}

func TestAShareHasAboutSoManyVisitorsAndKeepsThemWhileItGrows(t *testing.T) {
	t.Parallel()
	all := visitors(5000)
	id := models.NewID()
	before := map[netip.Addr]bool{}
	for _, percent := range []int{1, 10, 25, 50, 75, 99} {
		now := map[netip.Addr]bool{}
		for _, v := range all {
			if (share{id, percent}).has(v) {
				now[v] = true
			}
		}
		part := 100 * float64(len(now)) / float64(len(all))
		if bound := 5 * 100 * math.Sqrt(0.25/float64(len(all))); math.Abs(part-float64(percent)) > bound {
			t.Errorf("%d %% are %.2f %%", percent, part)
		}
		for v := range before {
			if !now[v] {
				t.Fatalf("%s was sent back at %d %%", v, percent)
			}
		}
		before = now
	}
}

func TestOtherVisitorsAreFirstWithTheNextDeployment(t *testing.T) {
	t.Parallel()
	one, two := share{models.NewID(), 50}, share{models.NewID(), 50}
	both, all := 0, visitors(2000)
	for _, v := range all {
		if one.has(v) && two.has(v) {
			both++
		}
	}
	if part := float64(both) / float64(len(all)); part < 0.2 || part > 0.3 {
		t.Errorf("%.2f of the visitors are of both halves", part)
	}
}

func TestAVisitorOfIPv6IsKnownByTheNetwork(t *testing.T) {
	t.Parallel()
	id := models.NewID()
	for percent := range 100 {
		s := share{id, percent}
		if s.has(netip.MustParseAddr("2001:db8:1:2::1")) != s.has(netip.MustParseAddr("2001:db8:1:2:ffff:1:2:3")) {
			t.Fatal("two addresses of a network get two versions")
		}
		if (share{id, 0}).has(netip.Addr{}) || !(share{id, 100}).has(netip.Addr{}) {
			t.Fatal("a visitor without an address is of no share")
		}
	}
}
