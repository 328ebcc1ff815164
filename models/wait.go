package models

import "strings"

// Wait is a sentence that says why something waits, and behind what.
type Wait []WaitPart

// WaitPart is a piece of the sentence; with a build's id it is the name of that build.
type WaitPart struct {
	Text    string
	BuildID string
}

// String is the sentence.
func (w Wait) String() string {
	var text strings.Builder
	for _, p := range w {
		text.WriteString(p.Text)
	}
	return text.String()
}

// Builds are the builds that the sentence names.
func (w Wait) Builds() []WaitPart {
	var named []WaitPart
	for _, p := range w {
		if p.BuildID != "" {
			named = append(named, p)
		}
	}
	return named
}
