package proxy

import (
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"net/netip"
	"slices"

	"slipway.dev/models"
)

// version is a deployment at a place.
type version struct {
	placeKey
	deployment string
}

// splits tells whether a part of the row's visitors goes to another version already.
func (r *row) splits() bool {
	return r.Next.DeploymentID != "" && r.Next.Percent > 0 && len(r.Next.Addresses) > 0
}

// next is the row as it would be if all its visitors went to the version to which a part goes already.
func (r *row) next() *row {
	to := *r
	to.DeploymentID, to.Addresses, to.Protocol = r.Next.DeploymentID, r.Next.Addresses, r.Next.Protocol
	return &to
}

// share is the part of a place's visitors that goes to a deployment, by their addresses: one that has come to it stays
// with it while the share grows, whichever proxy is asked.
type share struct {
	deployment string
	percent    int
}

func shareOf(to models.NextRoute) share { return share{to.DeploymentID, to.Percent} }

// has tells whether the visitor is of the share. Addresses of IPv6 count by their network (/64): the rest changes from
// day to day (RFC 8981). Which visitors are first differs from deployment to deployment.
func (s share) has(visitor netip.Addr) bool {
	if visitor.Is6() {
		if network, err := visitor.WithZone("").Prefix(64); err == nil {
			visitor = network.Addr()
		}
	}
	address := visitor.As16()
	sum := sha256.Sum256(append(address[:], s.deployment...))
	return binary.BigEndian.Uint64(sum[:])%100 < uint64(s.percent)
}

// answers returns who answers the request at the place, or why nobody does. Where a part of the visitors goes to another
// version already, the version that is not the visitor's answers where its own has failed to.
func (s *Service) answers(r *http.Request, p *place, failed []*backend) (*backend, Problem) {
	if p.next == nil {
		return p.answers()
	}
	first, second := p.backend, p.next
	if p.share.has(Client(r, s.Trusted)) {
		first, second = second, first
	}
	if second != nil && (first == nil || slices.Contains(failed, first) && !slices.Contains(failed, second)) {
		return second, Problem{}
	}
	return first, Problem{}
}
