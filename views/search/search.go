// Package search holds the page of search results. The palette shows the same results.
package search

// View is what was found.
type View struct {
	Term   string
	Groups []Group
}

// Group is one kind of results.
type Group struct {
	Name string
	Hits []Hit
}

// Hit is one result: an icon, a name, a few words behind it.
type Hit struct{ Icon, Name, Sub, Href string }
