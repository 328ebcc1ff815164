// Package problem holds the page that stands in for one that can't be shown.
package problem

// View is what went wrong, for people.
type View struct {
	Status    int
	Title     string // such as "Not found"
	Message   string // what happened, to what, what to do
	RequestID string // to find it in the server's log
	SignedIn  bool
}
