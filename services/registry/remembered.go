package registry

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// teamIDs remembers the ids of teams by their slugs, which never change. What
// somebody may do in a team is read with each request.
type teamIDs struct{ bySlug sync.Map }

// find returns the ids of those of the teams that there are.
func (k *teamIDs) find(db *gorm.DB, slugs []string) (map[string]string, error) {
	found := make(map[string]string, len(slugs))
	var unknown []string
	for _, slug := range slugs {
		if id, ok := k.bySlug.Load(slug); ok {
			found[slug] = id.(string)
		} else {
			unknown = append(unknown, slug)
		}
	}
	if len(unknown) == 0 {
		return found, nil
	}
	var rows []models.Team
	if err := db.Select("id", "slug").Where("slug IN ?", unknown).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading the teams of repositories: %w", err)
	}
	for _, t := range rows {
		found[t.Slug] = t.ID
		k.bySlug.Store(t.Slug, t.ID)
	}
	return found, nil
}

// verified remembers tokens whose signature was right: a client sends the same
// one with hundreds of requests. That its key is still good, that it has not
// expired and what its holder may do is looked at each time.
type verified struct {
	mu    sync.Mutex
	byRaw map[[sha256.Size]byte]signed
}

// signed is a token and the id of the key that signed it. Nobody changes it.
type signed struct {
	token *token
	key   string
}

const maxVerified = 1000 // tokens that are remembered at once

// find returns the token where it was verified before and its key is still good, or nil.
func (v *verified) find(ctx context.Context, raw string, s *Service) (*token, error) {
	v.mu.Lock()
	known, ok := v.byRaw[sha256.Sum256([]byte(raw))]
	v.mu.Unlock()
	if !ok {
		return nil, nil
	}
	key, err := s.verifyingKey(ctx, known.key)
	if err != nil || key == nil {
		return nil, err
	}
	return known.token, nil
}

func (v *verified) remember(raw, key string, t *token) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.byRaw == nil || len(v.byRaw) >= maxVerified {
		v.byRaw = map[[sha256.Size]byte]signed{}
	}
	v.byRaw[sha256.Sum256([]byte(raw))] = signed{t, key}
}
