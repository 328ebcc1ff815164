package main

import (
	"slices"
	"strings"
)

const intro = `# What works where

Each target passes the same tests (` + "`services/deploy/deploytest`" + `), which run real containers. This page is made of what those tests print, by ` + "`make capabilities`" + `.

`

// page is the document about all targets.
func (all targets) page() string {
	var b strings.Builder
	b.WriteString(intro)
	b.WriteString("## What differs\n\n")
	all.table(&b, func(t target) []fact { return t.Abilities })
	b.WriteString("\n## What every target does\n\nA – is a part that the target can't do by its nature, and that a plan says no to.\n\n")
	all.table(&b, func(t target) []fact { return t.Parts })
	return b.String()
}

// table writes a row for each fact, with a column for each target.
func (all targets) table(b *strings.Builder, of func(target) []fact) {
	b.WriteString("| |")
	for _, t := range all {
		b.WriteString(" " + t.Name + " |")
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(all)) + "\n")
	var rows []string
	for _, t := range all {
		for _, f := range of(t) {
			if !slices.Contains(rows, f.What) {
				rows = append(rows, f.What)
			}
		}
	}
	for _, what := range rows {
		b.WriteString("| " + what + " |")
		for _, t := range all {
			b.WriteString(" " + mark(of(t), what) + " |")
		}
		b.WriteString("\n")
	}
}

// mark says whether the fact is one of those.
func mark(all []fact, what string) string {
	at := slices.IndexFunc(all, func(f fact) bool { return f.What == what })
	if at < 0 || !all[at].Yes {
		return "–"
	}
	return "yes"
}
