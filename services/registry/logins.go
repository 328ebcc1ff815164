package registry

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/limits"
)

// failedLogins slows down peers that try wrong tokens. A right one, which has
// 32 random bytes, is never held up: a build must not fail because of its neighbour.
type failedLogins struct {
	once    sync.Once
	limiter limits.Limiter
}

const (
	failedBurst = 20              // wrong tokens of one peer at once
	failedEvery = 3 * time.Second // and one more after each pause
)

// refuse counts a failed login and returns what to answer.
func (f *failedLogins) refuse(ctx context.Context) error {
	f.once.Do(func() { f.limiter.Burst, f.limiter.Every = failedBurst, failedEvery })
	if !f.limiter.Allow(limits.Peer(models.RequestFrom(ctx).IP)) {
		return models.Errorf(models.TooMany, "Too many logins with a wrong token came from this address. Wait a minute.")
	}
	return models.Errorf(models.Unauthorized, "The token is unknown, expired or revoked. The password is a token that you make on your Tokens page.")
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
