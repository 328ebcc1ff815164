package git

import (
	"context"
	"fmt"
)

// Between is how two commits relate: what each has and the other has not.
type Between struct {
	Ahead, Behind int      // how many commits head has and base has not, and the other way round
	Commits       []Commit // the newest of those ahead; where there are none, of those behind
}

// Between counts the commits between two of the mirror's, both given by full
// ids, and lists at most limit of them.
func (s *Service) Between(ctx context.Context, id, base, head string, limit int) (*Between, error) {
	dir, err := s.existing(id)
	if err != nil {
		return nil, err
	}
	for _, commit := range []string{base, head} {
		if err := s.needCommit(ctx, dir, commit); err != nil {
			return nil, err
		}
	}
	out, err := s.local(ctx, dir, "rev-list", "--left-right", "--count", "--end-of-options", base+"..."+head, "--")
	if err != nil {
		return nil, err
	}
	b := &Between{}
	if _, err := fmt.Sscan(string(out), &b.Behind, &b.Ahead); err != nil {
		return nil, fmt.Errorf("reading what git rev-list counted: %w", err)
	}
	from, to := base, head
	if b.Ahead == 0 {
		from, to = head, base
	}
	b.Commits, _, err = s.Log(ctx, id, from, to, limit)
	return b, err
}
