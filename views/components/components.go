// Package components holds the parts that all pages are made of. They take plain values and models, never services.
//
// A page in short:
//
//	templ Tokens(p layout.Page, v TokensView) {
//		@layout.Shell(p) {
//			@layout.Head(p) {
//				<a class="btn primary" href="/tokens/new">
//					@components.Icon("plus")
//					New token
//				</a>
//			}
//			@layout.Content() {
//				@components.Card("tokens", "Tokens", nil) {
//					if len(v.Tokens) == 0 {
//						@components.Empty("key", "No tokens yet", "A token lets a program act for you.") {
//							@components.Curl(p.Curl("POST", "/api/v1/tokens", `{"name": "ci"}`))
//						}
//					} else {
//						<ul class="rows row-flex">…</ul>
//					}
//				}
//			}
//		}
//	}
//
// Rules that the tests hold: no style attributes and no on… handlers (the content security policy forbids both; widths
// are SVG attributes), one h1 (layout.Head writes it), every id once, state as icon + word + colour (State), every
// time in a <time> (Ago, Time), every action a form that works without JavaScript.
//
// A page becomes live by setting Page.Live to topics: whenever one changes the page is read again and what differs is
// taken over in place. Elements with data-keep are left as they are.
//
// In templ, begin a new line after @Component(…) before text, and before @ after text.
package components

import (
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"slipway.dev/models"
)

// itoa is strconv.Itoa for every integer type that models have.
func itoa[T int | int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// Count writes a number with its noun: "1 commit", "1,204 lines".
func Count[T int | int64](n T, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Thousands(n) + " " + many
}

// Thousands writes a whole number with separators, such as "12,345".
func Thousands[T int | int64](n T) string {
	s := itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Scale says how much of an app runs: "2 instances, 0.5 CPU each, 256 MiB each".
func Scale(s models.Scale) string {
	text := Count(s.OrOne().Replicas, "instance", "instances")
	if s.Autoscales() {
		text = itoa(s.OrOne().Replicas) + " to " + Count(s.Max, "instance", "instances")
	}
	if s.CPU > 0 {
		text += ", " + strconv.FormatFloat(float64(s.CPU)/1000, 'f', -1, 64) + " CPU each"
	}
	if s.Memory > 0 {
		text += ", " + itoa(s.Memory>>20) + " MiB each"
	}
	return text
}

// Bytes writes a size: "48.2 MB".
func Bytes(n int64) string { return models.Bytes(n) }

// Initials are the one or two letters that stand for a person or a team.
func Initials(name string) string {
	words := strings.FieldsFunc(name, func(r rune) bool { return r == ' ' || r == '-' || r == '.' || r == '_' || r == '@' })
	var letters []rune
	for _, w := range words {
		letters = append(letters, []rune(strings.ToUpper(w))[0])
	}
	switch {
	case len(letters) == 0:
		return "?"
	case len(letters) == 1:
		return string(letters)
	}
	return string([]rune{letters[0], letters[len(letters)-1]})
}

// link returns the address as one that templ writes unchanged. Use it only with addresses that Slipway made.
func link(url string) templ.SafeURL { return templ.SafeURL(url) }
