package observe

import (
	"context"
	"iter"
	"time"
)

const (
	followEvery = 700 * time.Millisecond
	followLines = 500
	followLate  = 5 * time.Second // after the end of a time, for lines of it that are stored a little later
)

// Follow yields the lines of the place's log after the one of the query's After
// as they are kept, those that match, until ctx ends or the query's Until has passed. Each page says after which
// line a later call goes on; one without lines only moves that on.
func (s *Service) Follow(ctx context.Context, q Query) (iter.Seq2[Page, error], error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	if _, _, err := s.find(ctx, q.Place); err != nil {
		return nil, err
	}
	q.Limit = followLines
	return func(yield func(Page, error) bool) {
		for after := q.After; ; {
			page, err := s.next(ctx, q, after)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(Page{}, err)
				return
			}
			if page.After > after {
				after = page.After
				if !yield(*page, nil) {
					return
				}
			}
			if page.Later {
				continue
			}
			if over := !q.Until.IsZero() && s.now().After(q.Until.Add(followLate)); over || pause(ctx, followEvery) != nil {
				return
			}
		}
	}, nil
}

// next is the page after the line of the number. The log may not have been there before.
func (s *Service) next(ctx context.Context, q Query, after int64) (*Page, error) {
	r, err := s.reader(ctx, q)
	if err != nil {
		return nil, err
	}
	return r.forth(ctx, after)
}

// All yields what is kept of the place's log and matches, oldest line first.
func (s *Service) All(ctx context.Context, q Query) (iter.Seq2[Line, error], error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	if _, _, err := s.find(ctx, q.Place); err != nil {
		return nil, err
	}
	q.Limit = MaxLines
	return func(yield func(Line, error) bool) {
		for after := int64(0); ; {
			page, err := s.next(ctx, q, after)
			if err != nil {
				yield(Line{}, err)
				return
			}
			for _, l := range page.Lines {
				if !yield(l, nil) {
					return
				}
			}
			if after = page.After; !page.Later {
				return
			}
		}
	}, nil
}
