package models

import (
	"gorm.io/gorm"
)

// The sizes of a page of a list.
const (
	DefaultLimit = 50
	MaxLimit     = 100
)

// Page asks for a part of a list: what comes after Cursor, at most Limit items.
type Page struct {
	Cursor string `query:"cursor" json:"cursor"`
	Limit  int    `query:"limit" json:"limit"`
}

// Size returns the limit to use, between 1 and MaxLimit.
func (p Page) Size() int {
	if p.Limit <= 0 {
		return DefaultLimit
	}
	return min(p.Limit, MaxLimit)
}

// List is one page of items; Next is the cursor of the page after it, empty at the end.
type List[T any] struct {
	Items []T
	Next  string
}

// Newest runs the query, newest first by id, and returns the page. The id
// function returns an item's id; column is the id's column, such as "builds.id".
func Newest[T any](q *gorm.DB, p Page, column string, id func(T) string) (List[T], error) {
	if p.Cursor != "" {
		q = q.Where(column+" < ?", p.Cursor)
	}
	var items []T
	if err := q.Order(column + " DESC").Limit(p.Size() + 1).Find(&items).Error; err != nil {
		return List[T]{}, err
	}
	list := List[T]{Items: items}
	if len(items) > p.Size() {
		list.Items = items[:p.Size()]
		list.Next = id(list.Items[p.Size()-1])
	}
	return list, nil
}
