package registry

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"slipway.dev/models"
)

const (
	maxFailedLogins  = 20 // of one peer, in failedWindow
	failedWindow     = time.Minute
	maxFailingPeers  = 4096
	retryAfterLogins = "60"
)

// failedLogins counts refused logins by peer. It never grows beyond
// maxFailingPeers, and each process counts for itself.
type failedLogins struct {
	mu    sync.Mutex
	peers map[string]*failedPeer
}

type failedPeer struct {
	count int
	until time.Time
}

func (f *failedLogins) allowed(peer string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.peers[peer]; p != nil && p.count >= maxFailedLogins && time.Now().Before(p.until) {
		return models.Errorf(models.TooMany, "Too many logins with a wrong token from this address. Wait a minute.")
	}
	return nil
}

func (f *failedLogins) failed(peer string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if p := f.peers[peer]; p != nil && now.Before(p.until) {
		p.count++
		return
	}
	if f.peers == nil {
		f.peers = map[string]*failedPeer{}
	}
	if len(f.peers) >= maxFailingPeers {
		f.makeRoom(now)
	}
	f.peers[peer] = &failedPeer{count: 1, until: now.Add(failedWindow)}
}

// makeRoom forgets the peers whose time is over, or the one whose time is over next.
func (f *failedLogins) makeRoom(now time.Time) {
	first := ""
	for peer, p := range f.peers {
		if now.After(p.until) {
			delete(f.peers, peer)
		} else if first == "" || p.until.Before(f.peers[first].until) {
			first = peer
		}
	}
	if len(f.peers) >= maxFailingPeers {
		delete(f.peers, first)
	}
}

// withPeer returns the request's context with the client's address, which the
// middleware in front may have found out already.
func withPeer(r *http.Request) context.Context {
	request := models.RequestFrom(r.Context())
	if request.IP != "" {
		return r.Context()
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		request.IP = host
	}
	return models.WithRequest(r.Context(), request)
}

// peer is whom failed logins are counted for: an IPv4 address, or the network of an IPv6 one.
func peer(ctx context.Context) string {
	ip := models.RequestFrom(ctx).IP
	a, err := netip.ParseAddr(ip)
	if err != nil || a.Unmap().Is4() {
		return ip
	}
	network, err := a.WithZone("").Prefix(64)
	if err != nil {
		return ip
	}
	return network.String()
}
