package api

import (
	"time"

	"slipway.dev/models"
)

// List is one page of a list.
type List[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next" doc:"Send it as ?cursor= for the page after; empty at the end."`
}

// PageIn is how every list is paged.
type PageIn struct {
	Cursor string `query:"cursor" maxLength:"200" doc:"Where the page before ended: its next."`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"Items on the page."`
}

func (p PageIn) page() models.Page { return models.Page{Cursor: p.Cursor, Limit: p.Limit} }

// IDIn is a call about one thing.
type IDIn struct {
	ID string `path:"id" maxLength:"100"`
}

// listOf turns a page of models into one of the API's type.
func listOf[M, T any](l models.List[M], each func(*M) T) *answer[List[T]] {
	return reply(List[T]{Items: sliceOf(l.Items, each), Next: l.Next})
}

func sliceOf[M, T any](items []M, each func(*M) T) []T {
	out := make([]T, len(items))
	for i := range items {
		out[i] = each(&items[i])
	}
	return out
}

// whole is a list that always fits one page.
func whole[M, T any](items []M, each func(*M) T) *answer[List[T]] {
	return reply(List[T]{Items: sliceOf(items, each)})
}

// utc is a time as the API writes it.
func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// replyWith answers with the thing, or fails.
func replyWith[M, T any](m *M, each func(*M) T, err error) (*answer[T], error) {
	if err != nil {
		return nil, err
	}
	return reply(each(m)), nil
}
